"""What only a real NVIDIA GPU can show: our numbers beside the driver's own tool's and TensorFlow's own words.

    python -m benchmarks.gpu [NAME …] [--out FOLDER] [--python PATH]

Each check is written to FOLDER/results.json as soon as it is done; the runs' journals lie in FOLDER/state. `--python`
is the interpreter with TensorFlow's GPU build (default: this one). What says nothing about speed runs side by side.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

CASES = Path(__file__).parent / "gpu_cases"
ROOT = Path(__file__).parent.parent
SMI = ("utilization.gpu", "utilization.memory", "memory.used", "power.draw", "temperature.gpu", "clocks.sm")
LIMIT_S = 120.0
Result = dict[str, Any]

IDENTITY = """
import json, tensorflow as tf
gpus = tf.config.list_physical_devices("GPU")
print(tf.__version__, gpus, [tf.config.experimental.get_device_details(g) for g in gpus])
from tensorflow.python.client import device_lib
print([d.physical_device_desc for d in device_lib.list_local_devices()])
with tf.device("/GPU:0"):
    a = tf.random.normal((2048, 2048)); b = tf.linalg.matmul(a, a)
    print(b.device, float(tf.reduce_sum(b)))
    c = tf.nn.conv2d(tf.random.normal((8, 64, 64, 16)), tf.random.normal((3, 3, 16, 32)), 1, "SAME")
    print(c.device, float(tf.reduce_sum(c)))
"""
CALLS = """
import json, sys, time
import pynvml as nvml
from tfgpu_tui.supervisor import nvml_board, nvml_read
seen = {}
def timed(name, function):
    def call(*arguments, **options):
        began = time.perf_counter()
        try:
            value = function(*arguments, **options)
        except Exception as error:
            value = error
        seen.setdefault(name, []).append(((time.perf_counter() - began) * 1e3, str(value)[:160]))
        if isinstance(value, Exception):
            raise value
        return value
    call.__wrapped__ = getattr(function, "__wrapped__", function)
    return call
for name in dir(nvml):
    if name.startswith(("nvmlDevice", "nvmlGpm")) and callable(getattr(nvml, name)):
        setattr(nvml, name, timed(name, getattr(nvml, name)))
began = time.perf_counter(); nvml.nvmlInit(); init_ms = (time.perf_counter() - began) * 1e3
board, reads, rows = nvml_board.Board(0), [], []
for tick in range(24):
    began = time.perf_counter()
    rows.append(nvml_read.read_board(board, tick % 4 == 0))
    reads.append((tick % 4 == 0, (time.perf_counter() - began) * 1e3))
    time.sleep(0.25)
print(json.dumps({"init_ms": init_ms, "reads": reads, "rows": rows, "unknown": board.unknown, "calls": {
    name: {"n": len(r), "median_ms": sorted(v[0] for v in r)[len(r) // 2], "max_ms": max(v[0] for v in r),
           "last": r[-1][1]} for name, r in seen.items()}}, default=str))
"""


class Bench:
    """The folder of the results, and how scripts are run."""

    def __init__(self, out: Path, python: str) -> None:
        self.out, self.python = out, python
        self.results: Result = {}
        self._lock = threading.Lock()
        out.mkdir(parents=True, exist_ok=True)
        self.environment = {**os.environ, "XDG_STATE_HOME": str(out / "state")}

    def keep(self, name: str, value: Any) -> None:
        """Writes the result down at once."""
        with self._lock:
            self.results[name] = value
            (self.out / "results.json").write_text(json.dumps(self.results, indent=1, default=str))

    def run(self, *words: str, **environment: str) -> tuple[int | None, str, str]:
        """Exit status (None: cut), stdout, stderr."""
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, errors="replace", timeout=LIMIT_S, cwd=ROOT,
                env={**self.environment, **environment},
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            return None, str(late.stdout or "")[-3000:], str(late.stderr or "")[-3000:]
        return done.returncode, done.stdout, done.stderr

    def monitored(self, name: str, script: Path, *options: str, **environment: str) -> Result:
        """The report of one run under the tool; `{}` where there is none."""
        target = self.out / f"{name}.json"
        began = time.time()
        tool = (sys.executable, "-m", "tfgpu_tui", "--headless", "--report-json", str(target), "--python", self.python)
        code, out, err = self.run(*tool, *options, str(script), **environment)
        report: Result = json.loads(target.read_text()) if target.exists() else {}
        row = {"exit": code, "began": began, "wall_s": time.time() - began, "out": out[-600:], "err": err[-2500:]}
        self.keep(name, {**row, "report": report})
        phases, gpus = report.get("phases") or {}, report.get("gpus") or [{}]
        shares = " ".join(f"{key} {100 * phases[key]:.1f} %" for key in phases if phases[key] is not None)
        step = ((report.get("training") or {}).get("step_ms") or {}).get("p50")
        busy = gpus[0].get("busy_training_mean")
        print(f"{name}: exit {code}, {row['wall_s']:.0f} s; step {step} ms; {shares}; busy {busy} % in training")
        for finding in report.get("findings", []):
            print(f"    {finding['severity']:8} {finding['id']}: {finding['title']}")
        for line in out.splitlines():
            if line.startswith(("TRUTH", "ALLOCATOR", "AT_", "FIT_S")):
                print(f"    script: {line}")
        sys.stdout.flush()
        return report


class Smi(threading.Thread):
    """nvidia-smi twice a second meanwhile: (time, values in the order of SMI)."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        query = ("nvidia-smi", f"--query-gpu={','.join(SMI)}", "--format=csv,noheader,nounits", "-lms", "500")
        self.rows: list[tuple[float, list[float]]] = []
        self._process = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)
        self.start()

    def run(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            try:
                self.rows.append((time.time(), [float(cell) for cell in line.split(",")]))
            except ValueError:
                continue

    def stop(self) -> list[tuple[float, list[float]]]:
        self._process.terminate()
        self._process.wait()
        return self.rows


def identity(bench: Bench) -> None:
    """TensorFlow's GPU, NVML's and the doctor's word."""
    code, out, err = bench.run(bench.python, "-c", IDENTITY)
    bench.keep("identity", {"exit": code, "out": out[-4000:], "err": err[-4000:]})
    print(f"identity: exit {code}\n{out}{err[-1500:] if code else ''}", flush=True)
    code, out, err = bench.run(sys.executable, "-m", "tfgpu_tui", "doctor", "--json", "--python", bench.python)
    bench.keep("doctor", {"exit": code, "out": out, "err": err[-1000:]})
    print(f"doctor: exit {code}", flush=True)


def calls(bench: Bench) -> None:
    """What each NVML call answers and costs, with an idle GPU and under load."""
    for name in ("calls_idle", "calls_busy"):
        load = None
        if name == "calls_busy":
            words = (bench.python, str(CASES / "wide.py"))
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            environment = {**bench.environment, "STEPS": "100000"}
            load = subprocess.Popen(words, cwd=ROOT, env=environment, **quiet)  # type: ignore[call-overload]
            time.sleep(14)
        code, out, err = bench.run(sys.executable, "-c", CALLS)
        if load is not None:
            load.kill()
            load.wait()
        got = json.loads(out.splitlines()[-1]) if code == 0 else {}
        bench.keep(name, got or {"exit": code, "err": err[-3000:]})
        print(f"{name}: init {got.get('init_ms', -1):.1f} ms" if got else f"{name}: {err[-500:]}")
        for call, row in sorted(got.get("calls", {}).items(), key=lambda item: -item[1]["median_ms"]):
            print(f"    {call:42} {row['median_ms']:8.3f} {row['max_ms']:8.3f} ms  {row['last'][:70]}")
        sys.stdout.flush()


def numbers(bench: Bench) -> None:
    """A busy GPU: our means beside nvidia-smi's over the same seconds."""
    smi = Smi()
    report = bench.monitored("numbers", CASES / "wide.py", STEPS="1200")
    rows = smi.stop()
    bench.keep("numbers_smi", rows)
    began = bench.results["numbers"]["began"]
    inside = [values for at, values in rows if began <= at <= began + bench.results["numbers"]["wall_s"]]
    if not inside or not report.get("gpus"):
        return
    means = [statistics.fmean(column) for column in zip(*inside, strict=True)]
    ours = report["gpus"][0]
    print(f"    busy, mean      ours {ours['busy_mean']}  nvidia-smi {means[0]:.1f} %")
    print(f"    power, mean     ours {ours['power_mean_w']}  nvidia-smi {means[3]:.1f} W")
    print(f"    memory, peak    ours {ours['memory_used_peak_mib']}  nvidia-smi {max(v[2] for v in inside):.0f} MiB")


def waits(bench: Bench) -> None:
    """A wait that costs the GPU, one hidden behind queued work, own loops that know their wait, and the demos."""
    bench.monitored("starved", CASES / "wide.py", STEPS="200", SLEEP="0.05", WIDTH="1024")
    bench.monitored("hidden", CASES / "wide.py", STEPS="1000", SLEEP="0.002", PREFETCH="4")
    bench.monitored("reads", CASES / "wide.py", STEPS="400", READS="1")
    bench.monitored("loop_sync", CASES / "own_loop.py", SYNC="1", SLEEP="0.004")
    bench.monitored("loop_async", CASES / "own_loop.py", SLEEP="0.004")
    bench.monitored("loop_free", CASES / "own_loop.py")
    bench.monitored("slow_map", ROOT / "demo" / "slow_map.py")
    bench.monitored("healthy", ROOT / "demo" / "healthy.py")


def placement(bench: Bench) -> None:
    """Rows beside TensorFlow's own placement log, and the time by layer."""
    path = str(CASES / "mixed_devices.py")
    log = f"import tensorflow as tf; tf.debugging.set_log_device_placement(True)\nexec(open({path!r}).read())"

    def own_log() -> None:
        code, out, err = bench.run(bench.python, "-c", log, STEPS="2")
        lines = [line for line in (err + out).splitlines() if "/device:" in line and "->" not in line]
        (bench.out / "placement-log.txt").write_text("\n".join(lines))
        print(f"placement log: exit {code}, {len(lines)} lines", flush=True)

    growth = ("--set", "memory_growth=on")
    jobs: list[Callable[[], object]] = [
        own_log,
        lambda: bench.monitored("placement", CASES / "mixed_devices.py", *growth),
        lambda: bench.monitored("placement_compiled", CASES / "own_loop.py", *growth, COMPILE="1"),
        lambda: bench.monitored("demo_no_gpu_kernel", ROOT / "demo" / "no_gpu_kernel.py", *growth),
        lambda: bench.monitored("demo_recurrent_dropout", ROOT / "demo" / "recurrent_dropout.py", *growth),
        lambda: bench.monitored("demo_two_devices", ROOT / "demo" / "two_devices.py", *growth),
    ]
    beside(jobs)


def profiles(bench: Bench) -> None:
    """The time by layer from the profiler, with its own bytes for the tests of our reader."""
    options = ("--set", "memory_growth=on", "--set", "profile=5")
    bench.monitored("profile_mixed_devices", CASES / "mixed_devices.py", *options, STEPS="1500")
    for kind, extra in (("conv", {}), ("conv", {"MIXED": "1"}), ("lstm", {}), ("attention", {})):
        name = f"profile_{kind}" + ("_mixed" if extra else "")
        raw = str(bench.out / f"{name}.trace")
        report = bench.monitored(name, CASES / "many_layers.py", *options, KIND=kind, RAW=raw, **extra)
        for row in report.get("placement") or []:
            print(f"    {row['layer']:28} {row['ms']}")
        print(f"    {report.get('placement_basis')}", flush=True)


def memory(bench: Bench) -> None:
    """Growth on and off beside nvidia-smi, the allocator at known points, a limit, an allocation that fails."""
    for value in ("on", "off"):
        smi = Smi()
        bench.monitored(f"growth_{value}", CASES / "wide.py", "--set", f"memory_growth={value}", STEPS="300")
        rows = smi.stop()
        bench.keep(f"growth_{value}_smi", rows)
        print(f"    nvidia-smi: {max((v[2] for _, v in rows), default=-1):.0f} MiB at most", flush=True)
    growth = ("--set", "memory_growth=on")
    beside(
        [
            lambda: bench.monitored("shapes", CASES / "memory_shapes.py", *growth),
            lambda: bench.monitored("limit", CASES / "wide.py", "--set", "gpu_memory_limit=6000", STEPS="200"),
            lambda: bench.monitored("too_big", CASES / "too_big.py", "--set", "gpu_memory_limit=9000"),
            lambda: bench.monitored("async", CASES / "wide.py", "--set", "allocator=cuda_malloc_async", STEPS="200"),
            lambda: bench.monitored("hidden_gpu", CASES / "mixed_devices.py", "--set", "visible_devices=none"),
        ]
    )


def compile_and_precision(bench: Bench) -> None:
    """XLA, mixed precision, several steps for each return to Python: steps, placement and findings."""
    bench.monitored("plain32", CASES / "wide.py", STEPS="400")
    bench.monitored("xla", CASES / "wide.py", "--set", "jit_compile=on", STEPS="400")
    bench.monitored("mixed16", CASES / "wide.py", "--set", "precision=mixed_float16", STEPS="400")
    bench.monitored("eight", CASES / "wide.py", "--set", "steps_per_execution=8", STEPS="400")
    bench.monitored("synthetic", CASES / "wide.py", "--set", "input=synthetic", STEPS="400")


def cost(bench: Bench) -> None:
    """Short steps with and without the monitor, in turn."""
    path, rows = str(CASES / "short_steps.py"), {"plain": [], "monitored": []}  # type: ignore[var-annotated]
    tool = (sys.executable, "-m", "tfgpu_tui", "--headless", "--python", bench.python)
    for _ in range(3):
        for name, words in (("plain", (bench.python,)), ("monitored", tool)):
            _, out, _ = bench.run(*words, path)
            times = sorted(float(line.split()[1]) for line in out.splitlines() if line.startswith("US"))
            rows[name] += times[:2]
    bench.keep("cost", rows)
    for name, values in rows.items():
        if values:
            spread = f"{min(values):.1f} to {max(values):.1f}"
            print(f"cost, {name:10} {statistics.median(values):7.1f} µs a step ({spread})")


def beside(jobs: list[Callable[[], object]]) -> None:
    """All at once: what they tell is no speed."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        for done in [pool.submit(job) for job in jobs]:
            done.result()


CHECKS = (identity, calls, numbers, waits, placement, memory, profiles, compile_and_precision, cost)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *(check.__name__ for check in CHECKS)], metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"))
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    bench = Bench(options.out.absolute(), options.python)
    for check in CHECKS:
        if not options.names or check.__name__ in options.names:
            print(f"== {check.__name__}", flush=True)
            try:
                check(bench)
            except Exception as error:  # what one check can't do must not cost the others
                bench.keep(f"{check.__name__}_failed", f"{type(error).__name__}: {error}")
                print(f"{check.__name__}: {type(error).__name__}: {error}", flush=True)


if __name__ == "__main__":
    main()
