"""Runs judged on patches they have not seen."""
