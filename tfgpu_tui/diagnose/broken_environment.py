"""Family F: packages that do not fit together, or of which a part is missing, as their imports fail (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tfgpu_tui.core import requirements
from tfgpu_tui.core.events import ScriptError
from tfgpu_tui.core.rows import Facts
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose.error_words import headline
from tfgpu_tui.diagnose.finding import Finding

CAUSES = {
    "numpy": re.compile(
        r"numpy\.core\.\w+ failed to import|_ARRAY_API not found|numpy\.dtype size changed|compiled using NumPy 1"
    ),
    "protobuf": re.compile(
        r"google\.protobuf|Descriptors cannot be created directly|no attribute 'GetPrototype'|Protobuf Gencode/Runtime"
    ),
    "keras": re.compile(r"__internal__' has no attribute 'register_load_context_function'|module 'keras\S*' has no"),
    "ml_dtypes": re.compile(r"module 'ml_dtypes' has no attribute"),
    "h5py": re.compile(r"\bh5py\b"),
}
"""Words of the exceptions, seen with TensorFlow 2.16.2 beside NumPy 2.2, protobuf 3.19 and Keras 2.15; those of NumPy's
C interface, ml_dtypes and h5py from public reports."""
BLAMED = r"\bmodule '{0}[.']|\bNo module named '{0}[.']|\bfrom '{0}[.']|\b{0}/\S*: cannot open"
"""A package or a part of it, in the words of Python's own import and attribute errors (3.9 to 3.13)."""
EXCEPTIONS = ("ImportError", "ModuleNotFoundError", "AttributeError", "TypeError", "VersionError", "ValueError")


def findings(state: RunState) -> Iterator[Finding]:
    """run.broken_environment: in place of run.failed."""
    error, facts = state.error, state.preflight.facts if state.preflight is not None else {}
    if state.ended is None or error is None or error.exception not in EXCEPTIONS:
        return
    if (half := _half_installed(error, facts)) is not None:
        yield half
        return
    unfit = {name: (version, spec) for name, version, spec in requirements.unfit(facts)}
    blamed = next((name for name, words in CAUSES.items() if words.search(error.message) and name in unfit), None)
    if blamed is None:
        return
    version, spec = unfit[blamed]
    installed = facts.get("distributions") or {}
    yield Finding(
        id="run.broken_environment",
        severity="critical",
        title=f"{blamed} {version} does not fit the installed TensorFlow: its import failed",
        lines=[
            headline(error.exception, error.message),
            f"TensorFlow asks for {blamed} {spec}",
            *(f"{name} {v} does not fit either: {s}" for name, (v, s) in unfit.items() if name != blamed),
        ],
        next=f"{requirements.repair(facts)} brings back what it asks for; `pip check` lists what else does not fit.",
        evidence={
            "package": blamed,
            "version": version,
            "asked_for": spec,
            "unfit": {name: v for name, (v, _) in unfit.items()},
            "installed": {name: v for name, v in installed.items() if not str(name).startswith("nvidia_")},
            "exception": error.exception,
            "message": error.message[:500],
        },
    )


def _half_installed(error: ScriptError, facts: Facts) -> Finding | None:
    """A package of which files are missing, where the exception speaks of it."""
    parts = {name: part for name, part in (facts.get("incomplete") or {}).items() if part}
    blamed = next((name for name in parts if re.search(BLAMED.format(name), error.message)), None)
    if blamed is None:
        return None
    name, part = {"tensorflow": "TensorFlow", "keras": "Keras"}.get(blamed, blamed), parts[blamed]
    command = requirements.reinstall(blamed, part)
    return Finding(
        id="run.broken_environment",
        severity="critical",
        title=f"{name} is only half installed: a part of its files is missing",
        lines=[headline(error.exception, error.message), requirements.lack(blamed, part)],
        next=f"{command} brings its files back. An uninstall, or an install that broke off, leaves such a rest.",
        evidence={
            "package": blamed,
            "version": part.get("version"),
            "folder": part.get("folder"),
            "has_init": not part.get("hollow"),
            "packages": part.get("modules"),
            "missing": part.get("missing"),
            "first_missing": part.get("first"),
            "exception": error.exception,
            "message": error.message[:500],
        },
    )
