"""Entry of the command, `tfgpu-tui` or `python -m tfgpu_tui`."""

import sys

from tfgpu_tui import search_path

search_path.users_folders_last()

from tfgpu_tui.cli import main  # noqa: E402 (its modules are looked for in that order)

if __name__ == "__main__":
    sys.exit(main())
