"""Family F: packages whose versions do not fit together, as their imports fail (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tfgpu_tui.core import requirements
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
EXCEPTIONS = ("ImportError", "ModuleNotFoundError", "AttributeError", "TypeError", "VersionError", "ValueError")


def findings(state: RunState) -> Iterator[Finding]:
    """run.broken_environment: in place of run.failed."""
    error, facts = state.error, state.preflight.facts if state.preflight is not None else {}
    if state.ended is None or error is None or error.exception not in EXCEPTIONS:
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
