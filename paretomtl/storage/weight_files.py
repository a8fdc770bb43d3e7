"""Weights as bytes, in the format of safetensors, and what their header says of their size."""

import json
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING

from paretomtl.storage import files

if TYPE_CHECKING:
    from torch import Tensor

MOST_HEADER_BYTES = 2**25


def serialise(weights: Mapping[str, "Tensor"]) -> bytes:
    """Encode weights as bytes; tied weights are written once for each name, and load as they were."""
    from safetensors.torch import save

    return save({name: weights[name].detach().cpu().contiguous().clone() for name in sorted(weights)})


def hash_weights(weights: Mapping[str, "Tensor"]) -> str:
    """Return the hash under which weights are written."""
    return files.sha256(serialise(weights))


def expected_size(file: BufferedReader) -> int | None:
    """Return the size of a safetensors file by its own header; None without a valid header."""
    length = int.from_bytes(file.read(8), "little")
    if length > MOST_HEADER_BYTES:
        return None
    try:
        data = file.read(length)
        files.check_signs(data, Path("header"))
        header = json.loads(data)
        ends = [part["data_offsets"][1] for name, part in header.items() if name != "__metadata__"]
        return 8 + length + max(ends, default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return None
