"""The keeper: the small process that owns the script and its terminal, and outlives every other part of the monitor."""
