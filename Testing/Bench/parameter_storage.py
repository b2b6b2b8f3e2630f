"""How a parameter lives in a vtkMRMLScriptedModuleNode: as text or as a node reference, so that the scene saves it."""

from __future__ import annotations

import collections.abc
import enum
import pathlib
import typing
from typing import Any

import slicer
import slicer.util

from .parameter_types import VALIDATORS, FloatRange, optional_of, split

_NONE = "(none)"


class Storage:
    """Reads and writes one type of value under a name; ``kind`` is what a value must be an instance of."""

    def __init__(self, kind: type, default: Any, to_text: Any, from_text: Any):
        self.kind, self.default, self._to_text, self._from_text = kind, default, to_text, from_text
        self.validators: list = []

    def check(self, value: Any) -> None:
        if value is None:
            raise ValueError("the value must not be None")
        if not isinstance(value, self.kind):
            raise TypeError(f"{value!r} is a {type(value).__name__}, not {self.kind}")
        for validator in self.validators:
            validator.validate(value)

    def has(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(name))

    def write(self, node: Any, name: str, value: Any) -> None:
        self.check(value)
        node.SetParameter(name, self._to_text(value))

    def read(self, node: Any, name: str) -> Any:
        return self._from_text(node.GetParameter(name))

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)


class NodeStorage(Storage):
    """A node: a reference by role, so that a changed identifier or a removed node is followed."""

    def __init__(self, kind: type):
        super().__init__(kind, None, None, None)

    def check(self, value: Any) -> None:
        if value is not None:
            super().check(value)

    def write(self, node: Any, name: str, value: Any) -> None:
        self.check(value)
        with slicer.util.NodeModify(node):
            node.SetParameter(name, "")
            node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node: Any, name: str) -> Any:
        return node.GetNodeReference(name)

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class OptionalStorage(Storage):
    """A value or None, of a type other than a node."""

    def __init__(self, inner: Storage):
        super().__init__(inner.kind, None, None, None)
        self._inner = inner

    def write(self, node: Any, name: str, value: Any) -> None:
        with slicer.util.NodeModify(node):
            if value is not None:
                self._inner.write(node, name + ".value", value)
            node.SetParameter(name, _NONE if value is None else "")

    def read(self, node: Any, name: str) -> Any:
        return None if node.GetParameter(name) == _NONE else self._inner.read(node, name + ".value")


class ListStorage(Storage):
    """A list: its length and one parameter per element."""

    def __init__(self, element: Storage):
        super().__init__((list, tuple, StoredList), None, None, None)
        self._element = element

    @property
    def default(self) -> list:
        return []

    @default.setter
    def default(self, value: Any) -> None:
        """Always the empty list."""

    def has(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(name + ".len"))

    def _length(self, node: Any, name: str) -> int:
        return int(node.GetParameter(name + ".len") or 0)

    def write(self, node: Any, name: str, value: Any) -> None:
        self.check(value)
        for element in value:
            self._element.check(element)
        with slicer.util.NodeModify(node):
            for index, element in enumerate(value):
                self._element.write(node, f"{name}.{index}", element)
            for index in range(len(value), self._length(node, name)):
                self._element.remove(node, f"{name}.{index}")
            node.SetParameter(name + ".len", str(len(value)))

    def read(self, node: Any, name: str) -> StoredList:
        return StoredList(
            self, node, name, [self._element.read(node, f"{name}.{i}") for i in range(self._length(node, name))]
        )


class StoredList(collections.abc.MutableSequence):
    """A list that writes every change back to the parameter node. As in Slicer it is no ``list``: it has no + and *."""

    def __init__(self, storage: ListStorage, node: Any, name: str, values: list):
        self._storage, self._node, self._name, self._values = storage, node, name, values

    def _save(self) -> None:
        self._storage.write(self._node, self._name, self._values)

    def __len__(self):
        return len(self._values)

    def __getitem__(self, index):
        return self._values[index]

    def __setitem__(self, index, value):
        self._values[index] = value
        self._save()

    def __delitem__(self, index):
        del self._values[index]
        self._save()

    def insert(self, index, value):
        self._values.insert(index, value)
        self._save()

    def __eq__(self, other):
        return self._values == (other._values if isinstance(other, StoredList) else other)

    def __repr__(self):
        return f"StoredList({self._values})"


def make_storage(annotated: Any) -> Storage:
    """The storage of an annotated type. TypeError for types that the bench does not know."""
    kind, annotations = split(annotated)
    storage = _plain_storage(kind)
    storage.validators = [value for value in annotations if isinstance(value, VALIDATORS)]
    return storage


def _plain_storage(kind: Any) -> Storage:
    if optional_of(kind) is not None:
        inner = make_storage(optional_of(kind))
        return inner if isinstance(inner, NodeStorage) else OptionalStorage(inner)
    if typing.get_origin(kind) is list:
        return ListStorage(make_storage(typing.get_args(kind)[0]))
    if not isinstance(kind, type):
        raise TypeError(f"the bench cannot store a parameter of type {kind}")
    if kind is bool:
        return Storage(bool, False, str, lambda text: text == "True")
    if kind is int:
        return Storage(int, 0, str, int)
    if kind is float:
        return Storage((int, float), 0.0, str, float)
    if kind is str:
        return Storage(str, "", str, str)
    if issubclass(kind, enum.Enum):
        return Storage(kind, next(iter(kind)), lambda value: value.name, lambda text: kind[text])
    if issubclass(kind, pathlib.PurePath):
        return Storage(kind, kind(), str, kind)
    if kind is FloatRange:
        return Storage(kind, kind(), lambda v: f"{v.minimum} {v.maximum}", lambda t: kind(*map(float, t.split())))
    if issubclass(kind, slicer.vtkMRMLNode):
        return NodeStorage(kind)
    raise TypeError(f"the bench cannot store a parameter of type {kind}")
