"""How severe a finding is (pure). Apart, for a run's meta.json is on the way to the script's first line."""

SEVERITIES = ("critical", "warning", "info")
"""The most severe first."""
