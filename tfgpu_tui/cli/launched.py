"""A script that a launcher starts many times (srun, mpirun, torchrun): the line that says how to look at all."""

from __future__ import annotations

import socket
from collections.abc import Mapping

RANKS = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("PMIX_RANK", None),
    ("PMI_RANK", "PMI_SIZE"),
    ("HOROVOD_RANK", "HOROVOD_SIZE"),
    ("JOB_COMPLETION_INDEX", None),
    ("RANK", "WORLD_SIZE"),
)
"""Variables of a rank and of how many there are, the innermost launcher first: what the agent asks, too."""


def _slurm_job(environment: Mapping[str, str]) -> str:
    """The beginning of the name by which the agent tells the job; of a job of an array that is not SLURM_JOB_ID. ''
    where there is none, or what stands there is no number."""
    array, task = environment.get("SLURM_ARRAY_JOB_ID", ""), environment.get("SLURM_ARRAY_TASK_ID", "")
    if array.isdecimal() and task.isdecimal():
        return f"{array}_{task}"
    job = environment.get("SLURM_JOB_ID", "")
    return job if job.isdecimal() else ""


def how_to_look(environment: Mapping[str, str]) -> str | None:
    """For stderr, from the first rank alone: once for each job. None for all others, and where nothing launched it."""
    for rank, size in RANKS:
        if rank not in environment or (rank == "SLURM_PROCID" and "SLURM_STEP_ID" not in environment):
            continue  # the script of an sbatch has a number, and is no rank
        if environment[rank] != "0":
            return None
        ranks = environment.get(size or "", "")
        of = f" of {ranks}" if ranks.isdecimal() else ""
        look = "tfgpu-tui fleet" + (f" {job}" if (job := _slurm_job(environment)) else "")
        return f"tfgpu-tui: rank 0{of} runs on {socket.gethostname()} without a screen; to look at all: {look}"
    return None
