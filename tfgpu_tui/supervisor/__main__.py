"""Entry of the detached supervisor's process; started by path (see keeper/keep.py) or by `-m`."""

import sys
from pathlib import Path

if not __package__:
    # By path Python puts this very folder first on the search path; what belongs there is the one above the package.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tfgpu_tui.supervisor.main import main

sys.exit(main(sys.argv[1:]))
