"""What a use case can refuse. The portal and the API turn these into screens and problem documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.utils.translation import gettext_lazy as _

from placo.domain.plan_items import Item


class ServiceError(Exception):
    """A refusal: nothing was changed. `message` is for the person who asked, `remedy` says what to do next."""

    status = 400
    title = _("This cannot be done")

    def __init__(self, message: object, remedy: object = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class InvalidInput(ServiceError):
    """Fields with errors: field name -> messages."""

    status = 422
    title = _("Please check what you entered")

    def __init__(self, errors: Mapping[str, list[object]]) -> None:
        super().__init__("; ".join(f"{field}: {m}" for field, found in errors.items() for m in found))
        self.errors = errors


class NotFound(ServiceError):
    """It does not exist, or the person may not know that it does."""

    status = 404
    title = _("Not found")

    def __init__(self, message: object = _("There is nothing here that you may see.")) -> None:
        super().__init__(message, _("Check the address, or ask the owner of the project."))


class Forbidden(ServiceError):
    """The person may see it but not do this."""

    status = 403
    title = _("You may not do this")


class Conflict(ServiceError):
    """It does not fit the present state: another decision was taken first, a run is under way, a plan no longer fits."""

    status = 409
    title = _("This no longer fits")


class PlanOutdated(Conflict):
    """The plan that was to be approved is not what would be done now: where the new one differs, and what to approve instead.

    `plan_hash` is None where no plan fits at the moment.
    """

    def __init__(
        self,
        message: object,
        remedy: object = "",
        *,
        differences: Sequence[Item] = (),
        plan_hash: str | None = None,
    ) -> None:
        super().__init__(message, remedy)
        self.differences = differences
        self.plan_hash = plan_hash


class TooMany(ServiceError):
    """The same thing was asked for too often in a short time."""

    status = 429
    title = _("Too often")


class DatabaseDown(ServiceError):
    """PLACO's own database does not answer."""

    status = 503
    title = _("The portal's database does not answer")

    def __init__(self) -> None:
        super().__init__(
            _("The portal cannot say what there is now, nor take anything in. Nothing was half done."),
            _("Platforms go on running. Try again in a minute; if it lasts, tell your administrator."),
        )


class DirectoryDown(ServiceError):
    """The directory does not answer."""

    status = 503
    title = _("The directory does not answer")

    def __init__(self) -> None:
        super().__init__(
            _("Accounts are kept in the directory, and it does not answer at the moment."),
            _("Platforms go on running. Try again in a minute; if it lasts, tell your administrator."),
        )
