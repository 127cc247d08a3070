"""Owns the measuring of answers: figures with their intervals, caption scores, ranks, and the questions put to a model."""
