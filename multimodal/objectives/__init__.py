"""Training objectives: the terms of the loss."""
