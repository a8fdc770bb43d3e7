"""Real problems and the tables of the documentation: python -m studies.NAME."""
