"""Search an index by text; loads no torch."""
