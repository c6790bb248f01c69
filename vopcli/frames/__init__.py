"""The frame store: decoded frames of videos in one HDF5 file."""
