"""A run's series and findings as TensorBoard event files, written with the format's own library."""

from __future__ import annotations

import importlib
import sys
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from tfgpu_tui.core.measures import measures
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import diagnose
from tfgpu_tui.report import extras
from tfgpu_tui.report.plain import finding_lines

MISSING = (
    "event files are written with TensorBoard's own library, which is not installed beside tfgpu-tui: "
    + extras.how("tensorboard")
)


class TensorBoardMissing(Exception):
    """The library is not there; the text says what to do."""


def write(state: RunState, folder: Path) -> int:
    """Writes one event file of the run into `folder` and returns the number of points. They stand at the run's own wall
    times and training steps, as the script's scalars do; without steps, at seconds since the run began. Raises
    TensorBoardMissing, OSError."""
    new_writer, event_of, summary_of, text_of = _library()
    folder.mkdir(parents=True, exist_ok=True)
    writer = new_writer(str(folder))
    step_at = _steps(state)
    points = 0
    try:
        for measure in measures(state):
            tag = f"tfgpu-tui/{measure.name}" + (f" ({measure.unit})" if measure.unit else "")
            for t, value in measure.series.rows():
                writer.add_event(event_of(wall_time=t, step=step_at(t), summary=summary_of(tag, value)))
                points += 1
        said = "\n\n".join("\n".join(["```", *finding_lines(finding), "```"]) for finding in diagnose(state))
        if said:
            writer.add_event(event_of(wall_time=state.now, step=0, summary=text_of("tfgpu-tui/findings", said)))
    finally:
        writer.close()
    return points


def _steps(state: RunState) -> Callable[[float], int]:
    """Time -> training steps done by then."""
    done = state.series["host_ms"].weight_until()
    if not done:
        return lambda t: max(0, round(t - (state.started or 0.0)))
    times = [t for t, _ in done]

    def step_at(t: float) -> int:
        at = bisect_right(times, t)
        return round(done[at - 1][1]) if at else 0

    return step_at


def _library() -> tuple[Callable[[str], Any], Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """tensorboard.summary.writer.event_file_writer.EventFileWriter and tensorboard.compat.proto (event.proto,
    summary.proto): tensorboard 2.21. With a module of this name present its `compat.tf`, in
    tensorboard/compat/__init__.py, uses its own file functions and does not import TensorFlow (that takes seconds)."""
    sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
    try:
        files = importlib.import_module("tensorboard.summary.writer.event_file_writer")
        events = importlib.import_module("tensorboard.compat.proto.event_pb2")
        summaries = importlib.import_module("tensorboard.compat.proto.summary_pb2")
        tensors = importlib.import_module("tensorboard.compat.proto.tensor_pb2")
        types = importlib.import_module("tensorboard.compat.proto.types_pb2")
    except ImportError as error:
        raise TensorBoardMissing(f"{MISSING} ({error})") from error

    def scalar(tag: str, value: float) -> Any:
        return summaries.Summary(value=[summaries.Summary.Value(tag=tag, simple_value=value)])

    def text(tag: str, words: str) -> Any:
        plugin = summaries.SummaryMetadata.PluginData(plugin_name="text")
        tensor = tensors.TensorProto(dtype=types.DT_STRING, string_val=[words.encode()])
        tensor.tensor_shape.dim.add(size=1)
        metadata = summaries.SummaryMetadata(plugin_data=plugin)
        return summaries.Summary(value=[summaries.Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])

    return files.EventFileWriter, events.Event, scalar, text
