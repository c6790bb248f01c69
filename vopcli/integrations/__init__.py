"""Models of this package for other programs."""
