"""Inference: the one door to a trained model for answers, captions and scoring."""
