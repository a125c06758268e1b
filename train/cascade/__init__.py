"""Early exits of an ensemble: which patches a forest may answer alone, and what that costs."""
