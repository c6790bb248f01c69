"""One reader for each public benchmark's annotation files."""
