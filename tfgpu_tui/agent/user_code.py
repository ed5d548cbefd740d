"""Time in the user's own Python that feeds the model."""
