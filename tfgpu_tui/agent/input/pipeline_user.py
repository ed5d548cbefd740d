"""The user's own Python in the pipeline that feeds the model now: generators and `__getitem__`, with times."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

from .user_code import user_times

Calls = Dict[Tuple[Any, ...], Tuple[int, float]]


def user_calls() -> Calls:
    """(calls, seconds) of each of the user's generators and `__getitem__` so far, as `user_code` times them."""
    return {_key(entry): (entry["calls"], entry["seconds"]) for entry in user_times()}


def called_since(before: Calls) -> List[Dict[str, Any]]:
    """The entries of `user_times` that were called since, with what was taken since."""
    out = []
    for entry in user_times():
        calls, seconds = before.get(_key(entry), (0, 0.0))
        if entry["calls"] > calls:
            out.append({**entry, "calls": entry["calls"] - calls, "seconds": entry["seconds"] - seconds})
    return out


def _key(entry: Dict[str, Any]) -> Tuple[Any, ...]:
    return (entry["name"], entry["kind"], entry["file"], entry["line"])


def described(before: Calls) -> List[Dict[str, Any]]:
    """What was called since, as the `pipeline` event has it."""
    return [
        {
            "name": entry["name"],
            "kind": entry["kind"],
            "calls": entry["calls"],
            "mean_us": entry["seconds"] / entry["calls"] * 1e6,
            "file": entry["file"],
            "line": entry["line"],
        }
        for entry in called_since(before)
    ]


def name_generator(stages: List[Dict[str, Any]], user: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Names the user's generator or `__getitem__` in the generator stage, where Keras' own wrapper stands there."""
    if len(user) != 1:
        return stages
    (entry,) = user
    named = {
        "name": f"Generator {entry['name']}",
        "function": entry["name"],
        "file": entry["file"],
        "line": entry["line"],
        "python": True,
    }
    return [{**stage, **named} if _is_kerass_own(stage) else stage for stage in stages]


def _is_kerass_own(stage: Dict[str, Any]) -> bool:
    """A generator without a function of the user's; a library's is told by its package in parentheses."""
    return stage["stage"] == "Generator" and (stage["function"] is None or stage["name"].endswith(")"))
