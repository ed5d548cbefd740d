"""Every key, once: this table makes bindings, footer, help and command list, and is what users remap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.runs.configuration import ConfigError

if TYPE_CHECKING:
    from textual.binding import BindingType

# Textual is imported where it is needed: the table itself is checked before a script starts, when nothing heavy may be.


class KeyTableError(ConfigError):
    """A key of the configuration file that can't be used; the text is a whole sentence."""


@dataclass(frozen=True)
class Key:
    """One key of the screen. `name` is what [keys] in the configuration file calls it."""

    key: str
    """As Textual names it: `g`, `question_mark`, `ctrl+c`."""
    action: str
    name: str
    footer: str
    """Short word for the footer; empty where it is only in the help."""
    help: str
    show: str = ""
    """How the key is written; the key itself by default."""
    group: str = "look"
    """`look`, `act` or `replay`: how the help and the command list sort it."""

    @property
    def label(self) -> str:
        return self.show or self.key


GROUPS = {
    "look": "what is seen",
    "act": "what is done",
    "replay": "in a replay",
    "pane": "panes",
}

KEYS: tuple[Key, ...] = (
    Key("question_mark", "help", "help", "help", "this page: every key, and what every word means", "?"),
    Key("q", "quit", "quit", "quit", "leave; while the training runs, asks: detach, stop, kill or stay", group="act"),
    Key("g", "growth", "growth", "growth", "memory growth of the next run: as the script has it, on, off", group="act"),
    Key("r", "rerun", "rerun", "rerun", "stop after this batch and start again with the settings for the next run",
        group="act"),
    Key("enter", "apply", "apply", "try", "try the setting of the chosen finding: reruns with it; in the placement, "
        "folds or unfolds the chosen layer", "Enter", "act"),
    Key("a", "try_settings", "try_settings", "try all", "try what could help: the script with one setting after the "
        "other (`tfgpu-tui try`), and a table of what is worth it", group="act"),
    Key("s", "settings", "settings", "settings", "every setting that a rerun can change: now, in force, next run",
        group="act"),
    Key("y", "copy", "copy", "copy", "copy the next step of the chosen finding to the clipboard, also over SSH "
        "(OSC 52)", group="act"),
    Key("e", "export", "export", "export", "write report.json, report.html, the screen as SVG and text, and the series "
        "as CSV to a new folder", group="act"),
    Key("i", "type", "type", "type", "type lines to the script, for one that asks something", group="act"),
    Key("p", "profile", "profile", "profile", "measure the next 5 steps by layer (they take longer): ms in placement",
        group="act"),
    Key("d", "detach", "detach", "detach", "leave the screen; the training goes on, `tfgpu-tui attach` comes back",
        group="act"),
    Key("b", "browse", "browse", "runs", "all runs: open, replay, compare, delete", group="act"),
    Key("f", "findings", "findings", "findings", "all findings with their evidence, and those that are over"),
    Key("w", "explain", "explain", "why", "why the chosen finding stands there, and what to do about it"),
    Key("z", "zoom", "zoom", "zoom", "the pane in focus over the whole screen, and back"),
    Key("c", "compare", "compare", "compare", "this run against the one before it, side by side"),
    Key("slash", "search", "search", "search", "search in the output or the placement, whichever is in focus", "/"),
    Key("n", "next_hit", "next_hit", "", "the next place that the search found (the one before it: N)"),
    Key("N", "last_hit", "last_hit", "", "the place before"),
    Key("o", "off_gpu", "off_gpu", "not on GPU", "placement: only the layers that are not on the GPU, or all"),
    Key("left_square_bracket", "shorter", "shorter", "shorter", "plots show less time: all, 1 h, 10 min, 1 min", "["),
    Key("right_square_bracket", "longer", "longer", "longer", "plots show more time: 1 min, 10 min, 1 h, all", "]"),
    Key("t", "axis", "axis", "time", "the next range of time: 1 min, 10 min, 1 h, all"),
    Key("m", "next_metric", "next_metric", "metric", "the next metric in the metric plot"),
    Key("space", "freeze", "freeze", "freeze", "hold the screen still to read it; the training goes on; a replay "
        "pauses"),
    Key("ctrl+p", "commands", "commands", "", "everything that these keys do, to search by words", "Ctrl+P"),
    Key("tab", "focus_next", "focus_next", "", "focus the next pane", "Tab"),
    Key("shift+tab", "focus_previous", "focus_previous", "", "focus the pane before", "Shift+Tab"),
    Key("escape", "back", "back", "", "leave zoom, a search, or a dialog", "Esc"),
    Key("ctrl+c", "quit", "interrupt", "", "the same as q", "Ctrl+C", "act"),
    Key("comma", "seek(-1)", "seek_back", "back 5 s", "back by 5 seconds, or a twentieth of a long run", ",", "replay"),
    Key("full_stop", "seek(1)", "seek_ahead", "ahead", "ahead by as much", ".", "replay"),
    Key("less_than_sign", "speed(0.5)", "slower", "slower", "half as fast", "<", "replay"),
    Key("greater_than_sign", "speed(2.0)", "faster", "faster", "twice as fast", ">", "replay"),
)  # fmt: skip

PANE_KEYS: tuple[tuple[str, str, str], ...] = (
    ("1", "step", "step time"),
    ("2", "gpu", "GPU"),
    ("3", "cpu", "CPU"),
    ("4", "memory", "memory"),
    ("5", "metric", "metric"),
    ("6", "pipeline", "input pipeline"),
    ("7", "placement", "placement of layers"),
    ("8", "output", "output of the script"),
    ("9", "epochs", "epochs"),
    ("0", "account", "the whole run's time"),
)
"""Number key, pane, its name. The key focuses a pane that is shown, and zooms one that is not (or is in focus)."""

ALL: tuple[Key, ...] = (
    *KEYS,
    *(
        Key(number, f"pane('{pane}')", f"pane_{pane}", "", f"{name}: focus it; again, or where it is not shown: whole "
            "screen", group="pane")
        for number, pane, name in PANE_KEYS
    ),
)  # fmt: skip

SCROLL_HELP = "scroll the pane in focus: ↑ ↓ PgUp PgDn Home End, mouse wheel; a double click zooms"
_SCROLLING = {"up", "down", "left", "right", "pageup", "pagedown", "home", "end"}
"""Keys that a pane takes for itself."""


def remapped(own: Mapping[str, str]) -> tuple[Key, ...]:
    """The table with a user's own keys (name -> key). Raises KeyTableError for a name that does not exist, a key that
    a pane needs, or one key for two things."""
    known = {k.name for k in ALL}
    if unknown := sorted(set(own) - known):
        raise KeyTableError(f"[keys] has no action {unknown[0]!r}; there are {', '.join(sorted(known))}")
    table = tuple(_with(k, own[k.name]) if k.name in own else k for k in ALL)
    users: dict[str, str] = {}
    for key in table:
        if key.key in _SCROLLING:
            raise KeyTableError(f"[keys] {key.name}: {key.label} scrolls the pane in focus; choose another key")
        if key.key in users:
            raise KeyTableError(f"[keys] {key.label} would do two things: {users[key.key]} and {key.name}")
        users[key.key] = key.name
    return table


def _with(key: Key, written: str) -> Key:
    """`written` as a person writes it: one character, or a name such as `f5` or `ctrl+x`."""
    from textual.binding import Binding

    text = written.strip()
    if not text or ("," in text and text != ","):
        raise KeyTableError(f"[keys] {key.name}: {written!r} is no key")
    normal = next(iter(Binding.make_bindings([Binding(_NAMES.get(text, text), key.action)]))).key
    return replace(key, key=normal, show=text if len(text) == 1 else text.capitalize())


_NAMES = {",": "comma"}
"""Textual splits a list of keys at its commas."""


def bindings() -> list[BindingType]:
    """For the app's class, with the keys as they are without a configuration file."""
    from textual.binding import Binding

    return [
        Binding(k.key, k.action, k.footer or k.help, id=k.name, priority=k.key == "ctrl+c", show=False) for k in ALL
    ]


def keymap(table: tuple[Key, ...]) -> dict[str, str]:
    """What differs from the class's bindings, as Textual's `App.set_keymap` wants it."""
    usual = {k.name: k.key for k in ALL}
    return {k.name: k.key for k in table if k.key != usual[k.name]}


def by_name(table: tuple[Key, ...], name: str) -> Key:
    """The key of an action."""
    return next(k for k in table if k.name == name)
