"""Small pure parts: knobs, numbers as text, the plain status line."""

import math
from itertools import pairwise

import pytest

from tests.journals import start, state_of, windows
from tfgpu_tui.core import knobs, units
from tfgpu_tui.report.plain import StatusPrinter, status_line


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


@pytest.mark.parametrize(
    ("setting", "value", "variables"),
    [
        ("gpu_memory_limit=04096", "4096", {}),
        ("allocator=cuda_malloc_async", "cuda_malloc_async", {"TF_GPU_ALLOCATOR": "cuda_malloc_async"}),
        ("visible_devices= 1, 0", "1,0", {"CUDA_VISIBLE_DEVICES": "1,0"}),
        ("visible_devices=none", "none", {"CUDA_VISIBLE_DEVICES": "-1"}),
        ("visible_devices=GPU-1a2b-3c", "GPU-1a2b-3c", {"CUDA_VISIBLE_DEVICES": "GPU-1a2b-3c"}),
        ("gpu_thread_mode=gpu_private", "gpu_private", {"TF_GPU_THREAD_MODE": "gpu_private"}),
        ("threads=4/2", "4/2", {}),
        ("steps_per_execution=16", "16", {}),
        ("library_path=/a:/b", "/a:/b", {"LD_LIBRARY_PATH": "/a:/b:/mine"}),
        ("library_path=auto", "auto", {}),
    ],
)
def test_free_values_have_one_written_form(setting: str, value: str, variables: dict[str, str]) -> None:
    name = setting.partition("=")[0]
    asked = knobs.parse([setting])
    assert asked == {name: value}
    assert knobs.environment(asked, {"LD_LIBRARY_PATH": "/mine"}) == variables
    assert knobs.following(name, value) in knobs.ALL[name].values


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("gpu_memory_limit=4G", "whole number from 64"),
        ("gpu_memory_limit=0", "whole number from 64"),
        ("visible_devices=0,0", "twice"),
        ("visible_devices=first", "neither an index nor a UUID"),
        ("threads=0", "number of threads"),
        ("threads=2/0", "number of threads"),
        ("library_path=lib", "absolute folders"),
        ("steps_per_execution=-1", "whole number from 1"),
    ],
)
def test_a_wrong_free_value_says_what_is_right(setting: str, says: str) -> None:
    with pytest.raises(knobs.KnobError, match=says):
        knobs.parse([setting])


def test_automatic_folders_are_filled_in_where_there_are_some() -> None:
    assert knobs.resolve_library_path({"library_path": "auto"}, lambda: ["/n/a", "/n/b"]) == {
        "library_path": "/n/a:/n/b"
    }
    assert knobs.resolve_library_path({"library_path": "auto"}, list) == {"library_path": "auto"}
    assert knobs.resolve_library_path({"threads": "2"}, lambda: ["/n"]) == {"threads": "2"}


def test_every_knob_can_be_shown_in_a_dialog() -> None:
    for knob in knobs.ALL.values():
        assert knob.values[0] == knobs.SCRIPT and knob.summary and knob.accepts
        assert len(knob.values) > 1 or knob.free is not None
        assert all(knobs.parse_one(knob.name, value) == value for value in knob.values)


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


def test_what_no_quantity_can_be_is_unknown() -> None:
    for form in (units.duration, units.clock, units.size, units.rate, units.percent, units.share):
        assert {form(math.inf), form(-math.inf), form(math.nan), form(10**400)} == {"–"}
    lost = units.number(math.inf), units.number(math.nan), units.number(10**400)
    assert lost == ("inf", "nan", "–"), "a loss may be the first two"


def test_the_plain_line_holds_speed_and_shares() -> None:
    line = status_line(state_of(start(), windows(20, wait=0.61)))
    assert "step 505" in line
    assert "10.0 ms/step (input 61 %, compute 34 %, host 5 %)" in line


def test_a_finding_is_printed_once() -> None:
    printer = StatusPrinter()
    state = state_of(start(), windows(20, wait=0.61))
    assert any("[input.bound]" in line for line in printer.lines(state))
    assert not any("[input.bound]" in line for line in printer.lines(state))
