"""What an exception says, in one line, from below the headings, traces and node names around it (pure).

The shapes of these messages are those of TensorFlow 2.15 to 2.21 and Keras 2.15 to 3.15: tensorflow/python/eager/
execute.py, tensorflow/python/autograph/pyct/error_utils.py, keras/src/utils/traceback_utils.py.
"""

from __future__ import annotations

import re
from textwrap import dedent

from tfgpu_tui.core.events import ScriptError
from tfgpu_tui.core.places import Places

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
WHERE = re.compile(r"\{\{function_node [^}]*\}\}\s*|^\s*\(0\) [A-Z_]+:\s*")
HEADINGS = re.compile(
    r"Graph execution error:|Detected at node|<stack traces unavailable>|\d+ root error\(s\) found"
    r'|\s*File "|\s{4,}\S|Node: \''
)
KERAS = re.compile(
    r"Exception encountered when calling [^\n]*\n(.*?)(?:\n\s*(?:Call a|A)rguments received by |\Z)", re.DOTALL
)


def headline(exception: str, message: str) -> str:
    """`ValueError: file 37 is broken`: the class of the exception and its reason, as far as they can be told apart."""
    reason = _reason(COLOURS.sub("", message).strip())
    return reason if reason.startswith(f"{exception}: ") else f"{exception}: {reason}" if reason else exception


def place(error: ScriptError, places: Places) -> str | None:
    """`train.py:21 in call`: the script's line that it came from; None where that is not known."""
    if error.file is None:
        return None
    place = places.at(error.file, error.line)
    return place + (f" in {error.function}" if error.function and error.function != "<module>" else "")


def _reason(text: str) -> str:
    while (inner := _unwrapped(text)) is not None:  # a layer within a layer, in a function: each puts its own around it
        text = inner
    if text.startswith("Graph execution error:"):
        text = "\n".join(_told(text.splitlines()[1:])) or text
    lines = WHERE.sub("", text).strip().splitlines()
    return lines[0].strip() if lines else ""


def _unwrapped(text: str) -> str | None:
    """What AutoGraph or Keras put their words around; None where they did not."""
    text = dedent(text).strip()
    if text.startswith("in user code:"):  # then the trace, an empty line, and the whole exception
        inner = "\n\n".join(_paragraphs(text.removeprefix("in user code:"))[1:])
        return inner or None
    keras = KERAS.search(text)
    if keras is None or not keras[1].strip():
        return None
    last = _paragraphs(keras[1])[-1]  # Keras may tell first what it tried to do
    return keras[1].strip() if "in user code:" in keras[1] else last


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def _told(lines: list[str]) -> list[str]:
    """What is neither a heading nor a trace, up to the node and to the trace of a Python function."""
    told = []
    for line in lines:
        if line.lstrip().startswith("[[{{node") or line.startswith("Traceback (most recent call last)"):
            break
        if line.strip() and not HEADINGS.match(line):
            told.append(line)
    return told
