"""One use case a file: what the commands and the Python API call."""
