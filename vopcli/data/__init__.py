"""Videos in: which frames to take, how to decode and resize them, and the store they go to."""
