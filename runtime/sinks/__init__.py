"""Products of a tile: what was found, where, and how much of the ground was looked at. One sink a module.

Every product tells a patch that was not scored apart from one without a slide, and holds no clock, host name or random
number: the same tile, bundle and options give the same bytes.
"""
