"""Pretrained weights: which are known, where they come from, checked and kept."""
