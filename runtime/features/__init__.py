"""Per-patch features: statistics of bands and index channels, and formulas over them, as named and hashed lists."""
