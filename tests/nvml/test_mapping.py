"""TensorFlow's GPU:0 is that GPU of NVML: against the CUDA driver's stand-in, and against TensorFlow's CUDA build.

`TFGPU_TUI_TEST_CUDA_PYTHON` names an interpreter that has the GPU build (`pip install tensorflow==2.21.0
nvidia-cuda-runtime-cu12`, no GPU needed): it lists the stand-in's GPUs, because listing needs of CUDA's other
libraries only that they are there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.nvml import scenarios
from tests.nvml.build import build_cuda, hollow
from tests.nvml.scenarios import gpu
from tests.process.conftest import Workplace, wait_until
from tests.process.conftest import place as place
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.gpu_mapping import BY_ADDRESS, BY_MESSAGE, BY_PROCESS, BY_UUID, mapping
from tfgpu_tui.core.rows import Gpu, TensorflowGpu
from tfgpu_tui.core.state import RunState, fold
from tfgpu_tui.report.report_json import build
from tfgpu_tui.runs import listing
from tfgpu_tui.supervisor import launch

CUDA_PYTHON = os.environ.get("TFGPU_TUI_TEST_CUDA_PYTHON")
AGENT = Path(__file__).parents[2] / "tfgpu_tui" / "agent" / "memory"
ONLY_THERE = ("libcublas.so.12", "libcublasLt.so.12", "libcudnn.so.9", "libcufft.so.11", "libcusolver.so.11",
              "libcusparse.so.12")  # fmt: skip

DRIVER = f"""
import ctypes, json, sys
sys.path.insert(0, {str(AGENT)!r})
import gpu_identity
cuda = ctypes.CDLL("libcuda.so.1")
code, count = cuda.cuInit(0), ctypes.c_int()
cuda.cuDeviceGetCount(ctypes.byref(count))
numbers = list(range(count.value))
print(json.dumps([code, gpu_identity.described([f"GPU:{{i}}" for i in numbers], numbers)]))
"""
"""What the agent reads, without TensorFlow."""

TENSORFLOW = f"""
import json, os, sys
sys.path.insert(0, {str(AGENT)!r})
import gpu_identity
import tensorflow as tf
from tensorflow.python.eager import context
gpus = tf.config.list_physical_devices("GPU")
visible = json.loads(os.environ["VISIBLE"])
if visible is not None:
    tf.config.set_visible_devices([gpus[i] for i in visible], "GPU")
if int(os.environ["PARTS"]) > 1:
    first = gpu_identity.physical_gpus(context.context())[0]
    part = tf.config.LogicalDeviceConfiguration(memory_limit=1024)
    tf.config.set_logical_device_configuration(first, [part] * int(os.environ["PARTS"]))
numbers = gpu_identity.ordinals(context.context())
details = [tf.config.experimental.get_device_details(gpus[n]) for n in numbers]
options = context.context()._compute_device_options("GPU")  # what TensorFlow hands to its own C++ part
print(json.dumps({{
    "listed": len(gpus),
    "ours": gpu_identity.described([f"GPU:{{i}}" for i in range(len(numbers))], numbers),
    "names": [d["device_name"] for d in details],
    "capabilities": [list(d["compute_capability"]) for d in details],
    "order": options.visible_device_list,
    "parts": [len(v.memory_limit_mb) for v in options.experimental.virtual_devices],
}}))
"""

SMALL = gpu(1, name="NVIDIA L4", capability=[8, 9], cuda_rank=5)
BOARDS = (gpu(0, cuda_rank=2), SMALL, gpu(2, cuda_rank=1), gpu(3, cuda_rank=3))
"""Fastest first, the CUDA driver numbers them 2, 0, 3, 1."""


def uuid(index: int) -> str:
    return str(BOARDS[index]["uuid"])


CASES: list[tuple[str, dict[str, str], list[int]]] = [
    ("as they are", {}, [2, 0, 3, 1]),
    ("by PCI address", {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, [0, 1, 2, 3]),
    ("reordered", {"CUDA_VISIBLE_DEVICES": "3,1"}, [1, 0]),
    ("reordered by PCI address", {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "3,1"}, [3, 1]),
    ("named by UUID", {"CUDA_VISIBLE_DEVICES": f"{uuid(1)},{uuid(3)}"}, [1, 3]),
    ("hidden from the first invalid on", {"CUDA_VISIBLE_DEVICES": "1,-1,2"}, [0]),
]


@pytest.fixture(scope="session")
def cuda(library: Path) -> Path:
    """The folder with both stand-ins."""
    return build_cuda(library)


@pytest.fixture(scope="session")
def loadable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CUDA's other libraries: there, and empty."""
    folder = tmp_path_factory.mktemp("hollow")
    for name in ONLY_THERE:
        hollow(folder / name)
    return folder


def ask(python: str, code: str, folders: list[Path], scenario: Path, environment: dict[str, str]) -> Any:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("CUDA_", "TFGPU_"))}
    env |= {"LD_LIBRARY_PATH": ":".join(map(str, folders)), "NVML_SIM": str(scenario), **environment}
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def seen_by_nvml(*boards: scenarios.Gpu) -> ev.GpuSample:
    """As the sampler tells them."""
    rows: list[Gpu] = [
        {"index": i, "uuid": b["uuid"], "pci": b["pci"], "name": b["name"],
         "slices": [{"uuid": s["uuid"], "name": s["name"]} for s in b["mig"]]}
        for i, b in enumerate(boards)
    ]  # fmt: skip
    return ev.GpuSample(t=1.0, gpus=rows)


def joined(tf_gpus: list[TensorflowGpu], *boards: scenarios.Gpu) -> RunState:
    return fold([seen_by_nvml(*boards), ev.Environment(t=2.0, src="agent", tf_gpus=tf_gpus)])


@pytest.mark.parametrize(("environment", "order"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_the_uuid_joins_cuda_and_nvml(
    cuda: Path, tmp_path: Path, environment: dict[str, str], order: list[int]
) -> None:
    scenarios.play(tmp_path / "s.json", scenarios.scenario(*BOARDS))
    code, found = ask(sys.executable, DRIVER, [cuda], tmp_path / "s.json", environment)
    assert code == 0
    assert [entry["uuid"] for entry in found] == [uuid(i) for i in order]
    state = joined(found, *BOARDS)
    assert [m.index for m in mapping(state)] == order
    assert all(m.proofs == [BY_UUID] and m.doubt is None for m in mapping(state))
    reported = build(state)["environment"]["gpus"]
    assert [(g["device"], g["nvml_index"], g["proofs"]) for g in reported] == [
        (f"GPU:{n}", i, [BY_UUID]) for n, i in enumerate(order)
    ]
    assert [g["capability"] for g in found] == [[8, 9] if i == 1 else [9, 0] for i in order]


def test_hidden_gpus_are_none(cuda: Path, tmp_path: Path) -> None:
    scenarios.play(tmp_path / "s.json", scenarios.scenario(*BOARDS))
    no_device = 100
    for hiding in ("", "-1", "7"):
        code, found = ask(sys.executable, DRIVER, [cuda], tmp_path / "s.json", {"CUDA_VISIBLE_DEVICES": hiding})
        assert (code, found) == (no_device, [])


def test_a_mig_slice_is_found_on_its_gpu(cuda: Path, tmp_path: Path) -> None:
    scenarios.play(tmp_path / "s.json", scenarios.scenario(gpu(1), scenarios.MIG))
    second = scenarios.MIG["mig"][1]
    env = {"CUDA_VISIBLE_DEVICES": second["uuid"]}
    _, found = ask(sys.executable, DRIVER, [cuda], tmp_path / "s.json", env)
    (mapped,) = mapping(joined(found, gpu(1), scenarios.MIG))
    assert (mapped.index, mapped.slice, mapped.proofs) == (1, second["name"], [BY_UUID])


def test_more_proofs_and_doubts() -> None:
    told: list[TensorflowGpu] = [{"device": "GPU:0", "uuid": uuid(2), "pci": "0000:2a:00.0", "ordinal": 0}]
    process = ev.GpuSample(t=3.0, gpus=[{"index": 2, "uuid": uuid(2), "processes": [{"pid": 1, "ours": True}]}])
    created = {"device": "GPU:0", "pci": "0000:2a:00.0"}
    state = joined(told, *BOARDS)
    state.apply(process)
    state.apply(ev.Diagnostic(t=4.0, id="gpu.created", values=created))
    assert mapping(state)[0].proofs == [BY_UUID, BY_PROCESS, BY_MESSAGE]
    other = joined(told, *BOARDS)
    other.apply(ev.Diagnostic(t=4.0, id="gpu.created", values={**created, "pci": "0000:0a:00.0"}))
    assert "another PCI address" in str(mapping(other)[0].doubt)


def test_without_a_uuid_it_is_the_address_or_not_certain() -> None:
    by_address = joined([{"device": "GPU:0", "uuid": None, "pci": "0000:1a:00.0"}], *BOARDS)
    assert (mapping(by_address)[0].index, mapping(by_address)[0].proofs) == (1, [BY_ADDRESS])
    unknown = joined([{"device": "GPU:0", "uuid": None, "pci": None}], *BOARDS)
    assert (mapping(unknown)[0].index, mapping(unknown)[0].doubt) == (None, "the CUDA driver told no UUID")
    elsewhere = joined([{"device": "GPU:0", "uuid": "GPU-of-another-machine", "pci": None}], *BOARDS)
    assert mapping(elsewhere)[0].index is None


@pytest.fixture
def cuda_build(cuda: Path, loadable: Path) -> list[Path]:
    """LD_LIBRARY_PATH for the interpreter with the GPU build."""
    if CUDA_PYTHON is None:
        pytest.skip("TFGPU_TUI_TEST_CUDA_PYTHON names no interpreter with TensorFlow's GPU build")
    code = "import os, nvidia.cuda_runtime as r; print(repr(os.path.join(list(r.__path__)[0], 'lib')))"
    done = subprocess.run([CUDA_PYTHON, "-c", code], capture_output=True, text=True, timeout=60)
    if done.returncode:
        pytest.skip(f"{CUDA_PYTHON} has no nvidia-cuda-runtime-cu12, which TensorFlow must be able to load")
    return [cuda, loadable, Path(done.stdout.strip().strip("'"))]


def tensorflow(
    folders: list[Path], scenario: Path, environment: dict[str, str], visible: Any = None, parts: int = 1
) -> Any:
    assert CUDA_PYTHON is not None
    scenarios.play(scenario, scenarios.scenario(*BOARDS))
    more = {"VISIBLE": json.dumps(visible), "PARTS": str(parts), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return ask(CUDA_PYTHON, TENSORFLOW, folders, scenario, {**environment, **more})


@pytest.mark.slow
@pytest.mark.parametrize(("environment", "order"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_tensorflows_gpu_build_lists_what_we_map(
    cuda_build: list[Path], tmp_path: Path, environment: dict[str, str], order: list[int]
) -> None:
    got = tensorflow(cuda_build, tmp_path / "s.json", environment)
    assert got["listed"] == len(order)
    assert got["names"] == [BOARDS[i]["name"] for i in order]
    assert got["capabilities"] == [g["capability"] for g in got["ours"]]
    assert [m.index for m in mapping(joined(got["ours"], *BOARDS))] == order


@pytest.mark.slow
def test_tensorflow_orders_its_devices_as_the_driver_does(cuda_build: list[Path], tmp_path: Path) -> None:
    got = tensorflow(cuda_build, tmp_path / "s.json", {}, visible=[3, 0])
    assert got["order"] == "0,3", "whatever the order of set_visible_devices"
    assert [g["ordinal"] for g in got["ours"]] == [0, 3]
    assert [m.index for m in mapping(joined(got["ours"], *BOARDS))] == [2, 1]


@pytest.mark.slow
def test_logical_devices_belong_to_their_gpu(cuda_build: list[Path], tmp_path: Path) -> None:
    got = tensorflow(cuda_build, tmp_path / "s.json", {}, visible=[1, 2], parts=3)
    assert (got["order"], got["parts"]) == ("1,2", [3, 0])
    assert [g["device"] for g in got["ours"]] == ["GPU:0", "GPU:1", "GPU:2", "GPU:3"]
    assert [m.index for m in mapping(joined(got["ours"], *BOARDS))] == [0, 0, 0, 3]


@pytest.mark.slow
def test_hidden_by_the_environment(cuda_build: list[Path], tmp_path: Path) -> None:
    assert tensorflow(cuda_build, tmp_path / "s.json", {"CUDA_VISIBLE_DEVICES": "-1"})["listed"] == 0


TRAINS = """
import numpy as np, keras
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(np.zeros((64, 4), "float32"), np.zeros((64, 1), "float32"), epochs=2, verbose=0)
"""


@pytest.mark.slow
def test_a_run_of_the_gpu_build_that_lacks_one_library(
    place: Workplace, cuda_build: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CUDA_PYTHON is not None
    cuda, loadable, runtime = cuda_build
    some = tmp_path / "some"
    some.mkdir()
    for name in ONLY_THERE:
        if "cusolver" not in name:
            (some / name).symlink_to(loadable / name)
    scenarios.play(tmp_path / "s.json", scenarios.scenario(*BOARDS))
    monkeypatch.setenv("NVML_SIM", str(tmp_path / "s.json"))
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{cuda}:{some}:{runtime}")
    script = place.script(TRAINS)
    run = launch.start(launch.LaunchSpec(argv=[str(script)], cwd=str(place.folder), python=CUDA_PYTHON))
    wait_until(lambda: listing.summary(run).state == "ended", "the training ended", 120)
    report = json.loads(run.report_path.read_text())
    assert report["run"]["exit_code"] == 0
    assert report["environment"]["gpus"] == []
    assert "cuda.gpus_skipped" in [d["id"] for d in report["environment"]["diagnostics"]]
    causes = [f for f in report["findings"] if f["id"].startswith("gpu.")]
    assert [(f["id"], f["severity"]) for f in causes] == [("gpu.cuda_libs_missing", "critical")]
    assert causes[0]["title"] == "CUDA libraries are not installed: libcusolver.so.11"
    assert [g["name"] for g in report["gpus"]] == [b["name"] for b in BOARDS]
