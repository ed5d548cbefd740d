"""The versions on which this runs: `nox` makes an environment for each row and runs the agent's and the demos' tests.

`nox -s oldest newest` runs the two ends of the table, `nox -l` lists all of it; `nox -s oldest -- tests/agent -k loops`
runs what is named behind the dashes. With uv on the path (`pip install nox uv`) the environments are made in seconds,
apart from TensorFlow's download.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
# A Python that is not here is said and left out, on a CI machine, too.
nox.options.error_on_missing_interpreters = False
nox.options.stop_on_first_error = False
# Unlike pip, uv leaves out the bytecode; where none may be written later, each test would compile TensorFlow's again.
os.environ["UV_COMPILE_BYTECODE"] = "1"

NEEDED = (
    "pytest>=8",
    "pytest-asyncio>=0.24",
    "pytest-timeout",
    "pytest-xdist",
    "pytest-rerunfailures>=16.7",
    "hypothesis",
    "scikit-learn",
    "pillow",
)
SHOW = """
import platform
from importlib import metadata
found = {d.name.lower().replace("-", "_"): d.version for d in metadata.distributions()}
shown = [f"{name} {found[name]}" for name in ("tensorflow_cpu", "keras", "keras_nightly", "tf_keras") if name in found]
print("Python", platform.python_version(), *shown)
"""


LOWEST = """
from importlib import metadata
names = ("textual", "psutil", "nvidia-ml-py", "tomli", "prometheus-client")
print(*(f"{name} {metadata.version(name)}" for name in names))
"""


@dataclass(frozen=True)
class Row:
    """One row of the table in docs/limits.md."""

    about: str
    pythons: tuple[str, ...]
    """The first of these that runs here."""
    packages: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


MATRIX = {
    "oldest": Row("TensorFlow 2.15, Keras 2", ("3.10", "3.11"), ("tensorflow-cpu==2.15.*", "numpy<2")),
    "tf216": Row("TensorFlow 2.16, the first with Keras 3", ("3.11",), ("tensorflow-cpu==2.16.*",)),
    "tf218": Row("TensorFlow 2.18", ("3.12",), ("tensorflow-cpu==2.18.*",)),
    "newest": Row("TensorFlow 2.21, the newest Keras", ("3.13",), ("tensorflow-cpu==2.21.*", "keras")),
    "tf_keras": Row(
        "TensorFlow 2.21 with tf_keras in Keras' place",
        ("3.11",),
        ("tensorflow-cpu==2.21.*", "tf_keras==2.21.*"),
        {"TF_USE_LEGACY_KERAS": "1"},
    ),
    # A release candidate of TensorFlow brings the keras-nightly that it was built with.
    "next": Row("TensorFlow 2.22's candidate with its keras-nightly", ("3.11", "3.12"), ("tensorflow-cpu==2.22.0rc0",)),
}


def interpreter(versions: tuple[str, ...]) -> str:
    """The first that runs: on the path, or among pyenv's, whose commands fail for a version that is not switched on."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for version in versions:
        name = f"python{version}"
        for found in (shutil.which(name), *map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/{name}")))):
            if found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
                return found
    return versions[0]  # nox says that it is not here


def check(session: nox.Session, row: Row) -> None:
    """As `make test`: two processes, and what judges whole trainings one at a time."""
    session.install(".", *NEEDED, *row.packages)
    session.run("python", "-c", SHOW)
    session.run("python", "-m", "compileall", "-q", "tfgpu_tui")  # as `make bytecode`
    pytest = ("python", "-m", "pytest", "-q", "-m", "not slow")
    if session.posargs:
        session.run(*pytest, *session.posargs, env=row.environment)
        return
    two = ("-n", "2", "--dist", "loadfile", "tests/agent", "tests/process/test_stop_training.py")
    session.run(*pytest, *two, env=row.environment)
    session.run(*pytest, "tests/e2e", env=row.environment)


def session_of(row: Row) -> Callable[[nox.Session], None]:
    def session(session: nox.Session) -> None:
        check(session, row)

    session.__doc__ = f"Python {row.pythons[0]}, {row.about}."
    return session


@nox.session(python=interpreter(("3.10",)), venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """Python 3.10, the oldest versions of what the tool itself needs: its core, its screen and its metrics."""
    session.install("--resolution", "lowest-direct", ".[prometheus]")
    session.install(*NEEDED, "tensorflow-cpu==2.16.*")
    session.run("python", "-c", LOWEST)
    session.run("python", "-m", "pytest", "-q", "-m", "not slow", "-n", "2", "tests/unit", "tests/ui")


for name, row in MATRIX.items():
    nox.session(session_of(row), name=name, python=interpreter(row.pythons))
