"""Entry of the keeper's process; started by path, without `site`, of which it needs nothing (see launch.start).

The script is started before anything else is imported: the user waits for its first line.
"""

import os
import sys

if not __package__:
    # By path Python puts this very folder first on the search path; what belongs there is the one above the package.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tfgpu_tui.runs import search_path

search_path.users_folders_last()

from tfgpu_tui.keeper import spawn  # noqa: E402 (its modules are looked for in that order)

order = spawn.Order(sys.argv[1:], os.environ)
script = spawn.carry_out(order)

from tfgpu_tui.keeper.keep import main  # noqa: E402 (some 40 ms, beside the script's own start)

sys.exit(main(order, script))
