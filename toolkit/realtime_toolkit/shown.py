"""Text from outside, made fit to be shown: a name may hold an escape sequence, a line break, a change of direction.

Whatever a terminal, a log or a line of a file would act on is spelled out (``\\n``, ``\\x1b``, ``\\u202e``). Pure.
"""

from __future__ import annotations

import re

# Control characters, format characters (direction, zero width), separators other than the blank, lone surrogates,
# and what XML forbids.
ACTED_ON = (
    r"\x00-\x1f\x7f-\xa0\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u1680\u180e\u2000-\u200f\u2028-\u202f"
    r"\u205f-\u206f\u3000\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff\U000110bd\U000110cd\U00013430-\U0001343f"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
)
"""For a regular expression's brackets; listed, so that it is the same under every version of Unicode."""
_ACTED_ON = re.compile(f"[{ACTED_ON}]")
_IN_JSON = re.compile(f"(?!\n)[{ACTED_ON}]")
_SPELLED = re.compile(rf"[{ACTED_ON}]|\\(?=[\\nrtxuU{ACTED_ON}])")
_SECRET = re.compile(r"(://[^\s:/@]*:)[^\s]*(?=@)")


def shown(text: str) -> str:
    """One line that nothing acts on; two texts never become the same.

    >>> print(shown('a\\nb'), shown('a' + chr(92) + 'nb'), shown('c:' + chr(92) + 'd'))
    a\\nb a\\\\nb c:\\d
    """
    return _SPELLED.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def shown_once(text: str) -> str:
    """The same for a text that may have been through here: as it is where nothing acts on it."""
    return shown(text) if _ACTED_ON.search(text) else text


def shown_lines(text: str) -> str:
    """The same for a text of several lines; tabs stay."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(map(shown, line.split("\t"))) for line in lines)


def without_secrets(text: str) -> str:
    """Without the password of an address in it (``scheme://user:password@host``)."""
    return _SECRET.sub(r"\1…", text)


def shown_json(text: str) -> str:
    """JSON text that says the same and holds nothing a terminal acts on; its line breaks stay."""
    return _IN_JSON.sub(_json_escape, text)


def _json_escape(odd: re.Match[str]) -> str:
    units = odd[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
