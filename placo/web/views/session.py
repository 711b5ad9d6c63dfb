"""Logging in and out."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.forms import AuthenticationForm, UsernameField
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponse
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _
from django.views import i18n

from placo.platforms.models import User
from placo.services import accounts
from placo.services.errors import DirectoryDown
from placo.web.http import user_of


class LoginForm(AuthenticationForm):
    """Django's, with the words of the site; no account is longer than a column can hold."""

    username = UsernameField(label=_("Account"), max_length=150)

    error_messages = {
        "invalid_login": _(
            "Account and password do not match. Both are those of your laboratory; case matters."
        ),
        "inactive": _("This account is disabled."),
    }


class Login(LoginView):
    """The login page; keeps the account that was typed, and says it when the directory is down."""

    template_name = "web/login.html"
    authentication_form = LoginForm
    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            response = super().post(request, *args, **kwargs)
        except DirectoryDown as error:
            form = LoginForm(request, initial={"username": request.POST.get("username", "")})
            return self.render_to_response(
                self.get_context_data(form=form, trouble=error), status=error.status
            )
        if response.status_code == 200:
            response.status_code = 422
        return response

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        response = super().form_valid(form)
        user = user_of(self.request)
        if not user.language:
            accounts.remember_language(acting_user=user, language=get_language() or "")
        return response


def set_language(request: HttpRequest) -> HttpResponse:
    """Django's, and the choice of somebody who is logged in is kept: mails come in that language."""
    response = i18n.set_language(request)
    user = request.user
    if request.method == "POST" and isinstance(user, User):
        accounts.remember_language(acting_user=user, language=request.POST.get("language", ""))
    return response


class Logout(LogoutView):
    """Logging out (POST only)."""

    http_method_names = ["post", "options"]
