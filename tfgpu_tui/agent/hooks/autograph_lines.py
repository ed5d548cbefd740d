"""Where in the script the code lies that AutoGraph wrote: its own map from the lines of the generated file.

Functions that are defined within a converted one have generated code and no map of their own. Private:
`api._TRANSPILER` (tensorflow/python/autograph/impl/api.py), the `_cache` of a transpiler and of that cache, `module`
and `source_map` of what it holds (autograph/pyct/transpiler.py, cache.py, origin_info.py); ran with TF 2.15 and 2.21.
"""

from __future__ import annotations

import os
import sys
from bisect import bisect_left
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

from .libraries import GENERATED


class Written(NamedTuple):
    """A place in what a person wrote."""

    file: str
    line: int
    function: str


def written(file: str, line: int, function: str) -> Written:
    """Where that was written: for a generated line the one it was made from; else, or where that is unknown, itself."""
    if not os.path.basename(file).startswith(GENERATED):
        return Written(file, line, function)
    lines, places = _maps.get(file) or _map(file)
    # What AutoGraph puts in, such as its decorator before a function, has no line of its own.
    at = min(bisect_left(lines, line), len(lines) - 1)
    return places[at] if places else Written(file, line, function)


MAX_FILES = 64
PATIENCE = 100
"""Looks for a map that is not there yet: the function is being converted, in another thread or below on the stack."""
_maps: Dict[str, Tuple[List[int], List[Written]]] = {}
_missed: Dict[str, int] = {}


def _map(file: str) -> Tuple[List[int], List[Written]]:
    """The map of a file, kept once it is known."""
    if len(_maps) >= MAX_FILES:
        _maps.clear()
    if len(_missed) >= MAX_FILES:
        _missed.clear()
    found = _read(file) if _missed.get(file, 0) < PATIENCE else ([], [])
    if found[1]:
        _maps[file] = found
    else:
        _missed[file] = _missed.get(file, 0) + 1
    return found


def _read(file: str) -> Tuple[List[int], List[Written]]:
    """Lines of a generated file, and where each was made from. Numbers and names only: the map is AutoGraph's."""
    try:
        made = next((one for one in _made() if getattr(one.module, "__file__", None) == file), None)
        origins = sorted(
            {} if made is None else {key.lineno: origin for key, origin in made.source_map.items()}.items()
        )
        places = [Written(str(o.loc.filename), int(o.loc.lineno), str(o.function_name or "")) for _, o in origins]
        return [line for line, _ in origins], places
    except (AttributeError, RuntimeError):  # another version; something is converted in another thread right now
        return [], []


def _made() -> Iterator[Any]:
    """What AutoGraph keeps of each function that it converted."""
    api = sys.modules.get("tensorflow.python.autograph.impl.api")
    if api is not None:
        for of_function in list(api._TRANSPILER._cache._cache.values()):
            yield from list(of_function.values())
