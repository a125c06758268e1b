"""Command lines of export; one command a file."""
