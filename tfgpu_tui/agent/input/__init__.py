"""The input pipeline: its stages, how long each takes, and the user's own Python in it.

It may import `hooks` and `steps`. The iterator that `pipeline` saw made is read once a second: `pipeline_walk` gives
its stages, `pipeline_model` their times, and `pipeline` sends both.
"""
