"""`python -m tfgpu_tui`."""

import sys

from tfgpu_tui.cli import main

sys.exit(main())
