"""The line for the ranks of a job."""

from __future__ import annotations

import socket

import pytest

from tfgpu_tui.agent.looks import job
from tfgpu_tui.cli import launched

STEP = {"SLURM_JOB_ID": "81", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "4"}


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, None),
        ({"RANK": "gold"}, None),
        ({**STEP, "SLURM_PROCID": "3"}, None),
        ({"SLURM_JOB_ID": "81", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, None),
        (
            {**STEP, "SLURM_PROCID": "0"},
            "rank 0 of 4 runs on HOST without a screen; to look at all: tfgpu-tui fleet 81",
        ),
        (
            {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"},
            "rank 0 of 2 runs on HOST without a screen; to look at all: tfgpu-tui fleet",
        ),
        # Open MPI within Slurm: Slurm's own numbers are those of its daemon, one a node.
        ({**STEP, "SLURM_PROCID": "0", "OMPI_COMM_WORLD_RANK": "1"}, None),
        ({"JOB_COMPLETION_INDEX": "0"}, "rank 0 runs on HOST without a screen; to look at all: tfgpu-tui fleet"),
    ],
)
def test_the_first_rank_says_how_to_look_at_all(environment: dict[str, str], words: str | None) -> None:
    expected = None if words is None else "tfgpu-tui: " + words.replace("HOST", socket.gethostname())
    assert launched.how_to_look(environment) == expected


SLURM = {"SLURM_JOB_ID": "81", "SLURM_STEP_ID": "0"}
ARRAY = {"SLURM_JOB_ID": "85", "SLURM_STEP_ID": "0", "SLURM_ARRAY_JOB_ID": "81", "SLURM_ARRAY_TASK_ID": "4"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none"}


@pytest.mark.parametrize("around", [{}, SLURM, ARRAY, TORCHRUN, {"SLURM_JOB_ID": "81"}])
@pytest.mark.parametrize("launcher", job.LAUNCHERS)
def test_the_agent_finds_the_job_that_the_line_names(launcher: job.Launcher, around: dict[str, str]) -> None:
    for rank in ("0", "1", "gold"):
        environment = {**around, launcher.rank: rank, **({launcher.size: "2"} if launcher.size else {})}
        told, line = job.member_of(environment), launched.how_to_look(environment)
        assert (line is not None) == (told is not None and told.get("rank") == 0), (environment, told, line)
        if line is not None and told is not None and (named := line.rpartition("fleet")[2].strip()):
            assert (told["job"] or "").startswith(named), (told, line)
            assert not told["world_size"] or f"of {told['world_size']} " in line


def test_the_launchers_are_those_that_the_agent_knows() -> None:
    assert tuple((one.rank, one.size) for one in job.LAUNCHERS) == launched.RANKS
