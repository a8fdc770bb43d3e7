"""Digit pairs: the recipe on made-up pictures, the nets, and one epoch on the real ones."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import paretomtl as pm
import paretomtl_solvers as ps
from studies import data, digit_pairs
from studies.digit_pairs import SIZES, SPLITS, LeNet, losses
from tests.folders import files

ROOT = Path(__file__).parents[2]
pairs = digit_pairs.pairs.__wrapped__  # without its cache


@pytest.fixture
def made_up(monkeypatch) -> dict[str, dict[str, data.Images]]:
    """Random pictures in place of MNIST and Fashion-MNIST; each split of each set has grey values of its own."""
    generator, sets, low = np.random.default_rng(0), {}, 1
    for name in ("mnist", "fashion"):
        sets[name] = {}
        for split in SPLITS:
            pictures = generator.integers(low, low + 40, size=(30, 28, 28), dtype=np.uint8)
            sets[name][split] = data.Images(pictures, generator.integers(10, size=30))
            low += 40
        monkeypatch.setattr(data, name, lambda made=sets[name]: made)
    return sets


def drawn(split: str, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Which base pictures the recipe takes: a generator of [seed, number of the split], left ones first."""
    generator = np.random.default_rng([seed, ("train", "validate", "test").index(split)])
    return generator.integers(30, size=n), generator.integers(30, size=n)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("kind", "sources"), [*digit_pairs.KINDS.items()])
def test_the_left_one_and_the_right_one_meet_in_their_maximum(made_up, split, kind, sources):
    pictures, labels = pairs(split, 50, kind)
    left, right = (made_up[name][split] for name in sources)
    i, j = drawn(split, 50)
    assert pictures.shape == (50, 36, 36)
    assert pictures.dtype == np.uint8
    assert np.array_equal(pictures[:, :8, :28], left.pictures[i][:, :8])
    assert np.array_equal(pictures[:, :28, :8], left.pictures[i][:, :, :8])
    assert np.array_equal(pictures[:, 28:, 8:], right.pictures[j][:, 20:])
    assert np.array_equal(pictures[:, 8:, 28:], right.pictures[j][:, :, 20:])
    overlap = np.maximum(left.pictures[i][:, 8:, 8:], right.pictures[j][:, :20, :20])
    assert np.array_equal(pictures[:, 8:28, 8:28], overlap)
    assert not pictures[:, :8, 28:].any()
    assert not pictures[:, 28:, :8].any()
    assert labels.tolist() == np.stack([left.labels[i], right.labels[j]], axis=1).tolist()


def test_kinds_say_what_lies_where():
    assert digit_pairs.KINDS == {
        "digits": ("mnist", "mnist"),
        "fashion": ("fashion", "fashion"),
        "mixed": ("mnist", "fashion"),
    }


def test_no_split_sees_the_pictures_of_another(made_up):
    greys = {split: set(np.unique(pairs(split, 200).pictures)) - {0} for split in SPLITS}
    own = {split: set(np.unique(made_up["mnist"][split].pictures)) for split in SPLITS}
    assert all(greys[split] <= own[split] for split in SPLITS)
    assert not greys["train"] & greys["validate"]
    assert not greys["train"] & greys["test"]
    assert not greys["validate"] & greys["test"]


def test_pairs_depend_on_the_seed_alone(made_up):
    np.random.seed(1)  # noqa: NPY002 - the global generator must not matter
    first = pairs("train", 20, seed=3)
    np.random.seed(2)  # noqa: NPY002
    assert np.array_equal(first.pictures, pairs("train", 20, seed=3).pictures)
    assert not np.array_equal(first.pictures, pairs("train", 20, seed=4).pictures)


def test_sizes():
    assert SIZES == {
        "tiny": (1_600, 500, 500),
        "demo": (10_000, 2_000, 2_000),
        "small": (20_000, 4_000, 4_000),
        "full": (108_000, 12_000, 20_000),
    }
    assert set(get_args(digit_pairs.Size)) == set(SIZES)


def test_a_problem_has_the_batches_of_its_size(made_up, monkeypatch):
    monkeypatch.setitem(SIZES, "small", (600, 1_100, 300))
    monkeypatch.setattr(digit_pairs, "pairs", pairs)
    problem = digit_pairs.digit_pairs("small", "mixed")
    assert problem.names == ("left", "right")
    lengths = {split: [len(labels) for _, labels in batches] for split, batches in problem.open().items()}
    assert lengths == {"train": [256, 256, 88], "validate": [1000, 100], "test": [300]}
    batches = problem.open()
    pictures, labels = next(iter(batches["validate"]))
    made = pairs("validate", 1_100, "mixed")
    assert pictures.dtype == torch.float32
    assert torch.equal(pictures, torch.from_numpy(made.pictures[:1000, None] / np.float32(255)))
    assert torch.equal(labels, torch.from_numpy(made.labels[:1000]))
    shuffled = next(iter(batches["train"]))[1]
    assert not torch.equal(shuffled, torch.from_numpy(pairs("train", 600, "mixed").labels[:256]))


@pytest.mark.parametrize(("width", "parameters"), [("published", 31_910), ("scarce", 3_690)])
def test_the_nets_have_a_head_a_side(width, parameters):
    net = LeNet(width)
    assert sum(p.numel() for p in net.parameters()) == parameters
    left, right = net(torch.rand(3, 1, 36, 36))
    assert left.shape == right.shape == (3, 10)
    left.sum().backward()
    assert net.right.weight.grad is None
    assert net.left.weight.grad is not None
    assert net.trunk[0].weight.grad is not None


def test_losses_are_the_mean_cross_entropy_of_each_side():
    net, pictures, labels = LeNet(), torch.rand(7, 1, 36, 36), torch.randint(10, (7, 2))
    found, (left, right) = losses(net, (pictures, labels)), net(pictures)
    assert found == {"left": cross_entropy(left, labels[:, 0]), "right": cross_entropy(right, labels[:, 1])}
    assert abs(found["left"].item() - math.log(10)) < 0.3


def test_one_epoch_learns_both_sides(mnist):
    problem = digit_pairs.digit_pairs("demo")
    front = pm.explore(problem, ps.Linear(), preferences=[[0.5, 0.5]], epochs=1)
    point = front.points[0]
    assert point.counts["steps"] == math.ceil(10_000 / 256)
    assert point.losses.keys() == {"validate", "test"}
    assert np.array(list(point.losses.values())).max() < 2.1  # log 10, 2.30, is chance
    measured = pm.evaluate(problem, front.load_model(point, problem.model), "test")
    assert tuple(measured.values()) == pytest.approx(point.losses["test"], abs=1e-6)


def mistyped(model, batches):
    """The accuracy of each side, with a typo in what it returns."""
    right, n = {"left": 0, "right": 0}, 0
    for pictures, labels in batches:
        for k, logits in enumerate(model(pictures)):
            right[("left", "right")[k]] += int((logits.argmax(1) == labels[:, k]).sum())
        n += len(labels)
    return {"left": right["left"] / n, "right": right["rigth"] / n}


def penalised(model, batch):
    pictures = batch[0].detach().requires_grad_()
    values = losses(model, (pictures, batch[1]))
    (slope,) = torch.autograd.grad(values["left"], pictures, create_graph=True)
    return values | {"left": values["left"] + slope.square().mean()}


def never(step):
    raise AssertionError("a step was taken")


@pytest.mark.parametrize(
    ("changes", "asked", "error", "named"),
    [
        pytest.param({"measure": mistyped}, {}, ValueError, "measure raised KeyError", marks=pytest.mark.fault(100)),
        pytest.param({"losses": penalised}, {}, ValueError, "torch.enable_grad", marks=pytest.mark.fault(101)),
        pytest.param(
            {}, {"optimizer": torch.optim.Adam(LeNet().parameters())}, TypeError, "give a function",
            marks=pytest.mark.fault(102),
        ),
    ],
    ids=["a typo in the measure", "a gradient penalty", "an optimizer instance"],
)  # fmt: skip
def test_on_real_digits_an_error_comes_before_the_first_step(mnist, tmp_path, changes, asked, error, named):
    problem, out = replace(digit_pairs.quick(), **changes), tmp_path / "front"
    with pytest.raises(error, match=named):
        pm.explore(problem, ps.EPO(), preferences=5, steps=100, callbacks=[never], out=out, **asked)
    assert not out.exists()


def run(*options):
    command = [sys.executable, "-m", "studies.digit_pairs", *map(str, options)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.filterwarnings("ignore::UserWarning")  # after three steps points are anywhere
def test_the_command_prints_and_draws_a_front(mnist, tmp_path, capsys):
    small = ("--size", "tiny", "--batch", "16", "--steps", "3", "--preferences", "3")
    assert digit_pairs.main([*small, "--out", str(tmp_path / "front")]) == 0
    printed, front = capsys.readouterr().out, pm.Front.load(tmp_path / "front")
    assert (len(front.points), len(front.corners), len(front.failed)) == (3, 2, 0)
    assert front.table() in printed
    assert str(front.score()) in printed
    assert "<svg" in (tmp_path / "front" / "front.svg").read_text()


@pytest.mark.slow  # minutes; tests/cluster has the same of smaller problems
def test_two_workers_on_ray_give_the_same_bytes(mnist, tmp_path):
    small = ("--size", "tiny", "--batch", "16")
    run(*small, "--out", tmp_path / "here")
    run(*small, "--ray", "--out", tmp_path / "ray")
    one, other = files(tmp_path / "here"), files(tmp_path / "ray")
    assert one.keys() == other.keys()
    assert len(one) == 7 + 7 + 5  # records, weights, study.json, front.json, points.csv, the figure and its data
    assert [name for name in one if one[name] != other[name]] == []


@pytest.mark.slow
def test_in_full_its_points_lie_where_they_were_requested(mnist, tmp_path):
    run("--out", tmp_path / "front")
    front = pm.Front.load(tmp_path / "front")
    assert (len(front.points), len(front.corners), len(front.failed)) == (5, 2, 0)
    assert front.control_errors.mean() < 5
    volume = front.hypervolume()
    assert volume is not None
    assert volume > 2
