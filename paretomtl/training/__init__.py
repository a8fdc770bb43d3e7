"""From a study to trained models: one point, a fleet, a network for all preferences, a walk."""
