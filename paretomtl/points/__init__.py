"""The numbers of a front: arrays, means over seeds, dominance, figures."""
