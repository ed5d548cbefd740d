"""Series for files: CSV, the HTML page, TensorBoard's event files."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.journals import T0, pipeline, start, state_of, steps, windows
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.measures import csv_text, measures
from tfgpu_tui.core.places import Places
from tfgpu_tui.core.state import RunState
from tfgpu_tui.report import html_page, report_json, tensorboard
from tfgpu_tui.report.html_page import html

HOSTILE = '<script>alert("x")</script>\x1b[2J'


def run(**more: object) -> RunState:
    metrics: list[ev.Event] = [
        ev.Metrics(t=T0 + 3 + i, step=10 * i, values={"loss": 1 / (1 + i), HOSTILE: 1.0, "lr": "nan"}) for i in range(8)
    ]
    ended: list[ev.Event] = [ev.RunEnded(t=T0 + 15, exit_code=0, wall_s=15.0)]
    return state_of(start(), windows(40, 0.6, 20.0), pipeline(), metrics, ended)


def test_csv_holds_every_series_with_unit_and_time() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(run()))))
    by_name = {row["name"]: row for row in rows}
    assert by_name["step/input_wait"]["unit"] == "ms"
    assert float(by_name["step/input_wait"]["value"]) == pytest.approx(12.0, rel=0.05)
    assert 0 <= float(by_name["metric/loss"]["seconds"]) <= 15
    assert by_name["metric/" + HOSTILE]["value"] == "1"
    assert "gpu/0/busy" not in by_name


def test_a_run_without_anything_has_only_the_head() -> None:
    assert measures(RunState()) == [] and csv_text(RunState()).count("\n") == 1


class Page(HTMLParser):
    """Counts elements and collects what would be fetched or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.outside: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.outside += [str(value) for name, value in attrs if name in ("src", "href") or name.startswith("on")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag


def test_the_page_is_whole_escaped_and_needs_no_network() -> None:
    state = run()
    page = html(state, report_json.build(state))
    seen = Page()
    seen.feed(page)
    assert seen.open == [] and seen.outside == [] and "script" not in seen.tags
    assert "url(" not in page and "@import" not in page and "\x1b" not in page
    assert "&lt;script&gt;" in page and "Input-bound: 60 %" in page and "Map load_image" in page
    assert seen.tags["svg"] >= 3 and seen.tags.get("polyline", 0) >= 2


def test_the_page_of_a_run_that_never_trained() -> None:
    state = state_of(start())
    page = html(state, report_json.build(state))
    assert "still running" in page and "Not measured, and why" in page
    assert "<html" in html(RunState(), report_json.build(RunState()))


def test_a_gap_in_a_series_is_not_joined_over() -> None:
    state = state_of(start(), [steps(2.0, 20), steps(2.5, 20)], windows(4))
    early = [ev.Metrics(t=T0 + t, step=1, values={"loss": 1.0}) for t in (2.0, 2.5, 3.0, 20.0, 20.5, 21.0)]
    for event in early:
        state.apply(event)
    page = html(state, report_json.build(state))
    loss = page[page.index('aria-label="loss"') :]
    assert len(re.findall("<polyline", loss[: loss.index("</svg>")])) == 2


def test_event_files_hold_scalars_at_training_steps_and_the_findings(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    state = run()
    points = tensorboard.write(state, tmp_path)
    seen = EventAccumulator(str(tmp_path))
    seen.Reload()
    tags = seen.Tags()
    assert sum(len(seen.Scalars(tag)) for tag in tags["scalars"]) == points
    waits = seen.Scalars("tfgpu-tui/step/input_wait (ms)")
    assert [w.step for w in waits] == sorted(w.step for w in waits)
    assert waits[-1].step == state.train.steps
    text = seen.Tensors("tfgpu-tui/findings")[0].tensor_proto.string_val[0].decode()
    assert "Input-bound" in text


def test_without_the_library_the_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorboard.summary.writer.event_file_writer", None)
    with pytest.raises(tensorboard.TensorBoardMissing, match="pip install tensorboard"):
        tensorboard.write(run(), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_page_names_files_from_the_runs_folder_and_where_a_layer_runs_on_a_gpu() -> None:
    stage = {"name": "Map", "per_batch_ms": 1.0, "share": 0.5, "parallelism": 1, "autotuned": False, "line": 3}
    page = html_page._pipeline(
        [{**stage, "file": "/home/a/train/data.py"}, {**stage, "file": "/else/b.py"}], Places(("/home/a/train",))
    )
    assert "<td>data.py:3</td>" in page and "<td>/else/b.py:3</td>" in page
    row = {"layer": "hash", "depth": 0, "class": "Hash", "forward": {"CPU:0": 3}, "backward": None, "variables": None}
    more = {"dtype": "float32", "asked": None, "reason": None, "predicted": {"GPU": 2, "CPU": 1}}
    page = html_page._placement([{**row, **more}])
    assert "<th>on a GPU</th>" in page and "<td>GPU, CPU 1</td>" in page
