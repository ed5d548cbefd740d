"""A script that counts its own steps, and what a test may ask of it: it ran on, it lost nothing, it ended by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.process.conftest import Workplace, wait_for_state, wait_until
from tfgpu_tui.runs.listing import RunSummary
from tfgpu_tui.runs.rundir import RunDir

SCRIPT = """
import os, signal, sys, time
count, end = 0, sys.argv[1]
caught = []
signal.signal(signal.SIGHUP, lambda *a: caught.append("HUP"))
while not os.path.exists(end):
    count += 1
    print("step", count, "." * 400, flush=True)
    with open(end + ".count", "w") as file:
        file.write(str(count))
    time.sleep(0.005)
print("done", count, *caught, flush=True)
sys.exit(3)
"""


@dataclass
class Counting:
    """A run of it. It ends, with exit status 3, when it is told to."""

    run: RunDir
    end: Path

    def steps(self) -> int:
        """What the script itself counted."""
        try:
            return int(self.end.with_name("end.count").read_text() or 0)
        except FileNotFoundError:
            return 0

    def goes_on(self) -> None:
        """Waits for 50 steps more: far more output than a terminal holds that nobody reads."""
        before = self.steps()
        wait_until(lambda: self.steps() >= before + 50, "the script made 50 more steps")

    def finish(self) -> RunSummary:
        """Lets it end; the run's summary."""
        self.end.touch()
        return wait_for_state(self.run, "ended")

    def output(self) -> list[str]:
        """Its output, without the dots."""
        return [line.rstrip(" .") for line in self.run.output_log.read_text().splitlines()]

    def whole_output(self) -> list[str]:
        """What the output must be when nothing was lost."""
        count = self.steps()
        return [f"step {number}" for number in range(1, count + 1)] + [f"done {count}"]


def counting(place: Workplace) -> Counting:
    """A run that has made its first steps."""
    end = place.folder / "end"
    run = place.start(place.script(SCRIPT), str(end))
    found = Counting(run, end)
    wait_until(lambda: found.steps() >= 10, "the script made its first steps")
    return found
