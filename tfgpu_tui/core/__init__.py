"""What a run is, computed from its events alone: no screen, no TensorFlow, no driver, no files, no clock.

Everybody may import it; it imports nothing of the other folders. A message comes in as one of `events`, with `rows` in
it, looked over by `validate`; `state.RunState.apply` hands it to its function beside the part that it changes
(`parts`), which keeps it in `totals` and `series`. What a training process tells goes to that process' own parts
(`parts.processes`).
"""
