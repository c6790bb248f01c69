"""Captions and splits of videos, one's own or a benchmark's."""
