"""Methods of tuning: what is added to the frozen model, what trains, and videos and texts in one space."""
