"""`tfgpu-tui try`: a script run with one setting after the other, and what that says of them.

`plan` chooses what is tried, `measure` reads a trial's journal as it grows, `decide` says what the measurements prove,
`schedule` what is tried next, `table`, `edits` and `page` tell it: all of these are pure. `groups` keeps the
experiment on disk, `writes` looks at the script's own files, `conduct` runs the trials, each an ordinary headless run
in a process of its own (`__main__`).
"""
