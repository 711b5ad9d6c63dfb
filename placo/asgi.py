"""The portal as an ASGI application (run by uvicorn)."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "placo.settings")
application = get_asgi_application()
