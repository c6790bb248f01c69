"""Captions and splits of videos, the user's own or a benchmark's."""
