"""Training objectives: the terms of the loss, and what they are asked of."""
