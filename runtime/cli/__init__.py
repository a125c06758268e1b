"""Command lines of the runtime; one command a file."""
