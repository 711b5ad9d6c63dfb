"""Django's settings, derived from the site configuration (placo/config.py)."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from urllib.parse import urlsplit

from django_auth_ldap.config import LDAPSearch

from placo import config, logs
from placo.drivers.openldap import connection_options, people_search

LOADED = config.load()
SITE = LOADED.config
BASE_DIR = config.ROOT

SECRET_KEY = config.read_secret(SITE.site.secret_key_file)
DEBUG = False
_portal = urlsplit(SITE.site.portal_url)
ALLOWED_HOSTS = [_portal.hostname or "localhost", "localhost", "127.0.0.1", "testserver"]
CSRF_TRUSTED_ORIGINS = [SITE.site.portal_url]

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_htmx",
    "axes",
    "placo.platforms",
    "placo.web",
]

MIDDLEWARE = [
    "placo.web.middleware.RequestLog",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "placo.web.middleware.ServiceErrors",
    "placo.web.middleware.ContentSecurityPolicy",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "placo.urls"
ASGI_APPLICATION = "placo.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "placo.web.context.portal",
            ],
        },
    },
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": SITE.database.host,
        "NAME": SITE.database.name,
        "USER": SITE.database.user,
        # A pool, since under ASGI every request may have a thread of its own, which would keep a connection of its own.
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            # After an outage whoever asks has a new connection made at once: the pool's own attempts would be up to minutes apart.
            "pool": {"min_size": 1, "max_size": 10, "max_idle": 60, "timeout": 5, "reconnect_timeout": 2},
            # What a connection asks for the third time is prepared: planning costs PostgreSQL more than the engine's queries.
            "server_side_binding": True,
            "prepare_threshold": 3,
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- people ----------------------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "platforms.User"
LOGIN_URL = "web:login"
LOGIN_REDIRECT_URL = "web:home"
LOGOUT_REDIRECT_URL = "web:login"
# The break-glass administrator comes first: it must get in while the directory is down.
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "placo.web.auth.BreakGlassBackend",
    "placo.web.auth.DirectoryBackend",
]
AUTH_LDAP_SERVER_URI = SITE.directory.uri
AUTH_LDAP_BIND_DN, AUTH_LDAP_BIND_PASSWORD = SITE.directory.bind_dn, ""
with suppress(config.ConfigError):  # said by the doctor, who has to work without
    AUTH_LDAP_BIND_PASSWORD = config.read_secret(SITE.directory.password_file)
# Guests and people of the laboratory are in different places: whoever logs in is looked up.
AUTH_LDAP_USER_SEARCH = LDAPSearch(
    *people_search(SITE.directory.base), ["uid", "cn", "sn", "givenName", "mail", "memberOf"]
)
AUTH_LDAP_CONNECTION_OPTIONS = connection_options(SITE.directory.ca_file, 5)
AUTH_LDAP_USER_ATTR_MAP = {"last_name": "cn", "email": "mail"}
AUTH_LDAP_BIND_AS_AUTHENTICATING_USER = True
AUTH_LDAP_ALWAYS_UPDATE_USER = True

# For accounts that the portal makes; the directory's own policy comes on top.
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ("username", "last_name", "email")},
    },
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = 0.25  # hours
# Behind a UNIX socket there is no address; None would count nothing, since NULLs are never equal in PostgreSQL.
AXES_CLIENT_IP_CALLABLE = "placo.web.auth.client_address"
AXES_USERNAME_CALLABLE = "placo.web.auth.counted_name"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_CALLABLE = "placo.web.auth.locked_out"
AXES_ENABLE_ADMIN = False
AXES_DISABLE_ACCESS_LOG = True
SILENCED_SYSTEM_CHECKS = ["axes.W003"]

SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _portal.scheme == "https"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# --- languages and static files --------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("fr", "Français")]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = USE_TZ = True
TIME_ZONE = "Europe/Paris"

STATIC_URL = "/static/"
STATIC_ROOT = SITE.site.state_dir / "static"
STATICFILES_DIRS = [BASE_DIR / "static", ("vendor", BASE_DIR / "var" / "assets" / "vendor")]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if "pytest" in sys.modules
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_MANIFEST_STRICT = False

# --- mail ------------------------------------------------------------------------------------------------------------

if SITE.mail is not None:
    if SITE.mail.folder is not None:
        EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
        EMAIL_FILE_PATH = SITE.mail.folder
    EMAIL_HOST, EMAIL_PORT = SITE.mail.host, SITE.mail.port
    EMAIL_USE_TLS, EMAIL_USE_SSL = SITE.mail.security == "starttls", SITE.mail.security == "tls"
    EMAIL_HOST_USER = SITE.mail.user
    EMAIL_HOST_PASSWORD = config.read_secret(SITE.mail.password_file) if SITE.mail.password_file else ""
    EMAIL_TIMEOUT = 10

# --- Celery: a doorbell, nothing more --------------------------------------------------------------------------------

CELERY_BROKER_URL = SITE.redis.url.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False  # a lost doorbell is rung again by the sweep
CELERY_WORKER_PREFETCH_MULTIPLIER = 1  # a doorbell waits for the next worker that is free, not for one alone
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 3600, "socket_timeout": 10}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_IMPORTS = ["tasks"]
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE = {
    "sweep": {"task": "tasks.sweep", "schedule": 3.0, "options": {"expires": 3}},
    "refresh-roles": {"task": "tasks.refresh_roles", "schedule": 30.0, "options": {"expires": 30}},
    "keep-templates": {"task": "tasks.keep_templates", "schedule": 20.0, "options": {"expires": 20}},
    "reconcile": {"task": "tasks.reconcile", "schedule": 60.0, "options": {"expires": 60}},
    "expire": {"task": "tasks.expire", "schedule": 600.0, "options": {"expires": 600}},
    "attend-guests": {"task": "tasks.attend_guests", "schedule": 60.0, "options": {"expires": 60}},
    "attend-proofs": {"task": "tasks.attend_proofs", "schedule": 60.0, "options": {"expires": 60}},
    "send-mail": {"task": "tasks.send_mail", "schedule": 60.0, "options": {"expires": 60}},
}

# --- logs and metrics (docs/operations.md) -----------------------------------------------------------------------------


def _secrets() -> list[str]:
    """What must never stand in a log: as far as it can be read, for the doctor has to work without."""
    found = [SECRET_KEY]
    for path in (SITE.directory.password_file, SITE.metrics.token_file if SITE.metrics else None):
        with suppress(config.ConfigError):
            found += [config.read_secret(path)] if path else []
    return found


LOGGING = logs.configuration(_secrets())

METRICS_DIR = SITE.site.state_dir / "metrics"
if SITE.metrics and "pytest" not in sys.modules:
    # Read by prometheus_client when it is imported: what workers count is added up by the portal (docs/adr/0013).
    METRICS_DIR.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(METRICS_DIR))
