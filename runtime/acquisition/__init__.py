"""Faults of an acquisition that its data tell: swapped or reversed bands, offsets, cut-off values, drift."""
