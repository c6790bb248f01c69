"""Training: one loop for every variant, with its batches, loss, optimizer and checkpoints."""
