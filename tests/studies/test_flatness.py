"""The study of flat regions, in small: the eigenvalues, and a table without the digits."""

import csv

import numpy as np
import pytest
import torch
from torch import nn

import paretomtl as pm
from studies import flatness
from studies.flatness import main, measure, parity_and_digit, top_eigenvalue, train


def curved(*hessians) -> pm.Closure:
    H = torch.tensor(hessians, dtype=torch.float64)

    class Place(nn.Module):
        def __init__(self):
            super().__init__()
            self.x = nn.Parameter(torch.ones(H.shape[-1], dtype=torch.float64))

    def losses(model, batch):
        return {str(i): model.x @ h @ model.x / 2 for i, h in enumerate(H)}

    names = [str(i) for i in range(len(H))]
    problem = pm.Problem(names, Place, losses, ref_point=[9.0] * len(H), deterministic=True)
    return pm.closure(problem, Place())


@pytest.mark.parametrize(
    ("weights", "largest"), [((1.0, 0.0), 3.0), ((0.0, 1.0), 1.0), ((1.0, 1.0), 4.0), ((0.0, 0.0), 0.0)]
)
def test_the_largest_eigenvalue_has_its_sign(weights, largest):
    """The second Hessian's largest by size is negative."""
    first = np.diag([3.0, 1, -1]).tolist()
    second = np.diag([1.0, -6, 0.5]).tolist()
    found = top_eigenvalue(curved(first, second), torch.tensor(weights, dtype=torch.float64))
    assert found == pytest.approx(largest, rel=1e-2, abs=1e-9)


def test_a_negative_hessians_largest_is_the_least_negative():
    H = np.diag([-4.0, -2, -1]).tolist()
    assert top_eigenvalue(curved(H, H), torch.tensor([1.0, 0]).double()) == pytest.approx(-1, rel=1e-2)


@pytest.fixture
def parts(monkeypatch):
    g = torch.Generator().manual_seed(0)
    rows = {}
    for split, n in (("train", 256), ("validate", 64)):
        y = torch.randint(10, (n,), generator=g)
        x = torch.nn.functional.one_hot(y, 10).float().repeat(1, 7)[:, :64] + 0.3 * torch.randn(n, 64, generator=g)
        rows[split] = (x, y)
    monkeypatch.setattr(flatness, "digits", lambda: rows)
    monkeypatch.setattr(flatness, "parity_and_digit", lambda: parity_and_digit(lambda: rows))
    return rows


def test_the_eigenvalue_of_a_network_is_that_of_its_whole_hessian(parts, monkeypatch):
    small = {split: (x[:16], y[:16]) for split, (x, y) in parts.items()}
    problem = parity_and_digit(lambda: parts)
    model = train(problem, flatness.TRIALS[0], seed=0, steps=5)
    found = measure(problem, model, small)
    here = pm.closure(problem, model, small["train"], noisy=False)
    one = torch.tensor([1.0, 0])
    vectors = torch.eye(len(here.parameters))
    heads = slice(2080, 2113)  # the parity's head: a block of the Hessian, whose eigenvalue is no larger
    block = torch.stack([here.hessian_product(one, v)[heads] for v in vectors[heads]])
    assert float(torch.linalg.eigvalsh(block)[-1]) <= found.eigenvalues[0] * (1 + 1e-3)
    assert found.eigenvalues[2] <= found.eigenvalues[:2].sum() * (1 + 1e-3)


def test_a_table_and_a_file(parts, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(flatness, "TRIALS", flatness.TRIALS[:3])
    out = tmp_path / "flatness.csv"
    assert main(["--seeds", "2", "--steps", "60", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == [t.name for t in flatness.TRIALS]
    with out.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6


def test_the_published_file_shows_flatter_ends():
    """At its default FS-MTL lowers the largest eigenvalue of each loss and of the sum, for as many steps of MGDA."""
    with flatness.FILE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == {trial.name for trial in flatness.TRIALS}
    for column in flatness.HEADER[:3]:
        mean = {t.name: np.mean([float(r[column]) for r in rows if r["method"] == t.name]) for t in flatness.TRIALS}
        assert mean["FSMTL(MGDA), rho .05"] < mean["MGDA"]
