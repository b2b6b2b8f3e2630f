"""Enumerators as PythonQt has them: int subclasses without names, combined with | and &."""

from __future__ import annotations

import enum


class Enumerator(int):
    """An int that remembers the PySide6 enum member it stands for (``native``), so that Qt methods accept it."""

    native: enum.Enum

    def __new__(cls, native: enum.Enum) -> Enumerator:
        self = super().__new__(cls, native.value)
        self.native = native
        return self

    def _combine(self, other: object, operation: str) -> int:
        """Flags of one type stay flags; anything else is arithmetic."""
        if (
            isinstance(other, Enumerator)
            and isinstance(self.native, enum.Flag)
            and type(other.native) is type(self.native)
        ):
            return Enumerator(getattr(self.native, operation)(other.native))
        return getattr(int(self), operation)(int(other))

    def __or__(self, other: object) -> int:
        return self._combine(other, "__or__")

    def __and__(self, other: object) -> int:
        return self._combine(other, "__and__")

    def __xor__(self, other: object) -> int:
        return self._combine(other, "__xor__")

    def __invert__(self) -> int:
        return Enumerator(~self.native) if isinstance(self.native, enum.Flag) else ~int(self)

    __ror__, __rand__, __rxor__ = __or__, __and__, __xor__


class EnumType:
    """The enum class itself, e.g. ``qt.Qt.AlignmentFlag``: callable with a number. It has no members."""

    def __init__(self, native: type[enum.Enum]):
        self._native = native

    def __call__(self, value: int) -> Enumerator:
        return Enumerator(self._native(int(value)))
