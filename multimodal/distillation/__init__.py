"""Distillation: smaller models from larger ones (docs/distillation.md)."""
