"""Before any work: whether a study can run, and whether it is the study that a folder holds."""
