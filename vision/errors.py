"""Errors of this package. Each message is one line that names the thing, its value and the rule."""


class VisionError(ValueError):
    """The ground class."""


class MediaError(VisionError):
    """One video: its file cannot be opened or decoded, or its clips give no features. Other videos are not affected."""


class ModelError(VisionError):
    """A backbone or a codebook: an unknown name, an option out of range, weights or features that do not fit."""
