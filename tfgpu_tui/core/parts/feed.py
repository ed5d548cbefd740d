"""What feeds a process: its dataset, and the pipeline from source to model (pure)."""

from __future__ import annotations

from dataclasses import field, replace

from tfgpu_tui.core import events as ev
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.rows import Stage, UserFunction, WorkerFunction

WORKERS = 256


DEFAULT_STRATEGY = "_DefaultDistributionStrategy"
"""What TensorFlow calls no strategy at all (tensorflow/python/distribute/distribute_lib.py)."""


@dataclass
class Feed:
    """The way of a batch to the model."""

    dataset: ev.Dataset | None = None
    batch_size: int | None = None
    """Of the training's."""
    pipeline: ev.Pipeline | None = None
    """With what processes that make batches told of themselves."""
    pipeline_told: ev.Pipeline | None = None
    worker_code: dict[int | None, list[WorkerFunction]] = field(default_factory=dict)
    """The newest `user_code` of each process."""

    @property
    def spread(self) -> bool:
        """Whether a strategy of tf.distribute gives each replica a part of a batch whose size is known: the steps show
        that part then. Keras' fit has one of its own where there is none."""
        told = self.dataset
        return told is not None and told.batch_size is not None and told.strategy not in (None, DEFAULT_STRATEGY)


def dataset(source: Feed, e: ev.Dataset) -> None:
    known = source.dataset
    if e.phase == "train" and known is not None and (known.phase, known.kind) != ("train", e.kind):
        source.pipeline = source.pipeline_told = None  # of a prediction before, or of another input
    if e.phase == "train" or source.dataset is None:
        source.dataset = e
    if e.phase == "train":
        source.batch_size = e.batch_size if e.batch_size is not None else source.batch_size


def learn_batch_size(source: Feed, size: int | None) -> None:
    """As seen at a step. None changes nothing, nor does the part of one replica where the whole is known."""
    source.batch_size = size if size is not None and not source.spread else source.batch_size


def pipeline(source: Feed, e: ev.Pipeline) -> None:
    # A graph without times never replaces what was measured.
    if source.pipeline is None or e.source == "model_proto" or source.pipeline.source != "model_proto":
        source.pipeline_told = e
        source.pipeline = _whole(source, e)


def user_code(source: Feed, e: ev.UserCode) -> None:
    if e.pid in source.worker_code or len(source.worker_code) < WORKERS:
        source.worker_code[e.pid] = e.user
    if source.pipeline is not None and source.pipeline_told is not None:
        source.pipeline = _whole(source, source.pipeline_told)


def _whole(source: Feed, e: ev.Pipeline) -> ev.Pipeline:
    user = _with_workers(source, e)
    return replace(e, user=user, stages=_named(e.stages, user) if source.worker_code else e.stages)


def _named(stages: list[Stage], user: list[UserFunction]) -> list[Stage]:
    """With the one function of the script's that workers run, where Keras' own stands around it: what is a library's is
    told by its package in parentheses."""
    if len(user) != 1:
        return stages
    (one,) = user
    name, file, line = one.get("name"), one.get("file"), one.get("line")
    named: Stage = {"stage": "Generator", "name": f"Generator {name}", "function": name, "file": file, "line": line}
    kerass = [s["stage"] == "Generator" and str(s.get("name") or "").endswith(")") for s in stages]
    return [{**stage, **named} if own else stage for stage, own in zip(stages, kerass, strict=True)]


def _with_workers(source: Feed, e: ev.Pipeline) -> list[UserFunction]:
    """The user's own Python of the training's process and of those that make batches for it, by function."""
    if not source.worker_code:
        return e.user
    merged: dict[tuple[object, ...], UserFunction] = {}
    told: list[tuple[UserFunction | WorkerFunction, int, float]] = [
        (u, u.get("calls") or 0, (u.get("mean_us") or 0.0) * (u.get("calls") or 0)) for u in e.user
    ]
    workers = [u for of_process in source.worker_code.values() for u in of_process]
    told += [(u, u.get("calls") or 0, (u.get("seconds") or 0.0) * 1e6) for u in workers]
    for user, calls, us in told:
        name, kind, file, line = user.get("name"), user.get("kind"), user.get("file"), user.get("line")
        before = merged.get((name, kind, file, line), {})
        whole_calls = (before.get("calls") or 0) + calls
        whole_us = (before.get("mean_us") or 0.0) * (before.get("calls") or 0) + us
        merged[name, kind, file, line] = {"name": name, "kind": kind, "calls": whole_calls,
                                          "mean_us": whole_us / whole_calls if whole_calls else None,
                                          "file": file, "line": line}  # fmt: skip
    return list(merged.values())
