"""Faults on demand. To be filled."""

from __future__ import annotations


class Faults:
    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
