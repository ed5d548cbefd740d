"""Writes docs/knobs.md from the knobs (tfgpu_tui/core/knobs.py) and the settings (tfgpu_tui/runs/configuration.py).

python -m tools.knobs_page            # writes docs/knobs.md
python -m tools.knobs_page --check    # exit code 1 where the page is not what would be written
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from tfgpu_tui.core import knobs
from tfgpu_tui.runs import configuration

PAGE = Path(__file__).resolve().parents[1] / "docs" / "knobs.md"
HEAD = """\
<!-- Written by `python -m tools.knobs_page`: change it there. -->
# Knobs

A knob is a setting that a run can have without an edit of the script: `tfgpu-tui --set KNOB=VALUE train.py`, as often
as needed; on the screen `s` lists them all, `Enter` on a finding sets the one that it names, and `r` reruns. `script`
means: as the script has it.

What is really in force is read back from TensorFlow after the first step, and shown beside what was asked. Where the
script sets it otherwise, its line is named. What can't be read is shown as unknown.

| knob | values | what it does |
|---|---|---|
"""
MIDDLE = """
`input=synthetic` gives the speed that no input pipeline could beat: compared with a run on the script's own input it
says "with free input this model would run 2.8x faster". Its losses mean nothing and are marked so.

## The configuration file

`~/.config/tfgpu-tui/config.toml` (`$XDG_CONFIG_HOME`, `--config FILE`) holds what you want every time. An option wins
over the environment, which wins over the file.

```toml
theme = "ansi"
interval = 1.0

[set]
memory_growth = "on"

[keys]
zoom = "x"
```

| key | as a variable | what it is |
|---|---|---|
"""
SETTINGS = {
    "interval": "seconds between two samples of the machine and the GPUs: 0.5",
    "stall_after": "seconds without a step after which it is asked whether the training stands still: 60; 0 is never",
    "python": "the interpreter of scripts: the active environment's",
    "headless": "no screen: `true` or `false`",
    "plain": "lines of text in place of the screen",
    "ascii": "the screen with 7-bit characters only",
    "tour": "three hints on a new user's first screen: `true`",
    "theme": "`dark`, `light`, `ansi`, or a theme of Textual: chosen to suit the terminal",
    "metrics": "[where metrics are told](prometheus.md): HOST:PORT, unix:PATH or FILE.prom",
    "on_finding": "[a command for each new finding](ci.md#a-command-for-each-finding)",
    "on_finding_severity": "from which severity on: `critical`, `warning`, `info`",
}
END = """\
| `[set]` | | knobs of every run; `--set` wins |
| `[keys]` | | [your own keys](screen.md#your-own-keys) of the screen |
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(_knobs()) + MIDDLE + "".join(_settings()) + END


def _knobs() -> Iterator[str]:
    for knob in knobs.ALL.values():
        values = ", ".join(f"`{value}`" for value in knob.values)
        free = f", or {knob.free.hint}" if knob.free else ""
        yield f"| `{knob.name}` | {values}{free} | {knob.summary} |\n"


def _settings() -> Iterator[str]:
    for key in configuration.KEYS:
        yield f"| `{key}` | `TFGPU_TUI_{key.upper()}` | {SETTINGS[key]} |\n"


def main() -> int:
    """The exit status."""
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        print("docs/knobs.md is not what its sources say: python -m tools.knobs_page", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
