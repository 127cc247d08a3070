"""The captioner: a small decoder that writes what the joint model sees."""
