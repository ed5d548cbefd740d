"""How a library that few need comes beside the tool, however that was installed."""

from __future__ import annotations


def how(package: str) -> str:
    """The commands, by what installed the tool."""
    return f"pip install {package}, or pipx inject tfgpu-tui {package}, or uv tool install again, --with {package}"
