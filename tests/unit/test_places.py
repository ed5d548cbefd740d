"""Where a line of the script lies, in words."""

from __future__ import annotations

import pytest

from tfgpu_tui.core.places import Places, of_run


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/home/a/train/src/data.py", "src/data.py"),
        ("/home/a/train2/data.py", "/home/a/train2/data.py"),
        ("/opt/jobs/model.py", "model.py"),
        ("/venv/lib/python3.11/site-packages/keras/src/trainer.py", "keras/src/trainer.py"),
        ("/usr/lib/python3/dist-packages/lib.py", "lib.py"),
        ("/home/a/train/.venv/lib/python3.12/site-packages/keras/src/trainer.py", "keras/src/trainer.py"),
        ("/data/lib/loader.py", "/data/lib/loader.py"),
        ("demo/slow_map.py", "demo/slow_map.py"),
        (None, "?"),
        ("", "?"),
    ],
)
def test_a_file_is_named_from_the_runs_folder_or_the_scripts(path: str | None, words: str) -> None:
    places = of_run("/home/a/train/", ["-u", "/opt/jobs/train.py", "--epochs", "3"])
    assert places.file(path) == words
    assert places.at(path, 41) == f"{words}:41"


def test_a_script_beside_the_folder_has_its_own() -> None:
    assert of_run("/home/a/runs", ["../train/train.py"]).file("/home/a/train/src/data.py") == "src/data.py"


@pytest.mark.parametrize(
    ("cwd", "argv"),
    [(None, []), (".", ["train.py"]), ("/", ["-m", "package.train"]), ("/", ["-c", "import keras"])],
)
def test_without_a_folder_it_is_named_as_it_is(cwd: str | None, argv: list[str]) -> None:
    assert of_run(cwd, argv) == Places()
    assert Places().at("/home/a/data.py", None) == "/home/a/data.py:?"
