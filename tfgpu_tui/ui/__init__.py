"""The screen: reads a run's journal and draws it; it owns nothing of the training and may come and go."""
