"""From a video file to frames: finding, decoding, sampling, preprocessing."""
