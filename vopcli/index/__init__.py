"""The index file: embeddings of videos, and everything a query needs."""
