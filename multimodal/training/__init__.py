"""The training of the joint model: the loop, what a step uses, and the checkpoints that it leaves."""
