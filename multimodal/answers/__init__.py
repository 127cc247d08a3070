"""One file per question that the joint model answers."""
