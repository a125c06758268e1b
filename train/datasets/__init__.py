"""Labelled patches from the layouts that people have, behind one reader."""
