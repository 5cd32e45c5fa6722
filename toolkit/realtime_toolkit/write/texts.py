"""The text that somebody else's iterator gives: what it may give, and how it is closed."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from realtime_toolkit.errors import InputError
from realtime_toolkit.retry import in_short
from realtime_toolkit.scrub import scrub
from realtime_toolkit.tasks import Deadline, each, theirs

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

log = logging.getLogger(__name__)


def text_of(token: Any) -> str:
    """A token as text: a model's delta may be ``None``. Raises :class:`InputError` for what is no text."""
    if token is None:
        return ""
    if not isinstance(token, str):
        raise InputError(f"a token is text, and this is {type(token).__name__}: {repr(token)[:40]}")
    return token


def stream_of(tokens: Any, what: str) -> AsyncIterable[str]:
    """Raises :class:`InputError` for what is no asynchronous iterable."""
    if not hasattr(type(tokens), "__aiter__"):
        kind = "None" if tokens is None else type(tokens).__name__
        raise InputError(f"{what} is an asynchronous iterator of str, not {kind}: write an async generator")
    return cast("AsyncIterable[str]", tokens)


async def texts(tokens: AsyncIterable[str], what: str) -> AsyncIterator[str]:
    """The tokens that have text; a ``CancelledError`` of theirs is their failure."""
    async for token in each(tokens, what):
        if text := text_of(token):
            yield text


@asynccontextmanager
async def closing(tokens: Any, within: float) -> AsyncIterator[None]:
    """Close them after the block, in ``within`` seconds; how that goes changes nothing of what has happened."""
    try:
        yield
    finally:
        await _close(tokens, within)


async def _close(tokens: Any, within: float) -> None:
    if (aclose := getattr(tokens, "aclose", None)) is None:
        return
    try:
        async with Deadline(
            within
        ):  # here, and not in a task of its own: what it opened, it must close there
            await theirs(aclose, "closing the tokens")
    except Exception as error:
        log.warning("the tokens could not be closed: %s", scrub(in_short(error)))
