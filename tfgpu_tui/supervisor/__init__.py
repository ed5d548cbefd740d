"""The supervisor: starts one script, samples the machine, writes the journal; outlives every screen.

It may import all but `cli`, `ui` and `agent`. A message of an agent comes to `server.Server`; this, and a sample of
`host` or `gpu`, is folded and appended to the journal by `record.Recorder.record`. `launch` and `again` are what `cli`
and `ui` need of a supervisor, without one.
"""
