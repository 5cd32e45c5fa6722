"""Names as SQL writes them, read back: quoted where they have to be, with quotes inside doubled. Pure."""

from __future__ import annotations

import re

NAME = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
"""One name, for a regular expression without named groups of its own."""
_UNQUOTED = re.compile(r"[^\W\d][\w$]*")
_SIMPLE = re.compile(r"[a-z_][a-z0-9_]*")
_EACH = re.compile(NAME)


def plain(name: str) -> str:
    """A name without its quotes: ``"My ""best"" notes"`` is ``My "best" notes``."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def quoted(name: str) -> str:
    """The name as ``quote_ident`` writes it, but for keywords, which stay as they are."""
    return name if _SIMPLE.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def parts(qualified: str) -> tuple[str, ...]:
    """The names of ``public."My.Notes"``: ``public`` and ``My.Notes``."""
    return tuple(map(plain, _EACH.findall(qualified)))


def mentioned(name: str, text: str) -> bool:
    """Whether an expression speaks of this name, quoted or, where it can be, not."""
    if '"' + name.replace('"', '""') + '"' in text:
        return True
    unquoted = _UNQUOTED.fullmatch(name) is not None
    return unquoted and re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", text) is not None
