"""Side by side: what we built against the libraries that do the same, in turns in one run.

One comparison a file; `python -m lsd.benchmarks.peers --help` lists them. docs/peers.md says how to read the results.
"""
