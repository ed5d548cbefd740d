"""The end of a run: its last event, its report in every place that it belongs, and the exit status for a shell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tfgpu_tui.core.events import RunEnded
from tfgpu_tui.report import report_json
from tfgpu_tui.runs.rundir import Meta, RunDir
from tfgpu_tui.supervisor.record import Recorder
from tfgpu_tui.supervisor.report_file import write_report


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the exit status for a shell, and the report's text."""

    status: int
    text: str


def conclude(
    run: RunDir,
    meta: Meta,
    recorder: Recorder,
    begun: float,
    exit_code: int | None,
    number: int | None,
    core_dumped: bool | None,
) -> Outcome:
    """The last event, then report.json in the run's folder and wherever else it was asked for."""
    now = recorder.clock.now()
    recorder.report_drops()
    ended_by = number
    closed_by = recorder.state.closed_by(number)
    if closed_by is not None:  # the script was over: it ended as its interpreter would have
        exit_code, number, core_dumped = *_split(recorder.state.ends_with), None
    if recorder.state.ended is None:
        recorder.end(
            RunEnded(
                t=now,
                src="child",
                pid=meta.script_pid,
                exit_code=exit_code,
                signal=number,
                core_dumped=core_dumped,
                wall_s=max(0.0, now - begun),
                stopped=recorder.state.stopped(exit_code, number),
                steps=recorder.state.train.steps,
                closed_by=closed_by,
            )
        )
    recorder.close()
    status = exit_code if exit_code is not None else 128 + (number or ended_by or 0)
    try:
        built = report_json.build(recorder.state)
        text = report_json.text(built)
    except Exception as error:  # a mistake in the report must not change the training's exit status
        recorder.note_traceback()
        return Outcome(status, f"tfgpu-tui: the report failed ({error!r}); see {run.supervisor_log}")
    for path in (run.report_path, meta.report_json):
        try:
            if path is not None:
                write_report(built, Path(path))
        except OSError as error:
            text += f"\ntfgpu-tui: the report can't be written to {path}: {error.strerror}"
    return Outcome(status, text)


def _split(code: int | None) -> tuple[int | None, int | None]:
    """Exit code and signal."""
    if code is None:
        return None, None
    return (None, -code) if code < 0 else (code, None)
