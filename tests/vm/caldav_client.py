"""A client of CalDAV (the library caldav) as a program of its own: `python -m tests.vm.caldav_client URL CA NAME`, run by tests where the
address resolves. What to do comes as JSON on standard input (uid, password, add: an event, month: YYYY-MM), what was found goes out as JSON.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import caldav
from caldav.lib.error import AuthorizationError


def main(url: str, ca: str) -> dict[str, Any]:
    """Calendars by name, and the summaries of the month's events in the shared one; `refused` for who does not get in."""
    wish = json.load(sys.stdin)
    client = caldav.DAVClient(
        url=url, username=wish["uid"], password=wish["password"], ssl_verify_cert=ca, enable_rfc6764=False
    )
    try:
        calendars = {str(c.url).rstrip("/").rpartition("/")[2]: c for c in client.principal().calendars()}
        shared = calendars["platform-calendar"]
        if wish.get("add"):
            shared.save_event(wish["add"])
        begin = datetime.strptime(wish["month"], "%Y-%m").replace(tzinfo=UTC)
        found = shared.search(start=begin, end=begin + timedelta(days=31), event=True)
        events = sorted(str(event.icalendar_component["SUMMARY"]) for event in found)
    except AuthorizationError:
        return {"refused": True}
    return {"refused": False, "calendars": sorted(calendars), "events": events}


if __name__ == "__main__":
    json.dump(main(sys.argv[1], sys.argv[2]), sys.stdout)
