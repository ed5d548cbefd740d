"""For all tests: signals as in a terminal, however the tests were started."""

from __future__ import annotations

import signal

# `nohup` and a shell's `&` have a process ignore these, and all that it starts: then no script here could be
# interrupted, and none would notice that its terminal is gone.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
