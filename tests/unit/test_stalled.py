"""run.stalled: what stands still, what only takes long, and how each cause is told; and the watch that looks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.journals import T0, evidence, start, state_of, steps, windows
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.rows import ProcessStands, ThreadStands
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import Finding, diagnose
from tfgpu_tui.supervisor import standstill
from tfgpu_tui.supervisor.process_looks import Seen, Tree

SCRIPT, WORKER = 4711, 4712
FIT: ThreadStands = {
    "role": "trains", "file": "/home/u/train.py", "line": 52, "function": "main", "text": "model.fit(data)",
    "at_file": "/lib/tensorflow/python/eager/execute.py", "at_line": 53, "at_function": "quick_execute",
    "at_library": "tensorflow", "state": "S", "call": "lock",
}  # fmt: skip
IN_TENSORFLOW: ThreadStands = {**FIT, "line": 34, "text": "small = encoder.predict(part)", "function": "__getitem__"}
PROCESS: ProcessStands = {"pid": SCRIPT, "parent": 1, "state": "S", "kernel": "futex_do_wait", "threads": 20}
FORKED: ProcessStands = {**PROCESS, "pid": WORKER, "parent": SCRIPT, "forked": True}


def stacks(doing: str | None = "batch", *threads: ThreadStands, pid: int = SCRIPT, **more: Any) -> ev.Stacks:
    return ev.Stacks(t=T0 + 70, src="agent", pid=pid, threads=list(threads) or [FIT], doing=doing, **more)


def look(quiet_s: float = 70.0, **more: Any) -> ev.Standstill:
    values: dict[str, Any] = {"still_s": quiet_s - 20, "cpu_percent": 0.4, "answered": True, "processes": [PROCESS]}
    return ev.Standstill(t=T0 + 10 + quiet_s, src="host", quiet_s=quiet_s, **{**values, **more})


def standing(*events: ev.Event, steps: int = 20, phase: str = "training") -> RunState:
    return state_of(start(), windows(steps), [ev.Phase(t=T0 + 9, phase=phase)], list(events))


def stalled(state: RunState) -> Finding | None:
    return next((found for found in diagnose(state) if found.id == "run.stalled"), None)


def must(state: RunState) -> Finding:
    found = stalled(state)
    assert found is not None
    return found


def test_a_training_that_waits_for_a_batch_while_nothing_computes() -> None:
    found = must(standing(stacks(), look()))
    assert found.severity == "critical" and found.title.startswith("No step for 70 s:")
    assert found.lines[0].startswith("the training: train.py:52  model.fit(data), in TensorFlow (execute.py:53)")
    assert found.lines[-1] == "nothing computes: CPU 0.4 % of a core, in 1 process"


@pytest.mark.parametrize(
    ("why", "events"),
    [
        ("too early", [stacks(), look(55.0)]),
        ("something worked until just now", [stacks(), look(still_s=10.0)]),
        ("a debugger, or input()", [stacks(person=True), look()]),
        ("a callback may take its time", [stacks("callback"), look()]),
        ("so may what lies between steps", [stacks("between"), look()]),
        ("the loop sleeps by itself", [stacks("loop", {**FIT, "text": "time.sleep(90)"}), look()]),
        ("it is in no step of a loop", [stacks(None), look()]),
        ("nobody was asked yet", [look(answered=None)]),
        ("steps came again", [stacks(), look(), look(over=True)]),
    ],
)  # fmt: skip
def test_what_is_no_standstill(why: str, events: list[ev.Event]) -> None:
    assert stalled(standing(*events)) is None, why


@pytest.mark.parametrize("doing", ["callback", "between", "loop"])
def test_a_callback_that_never_returns_is_told_later(doing: str) -> None:
    sleeps: ThreadStands = {**FIT, "text": "time.sleep(3600)", "at_file": "/home/u/train.py", "at_line": 52}
    found = must(standing(stacks(doing, sleeps), look(301.0)))
    assert "train.py:52 waits, asleep" in found.title


def test_a_validation_has_five_times_as_long() -> None:
    assert stalled(standing(stacks(), look(290.0), phase="evaluating")) is None
    assert must(standing(stacks(), look(310.0), phase="evaluating"))


def test_long_steps_have_twenty_times_their_own_time() -> None:
    slow = windows(30, step_ms=8000.0)
    long_steps = [replace(e, t=T0 + 8 * n) if isinstance(e, ev.Steps) else e for n, e in enumerate(slow)]
    assert stalled(state_of(start(), long_steps, [stacks(), look(150.0)])) is None
    assert must(state_of(start(), long_steps, [stacks(), look(175.0)]))


def test_off_is_off() -> None:
    asked = [replace(e, stall_after_s=0.0) if isinstance(e, ev.RunStarted) else e for e in start()]
    assert stalled(state_of(asked, windows(20), [stacks(), look(9000.0)])) is None


def test_none_ever() -> None:
    found = must(standing(stacks(), look(), steps=0, phase="building"))
    assert evidence(found)["step"] == 5  # of the warm-up's window
    never = state_of(start(), [ev.Phase(t=T0 + 2, phase="building"), stacks(), look()])
    assert must(never).title.startswith("No first step for 70 s")


def test_a_run_that_fails_while_it_stands_is_judged_sooner() -> None:
    """Who waited for a minute gives up: a script by itself, or a person with Ctrl+C."""
    before = [stacks(), look(40, still_s=20)]
    assert stalled(standing(*before)) is None
    failed = standing(*before, ev.RunEnded(t=T0 + 60, src="child", exit_code=75, wall_s=60.0))
    assert [f.id for f in diagnose(failed)][:2] == ["run.stalled", "run.failed"]
    assert must(failed).title.startswith("No step at the end for 40 s:")
    assert stalled(standing(*before, ev.RunEnded(t=T0 + 60, src="child", exit_code=0, wall_s=60.0))) is None
    computed = [stacks(), look(40, still_s=5)]
    assert stalled(standing(*computed, ev.RunEnded(t=T0 + 60, src="child", signal=2, wall_s=60.0))) is None


def test_tensorflow_in_a_forked_worker() -> None:
    in_worker = stacks(None, IN_TENSORFLOW, pid=WORKER)
    found = must(standing(stacks(), in_worker, look(processes=[PROCESS, FORKED])))
    assert found.title == "No step for 70 s: a forked worker hangs in TensorFlow, at train.py:34"
    assert "NumPy" in found.next and evidence(found)["cause"] == "forked_worker"
    spawned: ProcessStands = {**FORKED, "forked": False}
    other = must(standing(stacks(), in_worker, look(processes=[PROCESS, spawned])))
    assert evidence(other)["cause"] != "forked_worker"


def test_workers_that_cannot_be_asked_are_a_suspicion_only() -> None:
    found = must(standing(stacks(), look(processes=[PROCESS, FORKED])))
    assert found.incomplete == "what its worker processes wait in is not known"
    assert "1 worker process, forked: waiting for a lock or another thread (futex_do_wait)" in found.lines


@pytest.mark.parametrize(
    ("thread", "words"),
    [
        ({"text": "time.sleep(1e6)"}, "stands at data.py:7, asleep"),
        ({"text": "with held:", "call": "lock"}, "stands at data.py:7, waiting for a lock or another thread"),
        ({"text": "x = q.get()", "call": "lock", "waits_in": "queue.get"}, "stands at data.py:7, waiting in queue.get"),
        ({"call": "read", "on": "socket to 10.0.0.7:443"}, "reading from the socket to 10.0.0.7:443"),
        ({"call": "read", "on": "/mnt/set/a.png"}, "reading /mnt/set/a.png"),
    ],
)
def test_what_feeds_it_is_named_with_its_line(thread: ThreadStands, words: str) -> None:
    feeds: ThreadStands = {"role": "feeds", "file": "/home/u/data.py", "line": 7, "state": "S", **thread}
    found = must(standing(stacks("step", FIT, feeds), look()))
    assert words in found.title and evidence(found)["cause"] == "feed"
    assert evidence(found)["place"] == "data.py:7"


def test_a_file_system_that_does_not_answer() -> None:
    in_nfs: ProcessStands = {**PROCESS, "state": "D", "kernel": "nfs_wait_bit_killable"}
    found = must(standing(stacks(), look(processes=[in_nfs])))
    assert evidence(found)["cause"] == "disk" and "nfs_wait_bit_killable" in found.title


def test_a_held_interpreter_is_known_by_its_silence() -> None:
    found = must(standing(look(answered=False)))
    assert evidence(found)["cause"] == "interpreter" and found.incomplete
    assert stalled(standing(look(answered=False), phase="idle")) is None


def test_another_worker() -> None:
    job = ev.Job(t=T0 + 3, src="agent", pid=SCRIPT, task="worker", index=0, workers=2)
    found = must(standing(job, stacks("step"), look()))
    assert evidence(found)["cause"] == "collective" and found.incomplete


def test_one_that_went_on_is_told_as_past() -> None:
    found = must(standing(stacks(), look(), look(130.0, over=True, stood=True)))
    assert found.severity == "info" and "stood still for 2 min 10 s" in found.title
    assert [mark.kind for mark in standing(look(130.0, over=True, stood=True)).marks][-1] == "stall"


# The watch


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


class Watched:
    """A watch over a run whose system is made up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state, self.clock, self.asked = standing(), Clock(), 0
        self.told: list[ev.Standstill] = []
        self.cpu_s, self.held, self.delay_s, self.answers, self.doing = 0.0, False, 0.0, True, "batch"
        self.person = False
        monkeypatch.setattr(standstill, "look_at", lambda script, own: Tree({SCRIPT: self._seen()}))
        monkeypatch.setattr(standstill, "suspended", lambda pid: self.held)
        self.watch = standstill.StandstillWatch(SCRIPT, self.state, self._record, self._ask, set, self.clock)

    def _seen(self) -> Seen:
        return Seen(
            pid=SCRIPT, parent=1, name="python", state="S", kernel=None, cpu_s=self.cpu_s, moved_bytes=0, threads=1,
            delays_s={SCRIPT: self.delay_s}, in_disk=0, forked=None,
        )  # fmt: skip

    def _record(self, event: ev.Event) -> None:
        if isinstance(event, ev.Standstill):
            self.told.append(event)
        self.state.apply(event)

    def _ask(self, command: dict[str, Any]) -> bool:
        self.asked += 1
        if self.answers:
            self.state.apply(stacks(self.doing, question=command["question"], person=self.person))
        return True

    def go(self, seconds: float, cpu: float = 0.0, delay: float = 0.0) -> None:
        for _ in range(int(seconds / standstill.TURN_S)):
            self.clock.at += standstill.TURN_S
            self.cpu_s += cpu * standstill.TURN_S
            self.delay_s += delay * standstill.TURN_S
            self.watch.turn()


def test_nothing_is_looked_at_while_steps_come(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    for n in range(60):
        watched.state.apply(windows(1)[1])
        watched.go(10)
        assert watched.asked == 0, n
    assert not watched.told


def test_it_looks_until_the_verdict_and_says_when_steps_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    watched.go(66)
    assert stalled(watched.state) and 60 <= watched.told[-1].quiet_s <= 66 and watched.told[-1].answered
    watched.state.apply(ev.Standing(t=T0, src="child", since={"run.stalled": T0}))
    watched.state.apply(windows(1)[1])
    watched.go(1)
    assert watched.told[-1].over and watched.told[-1].stood
    assert must(watched.state).severity == "info"


@pytest.mark.parametrize("work", [{"cpu": 0.5}, {"delay": 0.9}])
def test_what_computes_or_would_like_to_is_no_standstill(
    monkeypatch: pytest.MonkeyPatch, work: dict[str, float]
) -> None:
    watched = Watched(monkeypatch)
    watched.go(400, **work)
    assert stalled(watched.state) is None and watched.told[-1].works


def test_a_suspended_script_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    watched.go(30)
    watched.held = True
    watched.go(500)
    assert [until for _, until in watched.state.standstill.suspended] == [None]
    watched.held = False
    watched.clock.at += 3600  # the machine slept
    watched.go(20)
    assert [until is None for _, until in watched.state.standstill.suspended] == [False]
    assert stalled(watched.state) is None and watched.told[-1].quiet_s < 60
    watched.go(60)
    assert stalled(watched.state)


def test_a_step_in_which_the_script_was_held_is_not_judged() -> None:
    def waits(*held: ev.Event) -> set[str]:
        long = steps(100.0, 1, 90e3, wait=0.99)
        return {found.id for found in diagnose(state_of(start(), windows(20), list(held), [long]))}

    assert "input.bound" in waits()
    stopped = ev.Suspended(t=T0 + 11, src="host", since=T0 + 10.5)
    assert "input.bound" not in waits(stopped)
    assert "input.bound" not in waits(stopped, replace(stopped, t=T0 + 99, until=T0 + 99))
    assert "input.bound" in waits(replace(stopped, t=T0 + 5, since=T0 + 4.0, until=T0 + 5.0))


@pytest.mark.parametrize("answers_s", [16.0, 20.0, 40.0])
def test_an_answer_from_before_the_interpreter_was_held_is_none(
    monkeypatch: pytest.MonkeyPatch, answers_s: float
) -> None:
    watched = Watched(monkeypatch)
    watched.go(answers_s)
    if answers_s == 16.0:  # a pause, and steps after it: its only answer tells of then
        watched.state.apply(windows(1)[1])
        watched.go(1)
    watched.answers = False
    for _ in range(70):
        watched.go(1)
        found = stalled(watched.state)
        assert found is None or evidence(found)["cause"] == "interpreter", watched.told[-1]
    assert stalled(watched.state)


def test_a_pause_that_is_just_over_does_not_become_a_standstill(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    watched.doing = "callback"
    watched.go(90)
    assert stalled(watched.state) is None
    watched.state.apply(stacks("batch", question=999))  # newer than the last look
    assert stalled(watched.state) is None
    watched.doing = "batch"
    watched.go(20)
    assert stalled(watched.state) is None, "it waits for a batch since 20 s, not since 110"
    watched.go(25)
    assert stalled(watched.state)


def test_a_late_answer_does_not_take_a_verdict_back() -> None:
    late = [stacks(), look(), ev.Standing(t=T0, src="child", since={"run.stalled": T0}), look(75.0, answered=None)]
    assert must(standing(*late))
    assert stalled(standing(stacks(), look(answered=None))) is None


def test_while_it_waits_for_a_person_nothing_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    watched.person = True
    watched.go(200)
    assert stalled(watched.state) is None
    ((_, until),) = watched.state.standstill.suspended
    assert until is None
    watched.state.apply(windows(1)[1])
    watched.go(1)
    ((_, until),) = watched.state.standstill.suspended
    assert until is not None


def test_a_stop_keeps_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    watched.go(70)
    watched.state.apply(ev.Stopping(t=T0 + 80, src="child", stage="terminate"))
    watched.go(20)
    assert must(watched.state).severity == "critical"
