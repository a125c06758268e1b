"""Command lines of training; one command a file."""
