"""Where a function of the user's lies: name, file and line, behind whatever wraps it."""

from __future__ import annotations

import functools
from typing import Any, Iterator, NamedTuple, Optional

from .autograph_lines import written
from .libraries import library_of

MAX_WRAPPERS = 20


class Place(NamedTuple):
    """A function in a source file; `library` is the package that it comes from where it isn't the user's own."""

    function: str
    file: Optional[str]
    line: Optional[int]
    library: Optional[str]


def unwrap(function: Any) -> Any:
    """The function itself, behind decorators, functools.partial, tf.function, py_function and callable objects."""
    for _ in range(MAX_WRAPPERS):
        inner = function.func if isinstance(function, functools.partial) else _inside(function)
        if inner is None or inner is function:
            return function
        function = inner
    return function


def _inside(function: Any) -> Any:
    # tf_decorator's own attribute; tf.function's; functools.wraps'; script_ops.EagerFunc's; a bound method's.
    for name in ("_tf_decorator", "python_function", "__wrapped__", "_func", "__func__"):
        inner = getattr(function, name, None)
        if name == "_tf_decorator":
            inner = getattr(inner, "decorated_target", None)
        if callable(inner):
            return inner
    if not hasattr(function, "__code__"):
        call = vars(type(function)).get("__call__")
        if hasattr(call, "__code__"):
            return call
    return None


def place_of(function: Any) -> Optional[Place]:
    """Name, file and line of a function; None for what has no Python source."""
    function = unwrap(function)
    code = getattr(function, "__code__", None) or getattr(function, "gi_code", None)
    if code is None:
        return None
    name = getattr(function, "__qualname__", None) or code.co_name
    file, line, _ = written(code.co_filename, code.co_firstlineno, "")
    return Place(short_name(str(name)), file, line, library_of(file))


def short_name(qualified: str) -> str:
    """`main.<locals>.load_image` -> `load_image`; a method keeps its class."""
    return qualified.rpartition("<locals>.")[2]


def in_closure(function: Any, name: str) -> Any:
    """The variable of that name that a function closes over; None where it has none."""
    code = getattr(function, "__code__", None)
    if code is None or name not in code.co_freevars:
        return None
    try:
        return function.__closure__[code.co_freevars.index(name)].cell_contents
    except ValueError:
        return None


def reachable(function: Any, depth: int = 3) -> Iterator[Any]:
    """The objects in a function's closure, and in the closures of the functions there."""
    for cell in getattr(unwrap(function), "__closure__", None) or ():
        try:
            content = cell.cell_contents
        except ValueError:
            continue
        yield content
        if depth > 1 and callable(content):
            yield from reachable(content, depth - 1)
