"""The versions on which this runs: `nox` builds an environment for each row and runs the agent's and the demos' tests.

`nox -s newest oldest` runs the two ends of the table, `nox -l` lists all of it. With uv on the path (`pip install nox
uv`) the environments are made in seconds, apart from TensorFlow's download.
"""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True
nox.options.stop_on_first_error = False

TESTS = ("tests/agent", "tests/e2e", "tests/process/test_stop_training.py")
NEEDED = ("pytest>=8", "pytest-asyncio>=0.24", "pytest-timeout", "hypothesis", "scikit-learn", "pillow")
MATRIX = {
    # name: (python, TensorFlow and Keras)
    "oldest": ("3.10", ["tensorflow-cpu==2.15.*"]),
    "tf216": ("3.11", ["tensorflow-cpu==2.16.*"]),
    "tf218": ("3.12", ["tensorflow-cpu==2.18.*"]),
    "newest": ("3.13", ["tensorflow-cpu==2.21.*", "keras"]),
    "tf_keras": ("3.11", ["tensorflow-cpu==2.21.*", "tf_keras==2.21.*"]),
}


def check(session: nox.Session, packages: list[str], environment: dict[str, str] | None = None) -> None:
    session.install(".", *NEEDED, *packages)
    session.run("python", "-c", "import sys, importlib.metadata as m; print('python', sys.version.split()[0], *(f'{n} {"
                "m.version(n)}' for n in ('tensorflow-cpu', 'keras')))")  # fmt: skip
    chosen = session.posargs or TESTS
    session.run("python", "-m", "pytest", "-q", "-m", "not slow", *chosen, env=environment or {})


@nox.session(python=MATRIX["oldest"][0])
def oldest(session: nox.Session) -> None:
    """Python 3.10, TensorFlow 2.15, Keras 2."""
    check(session, MATRIX["oldest"][1])


@nox.session(python=MATRIX["tf216"][0])
def tf216(session: nox.Session) -> None:
    """Python 3.11, TensorFlow 2.16: the first with Keras 3."""
    check(session, MATRIX["tf216"][1])


@nox.session(python=MATRIX["tf218"][0])
def tf218(session: nox.Session) -> None:
    """Python 3.12, TensorFlow 2.18."""
    check(session, MATRIX["tf218"][1])


@nox.session(python=MATRIX["newest"][0])
def newest(session: nox.Session) -> None:
    """Python 3.13, TensorFlow 2.21, the newest Keras."""
    check(session, MATRIX["newest"][1])


@nox.session(python=MATRIX["tf_keras"][0])
def tf_keras(session: nox.Session) -> None:
    """Python 3.11, TensorFlow 2.21 with tf_keras in Keras' place."""
    check(session, MATRIX["tf_keras"][1], {"TF_USE_LEGACY_KERAS": "1"})
