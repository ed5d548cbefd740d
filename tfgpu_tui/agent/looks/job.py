"""This process' place among those of its job: by TensorFlow's cluster, TF_CONFIG, or whatever launched it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any, Dict, NamedTuple, Optional, Tuple

from ..hooks.link import is_main
from ..hooks.runtime import after_execution, every, on_import, phase, send_latest
from ..hooks.tf_context import collective_cluster

POLL_S = 2.0
WORKERS = ("chief", "master", "worker")
"""Types of tasks that train (tensorflow/python/distribute/multi_worker_util.py), in the order of their ranks
(`id_in_cluster` there)."""


class Launcher(NamedTuple):
    """Names of variables in which a launcher tells a process its place; `jobs`: where no Slurm job is around it."""

    name: str
    rank: str
    size: Optional[str] = None
    local: Optional[str] = None
    jobs: Tuple[str, ...] = ()


LAUNCHERS = (
    # Before Slurm, whose own numbers are then of the daemons that Open MPI starts, one a node.
    Launcher("openmpi", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
             ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid")),
    Launcher("slurm", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
    Launcher("pmix", "PMIX_RANK", jobs=("PMIX_NAMESPACE",)),
    Launcher("mpich", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
    Launcher("horovod", "HOROVOD_RANK", "HOROVOD_SIZE", "HOROVOD_LOCAL_RANK"),
    Launcher("kubernetes", "JOB_COMPLETION_INDEX"),
    Launcher("environment", "RANK", "WORLD_SIZE", "LOCAL_RANK", ("TORCHELASTIC_RUN_ID",)),
)  # fmt: skip
"""The innermost first: what is launched by one may be launched by another, whose variables it then inherits. Names as
in the manuals: mpirun(1), srun(1), horovodrun, Kubernetes' indexed jobs, torchrun."""


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


def member_of(
    environment: Mapping[str, str], cluster: Optional[Dict[str, Any]] = None, horovod: bool = False
) -> Optional[Dict[str, Any]]:
    """The fields of an event `member`; None where nothing says anything. `cluster` is that of TensorFlow's runtime
    (`cluster`: type of task -> addresses; `type` and `index` of this one), where there is one."""
    found = _launched(environment)
    if cluster is not None:
        placed = _placed(cluster["cluster"], cluster["type"], cluster["index"], "cluster")
    else:
        placed = _by_config(environment.get("TF_CONFIG"))
    if placed is not None:
        job = found.get("job") or placed["job"]
        return {**found, **placed, "job": job}
    if horovod and (found.get("world_size") or 0) > 1:
        found["synchronous"] = True
    return found or None


def _by_config(config: Optional[str]) -> Optional[Dict[str, Any]]:
    try:
        told = json.loads(config or "")
        return _placed(told["cluster"], told["task"]["type"], int(told["task"].get("index") or 0), "TF_CONFIG")
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _placed(cluster: Dict[str, Any], role: str, index: int, source: str) -> Optional[Dict[str, Any]]:
    """By a cluster and this process' task in it; None where it is none of several that train."""
    tasks = [(kind, i, address) for kind in WORKERS for i, address in enumerate(_tasks(cluster.get(kind)))]
    ranks = {(kind, i): rank for rank, (kind, i, _) in enumerate(tasks)}
    servers = bool(_tasks(cluster.get("ps")))
    if len(tasks) < 2 and not servers:
        return None
    return {
        "job": str(tasks[0][2]) if tasks else None,
        "rank": ranks.get((role, index)),
        "world_size": len(tasks),
        "role": str(role),
        "source": source,
        "synchronous": not servers,
    }


def _tasks(told: Any) -> Tuple[Any, ...]:
    """A kind's addresses, in their order, however a cluster lists them."""
    if isinstance(told, dict):
        return tuple(told[key] for key in sorted(told, key=int))
    return tuple(told or ())


def _launched(environment: Mapping[str, str]) -> Dict[str, Any]:
    """What the launcher's variables say; empty where there are none."""
    restarts = _number(environment.get("SLURM_RESTART_COUNT"))
    found: Dict[str, Any] = {} if restarts is None else {"restarts": restarts}
    for launcher in LAUNCHERS:
        rank = _number(environment.get(launcher.rank))
        if rank is None or (launcher.name == "slurm" and "SLURM_STEP_ID" not in environment):
            continue  # the script of an sbatch has numbers of its job, and is no rank
        # What another launcher starts within a job of Slurm has that name: the line on stderr tells it, too.
        job = _slurm_step(environment) if launcher.name == "slurm" else _slurm_job(environment)
        return {
            **found,
            "launcher": launcher.name,
            "source": launcher.name,
            "rank": rank,
            "world_size": _number(environment.get(launcher.size or "")),
            "local_rank": _number(environment.get(launcher.local or "")),
            "job": job or next((environment[name] for name in launcher.jobs if environment.get(name)), None),
        }
    if environment.get("SLURM_JOB_ID"):
        return {**found, "launcher": "slurm", "job": _slurm_job(environment)}
    return {}


def _slurm_job(environment: Mapping[str, str]) -> str:
    of_array = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    return "_".join(of_array) if all(of_array) else environment.get("SLURM_JOB_ID", "")  # type: ignore[arg-type]


def _slurm_step(environment: Mapping[str, str]) -> str:
    return f"{_slurm_job(environment)}.{environment['SLURM_STEP_ID']}"


def _number(text: Optional[str]) -> Optional[int]:
    return int(text) if text and len(text) < 10 and text.isdecimal() and text.isascii() else None


class _Told:
    yes = False


def _tell() -> None:
    job = job_of(os.environ.get("TF_CONFIG"))
    if job is not None:
        send_latest("job", **job)
    _tell_member()
    _Told.yes = True


def _tell_member() -> None:
    member = member_of(os.environ, collective_cluster(), "horovod.tensorflow" in sys.modules)
    if member is not None:
        send_latest("member", **member)


@on_import("tensorflow")
def _imported(module: Any) -> None:
    """As far as it is known by then: those who look at a job ask for its ranks before their first step, too."""
    if is_main():
        _tell_member()


@after_execution
def _stepped(model: Any, of: str, steps: int) -> None:
    # Not before the first step: scripts (and Ray) set the variable themselves.
    if of == "train":
        _tell()


@every(POLL_S)
def _under_way() -> None:
    """A function that loops over its data by itself is done with its last step: told meanwhile."""
    if not _Told.yes and phase() == "training":
        _tell()
