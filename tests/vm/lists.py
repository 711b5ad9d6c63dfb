"""Sympa's pages as a person with a browser uses them: its forms, with the hidden fields that they carry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from deploy.client import Lab
from tests.lab_world import Made

_TOKEN = re.compile(r'name="csrftoken" value="([0-9a-f]+)"')


def domain_of_lists(made: Made) -> str:
    """What the addresses of lists end in."""
    urls = (str(e["url"]) for e in made.now["endpoints"] if e["service"] == "lists")
    return next(url for url in urls if url.startswith("@")).removeprefix("@")


class Pages:
    """The lists of a platform, in one browser's session."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def get(self, path: str) -> httpx.Response:
        """A page; redirections are followed by path, since the host is another one here."""
        for _ in range(5):
            answer = self.client.get(path)
            if not answer.is_redirect:
                return answer
            path = httpx.URL(answer.headers["Location"]).raw_path.decode()
        raise AssertionError(f"{path} leads nowhere")

    def send(self, page: str, button: str, **fields: str) -> httpx.Response:
        """Press a button of the form on that page."""
        found = self.get(page)
        token = _TOKEN.search(found.text)
        assert token, found.text[:500]
        return self.client.post("/", data={"csrftoken": token[1], **fields, f"action_{button}": "x"})

    def make_list(self, name: str, kind: str) -> httpx.Response:
        """Ask for a list: a redirection to its page when it was made."""
        return self.send(
            "/create_list_request",
            "create_list",
            listname=name,
            template=kind,
            subject="Séminaire",
            topics="research",
            info="About lemma 3.",
        )

    def subscribers(self, name: str) -> set[str]:
        """The addresses on a list, as its page of subscribers shows them."""
        answer = self.get(f"/review/{name}")
        assert answer.status_code == 200
        table = answer.text.partition('name="email"')[2].rpartition("</table>")[0] or answer.text
        return set(re.findall(r"[a-z0-9.+-]+@[a-z0-9.-]+[a-z]", table))


@contextmanager
def pages(lab: Lab, made: Made, role: str) -> Iterator[Pages]:
    """Somebody who is logged in."""
    with lab.visitor(made.url("lists", "/"), role) as client:
        yield Pages(client)
