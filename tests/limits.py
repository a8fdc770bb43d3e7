"""Limits of time. They guard against hanging and nothing else, so each grows with the slowness of the machine."""

import os
import time
from statistics import median

import numpy as np
import torch

REFERENCE = 0.1  # seconds of the work below on an idle core of the machine that the limits were chosen on
MEASURED = "PARETOMTL_TEST_SLOWNESS"  # the environment hands it to the processes that a session starts


def limit(seconds: float) -> float:
    """Return the limit for this machine: as many times the seconds as it is slower."""
    return seconds * slowness()


def slowness() -> float:
    """Return how many times as long as the reference this machine takes, at least 1; measured once a session."""
    if MEASURED not in os.environ:
        work()  # what is done at first use is no speed
        os.environ[MEASURED] = f"{max(1.0, median(work() for _ in range(3)) / REFERENCE):.2f}"
    return float(os.environ[MEASURED])


def work() -> float:
    """Return the seconds of a little of what tests do: convolutions, linear algebra, sorting and plain Python."""
    begin = time.perf_counter()
    layer, pictures, matrix = torch.nn.Conv2d(1, 8, 9), torch.ones(64, 1, 36, 36), np.eye(200) + 0.001
    for _ in range(10):
        layer(pictures).square().mean().backward()
        np.linalg.solve(matrix, matrix)
    np.sort(np.random.default_rng(0).random(300_000))
    sum(i * i for i in range(200_000))
    return time.perf_counter() - begin
