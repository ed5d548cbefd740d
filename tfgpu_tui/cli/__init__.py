"""The command line: options and verbs, and the choice between the screen and the script's own streams.

At the top: it may import every folder but `agent`, and none may import it. It is on the way to the script's first line,
so what a verb needs is imported in the verb. `command_line.main` reads the options and calls a function of `verbs`.
"""
