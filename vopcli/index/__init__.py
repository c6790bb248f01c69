"""The index file: embeddings of videos and the data that a query needs."""
