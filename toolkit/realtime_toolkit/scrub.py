"""Text for a log or a message, without the secrets that exceptions like to quote, and fit for any terminal or file."""

from __future__ import annotations

import re

_SECRETS = (
    (
        re.compile(r"(\w+://)[^\s/@]*:[^\s/]*@"),
        r"\1***@",
    ),  # scheme://user:password@; a password may hold an @
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]+(\.[\w-]*)?"), "***"),  # a JWT
    (re.compile(r"\b(?:sb_secret|sb_publishable|sbp|sk|pk|rk|ghp|gho|xox[abp])[-_][\w-]{4,}"), "***"),
    (
        re.compile(
            r"(?i)\b((?:proxy-)?authorization['\"]?\s*[:=]\s*['\"]?)(?:(?:bearer|basic)\s+)?[^\s'\",]+"
        ),
        r"\1***",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), r"\1 ***"),
    (
        re.compile(
            r"(?i)((?:api[-_]?key|[-_\w]*(?:secret|token|passw(?:or)?d|pwd)|\bkey)"
            r"['\"]?\s*[:=]\s*)(?:'[^']*'|\"[^\"]*\"|b'[^']*'|[^\s&,;'\"]+)"
        ),
        r"\1***",
    ),
)
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def scrub(text: str) -> str:
    """The text with ``***`` for what looks like a password, a key or a token; control characters escaped.

    >>> scrub("401 for https://api.test/v1?key=sk-live-1234 by Bearer abcdefgh")
    '401 for https://api.test/v1?key=*** by Bearer ***'
    """
    for secret, instead in _SECRETS:
        text = secret.sub(instead, text)
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)
