"""A plain network at any preference, out of a front's folder: whoever reads it, and whatever was done to it."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.storage.store import Store
from paretomtl.storage.verify import verify
from tests import toys
from tests.damage import explored, flipped, reseal
from tests.folders import files
from tests.limits import limit

ROOT = Path(pm.__file__).parents[1]
PROBLEM = toys.two_regressions()
KINDS = {
    "FiLM": pm.FiLM(hidden=8),
    "LowRank": pm.LowRank(rank=2),
    "full rank": pm.LowRank(rank=None, modules=("trunk",)),
    "Hypernetwork": pm.Hypernetwork(hidden=8),
    "Inputs": pm.Inputs(),
}

ASKED = {"front_model": pm.LowRank(rank=1), "seeds": 2, "epochs": 8, "optimizer": partial(torch.optim.Adam, lr=0.05)}

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return explored(tmp_path_factory.mktemp("whole") / "front", **ASKED).folder


@pytest.fixture
def folder(whole, tmp_path):
    """A copy of it, moved."""
    return Path(shutil.copytree(whole, tmp_path / "elsewhere" / "front"))


def outputs(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return torch.stack(model(toys.regression(5).tensors[0]))


def assert_alike(one: nn.Module, other: nn.Module) -> None:
    assert not one.training
    assert one.state_dict().keys() == other.state_dict().keys()
    for key, value in one.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[key], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_preference_of_a_point_it_is_the_points_model(kind):
    front = explored(None, front_model=KINDS[kind], preferences=3, epochs=3)
    for p in front.points:
        model = front.model_at(p.preference, toys.TwoHeads)
        assert type(model) is toys.TwoHeads
        assert_alike(model, front.load_model(p, toys.TwoHeads))


def test_each_seed_has_its_own_network(whole):
    front = pm.Front.load(whole)
    for p in front.points:
        assert_alike(front.model_at(p.preference, toys.TwoHeads, seed=p.seed), front.load_model(p, toys.TwoHeads))
    first, second = (front.model_at([0.5, 0.5], toys.TwoHeads, seed=s) for s in (0, 1))
    assert (outputs(first) - outputs(second)).abs().max() > 0.01
    assert_alike(front.model_at([0.5, 0.5], toys.TwoHeads), first)
    assert_alike(front.by_seed()[1].model_at([0.5, 0.5], toys.TwoHeads, seed=1), second)
    for seed in (2, -1):
        with pytest.raises(ValueError, match=rf"seed={seed}: this front has networks of the seeds \[0, 1\]"):
            front.model_at([0.5, 0.5], toys.TwoHeads, seed=seed)


def test_between_points_the_losses_lie_between(whole):
    front = pm.Front.load(whole).by_seed()[0]
    losses = [pm.evaluate(PROBLEM, front.model_at([a, 1 - a], toys.TwoHeads))["a"] for a in (1 / 3, 0.5, 2 / 3)]
    assert losses == sorted(losses, reverse=True)
    np.testing.assert_allclose([losses[0], losses[2]], front.losses[:, 0], rtol=1e-6)


@pytest.mark.parametrize(
    "preference",
    [(0.25, 0.75), np.array([0.25, 0.75]), [1.0, 3.0], np.array([1, 3]), np.array([0.25, 0.75], dtype=np.float32)],
    ids=str,
)
def test_a_preference_may_be_given_in_many_ways(whole, preference):
    front = pm.Front.load(whole)
    expected = front.model_at([0.25, 0.75], toys.TwoHeads)
    assert_alike(front.model_at(preference, toys.TwoHeads), expected)


@pytest.mark.fault(14)
@pytest.mark.parametrize(
    ("preference", "said"),
    [
        ([-0.5, 1.5], "negative entry"),
        ([0.0, 0.0], "all zero"),
        ([float("nan"), 1.0], "not finite"),
        ([0.2, 0.3, 0.5], "give 2 numbers"),
        (np.array([[0.5, 0.5]]), "give 2 numbers"),
    ],
)
def test_what_is_no_preference(whole, preference, said):
    with pytest.raises(ValueError, match=rf"^preference = .*{said}"):
        pm.Front.load(whole).model_at(preference, toys.TwoHeads)


@pytest.mark.parametrize("preference", [[1.0, 0.0], [0.0, 1.0]])
def test_the_ends_of_the_simplex(whole, preference):
    assert outputs(pm.Front.load(whole).model_at(preference, toys.TwoHeads)).isfinite().all()


def test_fronts_without_a_network(whole, tmp_path):
    remedy = r"this front has no network for all preferences; explore with front_model=, such as pm\.FiLM\(\)"
    apart = explored(None)
    values = pm.Front.from_values([[1.0, 2.0]], ["a", "b"], [3.0, 3.0])
    for front in (apart, values, pm.Front.load(whole).mean()):
        with pytest.raises(ValueError, match=remedy):
            front.model_at([0.5, 0.5], toys.TwoHeads)


# --- other models ---


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk, self.a, self.c = nn.Linear(4, 2), nn.Linear(2, 1), nn.Linear(2, 1)


def double() -> nn.Module:
    return toys.TwoHeads().double()


def test_another_model_is_refused_with_the_difference(whole):
    front = pm.Front.load(whole)
    with pytest.raises(ValueError, match=r"not of the model that build\(\) makes: stored only: .*b\.") as error:
        front.model_at([0.5, 0.5], Wide)
    assert "in the model only: " in str(error.value)
    assert "c.weight float32 (1, 2)" in str(error.value)
    assert "trunk.weight float32 (1, 4) stored, float32 (2, 4) here" in str(error.value)
    with pytest.raises(ValueError, match=r"a\.weight float32 \(1, 1\) stored, float64 \(1, 1\) here"):
        front.model_at([0.5, 0.5], double)


# --- damage ---


def network_of(folder: Path, seed: int = 0) -> Path:
    point = next(p for p in pm.Front.load(folder).points if p.seed == seed)
    return folder / "weights" / f"{point.network}.safetensors"


@pytest.mark.fault(77, 78)
@pytest.mark.parametrize("how", ["missing", "cut", "flipped", "another's"])
def test_a_damaged_network_is_named_refused_and_mended(whole, folder, how):
    path, other = network_of(folder), network_of(folder, 1)
    data = path.read_bytes()
    path.unlink()
    if how != "missing":
        path.write_bytes(
            {"cut": data[:-1], "flipped": flipped(data, len(data) // 2), "another's": other.read_bytes()}[how]
        )
    found = verify(folder)
    assert set(found.damaged) == {f"weights/{path.name}"}
    front = pm.Front.load(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=path.stem):
        front.model_at([0.5, 0.5], toys.TwoHeads)
    front.model_at([0.5, 0.5], toys.TwoHeads, seed=1)
    for p in front.points:
        front.load_model(p, toys.TwoHeads)
    explored(folder, **ASKED)
    assert files(folder) == files(whole)


def in_front_model(folder: Path, **changes) -> None:
    """All files agree that the study asked for another front model."""
    for name in ("study.json", "front.json"):
        reseal(folder / name, lambda found: found["study"]["front_model"].update(changes))
    study = json.loads((folder / "study.json").read_text())["id"]
    reseal(folder / "front.json", lambda found: found.update(id=study))
    for record in folder.glob("points/*.json"):
        reseal(record, lambda found: found.update(study=study))


HOSTILE = """
import resource, sys, time
import paretomtl as pm
from tests import toys
front = pm.Front.load(sys.argv[1])
front.model_at([0.5, 0.5], toys.TwoHeads)
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 400 * 2**20,) * 2)
for folder in sys.argv[3:]:
    start = time.process_time()
    try:
        pm.Front.load(folder).model_at([0.5, 0.5], toys.TwoHeads)
    except ValueError as error:
        print(str(error)[-300:].replace("\\n", " "))
    assert time.process_time() - start < float(sys.argv[2])
"""


@pytest.mark.fault(88)
def test_a_front_model_of_absurd_size_is_refused_before_memory_is_taken(tmp_path):
    """Beyond what the options allow, the study is damaged; within, the stored weights do not belong to it."""
    absurd = [("FiLM", {"hidden": 10**9}), ("FiLM", {"hidden": 65_536}), ("FiLM", {"hidden": "8"})]
    absurd += [
        ("Hypernetwork", {"hidden": 65_536}),
        ("Hypernetwork", {"form": "chunks", "chunk": 65_536, "hidden": 65_536}),
    ]
    absurd += [("LowRank", {"rank": 10**12}), ("Inputs", {"layers": ["../x"]}), ("Inputs", {"kind": "os.system"})]
    bases = {kind: explored(tmp_path / kind, front_model=KINDS[kind]).folder for kind in {kind for kind, _ in absurd}}
    folders = []
    for k, (kind, changes) in enumerate(absurd):
        folders.append(Path(shutil.copytree(bases[kind], tmp_path / f"absurd-{k}")))
        in_front_model(folders[-1], **changes)
    command = [sys.executable, "-c", HOSTILE, *map(str, (bases["FiLM"], limit(10), *folders))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit(100))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(absurd), done.stdout
    damaged, differs = "is damaged: ", "modulator"
    for line, said in zip(
        lines,
        [damaged, differs, damaged, "writer", "writer", damaged, "no module '../x'", "is not one of"],
        strict=True,
    ):
        assert said in line


def test_a_study_that_says_nothing_of_the_network_that_its_points_name(folder):
    for name in ("study.json", "front.json"):
        reseal(folder / name, lambda found: found["study"].pop("front_model"))
    study = json.loads((folder / "study.json").read_text())["id"]
    reseal(folder / "front.json", lambda found: found.update(id=study))
    for record in folder.glob("points/*.json"):
        reseal(record, lambda found: found.update(study=study))
    front = pm.Front.load(folder)
    assert len(front) == 4
    with pytest.raises(ValueError, match="the study of this front has no front_model"):
        front.model_at([0.5, 0.5], toys.TwoHeads)


def test_points_may_name_weights_that_are_of_no_network(folder):
    store = Store(folder)
    for p in store.read_points():
        store.write_point(replace(p, network=p.weights), store.read_weights(p.weights))
    with pytest.raises(ValueError, match=r"not of the model that build\(\) makes: in the model only: "):
        pm.Front.load(folder).model_at([0.5, 0.5], toys.TwoHeads)


STRANGER = """
import sys
from torch import nn
import paretomtl as pm

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk, self.a, self.b = nn.Linear(4, 1), nn.Linear(1, 1), nn.Linear(1, 1)

front = pm.Front.load(sys.argv[1])
for p in front.points:
    here, there = front.model_at(p.preference, Net, seed=p.seed), front.load_model(p, Net)
    assert all(abs(x - there.state_dict()[key]).max() < 1e-6 for key, x in here.state_dict().items())
print(front.model_at([0.1, 0.9], Net), front.map())
assert not {"tests", "paretomtl_solvers"} & set(sys.modules)
"""


def test_a_moved_front_is_served_in_another_process_without_the_problem(folder, tmp_path):
    done = subprocess.run([sys.executable, "-c", STRANGER, str(folder)], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "(trunk): Linear" in done.stdout


# --- running statistics ---


class Normed(toys.TwoHeads):
    """With a BatchNorm behind the trunk."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.norm(self.trunk(x))
        return self.a(z)[:, 0], self.b(z)[:, 0]


def drawn() -> DataLoader:
    """Data that its factory draws, from torch's own generator."""
    x = torch.randn(64, 4)
    return DataLoader(TensorDataset(x, x[:, :2]), 16, shuffle=True)


@pytest.mark.parametrize("train", [partial(toys.loader, 1, True), drawn], ids=["given", "drawn"])
def test_batch_norm_takes_the_problem(train):
    problem = toys.two_regressions(model=Normed, train=train)
    front_model = pm.Hypernetwork(hidden=8, sampling=pm.Sampling("batch", n=2))
    front = pm.explore(problem, ps.Linear(), preferences=2, epochs=4, seeds=2, front_model=front_model)
    for p in front.points:
        with pytest.raises(ValueError, match=r"BatchNorm, whose running statistics .*; give problem="):
            front.model_at(p.preference, Normed, seed=p.seed)
        state = torch.random.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
        model = front.model_at(p.preference, lambda: MODEL, seed=p.seed, problem=problem)
        assert torch.equal(torch.random.get_rng_state(), state[0])
        assert np.random.get_state()[1].tolist() == state[1]  # noqa: NPY002
        assert_alike(model, front.load_model(p, Normed))
        assert list(pm.evaluate(problem, model).values()) == pytest.approx(list(p.losses["validate"]), rel=1e-6)
    others = toys.two_regressions(model=Normed, objectives=["b", "a"])
    with pytest.raises(ValueError, match="give the front's problem"):
        front.model_at([0.5, 0.5], Normed, problem=others)


MODEL = Normed()
