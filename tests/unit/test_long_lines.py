"""Reports on a narrow terminal break between words."""

from tfgpu_tui.terminal.long_lines import folded


def test_what_follows_stands_below_the_beginning_of_its_text() -> None:
    line = "!! critical  Input-bound: 62 % of each step waits for data"
    assert folded(line, 40) == "!! critical  Input-bound: 62 % of each\n             step waits for data"
    assert folded("       next  Write it with TensorFlow's own ops, please", 40) == (
        "       next  Write it with TensorFlow's\n             own ops, please"
    )


def test_what_fits_and_what_has_no_blank_stays_as_it_is() -> None:
    text = "a  b\n\n  c"
    assert folded(text, 40) == text
    assert folded("/" + "x" * 60, 40) == "/" + "x" * 60


def test_a_command_is_not_broken_in_two() -> None:
    line = "Go on: tfgpu-tui try --resume try-train-20261128-001131 --budget 10m"
    assert folded(line, 40) == line
    assert "\n" in folded("Once more, with `tfgpu-tui doctor`: it says whether TensorFlow will use a GPU here", 40)
