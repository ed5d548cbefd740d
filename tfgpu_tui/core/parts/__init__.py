"""What a `RunState` is made of: each part a dataclass with what events change in it beside it (pure).

Of the run as a whole: `lifecycle` (how it began, stops and ends), `devices`, `machine`, `record` (log and marks). Of
each process that trains, put together in `process`: `steps`, `epochs`, `calls`, `feed`, `layers`, `memory`. All of
these are known by `processes`. A part knows nothing of the others: where an event needs two, `process` or `state` gives
one what it needs of the other. The names of fields differ from part to part: a checkpoint of the time when all of them
lay in `RunState` is still read (`checkpoint`).
"""
