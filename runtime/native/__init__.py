"""The native library: C for the statistics and forests, compiled when the package is built, and how it is opened."""
