"""A front in words, in figures, and as a page."""

# The kinds of figures, and what each shows; `plots.py` says how each is drawn.
FIGURE_KINDS = {
    "matrix": "a panel a pair of objectives",
    "parallel": "an axis an objective",
    "control": "what was asked for against what was reached",
}
