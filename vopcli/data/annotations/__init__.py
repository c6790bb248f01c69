"""Which captions belong to which videos: the user's own captions, and one small reader a public benchmark."""
