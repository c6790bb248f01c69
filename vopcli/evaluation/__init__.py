"""Retrieval metrics of runs, adapters and the plain backbone."""
