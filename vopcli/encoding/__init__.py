"""Encode videos with a model and write them to an index."""
