"""Forests at run time: the canonical hashed table, its numpy walk, and Treelite-compiled C."""
