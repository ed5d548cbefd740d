"""A file in words of the agent's own: as seen from the folder in which this process was started, or the script's."""

from __future__ import annotations

import os
import sys
from typing import Optional

try:
    _started_in: Optional[str] = os.getcwd()
except OSError:  # it is gone already
    _started_in = None


def shown(file: str) -> str:
    """`src/data.py`; a file that lies below neither as it is. The screen's own words: `core/places.py`."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    for folder in (_started_in, os.path.dirname(script) if isinstance(script, str) else None):
        if folder and file.startswith(os.path.join(folder, "")):
            return file[len(os.path.join(folder, "")) :]
    return file
