"""Evaluation: figures with their intervals, caption metrics, ranks, and the questions that a model is asked."""
