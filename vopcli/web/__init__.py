"""`vop serve`: a page to search in, and the same as JSON; needs the extra `web`."""
