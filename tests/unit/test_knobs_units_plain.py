"""Small pure parts: knobs, numbers as text, the plain status line."""

from itertools import pairwise

import pytest

from tests.journals import start, state_of, windows
from tfgpu_tui import knobs, units
from tfgpu_tui.plain import StatusPrinter, status_line


def test_a_knob_becomes_variables() -> None:
    asked = knobs.parse(["memory_growth=on"])
    assert knobs.environment(asked, {}) == {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    assert knobs.environment(knobs.parse(["memory_growth=off"]), {}) == {"TF_FORCE_GPU_ALLOW_GROWTH": "false"}
    assert knobs.parse(["memory_growth=on", "memory_growth=script"]) == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [("memory_growth", "KNOB=VALUE"), ("turbo=on", "--list-knobs"), ("memory_growth=maybe", "script, on, off")],
)
def test_a_wrong_knob_says_what_is_right(text: str, says: str) -> None:
    with pytest.raises(knobs.KnobError, match=says):
        knobs.parse([text])


def test_the_growth_key_goes_round() -> None:
    seen = [None, "on", "off", "script"]
    for before, after in pairwise(seen):
        assert knobs.following("memory_growth", before) == after


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (units.duration(0.0318), "31.8 ms"),
        (units.duration(41e-6), "41 µs"),
        (units.duration(1.234), "1.23 s"),
        (units.duration(125), "2 min 05 s"),
        (units.clock(3721), "1:02:01"),
        (units.clock(252), "04:12"),
        (units.size(15.9 * 2**30), "15.9 GiB"),
        (units.size(0), "0 B"),
        (units.rate(3.1 * 2**20), "3.1 MiB/s"),
        (units.number(52_341), "52.3k"),
        (units.number(0.591, 4), "0.591"),
        (units.percent(0.4), "0.4 %"),
        (units.share(0.614), "61 %"),
    ],
)
def test_numbers_read_well(text: str, expected: str) -> None:
    assert text == expected


def test_unknown_is_never_zero() -> None:
    for form in (units.duration, units.clock, units.size, units.rate, units.number, units.percent, units.share):
        assert form(None) == "–"


def test_the_plain_line_holds_speed_and_shares() -> None:
    line = status_line(state_of(start(), windows(20, wait=0.61)))
    assert "step 505" in line
    assert "10.0 ms/step (input 61 %, compute 34 %, host 5 %)" in line


def test_a_finding_is_printed_once() -> None:
    printer = StatusPrinter()
    state = state_of(start(), windows(20, wait=0.61))
    assert any("[input.bound]" in line for line in printer.lines(state))
    assert not any("[input.bound]" in line for line in printer.lines(state))
