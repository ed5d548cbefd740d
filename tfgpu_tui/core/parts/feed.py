"""What feeds a process: its dataset, and the pipeline from source to model (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from tfgpu_tui.core import events as ev

WORKERS = 256


@dataclass
class Feed:
    """The way of a batch to the model."""

    dataset: ev.Dataset | None = None
    batch_size: int | None = None
    pipeline: ev.Pipeline | None = None
    """With what processes that make batches told of themselves."""
    pipeline_told: ev.Pipeline | None = None
    worker_code: dict[int | None, list[dict[str, Any]]] = field(default_factory=dict)
    """The newest `user_code` of each process."""


def dataset(source: Feed, e: ev.Dataset) -> None:
    if e.phase == "train" or source.dataset is None:
        source.dataset = e
        learn_batch_size(source, e.batch_size)


def learn_batch_size(source: Feed, size: int | None) -> None:
    """None changes nothing."""
    source.batch_size = size if size is not None else source.batch_size


def pipeline(source: Feed, e: ev.Pipeline) -> None:
    # A graph without times never replaces what was measured.
    if source.pipeline is None or e.source == "model_proto" or source.pipeline.source != "model_proto":
        source.pipeline_told = e
        source.pipeline = replace(e, user=_with_workers(source, e))


def user_code(source: Feed, e: ev.UserCode) -> None:
    if e.pid in source.worker_code or len(source.worker_code) < WORKERS:
        source.worker_code[e.pid] = e.user
    if source.pipeline is not None and source.pipeline_told is not None:
        source.pipeline = replace(source.pipeline, user=_with_workers(source, source.pipeline_told))


def _with_workers(source: Feed, e: ev.Pipeline) -> list[dict[str, Any]]:
    """The user's own Python of the training's process and of those that make batches for it, by function."""
    if not source.worker_code:
        return e.user
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    told = [(u, u.get("calls") or 0, (u.get("mean_us") or 0.0) * (u.get("calls") or 0)) for u in e.user]
    workers = [u for of_process in source.worker_code.values() for u in of_process]
    told += [(u, u.get("calls") or 0, (u.get("seconds") or 0.0) * 1e6) for u in workers]
    for user, calls, us in told:
        key = tuple(user.get(name) for name in ("name", "kind", "file", "line"))
        entry = merged.setdefault(key, {"name": key[0], "kind": key[1], "calls": 0, "mean_us": None})
        whole = (entry["mean_us"] or 0.0) * entry["calls"] + us
        entry["calls"] += calls
        entry["mean_us"] = whole / entry["calls"] if entry["calls"] else None
        entry["file"], entry["line"] = key[2], key[3]
    return list(merged.values())
