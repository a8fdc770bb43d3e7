"""Networks whose weights are a function of the preference."""
