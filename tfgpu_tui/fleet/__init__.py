"""Many runs at once: their journals, from the state folder and over ssh, read into one picture (`watch.Fleet`).

It knows no screen. What rows and findings are is in `core.fleet` and `diagnose.ranks`.
"""
