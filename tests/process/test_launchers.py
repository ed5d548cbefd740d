"""Launchers that are really run: Open MPI, Slurm on one node, and Ray Train, each with two ranks that train."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.conftest import Workplace, wait_until
from tfgpu_tui.runs import listing, rundir

pytestmark = pytest.mark.slow
START_S = 120.0

TRAINING = """
import os, sys, time
import tensorflow as tf

print("out of the script", flush=True)
w = tf.Variable(1.0)

@tf.function
def step():
    with tf.GradientTape() as tape:
        loss = w * w
    w.assign_sub(0.01 * tape.gradient(loss, w))

until = time.time() + 180
while not os.path.exists(sys.argv[1]) and time.time() < until:
    step()
    time.sleep(0.02)
"""


def ranks_that_train(place: Workplace, job: str | None = None) -> list[dict[str, Any]]:
    """Rows of the fleet whose rank is known and that made a step, in the ranks' order."""
    out = place.tool("fleet", "--json", *([job] if job else []))
    assert out.returncode == 0, out.stderr.decode()
    rows = [row for row in json.loads(out.stdout)["runs"] if row["rank"] is not None and row["step"]]
    return sorted(rows, key=lambda row: int(row["rank"]))


def wait_for_two(place: Workplace, job: str | None = None) -> list[dict[str, Any]]:
    wait_until(lambda: len(ranks_that_train(place, job)) == 2, "both ranks train", START_S)
    rows = ranks_that_train(place, job)
    assert [(row["rank"], row["world_size"]) for row in rows] == [(0, 2), (1, 2)]
    assert len({row["job"] for row in rows}) == 1 and rows[0]["job"]
    return rows


def report_of(place: Workplace, run: str) -> Any:
    return json.loads(place.tool("report", run, "--json").stdout)


def ended(run: str) -> bool:
    return listing.summary(rundir.find(run)).state == "ended"


def looks(err: str) -> list[str]:
    return [line for line in err.splitlines() if "to look at all: tfgpu-tui fleet" in line]


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="there is no mpirun here (Debian: openmpi-bin)")
def test_open_mpi_and_a_rank_that_is_killed(place: Workplace, tmp_path: Path) -> None:
    script = place.script(TRAINING, "train.py")
    how = ["mpirun", "-n", "2", "--oversubscribe", "--bind-to", "none"]
    how += ["--allow-run-as-root"] if os.geteuid() == 0 else []
    # Open MPI's own folder for sockets must be short.
    with subprocess.Popen(
        [*how, *place.command(script, tmp_path / "end")], env=place.env, cwd=place.folder, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as mpirun:  # fmt: skip
        try:
            rows = wait_for_two(place)
            scripts = [rundir.read_meta(rundir.find(row["run"])).script_pid for row in rows]
            assert scripts[1] is not None
            os.kill(scripts[1], signal.SIGKILL)
            out, err = mpirun.communicate(timeout=60)
        finally:
            mpirun.kill()
    assert mpirun.returncode == 128 + signal.SIGKILL, "what the rank that was killed left"
    assert out == "out of the script\n" * 2
    assert len(looks(err)) == 1 and "rank 0 of 2" in looks(err)[0]
    wait_until(lambda: all(ended(row["run"]) for row in rows), "both runs have an end")
    first, second = (report_of(place, row["run"])["run"] for row in rows)
    assert second["signal"] == signal.SIGKILL and second["exit_code"] is None
    assert first["signal"] == signal.SIGTERM, "mpirun ends the others"


SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
SchedulerType=sched/builtin
KillWait=20
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
DAEMONS = ("munged", "slurmctld", "slurmd", "srun", "scancel")
SBIN = f"/usr/sbin:{os.environ.get('PATH', '')}"


def missing() -> str | None:
    lacks = [name for name in DAEMONS if shutil.which(name, path=SBIN) is None]
    if lacks:
        return f"there is no {', '.join(lacks)} here (Debian: slurmctld, slurmd, munge)"
    return None if os.geteuid() == 0 else "slurmd and munged have to be started by root"


@pytest.fixture
def slurm(place: Workplace) -> Iterator[Path]:
    """A cluster of this machine alone; its folder."""
    folder = Path(place.env["XDG_RUNTIME_DIR"]) / "slurm"  # short: sockets
    for path in (folder, folder / "state", folder / "spool"):
        path.mkdir()
    key = folder / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    with contextlib.ExitStack() as sockets:
        free = [sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        ports = [one.getsockname()[1] for one in free]
    conf = folder / "slurm.conf"
    conf.write_text(SLURM_CONF.format(folder=folder, host=socket.gethostname().partition(".")[0], ports=ports))
    place.env["SLURM_CONF"] = str(conf)
    munged = [f"--{name}-file={folder}/{file}" for name, file in (
        ("key", "key"), ("pid", "munged.pid"), ("log", "munged.log"), ("seed", "seed"))]  # fmt: skip
    commands = [
        ["munged", "-F", "--force", f"--socket={folder}/munge.socket", *munged],
        ["slurmctld", "-D", "-f", str(conf)],
        ["slurmd", "-D", "-f", str(conf)],
    ]
    daemons = []
    try:
        for command in commands:
            program = shutil.which(command[0], path=SBIN)
            assert program is not None
            with (folder / f"{command[0]}.out").open("wb") as out:
                daemons.append(subprocess.Popen([program, *command[1:]], stdout=out, stderr=out, env=place.env))
            if command[0] == "munged":
                wait_until((folder / "munge.socket").exists, "munged listens")
        wait_until(lambda: b"idle" in in_slurm(place, "sinfo", "-h").stdout, "the node is there")
        yield folder
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(20)
            daemon.kill()


def in_slurm(place: Workplace, *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(words, env=place.env, capture_output=True, timeout=60)


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_slurm_its_ranks_a_look_from_within_the_job_and_scancel(place: Workplace, slurm: Path, tmp_path: Path) -> None:
    script = place.script(TRAINING, "train.py")
    with subprocess.Popen(
        ["srun", "-n", "2", *place.command(script, tmp_path / "end")], env=place.env, cwd=place.folder,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as srun:  # fmt: skip
        try:
            rows = wait_for_two(place)
            job = rows[0]["job"].partition(".")[0]
            assert job.isdecimal() and rows[0]["job"] == f"{job}.0"
            assert [row["run"] for row in wait_for_two(place, job)] == [row["run"] for row in rows]
            beside = ["srun", f"--jobid={job}", "--overlap", "-n", "1"]
            seen = in_slurm(place, *beside, *place.command("fleet", "--plain", job))
            assert seen.returncode == 0 and b"0/2" in seen.stdout and b"1/2" in seen.stdout, seen
            assert in_slurm(place, "scancel", job).returncode == 0
            out, err = srun.communicate(timeout=60)
        finally:
            srun.kill()
    assert srun.returncode != 0 and out == "out of the script\n" * 2
    assert len(looks(err)) == 1 and f"rank 0 of 2 runs on {socket.gethostname()}" in looks(err)[0]
    wait_until(lambda: all(ended(row["run"]) for row in rows), "both runs have an end")
    for row in rows:
        run = report_of(place, row["run"])["run"]
        assert (run["exit_code"], run["signal"]) == (None, signal.SIGTERM)


RAY = """
import sys
import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.tensorflow import TensorflowTrainer

def loop(config):
    import tensorflow as tf
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        w = tf.Variable(tf.zeros((16, 1)))

    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((x @ w - 1.0) ** 2)
        w.assign_sub(0.01 * tf.distribute.get_replica_context().all_reduce("sum", tape.gradient(loss, w)))

    @tf.function
    def train(x):
        strategy.run(step, (x,))

    for x in tf.data.Dataset.from_tensors(tf.ones((4, 16))).repeat(config["steps"]):
        train(x)

folder = sys.argv[1]
ray.init(num_cpus=3, include_dashboard=False, _temp_dir=folder)
TensorflowTrainer(
    loop, train_loop_config={"steps": int(sys.argv[2])}, scaling_config=ScalingConfig(num_workers=2),
    run_config=RunConfig(storage_path=folder + "/results"),
).fit()
ray.shutdown()
"""
RAY_STEPS, RAY_S = 200, 300.0


def test_ray_train_and_its_two_workers(place: Workplace) -> None:
    """Ray starts its workers below the script, and sets TF_CONFIG in them: one run, in which both are told apart."""
    pytest.importorskip("ray.train.tensorflow", reason="there is no ray[train] here (PyPI)", exc_type=ImportError)
    folder = Path(place.env["XDG_RUNTIME_DIR"]) / "ray"  # short: sockets
    told = place.folder / "report.json"
    command = place.command("--headless", "--report-json", told, place.script(RAY, "train.py"), folder, str(RAY_STEPS))
    own = {"HOME": str(place.folder), "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        command, env={**place.env, **own}, cwd=place.folder, stdin=subprocess.DEVNULL, capture_output=True,
        timeout=RAY_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:].decode()
    report = json.loads(told.read_text())
    assert report["training"]["describes"]["why"] == "TF_CONFIG names them as 2 workers of one job"
    workers = sorted(report["processes"], key=lambda one: int(one["member"]["rank"]))
    assert [(one["member"]["rank"], one["member"]["world_size"], one["steps"]) for one in workers] == [
        (0, 2, RAY_STEPS), (1, 2, RAY_STEPS)
    ]  # fmt: skip
    assert not any(one["main"] for one in workers) and report["monitor"]["hooks_off"] == []
