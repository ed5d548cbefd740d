"""What the agent looks at once, or now and then: versions, model and dataset, the script's lines and calls, retraces.

It may import every folder of the agent but `knobs`. Each module sends its own message by `runtime.send_latest`.
"""
