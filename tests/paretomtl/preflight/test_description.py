"""What a resume compares: code and data by their names, and nothing secret."""

import importlib
import os
import subprocess
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
from paretomtl.storage.store import Store
from paretomtl.training.numerics import Numerics, read_numerics, set_numerics
from tests import toys
from tests.folders import differences, everything, logged

ROOT = Path(__file__).parents[3]
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


# --- the kinds of change ---

KINDS = """
import os, threading
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace
import numpy as np
import torch
from tests import toys

RATE = 0.5
TABLE = {"rate": 0.5}
NESTED = {"a": {"rate": [0.5, {"deep": 1}]}}
class Config:
    rate = 0.5
class Mode(Enum):
    FAST = 1
TENSOR = torch.tensor([1.0, 2.0])
ARRAY = np.array([1.0, 2.0])
@dataclass
class Options:
    rate: float = 0.5
    more: dict = field(default_factory=dict)
OPTIONS = Options(more={"inner": Options(rate=1.5)})
SPACE = SimpleNamespace(rate=0.5)
WITH_TENSOR = {"weights": torch.ones(2)}
HUBER = torch.nn.HuberLoss(delta=1.0)
ENTROPY = torch.nn.CrossEntropyLoss(label_smoothing=0.0)
LOCK = threading.Lock()

def losses(model, batch):
    USED
    return toys.losses(model, batch)
"""


def of_kinds(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str, used: str) -> Any:
    """The losses of a module that uses one of its globals."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(folder)
    (folder / "kinds.py").write_text(code.replace("USED", used))
    monkeypatch.delitem(sys.modules, "kinds", raising=False)
    importlib.invalidate_caches()
    return importlib.import_module("kinds").losses


@pytest.mark.fault(114)
@pytest.mark.parametrize(
    ("used", "old", "new", "told"),
    [
        ("RATE", "RATE = 0.5", "RATE = 0.25", "the code of kinds.RATE: changed"),
        ("TABLE", '"rate": 0.5}\nNESTED', '"rate": 0.25}\nNESTED', "the code of kinds.TABLE: changed"),
        ("NESTED", '"deep": 1', '"deep": 2', "the code of kinds.NESTED: changed"),
        ("Config.rate", "    rate = 0.5\n", "    rate = 0.25\n", "the code of kinds.Config.rate: changed"),
        ("Mode.FAST", "FAST = 1", "FAST = 2", "the code of kinds.Mode.FAST: changed"),
        ("TENSOR", "tensor([1.0, 2.0])", "tensor([1.0, 2.5])", "the code of kinds.TENSOR: changed"),
        ("ARRAY", "array([1.0, 2.0])", "array([1.0, 2.5])", "the code of kinds.ARRAY: changed"),
        ("OPTIONS", "Options(rate=1.5)", "Options(rate=2.5)", "the code of kinds.OPTIONS: changed"),
        ("SPACE", "Namespace(rate=0.5)", "Namespace(rate=0.25)", "the code of kinds.SPACE: changed"),
        ("WITH_TENSOR", "torch.ones(2)", "torch.zeros(2)", "the code of kinds.WITH_TENSOR: changed"),
        ("HUBER", "delta=1.0", "delta=2.0", "the code of kinds.HUBER: changed"),
        ("ENTROPY", "smoothing=0.0", "smoothing=0.1", "the code of kinds.ENTROPY: changed"),
    ],
)
def test_every_kind_of_value_that_changed_is_refused_by_its_name(tmp_path, monkeypatch, used, old, new, told):
    def run(code: str) -> int:
        return explored(tmp_path / "front", {"losses": of_kinds(tmp_path, monkeypatch, code, used)})

    assert KINDS.count(old) == 1
    run(KINDS)
    assert run(KINDS) == 0
    with pytest.raises(ValueError) as error:
        run(KINDS.replace(old, new))
    assert differences(error) == [told]


@pytest.mark.fault(114)
@pytest.mark.parametrize(
    ("used", "told"),
    [
        ('os.environ.get("X")', "the code of kinds.losses changed: it reads the environment"),
        ('os.getenv("X")', "the code of kinds.losses changed: it reads the environment"),
        ("LOCK", "the code of kinds.LOCK changed: it holds a lock"),
        ('TABLE["n"] = TABLE.get("n", 0) + 1', "the code of kinds.TABLE changed: it changes while the study runs"),
        ("SPACE.n = getattr(SPACE, 'n', 0) + 1", "kinds.SPACE changed: it changes while the study runs"),
    ],
)
def test_what_cannot_be_known_is_a_warning_that_names_it(tmp_path, monkeypatch, used, told):
    losses = of_kinds(tmp_path, monkeypatch, KINDS, used)
    explored(tmp_path / "front", {"losses": losses})
    with pytest.warns(UserWarning, match="cannot tell whether") as caught:
        assert explored(tmp_path / "front", {"losses": losses}) == 0
    (text,) = [str(each.message) for each in caught]
    assert text.endswith(told)
    assert logged(tmp_path / "front", "warning")[-1]["text"] == text


@dataclass
class Counting:
    """Losses that count their calls, and have an option."""

    option: float
    calls: int = 0

    def __call__(self, model, batch):
        self.calls += 1
        return toys.losses(model, batch)


def test_losses_that_count_their_calls_go_on_in_one_process(tmp_path):
    losses = Counting(0.5)
    explored(tmp_path / "front", {"losses": losses})
    with pytest.warns(
        UserWarning, match="cannot tell whether the arguments of the losses changed: it changes while the"
    ):
        assert explored(tmp_path / "front", {"losses": losses}) == 0


def weighted(weight):
    def losses(model, batch):
        return {name: weight * loss for name, loss in toys.losses(model, batch).items()}

    return losses


@pytest.mark.fault(114)
def test_functions_of_one_name_are_told_apart_by_what_they_are_bound_to(tmp_path):
    first, second = weighted(1.0), weighted(2.0)
    explored(tmp_path / "front", {"losses": first, "project": lambda model, other=second: None})
    with pytest.raises(ValueError) as error:
        explored(tmp_path / "front", {"losses": second, "project": lambda model, other=first: None})
    assert differences(error)


SCRIPT = """
import sys, torch
import paretomtl as pm, paretomtl_solvers as ps
from tests import toys
HERE
problem = toys.two_regressions(losses=losses, project=project)
pm.explore(problem, ps.Linear(), preferences=[[0.5, 0.5]], epochs=1, optimizer=optimizer, out="front",
           callbacks=[lambda step: print("trained")])
"""
AT_THE_TOP = """
losses = lambda model, batch: {name: 2 * loss for name, loss in toys.losses(model, batch).items()}
@torch.no_grad()
def project(model): pass
def optimizer(p): return torch.optim.SGD(p, 0.1)
"""
IN_A_FUNCTION = """
def make():
    return lambda model, batch: {name: 2 * loss for name, loss in toys.losses(model, batch).items()}
losses = make()
@torch.no_grad()
def project(model): pass
def optimizer(p): return torch.optim.SGD(p, 0.1)
"""


@pytest.mark.fault(115)
def test_a_script_under_another_name_goes_on_and_so_does_a_lambda_that_moved(tmp_path):
    runs = [("first.py", AT_THE_TOP), ("second.py", AT_THE_TOP), ("second.py", IN_A_FUNCTION)]
    runs += [("third.py", IN_A_FUNCTION.replace("2 *", "3 *"))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "solvers")])}
    results = []
    for name, code in runs:
        (tmp_path / name).write_text(SCRIPT.replace("HERE", code))
        command = [sys.executable, name]
        results.append(subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True))
    assert [result.stdout.count("trained") for result in results] == [4, 0, 0, 0], results
    assert [result.returncode for result in results] == [0, 0, 0, 1], results
    assert "the code of third.<lambda>: changed" in results[3].stderr


# --- settings of torch ---


@pytest.fixture
def own_numerics():
    before = read_numerics()
    yield
    set_numerics(before)


@pytest.mark.fault(110)
@pytest.mark.usefixtures("own_numerics")
def test_settings_of_torch_belong_to_the_study(tmp_path):
    explored(tmp_path / "front", {})
    assert "numerics" not in Store(tmp_path / "front").study  # they are torch's own
    torch.set_float32_matmul_precision("high")
    torch.use_deterministic_algorithms(True, warn_only=True)
    with pytest.raises(ValueError) as error:
        explored(tmp_path / "front", {})
    assert differences(error) == [
        "torch's deterministic: None there, True here",
        "torch's matmul_precision: None there, high here",
        "torch's warn_only: None there, True here",
    ]
    explored(tmp_path / "other", {})
    assert explored(tmp_path / "other", {}) == 0
    set_numerics(Numerics())
    with pytest.raises(ValueError, match="torch's matmul_precision: high there, None here"):
        explored(tmp_path / "other", {})


@pytest.mark.fault(110)
@pytest.mark.usefixtures("own_numerics")
def test_settings_of_one_process_are_given_to_another():
    torch.set_default_dtype(torch.float64)
    torch.set_float32_matmul_precision("medium")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = True
    there = read_numerics()
    assert there.changes() == {
        "dtype": "float64", "matmul_precision": "medium", "deterministic": True, "cudnn_benchmark": True
    }  # fmt: skip
    set_numerics(Numerics())
    assert (torch.get_default_dtype(), read_numerics().changes()) == (torch.float32, {})
    set_numerics(there)
    assert read_numerics() == there
