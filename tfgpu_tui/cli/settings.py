"""The settings of one command: its flags over the environment over the file."""

from __future__ import annotations

import argparse
from typing import Any

from tfgpu_tui.runs import configuration


def settings_of(options: argparse.Namespace) -> configuration.Settings:
    """The settings with this command line's flags. Raises configuration.ConfigError."""
    flags: dict[str, Any] = {
        name: getattr(options, name, None)
        for name in ("python", "headless", "plain", "ascii", "theme", "metrics", "on_finding")
    }
    if getattr(options, "interval", None) is not None:
        flags["interval_s"] = configuration.interval(options.interval, "--interval")
    if getattr(options, "stall_after", None) is not None:
        flags["stall_after_s"] = configuration.stall_after(options.stall_after, "--stall-after")
    if getattr(options, "on_finding_severity", None) is not None:
        flags["on_finding_severity"] = configuration.severity(options.on_finding_severity, "--on-finding-severity")
    settings = configuration.load(flags, file=getattr(options, "config", None))
    if settings.keys:
        from tfgpu_tui.ui import keys  # late: knows Textual's names of keys

        keys.remapped(settings.keys)  # a mistake is said before the script starts
    return settings
