"""The command line: options and verbs, and the choice between the screen and the script's own streams.

At the top: it may import every folder but `agent`, and none may import it. It is on the way to the script's first line,
so what a verb needs is imported in the verb. `command_line.main` has `arguments` take the words apart, and calls
`starting.run`, or a row of `table.VERBS` with its family: `watching`, `managing`, `telling`.
"""
