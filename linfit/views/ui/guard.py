"""Check each request before MLflow's app sees it: from which page it comes, and what it asks for.

A browser names the page that sends a request. MLflow obeys the pages of every port of this machine,
the guard those of its own port alone. A program that is no browser names no page, and is let in.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = "127.0.0.1"
#: The served parts of MLflow's interface. Jobs, gateways, assistants and webhooks run code, or send
#: something elsewhere.
SERVED_APIS = (
    "experiments",
    "runs",
    "metrics",
    "artifacts",
    "upload-artifact",
    "logged-models",
    "registered-models",
    "model-versions",
    "traces",
    "get-trace-artifact",
    "datasets",
    "server-info",
)
_SERVED = re.compile(
    rf"/(ajax-)?api/[23]\.0/mlflow/({'|'.join(SERVED_APIS)})(/.*)?|/static-files/.+", re.DOTALL
)
_PAGES = ("/", "/health", "/version", "/graphql", "/get-artifact", "/model-versions/get-artifact")
#: Answers that stand for parts which are not served: MLflow's assistant looks for language models,
#: and would report a refusal on every page.
_STAND_INS = {("GET", "/ajax-api/2.0/mlflow/gateway-proxy"): b'{"endpoints": []}'}
#: Types of content that a page may send anywhere without asking first.
_FORMS = ("", "text/plain", "multipart/form-data", "application/x-www-form-urlencoded")
#: The page sends nothing elsewhere either: neither its scripts nor the pictures in a run's note.
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'self'"
)
_HEADERS = [(b"content-security-policy", _POLICY.encode()), (b"referrer-policy", b"same-origin")]


class Guard:
    """An ASGI application that passes only allowed requests on to another one."""

    def __init__(self, application: Application, port: int) -> None:
        self.application = application
        self.hosts = list_own_hosts(port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # a web socket, which MLflow's UI does not use
            await send({"type": "websocket.close", "code": 1008})
            return
        why = explain_refusal(scope, self.hosts)
        stand_in = _STAND_INS.get((scope["method"], scope["path"]))
        if why:
            await _refuse(send, why)
        elif stand_in is not None:
            await _answer(send, 200, b"application/json", stand_in)
        else:
            await self.application(scope, receive, _with_headers(send))


def list_own_hosts(port: int) -> tuple[str, ...]:
    """Return the values of `Host` by which a browser reaches the server."""
    names = (LOOPBACK, "localhost")
    ported = tuple(f"{name}:{port}" for name in names)
    return (*ported, *names) if port == 80 else ported


def explain_refusal(scope: Scope, hosts: tuple[str, ...]) -> str:
    """Return why a request is refused; empty if it is allowed."""
    headers = _read_headers(scope)
    host = headers.get("host", "")
    origin = headers.get("origin")
    path = scope["path"]
    if host not in hosts:
        return f"it asks for the host {host!r}, and this is {' or '.join(hosts)}"
    if not _is_served(path) and (scope["method"], path) not in _STAND_INS:
        return f"{path!r} is not served; `linfit ui --unguarded` serves all that MLflow has"
    if _is_start_page(scope) and origin is None:
        # A link from anywhere may open it: it changes nothing and no other page can read it.
        return ""
    return _explain_origin(headers, origin, f"http://{host}") or _explain_form(scope, headers)


def _explain_origin(headers: dict[str, str], origin: str | None, own: str) -> str:
    """Return why a page may not send a request; empty if it may, or if no page is named."""
    if origin not in (None, own):
        return f"the page that sends it is of {origin!r}, not of {own}"
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return f"the page that sends it is not of {own}"
    referer = headers.get("referer", own)
    if referer != own and not referer.startswith(f"{own}/"):
        return f"the page that sends it is {referer!r}, not of {own}"
    return ""


def _explain_form(scope: Scope, headers: dict[str, str]) -> str:
    """Return why a form without a named page is refused: an old browser may have sent it."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    names_page = headers.keys() & {"origin", "sec-fetch-site"}
    if scope["method"] != "POST" or kind not in _FORMS or names_page:
        return ""
    return f"its content is of the type {kind!r}: send application/json"


def _is_served(path: str) -> bool:
    return path in _PAGES or (_SERVED.fullmatch(path) is not None and ".." not in path.split("/"))


def _is_start_page(scope: Scope) -> bool:
    return scope["path"] == "/" and scope["method"] in ("GET", "HEAD")


def _read_headers(scope: Scope) -> dict[str, str]:
    """Return the headers by name; one sent twice has both values, as no browser sends it."""
    found: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name = raw_name.decode("latin-1").lower()
        value = raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


async def _refuse(send: Send, why: str) -> None:
    body = f"linfit ui refuses this request: {why}\n".encode()
    await _answer(send, 403, b"text/plain; charset=utf-8", body)


async def _answer(send: Send, status: int, kind: bytes, body: bytes) -> None:
    """Answer a request without MLflow's app."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", kind), *_HEADERS],
        }
    )
    await send({"type": "http.response.body", "body": body})


def _with_headers(send: Send) -> Send:
    """Return a `send` that adds the policy headers to a response."""

    async def send_more(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *_HEADERS]
        await send(message)

    return send_more
