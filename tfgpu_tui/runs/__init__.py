"""One run on disk, and where the runs of a user lie: its folder, journal, history, sockets, and who is alive.

It may import `core` alone. A message is appended to the run's folder by `journal.JournalWriter`, which the supervisor
alone holds, and read again by any number of `journal.JournalReader`; `history` finds a state in a long journal.
"""
