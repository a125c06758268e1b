"""What a run that must lose nothing needs: journal, lock, keys of tiles, signals, events."""
