"""Annotations of parameters: defaults, bounds and display hints, and how to take an annotated type apart."""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class Default:
    value: Any = None


@dataclass(frozen=True)
class Decimals:
    value: int


@dataclass(frozen=True)
class SingleStep:
    value: float


@dataclass(frozen=True)
class WithinRange:
    minimum: float
    maximum: float

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within {self.minimum} and {self.maximum}")


@dataclass(frozen=True)
class Minimum:
    minimum: float

    def validate(self, value):
        if value < self.minimum:
            raise ValueError(f"{value} is less than {self.minimum}")


@dataclass(frozen=True)
class Maximum:
    maximum: float

    def validate(self, value):
        if value > self.maximum:
            raise ValueError(f"{value} is greater than {self.maximum}")


@dataclass(frozen=True)
class Choice:
    choices: Any

    def validate(self, value):
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {self.choices}")


@dataclass(frozen=True)
class RangeBounds:
    minimum: float
    maximum: float

    def validate(self, value):
        if value.minimum < self.minimum or value.maximum > self.maximum:
            raise ValueError(f"{value} is not within {self.minimum} and {self.maximum}")


@dataclass(frozen=True)
class FloatRange:
    minimum: float = 0.0
    maximum: float = 0.0

    def __post_init__(self):
        if self.minimum > self.maximum:
            raise ValueError(f"a range cannot begin at {self.minimum} and end at {self.maximum}")


VALIDATORS = (WithinRange, Minimum, Maximum, Choice, RangeBounds)


def split(annotated: Any) -> tuple[Any, tuple]:
    """(type, annotations)."""
    arguments = typing.get_args(Annotated[annotated, None])
    return arguments[0], arguments[1:-1]


def first(annotations: tuple, kind: type) -> Any:
    return next((value for value in annotations if isinstance(value, kind)), None)


def bounds(annotations: tuple) -> tuple[float | None, float | None]:
    """Lowest and highest value that the annotations allow; None: no bound."""
    within, low, high = first(annotations, WithinRange), first(annotations, Minimum), first(annotations, Maximum)
    if within is not None:
        return within.minimum, within.maximum
    return (low.minimum if low else None), (high.maximum if high else None)


def optional_of(kind: Any) -> Any:
    """X of Optional[X], or None."""
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return None
    members = typing.get_args(kind)
    others = [member for member in members if member is not type(None)]
    return others[0] if len(others) == 1 and len(members) == 2 else None
