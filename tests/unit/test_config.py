"""Settings: which source wins, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfgpu_tui.runs import configuration
from tfgpu_tui.runs.configuration import ConfigError, Settings


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path)}


def write(home: dict[str, str], text: str) -> Path:
    path = configuration.default_path(home)
    assert path is not None
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_defaults(home: dict[str, str]) -> None:
    assert configuration.load({}, home) == Settings()


def test_flags_win_over_the_environment_over_the_file(home: dict[str, str]) -> None:
    write(home, 'interval = 2\ntheme = "file"\npython = "file"\nascii = true\n[set]\nmemory_growth = "on"\n')
    environ = {**home, "TFGPU_TUI_THEME": "environment", "TFGPU_TUI_PYTHON": "environment", "TFGPU_TUI_PLAIN": "yes"}
    assert configuration.load({"python": "flag", "theme": None, "headless": None}, environ) == Settings(
        interval_s=2.0, theme="environment", python="flag", ascii=True, plain=True, knobs={"memory_growth": "on"}
    )


def test_variables_of_other_purposes_are_no_settings(home: dict[str, str]) -> None:
    assert configuration.load({}, {**home, "TFGPU_TUI_SOCKET": "x", "TFGPU_TUI_STOP_AFTER": "3"}) == Settings()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colour = 1\nsped = 2\n", "unknown keys colour, sped; known are interval"),
        ("interval = 0\n", "interval: 0 s is outside 0.1 to 60 s"),
        ('interval = "fast"\n', "'fast' is no number of seconds"),
        ("interval = nan\n", "outside"),
        ("interval = true\n", "no number"),
        ('ascii = "perhaps"\n', "neither true nor false"),
        ("stall_after = -1\n", "stall_after: -1 s is outside 0 to"),
        ("theme = 3\n", "theme: 3 is no text"),
        ("theme = \n", "is no TOML"),
        ("set = 3\n", "holds knobs as text"),
        ("[set]\nmemory_growth = true\n", "holds knobs as text"),
    ],
)
def test_a_bad_file_is_named_with_its_fault(home: dict[str, str], text: str, words: str) -> None:
    path = write(home, text)
    with pytest.raises(ConfigError) as caught:
        configuration.load({}, home)
    assert words in str(caught.value) and str(path) in str(caught.value)


def test_a_bad_variable_is_named(home: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="TFGPU_TUI_INTERVAL: 'x' is no number"):
        configuration.load({}, {**home, "TFGPU_TUI_INTERVAL": "x"})


def test_a_chosen_file_must_exist_and_be_text(home: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration file"):
        configuration.load({}, home, str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match="no configuration file"):
        configuration.load({}, {**home, "TFGPU_TUI_CONFIG": str(tmp_path / "none.toml")})
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="can't be read"):
        configuration.load({}, home, str(tmp_path / "binary"))
