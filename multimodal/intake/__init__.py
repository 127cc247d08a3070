"""What is taken in, and safely: videos, and what was made elsewhere, read in a child process that can be killed."""
