"""This process' place among the workers that TF_CONFIG names: they may train one model in step."""

from __future__ import annotations

import json
import os
from typing import Any, Dict, Optional

from ..hooks.runtime import after_execution, send_latest

WORKERS = ("chief", "master", "worker")
"""Types of tasks that train (tensorflow/python/distribute/multi_worker_util.py)."""


def job_of(config: Optional[str]) -> Optional[Dict[str, Any]]:
    """What TF_CONFIG says: `task`, `index`, `workers`, `asynchronous`; None where it names one worker, or is none."""
    try:
        told = json.loads(config or "")
        cluster, task = told["cluster"], told["task"]
        workers = sum(len(cluster.get(kind) or ()) for kind in WORKERS)
        if workers < 2 or task["type"] not in WORKERS:
            return None
        index = int(task.get("index") or 0)
        return {"task": task["type"], "index": index, "workers": workers, "asynchronous": bool(cluster.get("ps"))}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


@after_execution
def _job(model: Any, phase: str, steps: int) -> None:
    # Not before the first step: scripts set the variable themselves.
    job = job_of(os.environ.get("TF_CONFIG")) if phase == "train" else None
    if job is not None:
        send_latest("job", **job)
