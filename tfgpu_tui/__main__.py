"""The entry of `tfgpu-tui` and of `python -m tfgpu_tui`."""

import sys


def main() -> int:
    """The exit status; Ctrl+C while our modules are still loaded is no traceback either."""
    try:
        from tfgpu_tui import search_path

        search_path.users_folders_last()
        from tfgpu_tui import cli
    except KeyboardInterrupt:
        return 130
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
