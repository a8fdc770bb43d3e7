"""Static figures: facts first, drawing second."""
