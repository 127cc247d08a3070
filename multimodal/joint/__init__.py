"""The joint model: its network, its examples, what it is trained for, and where it starts."""
