"""The fingerprint of a study's data: the length of each split, and its first and last item."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from paretomtl.preflight.values import SCALARS, digest, raw_bytes
from paretomtl.training.seeds import reproducible, reseed, reseed_loader


def fingerprint_data(splits: Mapping[str, Iterable[Any]]) -> dict[str, dict]:
    """Return the length of each split and a digest of its first and last item; no split is read to its end."""
    with reproducible():
        return {split: _fingerprint_split(batches) for split, batches in splits.items()}


def _fingerprint_split(batches: Any) -> dict[str, Any]:
    items: Any = batches
    size = None
    if isinstance(batches, DataLoader) and not isinstance(batches.dataset, IterableDataset):
        size = batches.batch_size or getattr(batches.batch_sampler, "batch_size", None)
        items = batches.dataset if _count_batches(batches.dataset) is not None else batches
    length = _count_batches(items)
    digests = []
    if length is not None and hasattr(items, "__getitem__") and not isinstance(items, Mapping):
        for k in [0, length - 1] if length else []:
            reseed(0)
            digests.append(_digest_content(items[k]))
    else:
        reseed(0)
        reseed_loader(items, 0)
        digests = [_digest_content(batch) for batch in itertools.islice(items, 1)]
    return {"length": length, "first_and_last": digest(repr(size), *digests)[:16]}


def _count_batches(batches: Any) -> int | None:
    try:
        return len(batches)
    except (TypeError, NotImplementedError):
        return None


def _digest_content(value: Any) -> str:
    """Return the digest of an item or a batch: types, shapes and bytes."""
    kind = type(value).__qualname__
    if isinstance(value, torch.Tensor):
        return digest(str(value.dtype), repr(tuple(value.shape)), raw_bytes(value))
    if isinstance(value, (np.ndarray, np.generic)):
        raw = (
            _digest_content(value.tolist()) if value.dtype.hasobject else value.tobytes()
        )  # objects would give addresses
        return digest(value.dtype.str, repr(value.shape), raw)
    if isinstance(value, SCALARS):
        return digest(kind, repr(value))
    if isinstance(value, Mapping):
        return digest(kind, *sorted(digest(_digest_content(key), _digest_content(part)) for key, part in value.items()))
    if isinstance(value, Sequence):
        return digest(kind, *map(_digest_content, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return digest(
            kind, *(digest(f.name, _digest_content(getattr(value, f.name))) for f in dataclasses.fields(value))
        )
    return digest(kind)
