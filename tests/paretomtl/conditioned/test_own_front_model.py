"""A front model of one's own, from outside: trained, stored by its name, served in another process, never imported."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.conditioned.kinds import FRONT_MODELS, GROUP, find_front_model, from_options, load_registered, to_options
from paretomtl.preflight.fingerprint import name_key
from paretomtl.storage.store import Store
from paretomtl.storage.verify import verify
from tests import toys
from tests.damage import reseal
from tests.folders import files

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
ROOT = Path(pm.__file__).parents[1]
MODULE = '''
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import paretomtl as pm

Path({proof!r}).touch()


@dataclass(frozen=True)
class Biases(pm.FrontModel):
    """The biases of the plain network move with the preference: b + scale B r."""

    scale: float = 1.0
    only: tuple[str, ...] = ()

    def attach(self, plain, m):
        return BiasesNetwork(plain, m, self.scale, self.only)


class BiasesNetwork(pm.Conditioned):
    def __init__(self, plain, m, scale, only):
        super().__init__(plain)
        self.scale = scale
        self.names = [name for name, p in plain.named_parameters() if p.ndim == 1 and (name in only or not only)]
        self.moves = nn.ParameterList(
            torch.randn_like(plain.get_parameter(name).expand(m, -1)) for name in self.names
        )

    def generate(self, r):
        return {{
            name: self.plain.get_parameter(name) + self.scale * r @ move
            for name, move in zip(self.names, self.moves)
        }}
'''
SERVE = """
import json, sys
import torch
import paretomtl as pm
from paretomtl.preflight.fingerprint import name_key
from tests import toys

front = pm.Front.load(sys.argv[1])
try:
    front.model_at([0.3, 0.7], toys.TwoHeads)
except ValueError as error:
    refused = str(error)
imported = "a_package" in sys.modules
import a_package.mine

weights = front.model_at([0.3, 0.7], toys.TwoHeads).state_dict()
print(json.dumps([refused, imported, {name: p.tolist() for name, p in weights.items()}]))
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a front model in a folder that is on the path; the file that its import makes."""
    folder, proof = tmp_path / "path", tmp_path / "imported"
    (folder / "a_package").mkdir(parents=True)
    (folder / "a_package" / "__init__.py").touch()
    (folder / "a_package" / "mine.py").write_text(MODULE.format(proof=str(proof)))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{ROOT}:{ROOT / 'solvers'}")
    yield proof
    for name in [name for name in sys.modules if name.partition(".")[0] == "a_package"]:
        del sys.modules[name]


def register(package: Path) -> None:
    """Have an installed distribution register the module."""
    info = package.parent / "path" / "a_package-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: a-package\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nmine = a_package.mine\n")
    module = info.parent / "a_package" / "mine.py"
    module.write_text(module.read_text() + '\n__all__ = ["Biases", "BiasesNetwork"]\n')


def explored(out: Path, front_model: pm.FrontModel, solver: pm.Solver | None = None, **changes) -> pm.Front:
    settings = {"preferences": 3, "epochs": 3, "optimizer": partial(torch.optim.Adam, lr=0.02)} | changes
    return pm.explore(toys.two_regressions(), solver or ps.Linear(), front_model=front_model, out=out, **settings)


@pytest.mark.parametrize("solver", [ps.Linear(), ps.EPO()], ids=lambda solver: type(solver).__name__)
def test_it_is_trained_stored_and_served(solver, package, tmp_path):
    from a_package.mine import Biases

    front = explored(tmp_path / "front", Biases(scale=2.0, only=("trunk.bias", "a.bias")), solver)
    assert front.study["front_model"] == {
        "kind": "a_package.mine:Biases",
        "scale": 2.0,
        "only": ["trunk.bias", "a.bias"],
        "sampling": {"each": "part", "n": None, "concentration": 1.0, "ends": 0.3},
    }
    assert len({p.losses["validate"] for p in front.points}) == 3
    assert str(verify(front.folder)) == "every file is as it was written"
    for p in front.points:
        for name, value in front.load_model(p, toys.TwoHeads).state_dict().items():
            torch.testing.assert_close(front.model_at(p.preference, toys.TwoHeads).state_dict()[name], value)


def test_another_process_serves_it_once_it_has_imported_the_module(package, tmp_path):
    from a_package.mine import Biases

    front = explored(tmp_path / "front", Biases())
    command = [sys.executable, "-c", SERVE, str(front.folder)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    refused, imported, weights = json.loads(run.stdout)
    assert "import the module that defines it first, or register it under the entry points" in refused
    assert not imported
    expected = front.model_at([0.3, 0.7], toys.TwoHeads).state_dict()
    for name, value in weights.items():
        torch.testing.assert_close(torch.tensor(value), expected[name])


def test_it_goes_on_to_the_same_bytes_and_other_options_are_another_study(package, tmp_path):
    from a_package.mine import Biases

    front = explored(tmp_path / "front", Biases())
    whole = files(front.folder)
    (front.folder / "points" / "point-002.json").unlink()
    explored(front.folder, Biases())
    assert files(front.folder) == whole
    with pytest.raises(ValueError, match=r"front_model a_package\.mine:Biases, scale: 1\.0 there, 3\.0 here"):
        explored(front.folder, Biases(scale=3.0))
    with pytest.raises(ValueError, match=r"front_model: a_package\.mine:Biases\(.*\) there, LowRank\(.*\) here"):
        explored(front.folder, pm.LowRank())


def test_nothing_is_imported_because_a_file_names_it(package, tmp_path):
    """The front can be read; to serve a preference, the class must be imported or registered by the user."""
    stranger, proof = package.parent / "path" / "a_stranger.py", tmp_path / "imported from a name"
    stranger.write_text(MODULE.format(proof=str(proof)))
    front = explored(tmp_path / "front", pm.LowRank(rank=2))
    reseal(front.folder / "study.json", lambda head: head["study"]["front_model"].update(kind="a_stranger:Biases"))
    store = Store(front.folder)
    for path in (front.folder / "points").iterdir():
        reseal(path, lambda record: record.update(study=store.id))
    store.write_front(store.read_points())
    front = pm.Front.load(front.folder)
    assert front.study["front_model"]["kind"] == "a_stranger:Biases"
    assert str(verify(front.folder)) == "every file is as it was written"
    with pytest.raises(ValueError, match="'a_stranger:Biases' is a class that is not imported here, and no module is"):
        front.model_at([0.5, 0.5], toys.TwoHeads)
    assert not proof.exists()
    assert "a_stranger" not in sys.modules


def test_a_registered_class_is_known_by_its_bare_and_its_qualified_name(package, tmp_path):
    register(package)
    kinds = load_registered()
    assert kinds.keys() == {"Biases"}  # of what __all__ names, the front models
    assert find_front_model("Biases") is find_front_model("a_package.mine:Biases") is kinds["Biases"]
    with pytest.raises(ValueError, match=f"'Bias' is not one of {', '.join(FRONT_MODELS)}, Biases"):
        find_front_model("Bias")
    front = explored(tmp_path / "front", kinds["Biases"](scale=2.0))
    assert front.study["front_model"]["kind"] == "a_package.mine:Biases"
    assert type(front.model_at([0.5, 0.5], toys.TwoHeads)) is toys.TwoHeads


def test_what_cannot_be_stored_is_refused_before_any_work(tmp_path):
    with pytest.raises(TypeError, match=r"the option net=.* cannot be stored"):
        explored(tmp_path / "front", Holding(net=nn.Linear(1, 1)))
    assert not (tmp_path / "front").exists()


@dataclass(frozen=True)
class Holding(pm.LowRank):
    """An option that is no value of JSON."""

    net: object = None


@dataclass(frozen=True)
class Grown(pm.LowRank):
    """A kind on one of ours, with a network of its own."""

    gain: float = 1.0

    def attach(self, plain: nn.Module, m: int) -> pm.Conditioned:
        return GrownNetwork(plain, m, self.gain)


class GrownNetwork(pm.Conditioned):
    """All weights grow with the first objective."""

    def __init__(self, plain: nn.Module, m: int, gain: float):
        super().__init__(plain)
        self.gain = nn.Parameter(torch.full((m,), gain))

    def generate(self, r: Tensor) -> dict[str, Tensor]:
        grown = 1 + 0.1 * (r @ self.gain)
        return {
            name: p * grown.reshape(-1, *[1] * p.ndim) for name, p in self.plain.named_parameters() if p.requires_grad
        }


def test_a_kind_on_one_of_ours_is_a_kind_of_its_own(tmp_path):
    front = explored(tmp_path / "front", Grown(gain=0.5))
    assert front.study["front_model"]["kind"] == f"{__name__}:Grown"
    assert to_options(from_options(front.study["front_model"])) == front.study["front_model"]
    assert type(front.model_at([0.5, 0.5], toys.TwoHeads)) is toys.TwoHeads


@dataclass(frozen=True)
class Faulty(Grown):
    """One whose network returns what a test says."""

    per_sample: ClassVar[bool] = True
    returned: ClassVar[Callable] = None

    def attach(self, plain: nn.Module, m: int) -> nn.Module:
        return FaultyNetwork(plain, m, 1.0) if type(self).returned else nn.Linear(1, 1)


class FaultyNetwork(GrownNetwork):
    """A network that does not keep to the contract."""

    def generate(self, r: Tensor) -> dict[str, Tensor]:
        return Faulty.returned(super().generate(r))


FAULTS = {
    "no network": (None, TypeError, r"attach\(\) returned a Linear; return a pm\.Conditioned"),
    "no dict": (
        lambda weights: list(weights.values()),
        TypeError,
        "returned a list; return a dict from names to tensors",
    ),
    "no tensors": (lambda weights: dict.fromkeys(weights, 1.0), TypeError, "return a dict from names to tensors"),
    "nothing": (lambda weights: {}, ValueError, "returned no weights"),
    "other names": (
        lambda weights: {f"plain.{name}": rows for name, rows in weights.items()},
        ValueError,
        "the network has no parameter 'plain.trunk.weight'; it has trunk.weight, trunk.bias, a.weight",
    ),
    "no rows": (
        lambda weights: {name: rows[0] for name, rows in weights.items()},
        ValueError,
        r"'trunk.weight' has the shape \(1, 4\) for 1 preferences; give \(1, 1, 4\)",
    ),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("fault", FAULTS)
def test_one_that_does_not_keep_to_the_contract_is_refused_before_any_work(fault, tmp_path, monkeypatch):
    returned, kind, said = FAULTS[fault]
    monkeypatch.setattr(Faulty, "returned", returned)
    with pytest.raises(kind, match=said):
        explored(tmp_path / "front", Faulty())
    assert not (tmp_path / "front").exists()


@pytest.mark.usefixtures("unchecked")
def test_a_preference_for_each_sample_takes_a_network_that_changes_outputs(monkeypatch):
    monkeypatch.setattr(Faulty, "returned", dict)
    with pytest.raises(
        TypeError, match=r"attach\(\) returned a FaultyNetwork, which cannot have .* leave per_sample False"
    ):
        explored(None, Faulty(sampling=pm.Sampling("sample")))


def test_its_code_is_part_of_the_study(tmp_path, monkeypatch):
    front = explored(tmp_path / "front", Grown())
    known = {name_key(key, front.study["modules"]) for key in front.study["code"]}
    assert {f"{__name__}.Grown", f"{__name__}.GrownNetwork"} <= known
    generate = GrownNetwork.generate
    monkeypatch.setattr(GrownNetwork, "generate", lambda self, r: dict(generate(self, r)))
    with pytest.raises(ValueError, match=f"the code of {__name__}.GrownNetwork"):
        explored(front.folder, Grown())
