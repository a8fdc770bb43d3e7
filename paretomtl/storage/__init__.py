"""The files of a front, which outlive the run."""
