"""Claims about time, on machines whose time belongs to others, too.

A machine of CI stands still for a few tenths of a second now and then. Where a test holds a measured time against a
bound, that is put down to what was measured. So such a test is marked `timed`, and one that fails makes its training
anew and is judged by that: a fault of ours is there each time, a standstill is not. The first failure is shown, too.
"""

from __future__ import annotations

import pytest

timed = pytest.mark.flaky(reruns=1, only_rerun=["AssertionError"])


def attempt(request: pytest.FixtureRequest) -> int:
    """1, or 2 where a `timed` test is made again: what is kept between tests is kept for each by itself."""
    return int(getattr(request.node, "execution_count", 1))
