"""Memory: TensorFlow's allocator on each GPU, the process' own, and what grows in it.

It may import `hooks` and `steps`. `memory` and `host_memory` send a sample each from the agent's own thread;
`growth_cause` is asked once the process keeps growing.
"""
