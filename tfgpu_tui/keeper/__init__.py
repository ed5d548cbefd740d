"""The keeper: the small process that owns the script and its terminal, and outlives every other part of the monitor.

It may import `runs` and the few modules of `supervisor` that start processes and listen; the events are not loaded in
it. The script's output goes through `output` to the terminal and to output.log; the supervisor, a child of the keeper,
hears of the script's end by the packets of `status`.
"""
