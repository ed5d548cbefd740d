"""Versions that do not fit together: told before by the doctor, and after a failed import by the run."""

from __future__ import annotations

import pytest

from tests.journals import T0, start, state_of
from tfgpu_tui.core import events as ev
from tfgpu_tui.core import requirements
from tfgpu_tui.core.rows import Facts
from tfgpu_tui.diagnose import diagnose
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.doctor.checks import checks

FACTS: Facts = {
    "distributions": {"tensorflow_cpu": "2.16.2", "numpy": "2.2.6", "protobuf": "3.19.6", "keras": "3.15.1"},
    "needed": {"numpy": "<2.0.0,>=1.23.5", "protobuf": "!=4.21.0,<5.0.0dev,>=3.20.3", "keras": ">=3.0.0"},
}
"""Of tensorflow-cpu 2.16.2's own metadata."""


@pytest.mark.parametrize(
    ("version", "spec", "fits"),
    [
        ("1.26.4", "<2.0.0,>=1.23.5", True),
        ("2.2.6", "<2.0.0,>=1.23.5", False),
        ("4.21.0", "!=4.21.0,<5.0.0dev,>=3.20.3", False),
        ("4.25.9", "!=4.21.0,<5.0.0dev,>=3.20.3", True),
        ("0.3.2", "~=0.3.1", True),
        ("0.4.0", "~=0.3.1", False),
        ("0.3.0", "~=0.3.1", False),
        ("3.12", ">=3.12.0", True),
        ("3.15.0.dev20260101", ">=3.12.0", True),
        ("1.0", "", True),
        ("unknown", "nonsense", True),
    ],
)
def test_a_version_and_what_is_asked_for(version: str, spec: str, fits: bool) -> None:
    assert requirements.fits(version, spec) is fits


def failed(exception: str, message: str, facts: Facts = FACTS) -> Finding | None:
    error = ev.ScriptError(t=T0 + 1, exception=exception, message=message, file="/home/u/train.py", line=1)
    events = [ev.Preflight(t=T0, facts=facts), error, ev.RunEnded(t=T0 + 2, exit_code=1)]
    found = {finding.id: finding for finding in diagnose(state_of(start(), events))}
    assert ("run.broken_environment" in found) != ("run.failed" in found), "one of them says why it ended"
    return found.get("run.broken_environment")


@pytest.mark.parametrize(
    ("exception", "message", "package"),
    [
        ("ImportError", "numpy.core.umath failed to import", "numpy"),
        ("AttributeError", "_ARRAY_API not found", "numpy"),
        (
            "ImportError",
            "cannot import name 'builder' from 'google.protobuf.internal' (/v/google/protobuf/internal/__init__.py)",
            "protobuf",
        ),
    ],
)
def test_the_package_that_broke_the_import_is_named_with_the_way_back(
    exception: str, message: str, package: str
) -> None:
    finding = failed(exception, message)
    assert finding is not None and finding.evidence["package"] == package
    assert "pip install 'tensorflow-cpu==2.16.2'" in finding.next
    assert finding.evidence["unfit"] == {"numpy": "2.2.6", "protobuf": "3.19.6"}


def test_an_error_of_the_scripts_own_is_not_blamed_on_versions() -> None:
    assert failed("ImportError", "cannot import name 'losses' from 'mylib'") is None
    assert failed("AttributeError", "_ARRAY_API not found", {"distributions": {"numpy": "2.2.6"}}) is None
    well: Facts = {**FACTS, "distributions": {"tensorflow_cpu": "2.16.2", "numpy": "1.26.4"}}
    assert failed("ImportError", "numpy.core.umath failed to import", well) is None, "the versions are not why"


HOLLOW: Facts = {"incomplete": {"tensorflow": {"folder": "/v/tensorflow", "hollow": True}}}
PARTLY: Facts = {
    "incomplete": {
        "keras": {
            "folder": "/v/keras", "hollow": False, "distribution": "keras", "version": "3.15.1", "modules": 120,
            "missing": 7, "first": "keras/src/__init__.py",
        }
    }
}  # fmt: skip


@pytest.mark.parametrize(
    ("exception", "message", "facts", "words"),
    [
        ("AttributeError", "module 'tensorflow' has no attribute 'keras'", HOLLOW, "/v/tensorflow has no __init__.py"),
        ("ImportError", "cannot import name 'keras' from 'tensorflow' (unknown location)", HOLLOW, "no __init__.py"),
        ("ModuleNotFoundError", "No module named 'tensorflow.keras'", HOLLOW, "no __init__.py"),
        ("ModuleNotFoundError", "No module named 'keras.src'", PARTLY, "7 of 120 packages in /v/keras are missing"),
        # What is gone for another reason, too, in the words of run.legacy_api.
        ("ImportError", "cannot import name 'layers' from 'keras' (unknown location)", PARTLY, "7 of 120"),
    ],
)
def test_a_package_of_which_a_part_is_missing_is_why(exception: str, message: str, facts: Facts, words: str) -> None:
    finding = failed(exception, message, facts)
    assert finding is not None and "half installed" in finding.title
    assert words in finding.lines[1] and "pip install" in finding.next


@pytest.mark.parametrize(
    ("message", "facts"),
    [
        ("No module named 'mylib.tensorflow'", HOLLOW),
        ("module 'tensorflow_datasets' has no attribute 'load'", HOLLOW),
        ("No module named 'tensorflow.keras'", PARTLY),
        ("module 'tensorflow' has no attribute 'kears'", {}),
    ],
)
def test_an_error_that_does_not_speak_of_that_package_is_the_scripts(message: str, facts: Facts) -> None:
    assert failed("ImportError", message, facts) is None


BARE: Facts = {"python": "3.11.7", "executable": "/v/bin/python"}
CUDA_OF_2_22: Facts = {
    "distributions": {
        "tensorflow": "2.22.0rc0",
        "nvidia_cudnn_cu12": "9.10.2.21",
        "nvidia_nccl_cu12": "2.25.1",
        "nvidia_nvshmem_cu12": "3.4.5",
    },
    "requires": {
        "nvidia_cudnn_cu12": "9.10.2.21",
        "nvidia_nccl_cu12": "2.30.7",
        "nvidia_cuda_nvrtc_cu12": "12.5.82",
        "nvidia_nvshmem_cu12": "3.2.5",
    },
}
"""Some of what tensorflow 2.22.0rc0's metadata asks for (`and-cuda`): NVRTC and NVSHMEM are new in it."""


def test_nvidia_packages_that_are_missing_or_too_old_are_named() -> None:
    assert requirements.unfit_nvidia(CUDA_OF_2_22) == [
        ("nvidia_cuda_nvrtc_cu12", None, "12.5.82"),
        ("nvidia_nccl_cu12", "2.25.1", "2.30.7"),
    ]
    lines = {check.name: check for check in checks({**BARE, **CUDA_OF_2_22}, [])}
    told = lines["NVIDIA packages"]
    assert told.ok is None and told.fix == 'pip install "tensorflow[and-cuda]==2.22.0rc0"'
    assert "nvidia-nccl-cu12 2.25.1, TensorFlow asks for 2.30.7" in told.detail
    assert "nvidia-cuda-nvrtc-cu12 is not installed" in told.detail and "nvshmem" not in told.detail


def test_cuda_from_elsewhere_and_packages_that_fit_are_no_matter() -> None:
    requires = dict(CUDA_OF_2_22["requires"] or {})
    elsewhere: Facts = {"distributions": {"tensorflow": "2.22.0rc0"}, "requires": requires}
    whole: Facts = {"distributions": {"tensorflow": "2.22.0rc0", **requires}, "requires": requires}
    for facts in (elsewhere, whole):
        assert requirements.unfit_nvidia(facts) == []
        assert "NVIDIA packages" not in {check.name for check in checks({**BARE, **facts}, [])}
