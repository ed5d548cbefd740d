"""The link to the supervisor, over a real socket, against peers that read slowly, not at all, or go away."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tfgpu_tui.agent.hooks import link as link_module
from tfgpu_tui.agent.hooks.descriptors import Connection
from tfgpu_tui.agent.hooks.link import QUEUE_LIMIT, Link, encode, stamped


@pytest.fixture
def server(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        listening.settimeout(20)
        yield listening


def lines(connection: socket.socket, enough: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """Events from the connection until there are enough; fails after 20 s."""
    connection.settimeout(20)
    data = b""
    events: list[dict[str, Any]] = []
    while not enough(events):
        part = connection.recv(65536)
        assert part, "the link closed the connection"
        *whole, data = (data + part).split(b"\n")
        events += [json.loads(line) for line in whole]
    return events


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "not in a minute"
        time.sleep(0.01)


def test_says_hello_first_and_keeps_the_order(server: socket.socket) -> None:
    link = Link(server.getsockname())
    for number in range(5):
        link.put(stamped("metrics", {"step": number}))
    connection, _ = server.accept()
    with connection:
        events = lines(connection, lambda e: len(e) >= 6)
    assert [e["type"] for e in events] == ["agent_connected"] + ["metrics"] * 5
    assert [e["step"] for e in events[1:]] == [0, 1, 2, 3, 4]
    assert {e["pid"] for e in events} == {os.getpid()}


def test_the_latest_replaces_what_still_waits(server: socket.socket) -> None:
    link = Link(server.getsockname())
    with link._io_lock:  # the thread can't send yet
        link.put(stamped("phase", {"phase": "importing"}), ("phase", None))
        link.put(stamped("phase", {"phase": "imported"}), ("phase", None))
        link.put(stamped("memory", {}), ("memory", 1))
    connection, _ = server.accept()
    with connection:
        events = lines(connection, lambda e: len(e) >= 3)
    assert [e.get("phase") for e in events[1:]] == ["imported", None]


def test_a_peer_that_does_not_read_costs_messages_never_time(server: socket.socket) -> None:
    link = Link(server.getsockname())
    text = "x" * 4000
    link.put(stamped("log", {}))
    connection, _ = server.accept()
    with connection:
        start = time.perf_counter()
        for _ in range(4 * QUEUE_LIMIT):
            link.put(stamped("log", {"text": text}))
        took = time.perf_counter() - start
        assert took < 5, "put() waited for the peer"
        wait_until(lambda: link.dropped > 0)
        expected = link.dropped
        events = lines(connection, lambda e: bool(e) and e[-1]["type"] == "dropped")
    assert events[-1]["count"] == expected
    assert len([e for e in events if e["type"] == "log"]) == 4 * QUEUE_LIMIT + 1 - expected


def test_a_new_peer_gets_what_came_meanwhile(server: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "RETRY_S", 0.05)
    link = Link(server.getsockname())
    link.put(stamped("metrics", {"step": 0}))
    connection, _ = server.accept()
    lines(connection, lambda e: len(e) >= 2)
    connection.close()
    wait_until(lambda: link._lost_at is not None)
    for number in range(1, 4):
        link.put(stamped("metrics", {"step": number}))
    again, _ = server.accept()
    with again:
        events = lines(again, lambda e: len(e) >= 4)
    assert [e["type"] for e in events] == ["agent_connected"] + ["metrics"] * 3
    assert [e["step"] for e in events[1:]] == [1, 2, 3]


def test_a_line_that_was_half_sent_is_not_sent_again(server: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "RETRY_S", 0.05)
    link = Link(server.getsockname())
    for number in range(40):
        link.put(stamped("metrics", {"step": number, "text": "x" * 20_000}))
    connection, _ = server.accept()
    wait_until(lambda: link._within_line)  # the socket is full
    connection.close()
    again, _ = server.accept()
    with again:
        events = lines(again, lambda e: bool(e) and e[-1].get("step") == 39)
    steps = [e["step"] for e in events[1:]]
    assert events[0]["type"] == "agent_connected" and steps == list(range(steps[0], 40))


@pytest.mark.parametrize("by", ["socket", "file", "nothing"])
def test_a_descriptor_that_the_script_closed_is_the_scripts(server: socket.socket, tmp_path: Path, by: str) -> None:
    """Its number now stands for a file or a socket of the script: no byte goes there or is read, nor is it closed."""
    link = Link(server.getsockname())
    link.put(stamped("log", {}))
    connection, _ = server.accept()
    lines(connection, lambda e: len(e) >= 2)
    mine, peer = socket.socketpair()
    with contextlib.ExitStack() as stack:
        for each in (connection, mine, peer):
            stack.enter_context(each)
        file = stack.enter_context((tmp_path / "file").open("w+"))
        for time_ in (1, 2):
            assert link._connection is not None
            number = link._connection.held.number
            if by == "nothing":
                os.close(number)
            else:
                os.dup2(mine.fileno() if by == "socket" else file.fileno(), number)  # as close and open do
            peer.send(b"for the script")
            link.put(stamped("metrics", {"step": time_}))
            again, _ = server.accept()
            stack.enter_context(again)  # until the end: the link notices a peer that has gone
            events = lines(again, lambda e, wanted=4 - time_: len(e) >= wanted)  # type: ignore[misc]
            told = {"agent_connected", "metrics", "fault"} if time_ == 1 else {"agent_connected", "metrics"}
            assert {e["type"] for e in events} == told, "said once"
            assert mine.recv(100) == b"for the script"
            with pytest.raises(BlockingIOError):
                peer.recv(100, socket.MSG_DONTWAIT)
            if time_ == 2:
                link.close()
                del link
                gc.collect()
            if by != "nothing":
                os.close(number)
        assert file.seek(0, os.SEEK_END) == 0


def test_a_supervisor_that_can_not_be_reached_yet_gets_one_hello(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "RETRY_S", 0.0)
    tries: list[None] = []

    def connect(path: str) -> Connection:
        tries.append(None)
        return Connection(path)

    monkeypatch.setattr(link_module, "Connection", connect)
    link = Link(str(tmp_path / "s"))
    link.put(stamped("log", {}))
    wait_until(lambda: len(tries) > 1)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        listening.settimeout(20)
        connection, _ = listening.accept()
        with connection:
            assert [e["type"] for e in lines(connection, lambda e: len(e) >= 2)] == ["agent_connected", "log"]


def test_a_peer_that_goes_away_for_long_ends_the_link_for_good(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "PATIENCE_S", 0.0)
    link = Link(server.getsockname())
    link.put(stamped("log", {}))
    connection, _ = server.accept()
    connection.close()
    wait_until(lambda: link._dead)
    link.put(stamped("log", {}))
    link.flush()
    assert not link._queue


def test_no_peer_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "PATIENCE_S", 0.0)
    link = Link(str(tmp_path / "none"))
    link.put(stamped("log", {}))
    wait_until(lambda: link._dead)


def test_commands_arrive(server: socket.socket) -> None:
    commands: list[dict[str, Any]] = []
    arrived = threading.Event()

    def obey(command: dict[str, Any]) -> None:
        commands.append(command)
        arrived.set()

    link = Link(server.getsockname(), on_command=obey)
    link.put(stamped("log", {}))
    connection, _ = server.accept()
    with connection:
        connection.sendall(b'not json\n["no command"]\n{"cmd": "stop_')
        connection.sendall(b'training"}\n')
        assert arrived.wait(60)
    assert commands == [{"cmd": "stop_training"}]


def test_a_forked_child_gets_a_connection_of_its_own(server: socket.socket) -> None:
    link = Link(server.getsockname())
    link.put(stamped("log", {"who": "parent"}))
    parents, _ = server.accept()
    with parents:
        lines(parents, lambda e: len(e) >= 2)
        child = os.fork()
        if child == 0:
            try:
                link.after_fork()
                link.put(stamped("log", {"who": "child"}))
                link.flush()
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        childs, _ = server.accept()
        with childs:
            events = lines(childs, lambda e: len(e) >= 2)
        assert [(e["type"], e["pid"]) for e in events] == [("agent_connected", child), ("log", child)]
        link.put(stamped("log", {"who": "parent again"}))
        (event,) = lines(parents, lambda e: len(e) >= 1)
        assert event["who"] == "parent again"


def test_periodic_functions_run_on_a_thread_of_their_own(server: socket.socket) -> None:
    link = Link(server.getsockname())
    ran = threading.Event()
    names: list[str] = []

    def note() -> None:
        names.append(threading.current_thread().name)
        ran.set()

    link.every(0.01, note)
    link.put(stamped("log", {}))
    connection, _ = server.accept()
    with connection:
        assert ran.wait(60)
    assert set(names) == {"tfgpu-tui work"}


def test_the_end_of_the_process_waits_for_what_runs_and_starts_no_more(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Link(server.getsockname())
    entered, done = threading.Event(), []

    def in_tensorflow() -> None:
        entered.set()
        link._over.wait(60)  # until the process begins to end
        done.append(time.monotonic())

    link.every(0.0, in_tensorflow)
    link.put(stamped("phase", {"phase": "training"}))
    assert entered.wait(60)
    link.close()
    closed = time.monotonic()
    assert done and done[-1] <= closed
    assert link._worker is not None
    link._worker.join(60)
    assert not link._worker.is_alive() and done[-1] <= closed
    monkeypatch.setattr(link_module, "LAST_WORK_S", 3600.0)
    link.close()  # a second end waits for nothing


class Scalar:
    """Like a NumPy scalar."""

    def item(self) -> float:
        return 2.5


def test_numbers_that_json_does_not_have_become_text() -> None:
    event = {"a": float("nan"), "b": [float("inf"), -float("inf")], "c": {1: Scalar()}, "d": object, "e": (True, None)}
    decoded = json.loads(encode(event))
    assert decoded["a"] == "nan"
    assert decoded["b"] == ["inf", "-inf"]
    assert decoded["c"] == {"1": 2.5}
    assert decoded["d"] == str(object)
    assert decoded["e"] == [True, None]


def test_at_most_four_sends_a_second() -> None:
    assert link_module.PERIOD_S >= 0.25
