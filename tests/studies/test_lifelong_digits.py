"""Life-long digits: the parts, both losses, both measures, the table, a tiny study, and the study at size demo."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import paretomtl as pm
from studies import data, lifelong_digits
from studies.lifelong_digits import (
    FRONTS,
    NEW_ALONE,
    OLD,
    OLD_ALONE,
    Result,
    Scale,
    copy_of,
    format_table,
    losses,
    main,
    measure,
    network,
    old_part,
    parts_of,
    permutation,
    read_csv,
    write_csv,
)

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def parts():
    """Skipped where the registry cannot be reached."""
    try:
        return parts_of("demo")
    except data.Missing as error:
        pytest.skip(f"small digits cannot be had: {error}")


def test_old_and_new_digits_are_different_ones(parts):
    pictures, labels = old_part("demo")
    permuted, new_labels = parts["train"]
    assert len(pictures) == len(labels) == 598
    assert len(permuted) == len(new_labels) == 599
    plain = torch.empty_like(permuted)
    plain[:, permutation(64)] = permuted
    everything = lifelong_digits.digits("demo")["train"][0]
    assert torch.equal(torch.cat([pictures, plain]), everything)


def test_every_split_has_the_same_permutation(parts):
    order = permutation(64)
    assert sorted(order.tolist()) == list(range(64))
    for split in ("validate", "test"):
        permuted, label, plain = parts[split]
        assert torch.equal(permuted, plain[:, order])
        assert torch.equal(label, lifelong_digits.digits("demo")[split][1])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return network(4)


def test_a_copy_begins_as_the_old_network(model):
    x = torch.randn(3, 4)
    copied = copy_of(model.state_dict())
    assert torch.equal(copied(x), model(x))
    copied[0].weight.data.zero_()
    assert not torch.equal(copied(x), model(x))


def test_the_divergence_is_of_the_memory_the_new_pictures_or_the_old_ones(model):
    old = pm.distillation.Teacher(model.eval())
    learner, draw = network(4), torch.Generator().manual_seed(0)
    new, memory, plain = (torch.randn(5, 4, generator=draw) for _ in range(3))
    label = torch.tensor([0, 1, 2, 3, 4])

    def divergence(x: torch.Tensor) -> float:
        p, q = model(x).log_softmax(dim=1), learner(x).log_softmax(dim=1)
        return (p.exp() * (p - q)).sum(dim=1).mean().item()

    assert losses(learner, (new, label), old, memory)["old"].item() == pytest.approx(divergence(memory), rel=1e-5)
    assert losses(learner, (new, label), old, None)["old"].item() == pytest.approx(divergence(new), rel=1e-5)
    assert losses(learner, (new, label, plain), old, memory)["old"].item() == pytest.approx(divergence(plain), rel=1e-5)
    assert losses(copy_of(model.state_dict()), (new, label), old, memory)["old"].item() == pytest.approx(0, abs=1e-6)


class Given(torch.nn.Module):
    """What it sees are its logits."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_measures_by_hand():
    new, old = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    label = torch.tensor([0, 1, 1])
    batches = [(new[:1], label[:1], old[:1]), (new[1:], label[1:], old[1:])]
    assert measure(Given(), batches) == {"new": pytest.approx(200 / 3), "old": 100.0}


def test_bad_input_says_what_to_give():
    with pytest.raises(ValueError, match="size='huge' is not one of demo, full"):
        lifelong_digits.lifelong_digits("huge")
    with pytest.raises(ValueError, match="inputs='old' is not one of memory, new"):
        lifelong_digits.lifelong_digits("demo", "old")


RESULTS = [
    Result(OLD, math.nan, False, 0, 10.0, 95.0),
    *(Result(FRONTS[0], 0.25, True, seed, 80.0 + seed, 90.0) for seed in range(2)),
    *(Result(FRONTS[0], 0.75, False, seed, 90.0, 80.0) for seed in range(2)),
    *(Result(NEW_ALONE, 1.0, False, seed, 91.0, 30.0) for seed in range(2)),
]


def test_the_table_by_hand():
    lines = format_table(RESULTS).splitlines()
    assert lines[2] == f"| {OLD} |  | 10.0 | 95.0 | 0.0 |  |"
    assert lines[3] == f"| {FRONTS[0]} | 0.25 | 80.5 ± 6.4 | 90.0 ± 0.0 | 5.0 ± 0.0 | chosen |"
    assert lines[4].endswith("15.0 ± 0.0 |  |")
    assert lines[5].startswith(f"| {NEW_ALONE} |  | 91.0")


def test_stored_results_give_the_same_table(tmp_path):
    write_csv(RESULTS, tmp_path / "results.csv")
    assert format_table(read_csv(tmp_path / "results.csv")) == format_table(RESULTS)


def test_the_page_has_the_table_of_the_stored_results():
    page = (DOCS / "task-and-teacher.md").read_text(encoding="utf-8")
    assert format_table(read_csv(DOCS / "lifelong-digits.csv")) in page


@pytest.mark.filterwarnings("ignore:cannot tell whether the code of studies.data.folder:UserWarning")
@pytest.mark.docs  # beside the demo, so that the quick lane stays quick
def test_a_tiny_study(parts, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lifelong_digits, "SIZES", {"demo": Scale(2, 1, 64, 2, 2, (1e-2,))})
    assert main(["--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Trade-off: ")
    results = read_csv(tmp_path / "lifelong-digits.csv")
    assert {r.row for r in results} == {OLD, NEW_ALONE, OLD_ALONE, *(row.name for row in lifelong_digits.ROWS)}
    assert format_table(results) in printed
    assert "<svg" in (tmp_path / "lifelong-digits.svg").read_text()
    assert main(["--out", str(tmp_path)]) == 0  # what is there is taken up
    assert capsys.readouterr().out == printed


@pytest.mark.docs
@pytest.mark.filterwarnings("ignore:cannot tell whether the code of studies.data.folder:UserWarning")
def test_the_study_at_size_demo(parts, tmp_path, capsys):
    assert main(["--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("Trade-off: measurable")
    results = read_csv(tmp_path / "lifelong-digits.csv")

    def mean(row: str, name: str) -> float:
        return float(np.mean([getattr(r, name) for r in results if r.row == row]))

    assert mean(NEW_ALONE, "old") < mean(OLD, "old") - 30  # it forgets
    assert mean(NEW_ALONE, "new") > 80
    assert mean(OLD_ALONE, "old") == pytest.approx(mean(OLD, "old"), abs=2)
    assert mean(OLD_ALONE, "new") == pytest.approx(mean(OLD, "new"), abs=5)  # it learns nothing
    chosen = [r for r in results if r.chosen and r.row == FRONTS[0]]
    assert np.mean([r.new for r in chosen]) > mean(NEW_ALONE, "new") - 5
    assert np.mean([r.old for r in chosen]) > mean(OLD, "old") - 5
