"""`dataclass`, made quickly: a screen that opens makes a hundred classes, and the standard decorator compiles six
functions for each frozen one (0.8 ms a class; 0.1 here, `python -m benchmarks.start_latency`).

Comparing, hashing and printing are done by three functions that all classes share; `__init__` alone is compiled, with
the first object of a class: of most there is none before the first paint. That a frozen one is not changed is seen by
mypy, for which this is the standard decorator, and not again at runtime.
"""

from __future__ import annotations

import dataclasses
import operator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls: type | None = None, /, *, frozen: bool = False, kw_only: bool = False) -> Any:
        """As `dataclasses.dataclass`."""

        def made(cls: type) -> type:
            dataclasses.dataclass(cls, init=False, eq=False, repr=False, kw_only=kw_only)
            cls.__init__ = _first_init(cls)
            names = [each.name for each in dataclasses.fields(cls) if each.compare]
            cls._compared = staticmethod(operator.attrgetter(*names)) if names else staticmethod(type)
            cls.__eq__, cls.__hash__ = _eq, _hash if frozen else None
            if "__repr__" not in vars(cls):
                cls.__repr__ = _repr
            return cls

        return made if cls is None else made(cls)


def _first_init(cls: Any) -> Any:
    """For the first object of a class: makes the standard `__init__`, which is that of a class with the same fields."""

    def init(self: Any, *args: Any, **named: Any) -> None:
        same: Any = type(cls.__name__, (cls,), {"__doc__": "The same fields."})
        cls.__init__ = dataclasses.dataclass(same, eq=False, repr=False).__init__
        cls.__init__(self, *args, **named)

    return init


def _eq(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return self._compared(self) == self._compared(other)


def _hash(self: Any) -> int:
    return hash(self._compared(self))


def _repr(self: Any) -> str:
    shown = (f"{each.name}={getattr(self, each.name)!r}" for each in dataclasses.fields(self) if each.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"
