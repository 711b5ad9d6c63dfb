"""For administrators: runs, hosts, images, health, quotas, the audit trail."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from placo.domain.drift import DIRECTORY_PLACE, EDGE_PLACE
from placo.platforms.models import AuditEvent, Host, Project, Run
from placo.platforms.models.drift import DRIFT_LABELS
from placo.platforms.models.runs import KIND_LABELS, RUN_LABELS
from placo.services import access, departures, doctor, host_views, ownership, rebuilds, selectors, waiting
from placo.services import drift as drift_service
from placo.services import hosts as hosts_service
from placo.services.errors import Conflict, DirectoryDown, InvalidInput
from placo.web.http import flat_errors, screen, user_of, wants_fragment
from placo.web.tables import Filter, Table


@screen()
def index(request: HttpRequest) -> HttpResponse:
    """Operations begin with what is being done."""
    access.require_administrator(user_of(request))
    return redirect("web:operations-runs")


@screen()
def hosts(request: HttpRequest) -> HttpResponse:
    """What each host has and has promised, and since when this is known."""
    access.require_administrator(user_of(request))
    table = Table(
        request,
        selectors.hosts(),
        search=("name", "hypervisor"),
        sorts={"name": "name", "platforms": "living", "memory": "memory_mib", "disk": "disk_free_gib"},
        default="name",
    )
    templates = hosts_service.templates_of(table.page.object_list)
    context = {
        "table": table,
        "hosts": [(host, templates[host.pk]) for host in table.page.object_list],
        "troubled": hosts_service.troubled_templates(),
    }
    return render(request, "web/operations_hosts.html", context)


@screen("POST")
def host_warm(request: HttpRequest, name: str, choice: str) -> HttpResponse:
    """Templates of a host on or off."""
    if choice not in ("on", "off"):
        raise Http404
    hosts_service.set_warm(acting_user=user_of(request), host_name=name, warm=choice == "on")
    return redirect("web:operations-hosts")


def _drift(request: HttpRequest, *, status: int = 200, **extra: object) -> HttpResponse:
    places = [(name, name) for name in Host.objects.values_list("name", flat=True)]
    places += [(DIRECTORY_PLACE, _("directory")), (EDGE_PLACE, _("edge"))]
    table = Table(
        request,
        drift_service.listed(acting_user=user_of(request)),
        search=("name", "where", "platform__slug"),
        sorts={"found": "found_at", "where": "where", "platform": "platform__slug"},
        default="-found",
        filters=(
            Filter("kind", _("Kind"), [(kind.value, label) for kind, label in DRIFT_LABELS.items()]),
            Filter("where", _("Where"), places),
        ),
    )
    reserved = host_views.all_reservations(acting_user=user_of(request))
    context = {"table": table, "reserved": reserved, **extra}
    return render(request, "web/operations_drift.html", context, status=status)


@screen()
def drift(request: HttpRequest) -> HttpResponse:
    """Where the world is not as the portal has it."""
    return _drift(request)


@screen("POST")
def accept_drift(request: HttpRequest, drift_id: int) -> HttpResponse:
    """It is wanted so."""
    drift_service.accept_drift(acting_user=user_of(request), drift_id=drift_id)
    messages.success(request, _("Accepted. You will be told again if it changes."))
    return redirect("web:operations-drift")


@screen("POST")
def repair_drift(request: HttpRequest, drift_id: int) -> HttpResponse:
    """Goes to the live page of the repair; what removes something for good asks for the platform's name."""
    typed = request.POST.get("confirm", "").strip()
    try:
        run = drift_service.repair_drift(acting_user=user_of(request), drift_id=drift_id, confirm=typed)
    except InvalidInput as error:
        wrong = flat_errors(error.errors)["confirm"]
        return _drift(request, status=error.status, wrong=wrong, asked=drift_id, typed=typed)
    except Conflict as error:
        return _drift(request, status=error.status, trouble=error)
    return redirect("web:run", run.pk)


def _images(request: HttpRequest, *, status: int = 200, **extra: object) -> HttpResponse:
    table = Table(
        request,
        rebuilds.outdated_platforms(acting_user=user_of(request)),
        search=("slug", "title", "project__slug", "host__name"),
        sorts={"platform": "slug", "host": "host__name", "made": "created_at"},
        default="platform",
    )
    rows = [
        (platform, [machine.name for machine in platform.plan.machines if rebuilds.outdated(machine)])
        for platform in table.page.object_list
    ]
    context = {"table": table, "rows": rows, "count": table.rows.count(), **extra}
    return render(request, "web/operations_images.html", context, status=status)


@screen()
def images(request: HttpRequest) -> HttpResponse:
    """Platforms some of whose machines run an older image than would be made today."""
    return _images(request)


@screen("POST")
def rebuild_all(request: HttpRequest) -> HttpResponse:
    """All of them, confirmed; those whose state does not allow it stay, with the reason."""
    user = user_of(request)
    access.require_administrator(user)
    if request.POST.get("confirm") != "yes":
        return redirect("web:operations-images")
    wave = rebuilds.rebuild_all(acting_user=user)
    if wave.begun:
        text = ngettext(
            "The rebuild of %(count)d platform has begun.",
            "The rebuild of %(count)d platforms has begun.",
            len(wave.begun),
        )
        messages.success(request, text % {"count": len(wave.begun)})
    if wave.refused:
        return _images(request, refused=wave.refused)
    return redirect("web:operations-images")


@screen()
def health(request: HttpRequest) -> HttpResponse:
    """How every component is. The page comes at once; what the doctor finds follows."""
    access.require_administrator(user_of(request))
    return render(request, "web/operations_health.html")


@screen()
def health_report(request: HttpRequest) -> HttpResponse:
    """What the doctor finds now: a part of the page for htmx, a whole page for anybody else."""
    report = doctor.examine_for(acting_user=user_of(request))
    context = {"report": report, "counts": {level.value: n for level, n in report.counts.items()}}
    template = "web/_health_report.html" if wants_fragment(request) else "web/operations_health.html"
    return render(request, template, context)


@screen()
def runs(request: HttpRequest) -> HttpResponse:
    """Every run."""
    access.require_administrator(user_of(request))
    table = Table(
        request,
        Run.objects.select_related("platform", "started_by"),
        search=("platform__slug", "subject", "started_by__username", "web_request"),
        sorts={"started": "created_at", "platform": "platform__slug"},
        default="-started",
        filters=(
            Filter("state", _("State"), [(s.value, label) for s, label in RUN_LABELS.items()]),
            Filter("kind", _("Kind"), [(k.value, label) for k, label in KIND_LABELS.items()]),
        ),
    )
    shown = list(table.page.object_list)
    waits = waiting.waits_of_runs(run.pk for run in shown)
    rows = [(run, waits.get(run.pk, ())) for run in shown]
    return render(request, "web/operations_runs.html", {"table": table, "rows": rows})


@screen()
def quotas(request: HttpRequest) -> HttpResponse:
    """What each project may use and uses."""
    access.require_administrator(user_of(request))
    table = Table(
        request, Project.objects.all(), search=("slug", "title"), sorts={"project": "slug"}, default="project"
    )
    views = selectors.project_quotas(table.page.object_list)
    return render(request, "web/operations_quotas.html", {"table": table, "views": views})


@screen()
def audit(request: HttpRequest) -> HttpResponse:
    """Who did what to what, and when."""
    access.require_administrator(user_of(request))
    table = Table(
        request,
        AuditEvent.objects.all(),
        search=("actor", "verb", "subject"),
        sorts={"when": "id", "who": "actor", "subject": "subject"},
        default="-when",
    )
    return render(request, "web/operations_audit.html", {"table": table})


@screen()
def people(request: HttpRequest) -> HttpResponse:
    """Everybody, found by name; guests; platforms that nobody looks after."""
    user, text = user_of(request), request.GET.get("q", "")
    context: dict[str, object] = {"text": text, "ownerless": ownership.ownerless()}
    context["guests"] = departures.guests_listed(acting_user=user)
    try:
        context["people"] = departures.search(acting_user=user, text=text)
    except DirectoryDown as error:
        context |= {"people": [], "trouble": error}
    return render(request, "web/operations_people.html", context)


@screen()
def person(request: HttpRequest, uid: str) -> HttpResponse:
    """Somebody with all that they have here."""
    view = departures.person_view(acting_user=user_of(request), uid=uid)
    return render(request, "web/operations_person.html", {"view": view})


@screen("POST")
def leave(request: HttpRequest, uid: str) -> HttpResponse:
    """Remove somebody from all platforms."""
    view = departures.person_view(acting_user=user_of(request), uid=uid)
    if request.POST.get("confirm", "") != view.uid:
        context = {
            "view": view,
            "errors": {"confirm": _("Type the account, %(uid)s, to confirm.") % {"uid": view.uid}},
        }
        return render(request, "web/operations_person.html", context, status=422)
    slugs = departures.leave(acting_user=user_of(request), uid=uid)
    text = ngettext(
        "%(name)s is being removed from %(count)d platform.",
        "%(name)s is being removed from %(count)d platforms.",
        len(slugs),
    )
    messages.success(request, text % {"name": view.name, "count": len(slugs)})
    return redirect("web:operations-person", view.uid)
