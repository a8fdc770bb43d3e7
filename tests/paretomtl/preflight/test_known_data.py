import dataclasses
import random
from collections import namedtuple

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from paretomtl.preflight.known_data import fingerprint_data


def loader(x, shuffle=False, batch_size=2):
    return DataLoader(TensorDataset(x), batch_size=batch_size, shuffle=shuffle)


def test_data_of_a_loader():
    x = torch.arange(12.0).reshape(6, 2)
    found = fingerprint_data({"train": loader(x), "validate": loader(x, shuffle=True)})
    assert found["train"]["length"] == 6
    assert len(found["train"]["first_and_last"]) == 16
    assert found["train"] == found["validate"]

    def of(x, **how):
        return fingerprint_data({"train": loader(x, **how)})["train"]

    def but(row):
        y = x.clone()
        y[row] += 1
        return y

    others = [of(but(0)), of(but(5)), of(x[:5]), of(x, batch_size=3), of(x.double())]
    assert all(other != found["train"] for other in others)
    assert of(but(3)) == found["train"]


class Batches:
    def __init__(self):
        self.read = 0

    def __iter__(self):
        for _ in range(100):
            self.read += 1
            yield {"x": torch.rand(2), "y": np.random.rand(2), "z": random.random()}  # noqa: NPY002


class Stream(IterableDataset):
    def __iter__(self):
        yield from torch.arange(10.0)


def test_other_iterables_are_read_for_one_batch_and_leave_the_generators():
    batches = Batches()
    states = torch.get_rng_state(), random.getstate(), str(np.random.get_state())  # noqa: NPY002
    first = fingerprint_data({"train": batches})
    assert batches.read == 1
    assert first["train"]["length"] is None
    assert first == fingerprint_data({"train": batches})
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), str(np.random.get_state())) == states[1:]  # noqa: NPY002
    stream = DataLoader(Stream(), batch_size=2)
    assert fingerprint_data({"train": stream}) == fingerprint_data({"train": stream})


def test_sequences_and_nothing():
    def of(batches):
        return fingerprint_data({"train": batches})["train"]

    assert of([1, 2, 3]) == of([1, 7, 3]) != of([1, 2, 4])
    assert of([]) == of(torch.zeros(0, 2))
    assert of([])["length"] == of(DataLoader(TensorDataset(torch.zeros(0, 2))))["length"] == 0
    assert of(torch.zeros(3, 2))["length"] == 3
    assert of(iter([]))["length"] is None


Pair = namedtuple("Pair", "x y")


@dataclasses.dataclass
class Held:
    x: torch.Tensor


@pytest.mark.parametrize(
    ("value", "other"),
    [
        (torch.tensor([1.0, float("nan")], dtype=torch.bfloat16), torch.tensor([1.0, 2.0], dtype=torch.bfloat16)),
        (torch.tensor(1.0), torch.tensor(1)),
        (torch.tensor([1 + 2j]).conj(), torch.tensor([1 + 2j])),
        (torch.eye(2).to_sparse(), torch.zeros(2, 2).to_sparse()),
        (torch.zeros(2, 3).T, torch.zeros(2, 3)),
        (np.array([np.nan]), np.array([0.0])),
        (np.array(["a", None], dtype=object), np.array(["b", None], dtype=object)),
        (np.float32(1), np.float64(1)),
        (float("nan"), 0.0),
        ("a", b"a"),
        (None, 0),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
        (Pair(1, 2), (1, 2)),
        (Held(torch.ones(1)), Held(torch.zeros(1))),
        (object(), 1),
    ],
)
def test_contents(value, other):
    def of(value):
        return fingerprint_data({"train": [value]})

    assert of(value) == of(value) != of(other)
    if not isinstance(value, torch.Tensor) or not value.is_sparse:
        assert of(value) == of(dataclasses.replace(value) if isinstance(value, Held) else value)
