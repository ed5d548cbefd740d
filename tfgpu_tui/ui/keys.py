"""Every key, once: this table makes the bindings, the footer and the help."""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding, BindingType


@dataclass(frozen=True)
class Key:
    """One key of the screen. `name` is the binding's id (users can remap it)."""

    key: str
    action: str
    name: str
    footer: str
    """Short word for the footer; empty where it is only in the help."""
    help: str
    show: str = ""
    """How the key is written; the key itself by default."""

    @property
    def label(self) -> str:
        return self.show or self.key


KEYS: tuple[Key, ...] = (
    Key("question_mark", "help", "help", "help", "this page: every key, and what every word means", "?"),
    Key("q", "quit", "quit", "quit", "leave; while the training runs, asks: detach, stop, kill or stay"),
    Key("g", "growth", "growth", "growth", "memory growth of the next run: as the script has it, on, off"),
    Key(
        "r",
        "rerun",
        "rerun",
        "rerun",
        "stop after this batch and start again with the settings for the next run",
    ),
    Key("f", "findings", "findings", "findings", "all findings with their evidence, one below the other"),
    Key("enter", "apply", "apply", "try", "try the setting of the chosen finding: reruns with it", "Enter"),
    Key("z", "zoom", "zoom", "zoom", "the pane in focus over the whole screen, and back"),
    Key("c", "compare", "compare", "compare", "this run against the one before it, side by side"),
    Key("d", "detach", "detach", "detach", "leave the screen; the training goes on, `tfgpu-tui attach` comes back"),
    Key("space", "freeze", "freeze", "freeze", "hold the screen still to read it; the training goes on"),
    Key("t", "axis", "axis", "time", "time axis of the plots: the last two minutes, or the whole run"),
    Key("m", "next_metric", "next_metric", "metric", "the next metric in the metric plot"),
    Key("tab", "focus_next", "focus_next", "", "focus the next pane", "Tab"),
    Key("shift+tab", "focus_previous", "focus_previous", "", "focus the pane before", "Shift+Tab"),
    Key("escape", "back", "back", "", "leave zoom, or a dialog", "Esc"),
    Key("ctrl+c", "quit", "interrupt", "", "the same as q", "Ctrl+C"),
)

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
)
"""Number key, pane, its name. The key focuses a pane that is shown, and zooms one that is not (or is in focus)."""

SCROLL_HELP = "↑ ↓ PgUp PgDn Home End, mouse wheel"


def bindings() -> list[BindingType]:
    """For the app."""
    out: list[BindingType] = [
        Binding(k.key, k.action, k.footer or k.help, id=k.name, priority=k.key == "ctrl+c", show=False) for k in KEYS
    ]
    out += [Binding(n, f"pane('{pane}')", name, id=f"pane_{pane}", show=False) for n, pane, name in PANE_KEYS]
    return out
