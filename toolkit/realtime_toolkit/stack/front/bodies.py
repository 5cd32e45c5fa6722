"""Bodies of requests to the stack's own services: read up to a limit, and looked through before anything is done."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

_DEPTH = 200
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_KINDS = {str: "a string", dict: "an object", bool: "true or false"}


class TooLargeError(Exception):
    """More bytes than the service takes."""


class MalformedError(Exception):
    """Not JSON, or not an object."""


class InvalidError(Exception):
    """JSON that no database and no client could do anything with; says which part."""


async def read(request: Request, at_most: int) -> bytes:
    """The whole body; raises :class:`TooLargeError` as soon as it is longer."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > at_most:
            raise TooLargeError(f"more than {at_most} bytes")
    return body


def fields(body: bytes, kinds: Mapping[str, type]) -> dict[str, Any]:
    """Those fields of a JSON object that are wanted and not null, each of its kind. No body is an empty object.

    Half a surrogate pair becomes U+FFFD, as in Supabase Auth. Raises :class:`MalformedError` and :class:`InvalidError`.
    """
    try:
        given = json.loads(body.decode() or "{}", parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise MalformedError(str(error)) from None
    if not isinstance(given, dict):
        raise MalformedError("not an object")
    found = {name: given[name] for name in kinds if given.get(name) is not None}
    for name, value in found.items():
        if not isinstance(value, kinds[name]):
            raise InvalidError(f"{name} must be {_KINDS[kinds[name]]}")
    return {name: _clean(name, value, 0) for name, value in found.items()}


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    return _no_number(text) if number in (float("inf"), float("-inf")) else number


def _clean(name: str, value: Any, depth: int) -> Any:
    if depth > _DEPTH:
        raise InvalidError(f"{name} is nested too deeply")
    if isinstance(value, str):
        return _text(name, value)
    if isinstance(value, dict):
        return {_text(name, key): _clean(name, item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(name, item, depth + 1) for item in value]
    return value


def _text(name: str, text: str) -> str:
    if "\0" in text:
        raise InvalidError(f"{name} must not contain U+0000")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_text(json_text: str, value: Any) -> bool:
    """Whether no string of ``value``, which ``json_text`` held, has half a surrogate pair: nobody could be sent it."""
    if _SURROGATE.search(json_text) is None:
        return True
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True
