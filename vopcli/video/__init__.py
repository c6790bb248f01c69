"""From video files to frames: find, sample, decode, preprocess."""
