"""Rows as any JSON encoder takes them, and back: :class:`~decimal.Decimal` is what it would refuse."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

_DECIMAL = "$decimal"


def plain(value: Any) -> Any:
    """A JSON value without :class:`~decimal.Decimal`, which JSON encoders refuse."""
    if isinstance(value, Decimal):
        return {_DECIMAL: str(value)}
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def revive(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_DECIMAL}:
            return Decimal(value[_DECIMAL])
        return {key: revive(each) for key, each in value.items()}
    return [revive(each) for each in value] if isinstance(value, list) else value
