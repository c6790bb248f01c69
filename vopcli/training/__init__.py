"""Training: one loop for every variant, and what it is made of."""
