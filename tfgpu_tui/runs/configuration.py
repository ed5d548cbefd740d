"""Settings: flags > environment (TFGPU_TUI_*) > config.toml > defaults, into one frozen `Settings`."""

from __future__ import annotations

import importlib
import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tfgpu_tui.core.severity import SEVERITIES
from tfgpu_tui.runs import files, folders

MOST_STALL_S = 1e6
MIN_INTERVAL_S, MAX_INTERVAL_S = 0.1, 60.0
MOST_BYTES = 1 << 20
"""Of a configuration file."""


class ConfigError(ValueError):
    """A setting that can't be used; the text is a whole sentence that names it and where it came from."""


class Settings(NamedTuple):
    """What the user chose, wherever it was written."""

    interval_s: float = 0.5
    """Sampling period of the machine and the GPUs."""
    stall_after_s: float = 60.0
    """Without a step for so long it is asked whether the training stands still; 0 is never."""
    python: str | None = None
    """Interpreter for scripts; None: the active environment's."""
    headless: bool = False
    plain: bool = False
    """Status lines instead of the screen."""
    ascii: bool = False
    """Only ASCII glyphs in the screen."""
    tour: bool = True
    """Three hints on a new user's first screen."""
    theme: str | None = None
    """A theme of Textual by name; None: chosen to suit the terminal."""
    metrics: str | None = None
    """Where its metrics are told to Prometheus: HOST:PORT, unix:PATH or FILE.prom."""
    on_finding: str | None = None
    """A shell's command that runs once for each new finding."""
    on_finding_severity: str = "warning"
    """The least severe that it is run for."""
    knobs: dict[str, str] = {}
    """Knobs of every run, as written in the file's [set]: KNOB -> VALUE. Those of --set win."""
    keys: dict[str, str] = {}
    """The reader's own keys in the screen, as written in the file's [keys]: action -> key (see `ui.keys`)."""


KEYS = {
    "interval": "interval_s",
    "stall_after": "stall_after_s",
    "python": "python",
    "headless": "headless",
    "plain": "plain",
    "ascii": "ascii",
    "tour": "tour",
    "theme": "theme",
    "metrics": "metrics",
    "on_finding": "on_finding",
    "on_finding_severity": "on_finding_severity",
}
"""Key in the file and (as TFGPU_TUI_<KEY>) in the environment -> field."""
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}


def load(flags: Mapping[str, Any], environ: Mapping[str, str] = os.environ, file: str | None = None) -> Settings:
    """The settings in force. `flags` holds fields of Settings that the command line gave (None: not given); `file`
    is the --config file, which then must exist. Raises ConfigError."""
    chosen = file or environ.get("TFGPU_TUI_CONFIG") or None
    path = Path(chosen) if chosen else default_path(environ)
    values = _from_file(path, must_exist=bool(chosen)) if path is not None else {}
    values |= _from_environment(environ)
    return Settings(**{**values, **{name: value for name, value in flags.items() if value is not None}})


def default_path(environ: Mapping[str, str] = os.environ) -> Path | None:
    """`config.toml` in this system's configuration folder for the user; None for a user without a home."""
    base = folders.of_user("XDG_CONFIG_HOME", ".config", environ)
    return None if base is None else base / "tfgpu-tui" / "config.toml"


def interval(value: Any, where: str) -> float:
    """A sampling period in seconds. Raises ConfigError."""
    return _seconds(value, where, MIN_INTERVAL_S, MAX_INTERVAL_S)


def stall_after(value: Any, where: str) -> float:
    """Seconds without a step, or 0. Raises ConfigError."""
    return _seconds(value, where, 0.0, MOST_STALL_S)


def _seconds(value: Any, where: str, least: float, most: float) -> float:
    try:
        if isinstance(value, bool):
            raise ValueError
        seconds = float(value)
    except (TypeError, ValueError):
        raise ConfigError(f"{where}: {_short(value)} is no number of seconds") from None
    except OverflowError:
        seconds = math.inf
    if not least <= seconds <= most:
        raise ConfigError(f"{where}: {_short(value, str)} s is outside {least:g} to {most:g} s")
    return seconds


def _short(value: Any, words: Callable[[Any], str] = repr) -> str:
    """A value that was refused, as it was written; not all of a very long one."""
    if isinstance(value, int) and value.bit_length() > 200:
        return "this"  # Python refuses to write out a number of thousands of digits
    return f"{words(value):.60}"


def _from_file(path: Path, must_exist: bool = False) -> dict[str, Any]:
    try:
        text = files.read_bounded(path, MOST_BYTES).decode("utf-8")
    except FileNotFoundError:
        if must_exist:
            raise ConfigError(f"there is no configuration file {path}") from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"the configuration file {path!s:.300} can't be read: {why}") from error
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        data = toml.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the configuration file {path} is no TOML: {error}") from error
    if "\\u0000" in text or "\\U00000000" in text:
        raise ConfigError(f"{path}: a NUL character can't be part of a setting")
    tables = {"set", "keys"}
    unknown = sorted(set(data) - set(KEYS) - tables)
    if unknown:
        known = ", ".join([*KEYS, "set", "keys"])
        raise ConfigError(f"{path}: unknown key{'s' * (len(unknown) > 1)} {', '.join(unknown)}; known are {known}")
    values = {KEYS[key]: _value(key, data[key], f"{path}: {key}") for key in data if key not in tables}
    knobs = data.get("set", {})
    if not isinstance(knobs, dict) or not all(isinstance(value, str) for value in knobs.values()):
        raise ConfigError(f'{path}: [set] holds knobs as text, for example memory_growth = "on"')
    keys = data.get("keys", {})
    if not isinstance(keys, dict) or not all(isinstance(value, str) for value in keys.values()):
        raise ConfigError(f'{path}: [keys] holds keys of the screen as text, for example zoom = "x"')
    return {**values, **({"knobs": knobs} if knobs else {}), **({"keys": keys} if keys else {})}


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for key, name in KEYS.items():
        variable = f"TFGPU_TUI_{key.upper()}"
        if variable in environ:
            values[name] = _value(key, environ[variable], variable)
    return values


def _value(key: str, value: Any, where: str) -> Any:
    """A value of the file or the environment as its field wants it."""
    if key == "interval":
        return interval(value, where)
    if key == "stall_after":
        return stall_after(value, where)
    if key in ("headless", "plain", "ascii", "tour"):
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in _TRUE | _FALSE:
            return value.lower() in _TRUE
        raise ConfigError(f"{where}: {_short(value)} is neither true nor false")
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {_short(value)} is no text")
    if key == "on_finding_severity":
        return severity(value, where)
    return value or None


def severity(value: str, where: str) -> str:
    """How severe a finding is. Raises ConfigError."""
    if value not in SEVERITIES:
        raise ConfigError(f"{where}: {_short(value)} is none of {', '.join(SEVERITIES)}")
    return value
