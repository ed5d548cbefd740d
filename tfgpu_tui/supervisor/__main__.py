"""Entry of the detached supervisor's process; started by path (see keeper/keep.py) or by `-m`."""

import os
import sys

if not __package__:
    # By path Python puts this very folder first on the search path; what belongs there is the one above the package.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tfgpu_tui.runs import search_path

search_path.users_folders_last()

from tfgpu_tui.supervisor.main import main  # noqa: E402 (its modules are looked for in that order)

sys.exit(main(sys.argv[1:]))
