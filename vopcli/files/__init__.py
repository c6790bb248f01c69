"""File formats, without knowledge of their contents."""
