"""The screens' addresses: the same nouns as in the API and on the command line."""

from __future__ import annotations

from django.urls import path

from placo.web import live
from placo.web.views import change, home, new, notices, operations, people, platforms, requests, runs, session

app_name = "web"
urlpatterns = [
    path("", home.home, name="home"),
    path("login/", session.Login.as_view(), name="login"),
    path("logout/", session.Logout.as_view(), name="logout"),
    path("account/", home.account, name="account"),
    path("help/", home.help_page, name="help"),
    path("platforms/new/", new.wizard, name="new"),
    path("platforms/new/cost/", new.cost, name="new-cost"),
    path("platforms/new/name/", new.check_name, name="new-name"),
    path("platforms/<slug:slug>/", platforms.picture, name="platform"),
    path("platforms/<slug:slug>/power/<slug:action>/", platforms.power, name="platform-power"),
    path("platforms/<slug:slug>/activity/", platforms.activity, name="platform-activity"),
    path("platforms/<slug:slug>/change/", change.change, name="platform-change"),
    path("platforms/<slug:slug>/change/preview/", change.preview, name="platform-change-preview"),
    path("platforms/<slug:slug>/settings/", platforms.settings, name="platform-settings"),
    path("platforms/<slug:slug>/retire/", platforms.retire, name="platform-retire"),
    path("platforms/<slug:slug>/renew/", platforms.renew, name="platform-renew"),
    path("platforms/<slug:slug>/end/", platforms.end, name="platform-end"),
    path("platforms/<slug:slug>/machines/<slug:name>/", platforms.machine, name="platform-machine"),
    path("platforms/<slug:slug>/people/", people.people, name="platform-people"),
    path("platforms/<slug:slug>/people/rows/", people.rows, name="platform-people-rows"),
    path("platforms/<slug:slug>/people/search/", people.search, name="platform-people-search"),
    path("platforms/<slug:slug>/people/add/", people.add, name="platform-people-add"),
    path("platforms/<slug:slug>/people/remove/", people.remove, name="platform-people-remove"),
    path("notices/", notices.index, name="notices"),
    path("notices/read/", notices.read_all, name="notices-read-all"),
    path("notices/<int:notice_id>/read/", notices.read, name="notices-read"),
    path("requests/", requests.index, name="requests"),
    path("requests/<int:request_id>/", requests.detail, name="requests-detail"),
    path("requests/<int:request_id>/approve/", requests.approve, name="requests-approve"),
    path("requests/<int:request_id>/reject/", requests.reject, name="requests-reject"),
    path("requests/<int:request_id>/withdraw/", requests.withdraw, name="requests-withdraw"),
    path("requests/<int:request_id>/replan/", requests.replan, name="requests-replan"),
    path("runs/<int:run_id>/", runs.detail, name="run"),
    path("runs/<int:run_id>/events/", live.events, name="run-events"),
    path("runs/<int:run_id>/<slug:choice>/", runs.decide, name="run-decide"),
    path("operations/", operations.index, name="operations"),
    path("operations/hosts/", operations.hosts, name="operations-hosts"),
    path(
        "operations/hosts/<slug:name>/templates/<slug:choice>/",
        operations.host_warm,
        name="operations-host-warm",
    ),
    path("operations/drift/", operations.drift, name="operations-drift"),
    path("operations/drift/<int:drift_id>/accept/", operations.accept_drift, name="operations-drift-accept"),
    path("operations/drift/<int:drift_id>/repair/", operations.repair_drift, name="operations-drift-repair"),
    path("operations/health/", operations.health, name="operations-health"),
    path("operations/health/report/", operations.health_report, name="operations-health-report"),
    path("operations/runs/", operations.runs, name="operations-runs"),
    path("operations/quotas/", operations.quotas, name="operations-quotas"),
    path("operations/audit/", operations.audit, name="operations-audit"),
]
