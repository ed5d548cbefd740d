"""What each part of the agent stands on: patches at import, guards, the link to the supervisor, the user's errors.

It imports no other folder of the agent. A message leaves by `runtime.send`, which queues it in `link.Link`; a thread of
the link writes it to the supervisor's socket, and brings commands back to the functions of `runtime.on_command`.
"""
