"""Keeps the agent's own frames out of the tracebacks that the user reads."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Optional

from .runtime import on_import

FOLDER = os.path.dirname(os.path.abspath(__file__))


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


def _exclude(module: Any) -> None:
    """TensorFlow and Keras shorten tracebacks to the user's frames; `_EXCLUDED_PATHS` says what is not the user's."""
    # TensorFlow 2.15 to 2.21, Keras 2.15 and 3.15, tf_keras 2.21
    module._EXCLUDED_PATHS = (*module._EXCLUDED_PATHS, FOLDER)


@on_import("tensorflow.python.util.tf_stack")
def _definitions(module: Any) -> None:
    """TensorFlow notes where each op was defined, and shows it when the op fails in a graph: without our frames.

    `tf_stack.StackTraceFilter`, `_source_filter_stacks` (TensorFlow 2.15 to 2.21): a stack of filters for each thread.
    """
    files = frozenset(os.path.join(FOLDER, name) for name in os.listdir(FOLDER) if name.endswith(".py"))

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
