"""What a coordinator schedules, summed to steps, and servers: without TensorFlow, and all within one process."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tfgpu_tui.agent.steps import coordinator, stopping, windows

from .conftest import of_type, other_pythons, run_script


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(windows, "send", lambda kind, **fields: sent.append(fields))
    return sent


def test_a_steps_time_is_that_in_which_any_ran_by_those_that_ended(told: list[dict[str, Any]]) -> None:
    scheduled, now = coordinator.Scheduled(), 1000.0
    for _ in range(20):  # two workers, each 30 ms a step, that end one right after the other
        scheduled.begins(now)
        scheduled.begins(now + 0.001)
        scheduled.ends(now + 0.030, done=True)
        scheduled.ends(now + 0.031, done=True)
        now += 0.5  # nothing runs: no step's time
    scheduled.emit(now, last=True)
    assert sum(e["steps"] for e in told) == 40
    assert sum(e["wall_s"] for e in told) == pytest.approx(20 * 0.031)
    assert {(e["wait_s"], e["compute_s"], e["wait_bound"]) for e in told} == {(None, None, coordinator.NOT_SEEN)}
    steady = [e for e in told if not e["warmup"]]
    assert max(e["step_max_s"] for e in steady) < 2 * min(e["step_min_s"] for e in steady), "the bursts are no steps"


def test_what_fails_is_no_step_and_what_goes_on_is_told(told: list[dict[str, Any]]) -> None:
    scheduled, now = coordinator.Scheduled(), 1000.0
    scheduled.begins(now)
    scheduled.ends(now + 9.0, done=False)
    scheduled.begins(now + 10.0)
    scheduled.ends(now + 10.1, done=True)
    scheduled.emit(now + 10.2)
    assert told == [], "within a window"
    scheduled.emit(now + 12.0)
    assert [(e["steps"], round(e["wall_s"], 3)) for e in told] == [(1, 0.1)]


@pytest.fixture
def limit(told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A stop after so many steps more, in a process that SIGINT interrupts."""
    monkeypatch.setattr(stopping, "_limit", windows.total("train") + 3)
    monkeypatch.setattr(stopping, "_kept", False)
    monkeypatch.setattr(coordinator, "send", lambda kind, **fields: told.append({"kind": kind, **fields}))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield 3
    signal.signal(signal.SIGINT, before)


def in_a_worker(
    scheduled: coordinator.Scheduled, calls: coordinator.Calls, count: int, gate: threading.Event | None = None
) -> threading.Thread:
    """A thread in which so many steps run, one after the other, once the gate is open."""

    def run() -> None:
        assert gate is None or gate.wait(60)
        for i in range(count):
            scheduled.begins(1000.0 + i)
            scheduled.ends(1000.5 + i, done=True)
            calls.stop_if_wanted()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_stop_ends_the_wait_of_the_main_thread(told: list[dict[str, Any]], limit: int) -> None:
    scheduled = coordinator.Scheduled()
    calls = coordinator.Calls(scheduled)
    never = threading.Lock()
    never.acquire()
    calls.begins()
    gate = threading.Event()
    worker = in_a_worker(scheduled, calls, limit + 5, gate)
    with pytest.raises(KeyboardInterrupt):
        gate.set()
        never.acquire(timeout=60)
    calls.ends()
    worker.join()
    (end,) = [e for e in told if e.get("kind") == "train_end"]
    assert (end["stopped"], end["fit"]) == ("stop-after", scheduled.fit)
    assert sum(e["steps"] for e in told[: told.index(end)]) == limit, "the others are told after it"
    assert stopping._kept
    calls.begins()  # what goes on after it is left alone
    calls.ends()


def test_outside_of_a_call_the_script_is_not_interrupted(told: list[dict[str, Any]], limit: int) -> None:
    scheduled = coordinator.Scheduled()
    calls = coordinator.Calls(scheduled)
    in_a_worker(scheduled, calls, limit - 1).join()
    calls.begins()
    calls.ends()
    in_a_worker(scheduled, calls, 1).join()
    assert [e for e in told if e.get("kind")] == []
    with pytest.raises(KeyboardInterrupt):
        calls.begins()


def test_a_process_that_sigint_would_kill_is_not_interrupted(told: list[dict[str, Any]], limit: int) -> None:
    scheduled = coordinator.Scheduled()
    calls = coordinator.Calls(scheduled)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    in_a_worker(scheduled, calls, limit).join()
    calls.begins()
    assert [e for e in told if e.get("kind")] == []


STEPS = 60
SCRIPT = f"""
    import atexit, os, socket, sys, threading
    import tensorflow as tf
    phase = sys.modules["_tfgpu_agent.hooks.runtime"].phase

    # Threads enough: servers of one process share them, and a step that waits for its variables holds one.
    config = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=8)
    kinds = ("ps", "worker", "worker")
    taken = [socket.create_server(("localhost", 0)) for _ in kinds]
    addresses = [f"localhost:{{one.getsockname()[1]}}" for one in taken]
    for one in taken:
        one.close()
    cluster = tf.train.ClusterSpec({{"ps": addresses[:1], "worker": addresses[1:]}})
    servers = [
        tf.distribute.Server(cluster, job_name=kind, task_index=index, protocol="grpc", config=config)
        for kind, index in (("ps", 0), ("worker", 0), ("worker", 1))
    ]
    threading.Thread(target=servers[0].join, daemon=True).start()
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(cluster, rpc_layer="grpc")
    strategy = tf.distribute.experimental.ParameterServerStrategy(resolver)
    coordinator = tf.distribute.experimental.coordinator.ClusterCoordinator(strategy)
    with strategy.scope():
        w = tf.Variable(tf.zeros((16, 1)))

    @tf.function
    def step(batches):
        def replica(x):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((x @ w - 1.0) ** 2)
            w.assign_sub(0.01 * tape.gradient(loss, w))
        strategy.run(replica, (next(batches),))

    @tf.function
    def look():
        return tf.reduce_sum(w)

    def data():
        return tf.data.Dataset.from_tensors(tf.ones((4, 16))).repeat()

    batches = iter(coordinator.create_per_worker_dataset(data))
    for count in ({STEPS} // 2, {STEPS} // 2):
        for _ in range(count):
            coordinator.schedule(step, args=(batches,))
        coordinator.join()
        print("phase", phase())
        seen = coordinator.schedule(look)
        coordinator.join()
    print("trained", bool(seen.fetch() != 0.0), flush=True)
    atexit._run_exitfuncs()
    os._exit(0)  # servers can't be closed: their threads may hang at the interpreter's end
"""


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
def test_what_is_scheduled_and_trains_is_a_step(python: str) -> None:
    """Nor does the thread of a server make the process that trains one that serves."""
    events, process = run_script(SCRIPT, python)
    assert "trained True" in process.stdout, process.stderr[-3000:]
    assert of_type(events, "hook_off") == []
    told = of_type(events, "steps", phase="train")
    assert sum(e["steps"] for e in told) == STEPS
    assert {e["wait_s"] for e in told} == {None} and all(e["wall_s"] > 0 for e in told)
    assert process.stdout.count("phase training") == 2
    assert "serving" not in {e["phase"] for e in of_type(events, "phase")}


DATA_SERVICE = """
    import sys, threading, time
    import tensorflow as tf
    phase = sys.modules["_tfgpu_agent.hooks.runtime"].phase

    def end_once_it_serves():
        end = time.monotonic() + 60
        while phase() != "serving" and time.monotonic() < end:
            time.sleep(0.01)
        print("once", phase())
        first._stop()

    service = tf.data.experimental.service
    first = service.DispatchServer()
    threading.Thread(target=end_once_it_serves).start()
    first.join()
    dispatcher = service.DispatchServer()
    worker = service.WorkerServer(service.WorkerConfig(dispatcher_address=dispatcher.target.partition("://")[2]))
    w = tf.Variable(tf.zeros((16, 1)))

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((x @ w - 1.0) ** 2)
        w.assign_sub(0.01 * tape.gradient(loss, w))

    data = tf.data.Dataset.range(40).map(lambda i: tf.ones((4, 16)))
    for x in data.apply(service.distribute("parallel_epochs", dispatcher.target)):
        step(x)
    print("then", phase(), flush=True)
"""


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
def test_a_data_service_serves_and_its_stage_is_in_the_pipeline(python: str) -> None:
    """Public API but for `DispatchServer._stop`, which only this test needs."""
    events, process = run_script(DATA_SERVICE, python)
    assert (process.returncode, process.stdout) == (0, "once serving\nthen training\n"), process.stderr[-3000:]
    assert of_type(events, "hook_off") == []
    steps = of_type(events, "steps", phase="train")
    assert sum(e["steps"] for e in steps) == 40 and all(e["wait_s"] is not None for e in steps)
    stages = [stage["stage"] for e in of_type(events, "pipeline") for stage in e["stages"]]
    assert any(stage.startswith("DataService") for stage in stages)
