"""Models that are given away and taken in: folders with a model and its codebook, and without what was said or shown."""
