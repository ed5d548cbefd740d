"""The entry of `tfgpu-tui` and of `python -m tfgpu_tui`; by path it is started for processes of our own."""

import os
import sys

if not __package__:
    # By path Python puts this very folder first on the search path; what belongs there is the one above the package.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def main() -> int:
    """The exit status; Ctrl+C while our modules are still loaded is no traceback either."""
    try:
        from tfgpu_tui.runs import search_path

        search_path.users_folders_last()
        from tfgpu_tui.cli import command_line
    except KeyboardInterrupt:
        return 130
    return command_line.main()


if __name__ == "__main__":
    sys.exit(main())
