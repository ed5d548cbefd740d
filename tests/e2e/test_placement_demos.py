"""Each demo of work in the wrong place shows what it is named for; a healthy run shows none of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.timed import timed

from .test_demos import DEMO, environment, finding, headless

pytestmark = timed

__all__ = ["environment"]
FAMILY = ("place.", "dtype.", "rnn.", "precision.")


@pytest.mark.parametrize(
    ("demo", "layers"),
    [
        ("two_devices", {"place.pinned_cpu": "on_second", "place.split": "on_second/dense"}),
        pytest.param("no_gpu_kernel", {"place.no_gpu_kernel": "bucket", "place.dtype_no_kernel": "darkness"}),
        pytest.param("float64", {"dtype.float64": "standardise"}, marks=pytest.mark.slow),
        pytest.param("recurrent_dropout", {"rnn.not_cudnn": "reader"}, marks=pytest.mark.slow),
        pytest.param("missing_device", {"place.soft_moved": "tail"}, marks=pytest.mark.slow),
        pytest.param("healthy", {}, marks=pytest.mark.slow),
        pytest.param("healthy_loop", {}, marks=pytest.mark.slow),
    ],
)
def test_the_demo_shows_its_findings_and_no_other_of_the_family(
    demo: str, layers: dict[str, str], environment: dict[str, str], tmp_path: Path
) -> None:
    report, done = headless(environment, tmp_path / "r.json", str(DEMO / f"{demo}.py"), "1")
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert {f["id"] for f in report["findings"] if f["id"].startswith(FAMILY)} == set(layers)
    for name, layer in layers.items():
        found = finding(report, name)
        assert layer in " ".join(found["lines"]), found
    # Without a GPU in use nothing of this costs what it would: it is said, and it is no warning.
    if not report["environment"]["gpus"]:
        assert all(f["severity"] == "info" for f in report["findings"] if f["id"] in layers)


def test_the_profiled_time_is_in_the_rows_and_names_the_heavy_layer(
    environment: dict[str, str], tmp_path: Path
) -> None:
    report, _ = headless(environment, tmp_path / "r.json", "--set", "profile=5", str(DEMO / "healthy.py"), "8")
    ms = {row["layer"]: row["ms"] for row in report["placement"]}
    assert ms["shapes"] == max(v for v in ms.values() if v is not None)
    assert report["run"]["knobs"]["profile"] == "5"
