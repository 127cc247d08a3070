"""Training examples: sampling, negatives, corruption, packing."""
