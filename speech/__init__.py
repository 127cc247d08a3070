"""What is said: the sound of a video becomes sentences with times. Writes no files."""
