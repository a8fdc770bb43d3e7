"""Common random numbers: every point of a study sees the same initial weights and the same order of the data.

Thus neighbours on a front differ by preference and not by luck, and no result depends on where or when it is computed.
"""

import contextlib
import hashlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

INITIAL, MEASURING, OPENING, SOLVING, SAMPLING, CALIBRATING = -1, -2, -3, -4, -5, -6  # in place of the epoch


def seed_of(study: int, replicate: int, epoch: int) -> int:
    """Derive a seed below 2^63, by SHA-256."""
    digest = hashlib.sha256(f"{study}/{replicate}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def reseed(seed: int) -> None:
    """Seed Python, numpy, and torch on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - users' data sets draw from the global generator
    torch.manual_seed(seed)


def reseed_loader(loader: Any, seed: int) -> bool:
    """Seed the generators of a loader and of its samplers; return whether one is missing that the order depends on."""
    missing = False
    batch_sampler = getattr(loader, "batch_sampler", None)
    samplers = (getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
    for part in (loader, *samplers):
        generator = getattr(part, "generator", None)
        if isinstance(generator, torch.Generator):
            generator.manual_seed(seed)
        elif part is not loader and hasattr(part, "generator"):
            missing = True  # it draws its order from torch's global generator, which `reseed` has set
    return missing


@contextlib.contextmanager
def reproducible() -> Iterator[None]:
    """Run torch on one thread within the context; restore the thread count and all global generators after it."""
    threads, python, numpy = torch.get_num_threads(), random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
