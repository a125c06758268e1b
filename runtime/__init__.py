"""Lean runtime of lsd-edge: bundle in, stream of scored tiles out. Needs numpy, rasterio and click; never torch."""

__version__ = "0.1.0"
