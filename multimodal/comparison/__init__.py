"""Comparison: systems of pretraining trained on one store at an equal budget, and their figures side by side."""
