"""Entry of the processes of an experiment, started by path (see conduct.py).

`conduct GROUP` is the experiment itself, without a terminal. `trial FOLDER EXPERIMENT` is one of its trials: an
ordinary headless run, whose folder is given. It ends with its experiment, the process of that number: where that dies
the kernel sends it SIGTERM, which a headless run passes on to its script.
"""

import os
import sys

if not __package__:
    # By path Python puts this very folder first on the search path; what belongs there is the one above the package.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tfgpu_tui.runs import search_path

search_path.users_folders_last()

import ctypes  # noqa: E402 (its modules are looked for in that order)
import signal  # noqa: E402
from pathlib import Path  # noqa: E402

PR_SET_PDEATHSIG = 1
"""prctl(2)"""


def conduct(group_id: str) -> int:
    from tfgpu_tui.trials import groups
    from tfgpu_tui.trials.conduct import Experiment

    experiment = Experiment(groups.find(group_id))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: experiment.stop())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    experiment.conduct()
    return 0


def trial(folder: Path, experiment: int) -> int:
    from tfgpu_tui.runs.rundir import RunDir
    from tfgpu_tui.supervisor.main import run_foreground

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != experiment:  # it died before that
        return 1
    return run_foreground(RunDir(folder), report=False)  # its output is the script's alone, and is read as that


if sys.argv[1] == "conduct":
    sys.exit(conduct(sys.argv[2]))
sys.exit(trial(Path(sys.argv[2]), int(sys.argv[3])))
