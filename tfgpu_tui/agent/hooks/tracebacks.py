"""Keeps the agent's own frames out of the tracebacks that the user reads: where they are made into text.

A wrapper can't leave itself out of the exceptions that pass it, for Python notes a frame as the exception leaves it.
"""

from __future__ import annotations

import functools
import os
from types import TracebackType
from typing import Any, Optional

from .runtime import on_import

FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def without_agent(traceback: Optional[TracebackType]) -> Optional[TracebackType]:
    """The same traceback without the frames of the agent. Cuts them out of the chain in place."""
    while traceback is not None and _is_ours(traceback):
        traceback = traceback.tb_next
    link = traceback
    while link is not None:
        following = link.tb_next
        while following is not None and _is_ours(following):
            following = following.tb_next
        link.tb_next = following
        link = following
    return traceback


def clean(error: BaseException) -> None:
    """Cut the agent's frames out of an exception and those that led to it."""
    seen: set[int] = set()
    pending: list[Optional[BaseException]] = [error]
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        current.__traceback__ = without_agent(current.__traceback__)
        pending += [current.__cause__, current.__context__]


def _is_ours(traceback: TracebackType) -> bool:
    return traceback.tb_frame.f_code.co_filename.startswith(FOLDER + os.sep)


@on_import("traceback")
def _printed(module: Any) -> None:
    """What the script prints of an exception that it caught: `print_exc`, `format_exc`, `logging`, `print_tb`."""
    original_init, original_extract = module.TracebackException.__init__, module.extract_tb

    @functools.wraps(original_init)
    def init(self: Any, exc_type: Any, exc_value: Any, exc_traceback: Any, *args: Any, **kwargs: Any) -> None:
        original_init(self, exc_type, exc_value, without_agent(exc_traceback), *args, **kwargs)

    @functools.wraps(original_extract)
    def extract_tb(tb: Any, *args: Any, **kwargs: Any) -> Any:
        return original_extract(without_agent(tb), *args, **kwargs)

    module.TracebackException.__init__, module.extract_tb = init, extract_tb


@on_import("threading")
def _in_threads(module: Any) -> None:
    """An exception that ends a thread: before Python 3.13, C code prints it."""
    original = module.excepthook

    @functools.wraps(original)
    def excepthook(args: Any, *more: Any) -> Any:
        if isinstance(getattr(args, "exc_value", None), BaseException):
            clean(args.exc_value)
        return original(args, *more)

    module.excepthook = excepthook


def _exclude(module: Any) -> None:
    """TensorFlow and Keras shorten tracebacks to the user's frames; `_EXCLUDED_PATHS` says what is not the user's."""
    # TensorFlow 2.15 to 2.21, Keras 2.15 and 3.15, tf_keras 2.21
    module._EXCLUDED_PATHS = (*module._EXCLUDED_PATHS, FOLDER)


@on_import("tensorflow.python.util.tf_stack")
def _definitions(module: Any) -> None:
    """TensorFlow notes where each op was defined, and shows it when the op fails in a graph: without our frames.

    `tf_stack.StackTraceFilter`, `_source_filter_stacks` (TensorFlow 2.15 to 2.21): a stack of filters for each thread.
    """
    files = frozenset(
        os.path.join(folder, name) for folder, _, names in os.walk(FOLDER) for name in names if name.endswith(".py")
    )

    class Filter(module.StackTraceFilter):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.internal_set.update_to(set(files))

        def get_filtered_filenames(self) -> frozenset[str]:
            return files

    module._source_filter_stacks.default_factory = lambda: [Filter()]


@on_import("tensorflow.python.util.traceback_utils")
def _tensorflow(module: Any) -> None:
    _exclude(module)


@on_import("keras.src.utils.traceback_utils")
def _keras(module: Any) -> None:
    _exclude(module)


@on_import("tf_keras.src.utils.traceback_utils")
def _tf_keras(module: Any) -> None:
    _exclude(module)
