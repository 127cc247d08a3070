"""Vision: a video file becomes 1.5 s clips, clip features and visual tokens. This package writes no files."""
