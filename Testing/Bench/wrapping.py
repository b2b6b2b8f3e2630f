"""PythonQt-like wrappers around PySide6 objects.

PythonQt does not show Python the Qt class tree. Each object has one wrapper class, without base classes; properties are
attributes; signals and slots are attributes; nothing else can be written. The wrappers here hold a PySide6 object
(``_native``), convert arguments and results, and raise where PythonQt raises.
"""

from __future__ import annotations

import enum
import types
import weakref
from collections.abc import Callable

import shiboken6
from PySide6 import QtCore

from . import rules
from .class_info import ClassInfo, class_info
from .enums import Enumerator, EnumType
from .signals import BoundSignal

_wrapper_classes: dict[type, WrapperType] = {}


class WrapperType(type):
    """The type of wrapper classes: enumerators, nested types and static functions are class attributes."""

    _native_class: type

    def __getattr__(cls, name: str):
        native_class = type.__getattribute__(cls, "_native_class")
        rules.check_class_attribute(native_class, name)
        try:
            found = getattr(native_class, name)
        except AttributeError:
            raise AttributeError(f"{cls.__name__} has no attribute {name!r}") from None
        if isinstance(found, enum.Enum):
            return Enumerator(found)
        if isinstance(found, type):
            return EnumType(found) if issubclass(found, enum.Enum) else wrapper_class(found)
        if callable(found):
            return Slot(found, f"{cls.__name__}.{name}", native_class)
        raise AttributeError(f"{cls.__name__} has no attribute {name!r}")


class Slot:
    """A method of a Qt object or class, callable with wrapped arguments."""

    def __init__(self, function: Callable, name: str, owner: type, native: object = None):
        self._function, self._name, self._owner, self._native = function, name, owner, native

    def __repr__(self) -> str:
        return f"<slot {self._name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Slot) and (self._name, self._native) == (other._name, other._native)

    def __hash__(self) -> int:
        return hash((self._name, id(self._native)))

    def __call__(self, *arguments: object):
        if self._native is not None:
            check_alive(self._native)
        arguments = rules.prepare_call(self._owner, self._name, arguments)
        modal = rules.answer_modal(self._name, self._native, arguments)
        if modal is not None:
            return wrap(modal)
        natives = [unwrap(value) for value in arguments]
        try:
            return wrap(self._function(*natives))
        except TypeError as error:
            if isinstance(self._function, types.FunctionType | types.MethodType):  # a stand-in's own code
                raise
            raise ValueError(f"{self._name} has no overload for the arguments {arguments!r}") from error


class Wrapper(metaclass=WrapperType):
    """A value of Qt: icon, font, item …; and, through ObjectWrapper, a QObject."""

    _native_class: type = object
    __slots__ = ("__weakref__", "_native")

    def __init__(self, *arguments: object):
        native_class = type(self)._native_class
        rules.check_constructor(native_class, arguments)
        natives = [unwrap(value) for value in arguments]
        if not is_plain(type(self)):
            native_class = _shell(type(self), native_class, self)
        try:
            native = native_class(*natives)
        except TypeError as error:
            if "__init__" in vars(native_class):
                raise
            raise ValueError(f"{type(self).__name__} has no constructor for {arguments!r}: {error}") from error
        _join(self, native)

    def __getattr__(self, name: str):
        native = object.__getattribute__(self, "_native")
        if name.startswith("_"):
            raise AttributeError(name)
        check_alive(native)
        rules.check_attribute(type(native), name)
        info = class_info(type(native))
        if isinstance(native, QtCore.QObject):
            known, value = _object_attribute(native, info, name)
            if known:
                return value
        try:
            found = getattr(native, rules.native_name(name))
        except AttributeError:
            raise AttributeError(f"{type(self).__name__} object has no attribute {name!r}") from None
        if isinstance(found, enum.Enum | type):
            return getattr(type(self), name)
        if not callable(found):
            return wrap(found)
        return Slot(found, f"{type(self).__name__}.{name}", type(native), native)

    def __setattr__(self, name: str, value: object) -> None:
        if name == "_native" or (not is_plain(type(self)) and not _is_property(self, name)):
            object.__setattr__(self, name, value)
            return
        native = self._native
        check_alive(native)
        if not isinstance(native, QtCore.QObject):
            raise AttributeError(f"{type(self).__name__} objects take no new attributes ({name!r})")
        class_info(type(native)).write(native, rules.property_name(name), value, unwrap)

    def __bool__(self) -> bool:
        return shiboken6.isValid(self._native)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Wrapper):
            return False
        return self._native is other._native or (
            not isinstance(self._native, QtCore.QObject) and self._native == other._native
        )

    def __hash__(self) -> int:
        return hash(id(self._native))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self._native):#x}>"


class ObjectWrapper(Wrapper):
    """A QObject: signals by name, children, dynamic properties."""

    __slots__ = ()

    def connect(self, signal: str, receiver: object, slot: str | None = None) -> bool:
        """Connect by signature. False, and nothing else, if the object has no such signal."""
        target = getattr(receiver, slot.partition("(")[0]) if slot else receiver
        bound = BoundSignal.by_signature(self._native, signal)
        return bool(bound and bound.connect(target))

    def disconnect(self, signal: str, receiver: object = None, slot: str | None = None) -> bool:
        target = getattr(receiver, slot.partition("(")[0]) if slot else receiver
        bound = BoundSignal.by_signature(self._native, signal)
        return bool(bound and bound.disconnect(target))

    def className(self) -> str:
        return self._native.metaObject().className()

    def findChildren(self, kind: object = None, name: str = "") -> tuple:
        """Children of a wrapper class, or of a class given by its name; all of them without ``kind``."""
        native_kind = kind._native_class if isinstance(kind, WrapperType) else QtCore.QObject
        found = self._native.findChildren(native_kind, name) if name else self._native.findChildren(native_kind)
        return tuple(wrap(child) for child in found if not isinstance(kind, str) or child.inherits(kind))

    def findChild(self, kind: object, name: str = "") -> object:
        return next(iter(self.findChildren(kind, name)), None)


_plain_classes: set[type] = {Wrapper, ObjectWrapper}


def is_plain(cls: type) -> bool:
    """Whether a wrapper class is Qt's own, not a Python subclass of one (only those may get new attributes)."""
    return cls in _plain_classes


def wrapper_class(native_class: type) -> WrapperType:
    """The wrapper class of a PySide6 class or of a stand-in."""
    if native_class not in _wrapper_classes:
        base = ObjectWrapper if issubclass(native_class, QtCore.QObject) else Wrapper
        made = WrapperType(native_class.__name__, (base,), {"_native_class": native_class, "__slots__": ()})
        _wrapper_classes[native_class] = made
        _plain_classes.add(made)
    return _wrapper_classes[native_class]


def check_alive(native: object) -> None:
    if isinstance(native, shiboken6.Object) and not shiboken6.isValid(native):
        raise ValueError(f"the {type(native).__name__} was destroyed by Qt and can no longer be used")


def wrap(value: object) -> object:
    """A PySide6 result as PythonQt would return it: enums as ints, lists as tuples, objects as wrappers."""
    if isinstance(value, enum.Enum) and type(value).__module__.startswith("PySide6"):
        return Enumerator(value)
    if isinstance(value, list | tuple):
        return tuple(wrap(element) for element in value)
    if isinstance(value, dict):
        return {key: wrap(element) for key, element in value.items()}
    if not isinstance(value, shiboken6.Object):
        return value
    known = getattr(value, "_bench_wrapper", None)
    wrapper = known() if known else None
    if wrapper is None:
        cls = wrapper_class(type(value))
        wrapper = cls.__new__(cls)
        _join(wrapper, value)
    return wrapper


def unwrap(value: object) -> object:
    """The PySide6 counterpart of an argument."""
    if isinstance(value, Wrapper):
        check_alive(value._native)
        return value._native
    if isinstance(value, WrapperType):
        return value._native_class
    if isinstance(value, Enumerator):
        return value.native
    if isinstance(value, list | tuple):
        return type(value)(unwrap(element) for element in value)
    rules.check_argument(value)
    return value


def _join(wrapper: Wrapper, native: object) -> None:
    """Tie a wrapper to its object, which holds it weakly: unreferenced and without a parent it dies, as in PythonQt."""
    wrapper._native = native
    keep = weakref.ref(wrapper) if is_plain(type(wrapper)) else lambda: wrapper
    try:
        native._bench_wrapper = keep
    except AttributeError:  # a value class without a dictionary: made anew each time
        pass


def _is_property(wrapper: Wrapper, name: str) -> bool:
    native = getattr(wrapper, "_native", None)
    return isinstance(native, QtCore.QObject) and rules.property_name(name) in class_info(type(native)).properties


def _object_attribute(native: QtCore.QObject, info: ClassInfo, name: str) -> tuple[bool, object]:
    """(found, value) for a property, a signal or a dynamic property, in PythonQt's order."""
    property_name = rules.property_name(name)
    if property_name in info.properties:
        return True, wrap(native.property(property_name))
    if name in info.signals:
        return True, BoundSignal(native, info.signals[name][0])
    if QtCore.QByteArray(name.encode()) in native.dynamicPropertyNames():
        return True, wrap(native.property(name))
    return False, None


def _shell(cls: type, native_class: type, wrapper: Wrapper) -> type:
    """A PySide6 subclass whose virtual methods call those that a Python subclass of a wrapper defines."""

    def forward(name: str) -> Callable:
        return lambda _self, *arguments: unwrap(getattr(wrapper, name)(*[wrap(value) for value in arguments]))

    python_classes = [base for base in cls.__mro__ if not is_plain(base) and base is not object]
    overridden = {
        name for base in python_classes for name, value in vars(base).items() if isinstance(value, types.FunctionType)
    }
    virtual = {name for name in overridden if not name.startswith("_") and hasattr(native_class, name)}
    return type(cls.__name__, (native_class,), {name: forward(name) for name in virtual})


BoundSignal.wrap = staticmethod(wrap)
