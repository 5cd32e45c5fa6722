"""How Elixir prints a value: some of the server's messages quote what the client sent this way."""

from __future__ import annotations

from typing import Any

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\x1b": "\\e", "\0": "\\0"}


def inspect(value: Any) -> str:
    """``inspect/1`` of a JSON value; tuples as Elixir tuples.

    >>> inspect({"b": None, "a": ["x", 1]})
    '%{"a" => ["x", 1], "b" => nil}'
    """
    match value:
        case None:
            return "nil"
        case bool():
            return str(value).lower()
        case str():
            escaped = "".join(_ESCAPES.get(character, character) for character in value)
            return '"' + escaped.replace("#{", "\\#{") + '"'
        case list():
            return "[" + ", ".join(map(inspect, value)) + "]"
        case tuple():
            return "{" + ", ".join(map(inspect, value)) + "}"
        case dict():
            pairs = sorted(value.items(), key=lambda pair: str(pair[0]).encode())
            return "%{" + ", ".join(f"{inspect(key)} => {inspect(item)}" for key, item in pairs) + "}"
        case _:
            return str(value)
