"""Forests at run time: the canonical hashed table (`table`), its numpy walk (`walk`), Treelite-compiled C (`compiled`)."""
