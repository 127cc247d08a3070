"""What is stored and what is learned: the store, the joint model, its answers and their evaluation."""
