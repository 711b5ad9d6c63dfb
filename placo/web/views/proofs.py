"""Who is let in to a platform: the last proof, and asking for another."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from placo.services import access, proofs
from placo.web.http import screen, user_of


@screen()
def proof(request: HttpRequest, slug: str) -> HttpResponse:
    """The part of the platform's page, again."""
    platform = access.get_managed_platform(user_of(request), slug)
    return render(request, "web/_proof.html", {"platform": platform, "proof": proofs.shown(platform)})


@screen("POST")
def prove(request: HttpRequest, slug: str) -> HttpResponse:
    """Ask for one: back to the platform's page, which shows what comes of it."""
    proofs.ask(acting_user=user_of(request), slug=slug)
    return redirect("web:platform", slug)
