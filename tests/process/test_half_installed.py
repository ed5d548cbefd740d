"""A TensorFlow of which only a part is there: the doctor says it before a run, and a run that fails of it says why."""

from __future__ import annotations

import json
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.conftest import Workplace
from tfgpu_tui import doctor

MODULES = ("tensorflow/__init__.py", "tensorflow/python/__init__.py")
SCRIPT = "import tensorflow as tf\ntf.keras.Sequential()\n"


class Bare:
    """An interpreter without packages, and the folder for them."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=True, with_pip=False)
        self.python = str(folder / "bin" / "python")
        self.site = next(folder.glob("lib/python3*/site-packages"))

    def install(self) -> None:
        """The files and the metadata of a TensorFlow that has nothing to compute with."""
        for name in MODULES:
            (self.site / name).parent.mkdir(exist_ok=True)
            (self.site / name).write_text("")
        (self.site / MODULES[0]).write_text("from tensorflow import python as keras\n__version__ = '2.21.0'\n")
        info = self.site / "tensorflow_cpu-2.21.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Name: tensorflow-cpu\nVersion: 2.21.0\n")
        (info / "RECORD").write_text("".join(f"{name},sha256=x,1\n" for name in MODULES))


@pytest.fixture
def bare(tmp_path: Path) -> Bare:
    bare = Bare(tmp_path / "bare")
    bare.install()
    return bare


def hollow(bare: Bare) -> None:
    (bare.site / MODULES[0]).unlink()


def without_a_part(bare: Bare) -> None:
    (bare.site / MODULES[1]).unlink()
    (bare.site / MODULES[1]).parent.rmdir()


def without_its_folder(bare: Bare) -> None:
    without_a_part(bare)
    hollow(bare)
    (bare.site / "tensorflow").rmdir()


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (hollow, "/tensorflow has no __init__.py"),
        (without_a_part, "1 of 2 packages in "),
        (without_its_folder, "tensorflow_cpu 2.21.0 is listed as installed, but there is no tensorflow"),
    ],
)
def test_the_doctor_says_what_is_missing_and_how_it_comes_back(
    place: Workplace, bare: Bare, broken: Callable[[Bare], None], words: str
) -> None:
    assert not doctor.examine(bare.python, quick=True)["incomplete"], "a whole one is no matter"
    broken(bare)
    result = doctor.run(bare.python)
    (told,) = [check for check in result.checks if check.name == "tensorflow"]
    assert (result.exit_code, told.ok) == (2, False)
    assert "half installed" in result.verdict and words in told.detail
    assert told.fix == "pip install --force-reinstall --no-deps 'tensorflow-cpu==2.21.0'"


def test_what_another_folder_brings_is_not_judged_by_this_metadata(place: Workplace, bare: Bare) -> None:
    elsewhere = place.folder / "elsewhere"
    bare.site.joinpath("tensorflow").rename(elsewhere)
    (bare.site / "a.pth").write_text(f"{place.folder}\n")
    elsewhere.rename(place.folder / "tensorflow")
    without = place.folder / MODULES[1]
    without.unlink()
    assert not doctor.examine(bare.python, quick=True)["incomplete"]


def test_a_run_that_fails_of_it_says_so_and_one_that_fails_otherwise_does_not(place: Workplace, bare: Bare) -> None:
    place.script(SCRIPT)
    report = place.folder / "report.json"

    def findings() -> dict[str, dict[str, str]]:
        place.tool("--headless", "--python", bare.python, "--report-json", report, "script.py")
        return {each["id"]: each for each in json.loads(report.read_text())["findings"]}

    assert "run.failed" in findings(), "this TensorFlow is whole: its Keras has no Sequential"
    hollow(bare)
    said = findings()
    assert "run.broken_environment" in said and "run.failed" not in said
    assert "half installed" in said["run.broken_environment"]["title"]
