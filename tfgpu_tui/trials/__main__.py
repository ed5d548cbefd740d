"""Entry of a trial's process: an ordinary headless run, whose folder is given; started by path (see conduct.py).

It ends with its experiment: where that dies the kernel sends it SIGTERM, which a headless run passes on to its script.
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

from tfgpu_tui.runs.rundir import RunDir  # noqa: E402
from tfgpu_tui.supervisor.main import run_foreground  # noqa: E402

PR_SET_PDEATHSIG = 1
"""prctl(2)"""

folder, experiment = Path(sys.argv[1]), int(sys.argv[2])
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
if os.getppid() != experiment:  # it died before that
    sys.exit(1)
sys.exit(run_foreground(RunDir(folder)))
