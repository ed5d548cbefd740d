"""What the script itself sets: its calls of TensorFlow's settings, and the variables that it changes, with their place.

So that a script that overrides a knob, or is overridden by one, can be named with its file and line.
"""

from __future__ import annotations

import ast
import functools
import sys
from types import FrameType
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from ..hooks import places
from ..hooks.errors import users_place
from ..hooks.libraries import is_users
from ..hooks.runtime import guarded, on_import

MAX_FILES = 200
MAX_BYTES = 1 << 20


class Call(NamedTuple):
    """One call of the script, as it could be written: `set_memory_growth(True) at train.py:12`."""

    text: str
    error: Optional[str]
    """Why TensorFlow refused it, where it did."""


_calls: Dict[str, Call] = {}


def last_call(name: str) -> Optional[Call]:
    """The script's latest call of that function; None where there was none."""
    return _calls.get(name)


def place_of(frame: Optional[FrameType]) -> str:
    """`train.py:12`: the innermost frame that lies in the user's own code, from this one outwards."""
    at = users_place(frame)
    if at is not None:
        return f"{places.shown(at.file)}:{at.line}"
    return f"{places.shown(frame.f_code.co_filename)}:{frame.f_lineno}" if frame is not None else "?"


@guarded("script_calls")
def note(name: str, value: Any, frame: Optional[FrameType], error: Optional[BaseException] = None) -> None:
    """Remember that the script set something; only its latest word counts."""
    written = "…" if isinstance(value, (list, tuple)) else value
    _calls[name] = Call(f"{name}({written}) at {place_of(frame)}", str(error) if error is not None else None)


def watch(module: Any, name: str, position: int, keyword: str) -> None:
    """Note every call of a function of TensorFlow's, with one of its arguments."""
    original = getattr(module, name)

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        value = args[position] if position < len(args) else kwargs.get(keyword)
        try:
            result = original(*args, **kwargs)
        except Exception as error:
            note(name, value, sys._getframe(1), error)
            raise
        note(name, value, sys._getframe(1))
        return result

    setattr(module, name, call)


@on_import("tensorflow.python.framework.config")
def _settings(module: Any) -> None:
    """tf.config's setters; TF 2.15 to 2.21."""
    watch(module, "set_memory_growth", 1, "enable")
    watch(module, "set_logical_device_configuration", 1, "logical_devices")
    watch(module, "set_visible_devices", 0, "devices")
    watch(module, "set_intra_op_parallelism_threads", 0, "num_threads")
    watch(module, "set_inter_op_parallelism_threads", 0, "num_threads")


@on_import("tensorflow.python.eager.polymorphic_function.eager_function_run")
def _eagerly(module: Any) -> None:
    watch(module, "run_functions_eagerly", 0, "run_eagerly")


# -- environment variables


def launched_with(variable: str) -> Optional[str]:
    """The variable as this process was started with it (proc(5), /proc/self/environ); None where it was not set."""
    with open("/proc/self/environ", "rb") as file:
        for entry in file.read().split(b"\0"):
            name, _, value = entry.partition(b"=")
            if name == variable.encode():
                return value.decode(errors="surrogateescape")
    return None


def changed_by_script(variable: str, used: Optional[str]) -> Optional[str]:
    """`os.environ["X"] = "…" at train.py:3` where TensorFlow found another value than the process was started with;
    None where it found the same."""
    if launched_with(variable) == used:
        return None
    what = f'os.environ["{variable}"] = "{used}"' if used is not None else f'os.environ["{variable}"] removed'
    places = [f"{name}:{line}" for name, line in _places(variable)]
    return f"{what} at {places[-1]}" if places else f"{what} by the script or a library"


def _places(variable: str) -> Iterator["tuple[str, int]"]:
    """Where the user's own files write that variable."""
    files: List[str] = []
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and path.endswith(".py") and path not in files and is_users(path):
            files.append(path)
    for path in files[:MAX_FILES]:
        try:
            with open(path, "rb") as file:
                source = file.read(MAX_BYTES)
            tree = ast.parse(source) if variable.encode() in source else None
        except (OSError, SyntaxError, ValueError):
            continue
        for line in sorted(_lines(tree, variable)) if tree is not None else ():
            yield places.shown(path), line


def _lines(tree: ast.AST, variable: str) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AugAssign, ast.Delete)):
            targets = node.targets if isinstance(node, (ast.Assign, ast.Delete)) else [node.target]
            if any(isinstance(target, ast.Subscript) and _names(target.slice, variable) for target in targets):
                yield node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, (ast.Attribute, ast.Name)):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            named = any(_names(argument, variable) for argument in node.args)
            if called in ("setdefault", "putenv", "pop", "unsetenv", "update") and (
                named or any(keyword.arg == variable for keyword in node.keywords)
            ):
                yield node.lineno


def _names(node: ast.AST, variable: str) -> bool:
    return any(isinstance(part, ast.Constant) and part.value == variable for part in ast.walk(node))
