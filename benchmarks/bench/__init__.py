"""lsd-bench: how fast a bundle answers on this machine, measured in a way that can be repeated and compared."""
