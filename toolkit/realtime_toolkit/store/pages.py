"""The answers of ``sync_scope`` and ``rows_scope``, with their rows unread: what is in one spoils no other."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from realtime_toolkit.exact import shallow

T = TypeVar("T")


class Item(msgspec.Struct, gc=False):
    table: str
    key: str
    version: int
    changed_in: str
    row: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None


class Page(msgspec.Struct):
    epoch: str
    cursor: str
    full: bool
    more: bool
    digest: dict[str, Any] | None
    rows: list[Item]
    after: str | None = None


class Part(msgspec.Struct):
    cursor: str
    rows: list[Item]
    left: list[str]


class Answer(Generic[T]):
    """Reads the text of an answer; raises :class:`ValueError`."""

    def __init__(self, shape: type[T]) -> None:
        self._decoder = msgspec.json.Decoder(shape)

    def __call__(self, text: bytes) -> T:
        try:
            return self._decoder.decode(text)
        except (ValueError, RecursionError):  # no answer, or with a row in it that this reader does not take
            return self._carefully(text)

    def _carefully(self, text: bytes) -> T:
        answer = _fields(text)
        items = shallow(answer.pop("rows", b""))
        if not isinstance(items, list):
            raise ValueError("its rows are no list")
        answer["rows"] = b"[]"
        found: Any = self._decoder.decode(_joined(answer))
        found.rows = [_item(item) for item in items]
        whole: T = found
        return whole


def _item(text: bytes) -> Item:
    fields = _fields(text)
    row = fields.pop("row", b"null")
    item = msgspec.json.decode(_joined(fields), type=Item)
    item.row = msgspec.Raw(row)
    return item


def _fields(text: bytes) -> dict[str, bytes]:
    found = shallow(text)
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


def _joined(fields: dict[str, bytes]) -> bytes:
    return msgspec.json.encode({name: msgspec.Raw(value) for name, value in fields.items()})
