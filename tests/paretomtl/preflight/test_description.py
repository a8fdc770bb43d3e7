"""What a resume compares: code and data by their names, and nothing secret."""

import importlib
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Subset, TensorDataset

import paretomtl as pm
import paretomtl_solvers as ps
from tests import toys
from tests.folders import differences, everything, logged

SGD = partial(torch.optim.SGD, lr=0.1)


def explored(out: Path, problem: dict[str, Any], **changes: Any) -> int:
    """Explore one point of a toy in a folder; how many were trained for it."""
    asked = {"solver": ps.Linear(), "preferences": [[0.5, 0.5]], "epochs": 1, "optimizer": SGD} | changes
    pm.explore(toys.two_regressions(**problem), out=out, **asked)
    started = [*logged(out, "started"), *logged(out, "resumed")]
    return started[-1]["left"]


CODE = """
from tests import toys
POWER = 2
def error(x):
    return x.abs().pow(POWER).mean()
class Net(toys.TwoHeads):
    def forward(self, x):
        return super().forward(1.0 * x)
def losses(model, batch):
    a, b = model(batch[0])
    return {"a": error(a - batch[1][:, 0]), "b": error(b - batch[1][:, 1])}
"""


@pytest.mark.fault(74)
@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("a - batch[1][:, 0]", "batch[1][:, 0] - a", ["the code of coded.losses: changed"]),
        (".mean()", ".sum()", ["the code of coded.error: changed"]),
        ("1.0 * x", "2.0 * x", ["the code of coded.Net.forward: changed"]),
        ("POWER = 2", "POWER = 4", ["the code of coded.POWER: changed"]),
        ("    return x", "    # the error\n    return x", []),
    ],
)
def test_other_code_is_refused_by_its_name(tmp_path, monkeypatch, old, new, told):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)

    def run(code: str) -> int:
        (tmp_path / "coded.py").write_text(code)
        monkeypatch.delitem(sys.modules, "coded", raising=False)
        importlib.invalidate_caches()
        coded = importlib.import_module("coded")
        return explored(tmp_path / "front", {"model": coded.Net, "losses": coded.losses})

    run(CODE)
    before = everything(tmp_path / "front")
    assert CODE.count(old) == 1
    if not told:
        assert run(CODE.replace(old, new)) == 0
        return
    with pytest.raises(ValueError) as error:
        run(CODE.replace(old, new))
    assert differences(error) == told
    assert everything(tmp_path / "front") == before


def changed(item: int) -> TensorDataset:
    x, y = toys.regression(1).tensors
    return TensorDataset(torch.cat([x[:item], x[item:] + 1]) if item else torch.cat([x[:1] + 1, x[1:]]), y)


def shuffled(data: Any, seed: int = 0) -> DataLoader:
    return DataLoader(data, 16, shuffle=True, generator=torch.Generator().manual_seed(seed))


FIRST_OR_LAST = "the first or the last item, or the batch size, changed"


@pytest.mark.fault(57)
@pytest.mark.parametrize("split", ["train", "validate"])
@pytest.mark.parametrize(
    ("other", "told"),
    [
        (Subset(toys.regression(1), range(48)), "length 64 there, length 48 here"),
        (changed(0), FIRST_OR_LAST),
        (changed(63), FIRST_OR_LAST),
        (toys.regression(1), None),
    ],
)
def test_other_data_are_refused_by_their_split(tmp_path, split, other, told):
    out, data = tmp_path / "front", toys.regression(1)
    run = partial(explored, out)
    assert run({split: shuffled(data)})
    if told is None:
        assert run({split: shuffled(other, seed=5)}) == 0
        return
    with pytest.raises(ValueError) as error:
        run({split: shuffled(other)})
    assert differences(error) == [f"the data of {split}: {told}"]


KEY, TOKEN = "sk-global-71", "sk-argument-72"


def logs_in(model, batch):
    assert KEY.startswith("sk-")
    return toys.losses(model, batch)


def with_token(parameters, token, more=()):
    assert token == TOKEN
    return SGD(parameters)


@dataclass
class Tracked:
    token: str

    def __call__(self, parameters):
        return SGD(parameters)

    def optimizer(self, parameters):
        return SGD(parameters)


@pytest.mark.fault(90)
@pytest.mark.parametrize(
    "optimizer",
    [
        partial(with_token, token=TOKEN),
        partial(with_token, token=TOKEN, more=[TOKEN]),
        Tracked(TOKEN),
        Tracked(TOKEN).optimizer,
        lambda parameters: with_token(parameters, TOKEN),
    ],
)
def test_no_secret_is_written(tmp_path, monkeypatch, optimizer):
    monkeypatch.setenv("API_KEY", "sk-environment-70")
    explored(tmp_path / "front", {"losses": logs_in}, optimizer=optimizer)
    assert not any(b"sk-" in data for data in everything(tmp_path / "front").values())
