"""Settings that a rerun may change: each is applied in its own module, and `knobs_in_force` reads back what holds.

It may import every other folder of the agent; none imports it. What was asked for comes by `runtime.asked_knobs`;
what is in force is sent after the first step.
"""
