"""What is seen: a video file becomes 1.5 s clips, features and visual tokens. Writes no files."""
