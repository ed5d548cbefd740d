"""Training steps, and what of them is input wait, computation and the script's own: the loops of Keras, own loops,
sessions.

It may import `hooks`. Whatever finds a step, `keras_stamps` or `custom_lane`, notes its times and nothing else; they
are summed by `keras_sums` or `custom_steps` to a window of `windows`, which sends it.
"""
