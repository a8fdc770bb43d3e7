"""The report of a diagnosis: facts first, drawing second."""
