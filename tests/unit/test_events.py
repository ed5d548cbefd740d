"""The journal's lines: nothing is lost on the way, and nothing foreign breaks a reader."""

import json
from dataclasses import MISSING, fields

import pytest

from tests.journals import pipeline, start, windows
from tfgpu_tui.core import events as ev


def test_every_event_survives_its_line() -> None:
    for event in [*start(), *windows(3), *pipeline()]:
        line = ev.encode(event)
        assert "\n" not in line
        assert ev.decode(line) == event


@pytest.mark.parametrize("cls", ev.ALL_EVENTS, ids=lambda c: c.type)
def test_each_type_is_known_by_its_name_and_needs_only_its_required_fields(cls: type[ev.Event]) -> None:
    stand_ins = {"str": "x", "int": 1, "bool": True, "float": 1.0, "list[str]": ["x"], "dict[str, float]": {"x": 1.0}}
    required = {f.name: stand_ins[str(f.type)] for f in fields(cls) if f.default is f.default_factory is MISSING}
    event = ev.decode(json.dumps({"v": 1, "type": cls.type, **required}))
    assert type(event) is cls


def test_a_newer_writer_does_not_break_an_older_reader() -> None:
    newer = {"v": 2, "t": 1.0, "type": "phase", "phase": "training", "colour": "blue"}
    assert ev.decode(json.dumps(newer)) == ev.Phase(t=1.0, phase="training")
    assert ev.decode('{"v":2,"t":1.0,"type":"hologram"}') is None


@pytest.mark.parametrize(
    "line", ["", "{", "[]", "null", "17", '"text"', '{"type":"phase"}', '{"t":"soon","type":"phase","phase":"x"}',
             '{"t":1,"type":["phase"]}', '{"t":1,"type":"phase"}', b"\xff\xfe"]
)  # fmt: skip
def test_what_is_no_event_is_none(line: str | bytes) -> None:
    assert ev.decode(line) is None


def test_not_a_number_never_reaches_the_journal() -> None:
    with pytest.raises(ValueError):
        ev.encode(ev.Metrics(t=1.0, step=1, values={"loss": float("nan")}))


def test_histogram_buckets_keep_five_percent() -> None:
    for microseconds in (1.0, 3.7, 41.0, 990.0, 31_800.0, 2.5e6, 9e7):
        value = ev.histogram_value_s(ev.histogram_bucket(microseconds / 1e6)) * 1e6
        assert abs(value / microseconds - 1) < 0.05
