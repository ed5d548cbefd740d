"""Nonsense on the command line: whatever is typed, one sentence and a known exit status; never a traceback, no hang."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfgpu_tui import cli, config, launch, mishap, rundir, sockets, streams

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "demo" / "recordings" / "one-gpu-input-bound.jsonl"
RUN_OPTIONS = ["--report-json", "--set", "--python", "--stop-after", "--interval", "--config", "--theme"]
VERB_OPTIONS = {
    "attach": ["--interval", "--config", "--theme"],
    "runs": ["--prune"],
    "prune": ["--keep", "--older-than", "--total-size"],
    "stop": ["--stage"],
    "replay": ["--speed", "--svg", "--at", "--size", "--interval", "--config", "--theme"],
    "report": ["--html", "--tensorboard"],
    "compare": ["--svg", "--size", "--interval", "--config", "--theme"],
    "doctor": ["--python"],
}
ARGUMENTS = {"stop": 1, "replay": 1, "report": 1, "compare": 2}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with every kind of file that is none; no state, no home, no terminal."""
    folder = tmp_path_factory.mktemp("nonsense")
    (folder / "train.py").write_text("raise SystemExit('the training was started')")
    (folder / "folder").mkdir()
    (folder / "run" / "journal.jsonl").mkdir(parents=True)
    (folder / "piped").mkdir()
    os.mkfifo(folder / "fifo")
    os.mkfifo(folder / "piped" / "meta.json")
    os.mkfifo(folder / "piped" / "journal.jsonl")
    (folder / "text").write_text("no program, no journal, no configuration\n")
    (folder / "binary").write_bytes(b"\xff\x00\xfe" * 99)
    (folder / "deep.toml").write_text("x = " + "[" * 5000)
    (folder / "huge.toml").write_text(f"interval = {'9' * 400}")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in [name for name in os.environ if name.startswith("TFGPU_TUI_")]:
            patch.delenv(name)
        patch.setenv("TFGPU_TUI_STATE_DIR", str(folder / "state"))
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        # Where everything that was typed is right after all, no script is started.
        patch.setattr(launch, "create", _refused)
        yield folder


def _refused(*arguments: object) -> rundir.RunDir:
    raise rundir.StateDirError("the test starts nothing")


NUMBERS = ["", " ", "-1", "0", "1e400", "nan", "inf", "-inf", "1e-9", "1_0", "²", "٣", "9" * 400, "9" * 5000, "0x10"]
WORDS = ["\n", "\x1b[2J", "\udcff\udc80", "--", "-", "=", "a=b", "%s", "{}", "a" * 300, "a/" * 3000, "~nobody-here/x"]
PLACES = ["folder", "fifo", "text", "binary", "deep.toml", "huge.toml", "./run", "./piped", "no/such", "train.py/x",
          "/dev/null", "/dev/zero", "/proc/self/mem", "/", ".", "last", "0x0", "999x999999"]  # fmt: skip
nonsense = st.sampled_from([*NUMBERS, *WORDS, *PLACES]) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=[]), max_size=20
)


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit status and stderr; a refusal is one line."""
    status = cli.main(arguments)
    out, err = capsys.readouterr()
    assert status in (0, 1, 2), (arguments, err)
    if status == 2 and not out:
        assert err.startswith("tfgpu-tui: ") and err.count("\n") == 1 and len(err) < 3000, (arguments, err)
    return status, err


every_option = [
    *(([option], ["train.py"]) for option in RUN_OPTIONS),
    *(([verb, option], []) for verb, options in VERB_OPTIONS.items() for option in options),
]


@pytest.mark.parametrize(("before", "after"), every_option, ids=lambda words: "-".join(words))
def test_an_option_with_nonsense(
    before: list[str], after: list[str], place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [str(RECORDING)] * ARGUMENTS.get(before[0], 0)
    if before[0] == "attach":
        values = [str(RECORDING)]
    if before[-1] == "--python" and before[0] == "doctor":
        monkeypatch.setattr("tfgpu_tui.doctor.PROBE_TIMEOUT_S", 1.0)

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(nonsense)
    def each(text: str) -> None:
        told([*before, text, *values, *after], capsys)
        told([*before[:-1], f"{before[-1]}={text}", *values, *after], capsys)

    each()
