"""The sandbox's child as it was before it was confined: the careless control."""

from multimodal.intake import sandbox_child

sandbox_child.confine = lambda files, cpu_seconds: list(files)
sandbox_child.serve()
