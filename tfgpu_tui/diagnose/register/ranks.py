"""Family F: the ranks of a job, seen side by side (pure)."""

from __future__ import annotations

from tfgpu_tui.core import fleet, units
from tfgpu_tui.diagnose.register.entry import A_WARNING, CRITICAL, JUDGED, Entry, Limit

_SPREAD = Limit("a warning from {} ranks on; of two only the difference is told", fleet.SPREAD_RANKS)
_BEYOND = Limit("beyond {} times the noise", fleet.BEYOND)
_EQUAL = Limit("all steps take the same time within {}", fleet.EQUAL_STEP, units.share)
_LIMITS = (JUDGED, A_WARNING, CRITICAL, _SPREAD, _BEYOND, _EQUAL)
_NO_DEMO = "none: it needs several processes that train one model"
_WHERE = "`tfgpu-tui fleet` compares the ranks of a job; the report of one run has no such finding."

ENTRIES = (
    Entry(
        id="run.straggler_input",
        means="one rank waits longer for its input than the others",
        seen=f"""All ranks show the same step time, one of them with input wait, the others with more compute.
        {_WHERE}""",
        why="""In synchronous training a step ends when all ranks have exchanged their gradients. The rank that waits
        for its batch comes late to that, and the others wait for it inside their computation, where it looks like
        work. One slow disk, one host with other programs, or one shard with larger files is enough.""",
        signal="""The input wait of each rank, measured around its own call for the batch, over the last 15 s of
        training. Its excess over the median of all ranks is held against the spread of the ranks (their median
        absolute deviation), and against how much windows of steps differ. Compute is not compared: it holds the wait
        for the others. Only ranks that are known to wait for each other (a cluster of collectives, Horovod), and whose
        steps do take the same time. Where the data of the job end, each call for a batch also asks the other ranks
        whether they have one: what that takes is no input wait, and counts as compute.""",
        steps=(
            "Open that rank's run (Enter in the fleet): its own findings name the stage of its input that is slow.",
            """Compare the hosts: is another program busy there, is its disk or its network slower?
            | ssh node7 'uptime; iostat -x 1 3'""",
            "See whether its shard is larger: shard by elements instead of by files (AutoShardPolicy.DATA).",
        ),
        harmless="Where the rank also does something that the others do not, such as reading for all of them.",
        limits=_LIMITS,
        demo_note=_NO_DEMO,
    ),
    Entry(
        id="run.straggler_host",
        means="one rank takes longer between steps than the others",
        seen=f"""All ranks show the same step time, one of them with more host time, the others with more compute.
        {_WHERE}""",
        why="""The time between steps (callbacks, logging, checkpoints, the script's own Python) delays the next step of
        its rank, and with it the step of all. Often it is rank 0, which alone writes logs and checkpoints.""",
        signal="""The host time of each rank, measured between its steps, over the last 15 s of training, compared as
        for run.straggler_input. A single long pause, such as one checkpoint, is within the noise of its windows.""",
        steps=(
            "Open that rank's run (Enter in the fleet): its own findings name the callback, or the line.",
            "Log and save less often, or in another thread, on the rank that does it for all.",
        ),
        harmless="Where what it does there is worth the time of all ranks.",
        limits=_LIMITS,
        demo_note=_NO_DEMO,
    ),
    Entry(
        id="run.rank_silent",
        means="nothing is heard of a rank, while others go on",
        seen=f"""In the fleet, a rank whose row no longer changes; mostly the other ranks stand still in a collective
        operation. {_WHERE}""",
        why="""A host that crashed, was cut from the network, or killed the rank and its monitor at once (the
        out-of-memory killer, a scheduler's SIGKILL to all) leaves no last event. The other ranks wait for it, often
        until a timeout of many minutes.""",
        signal="""The supervisor of each run writes to its journal twice a second, and touches a file every 10 s.
        Neither changed for the time below, by the file server's clock (over ssh: nothing came), the run has no end,
        and another rank of the same job was heard of in the last seconds.""",
        steps=(
            """See whether the host is there, and what its kernel says.
            | ssh node7 'uptime; sudo dmesg | tail'""",
            "Stop the job and start it again from its last checkpoint: a collective does not take a rank back.",
        ),
        harmless="Where that host's clock of the file server or its network merely has a pause: it is told as over.",
        limits=(
            Limit("silent for {}", fleet.SILENT_S, units.duration),
            Limit("another rank heard of in the last {}", fleet.HEARD_S, units.duration),
        ),
        demo_note=_NO_DEMO,
    ),
)
