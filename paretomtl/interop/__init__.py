"""Fronts from and to other tools: arrays, CSV, JSON, pandas, Optuna, pymoo, Ray."""
