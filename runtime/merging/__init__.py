"""The tiles of an output folder as one result: overlapping ground counted once, one finding a place."""
