"""Pictures and pages from the command line: the same run gives the same file, and it needs nothing from the network."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ui import recording
from tests.ui.test_snapshots import RECORDINGS
from tfgpu_tui.cli import command_line
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.state import RunState
from tfgpu_tui.ui import exporting
from tfgpu_tui.ui.picture import picture

RUN = str(RECORDINGS / "one-gpu-input-bound.jsonl")


async def test_a_picture_is_deterministic_and_self_contained(tmp_path: Path) -> None:
    events = [
        *recording.everything(seconds=20),
        ev.RunEnded(t=recording.START + 30, src="child", exit_code=0, wall_s=30),
    ]
    run = recording.write(tmp_path / "train-1", events, recording.output_text())
    first = await picture(run, 80, 24)
    assert first == await picture(run, 80, 24)
    assert "Input-bound" in first.replace("&#160;", " ") and "@font-face" not in first and "cdnjs" not in first


def test_replay_svg_shows_the_run_at_a_moment(tmp_path: Path) -> None:
    early, late = tmp_path / "early.svg", tmp_path / "late.svg"
    assert command_line.main(["replay", RUN, "--svg", str(early), "--at", "1.5", "--size", "100x30"]) == 0
    assert command_line.main(["--theme", "light", "replay", RUN, "--svg", str(late)]) == 0
    words = [path.read_text().replace("&#160;", " ") for path in (early, late)]
    assert "nothing is judged before" in words[0] and "Input-bound" not in words[0] and "100x30" in words[0]
    assert "Input-bound" in words[1] and "finished" in words[1] and "120x40" in words[1]


def test_compare_svg_shows_the_screen_that_compares(tmp_path: Path) -> None:
    target = tmp_path / "c.svg"
    runs = [str(Path(RUN).with_name(f"cpu-input-{name}.jsonl")) for name in ("bound", "parallel")]
    assert command_line.main(["compare", *runs, "--svg", str(target), "--size", "160x45"]) == 0
    words = target.read_text().replace("&#160;", " ")
    assert "compare with the run before" in words and "1.75x faster" in words and "160x45" in words


def test_a_picture_of_a_moment_offers_what_the_screen_offered_then(tmp_path: Path) -> None:
    target = tmp_path / "then.svg"
    assert command_line.main(["replay", RUN, "--svg", str(target), "--at", "16"]) == 0
    words = target.read_text().replace("&#160;", " ")
    assert "replay" not in words and "lost" not in words and "detach" in words


def test_report_html_and_tensorboard_say_what_they_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard")
    page, folder = tmp_path / "r.html", tmp_path / "events"
    assert command_line.main(["report", RUN, "--html", str(page), "--tensorboard", str(folder)]) == 0
    said = capsys.readouterr().out
    assert f"written: {page}" in said and f"tensorboard --logdir {folder}" in said
    assert "Input-bound" in page.read_text() and list(folder.glob("events.out.tfevents.*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay", RUN, "--svg", "x.svg", "--size", "wide"], "write it as COLUMNSxROWS"),
        (["replay", RUN, "--svg", "no/such/folder/x.svg"], "No such file or directory"),
        (["report", RUN, "--html", "no/such/folder/x.html"], "No such file or directory"),
    ],
)
def test_what_cannot_be_written_is_one_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command_line.main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


@pytest.mark.parametrize("name", ["../../outside", "/etc/x", "..", "", "a/b", "x" * 5000, "\ud800\x1b]0;", ".hidden"])
def test_what_a_recording_calls_itself_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    parent = tmp_path / "deep" / "here"
    parent.mkdir(parents=True)
    state = RunState()
    state.apply(ev.RunStarted(t=recording.START, id=name, argv=["t.py"], cwd="/", python="p"))
    folder, again = (exporting.write(parent, state, "<svg/>", "text") for _ in range(2))
    assert folder != again and folder.parent == again.parent == parent
    assert not folder.name.startswith(".") and len(list(folder.iterdir())) == 5
    assert sorted(tmp_path.rglob("report.json")) == sorted(path / "report.json" for path in (folder, again))
