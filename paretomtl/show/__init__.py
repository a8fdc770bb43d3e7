"""A front in words, in figures, and as a page."""
