"""Several runs, or columns of probabilities, combined into one."""
