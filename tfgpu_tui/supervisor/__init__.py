"""The supervisor: starts one script, samples the machine, writes the journal; outlives every screen."""
