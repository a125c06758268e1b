"""Feeds: where tiles come from over time, as rounds of sources that `lsd.runtime.sources.tiles_of` then looks into."""
