"""Speech: the audio track of a video becomes a transcript, sentences and words with times. Writes no files."""
