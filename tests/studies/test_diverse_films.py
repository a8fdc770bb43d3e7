"""Relevance against diversity: both losses by hand, tables and choices, the study in a tiny form and in demo size."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from studies import data, diverse_films
from studies.diverse_films import SIZES, Factorisation, Size, listwise_loss, main, similarity_loss
from studies.diverse_films_tables import choose, front_of, ndcg_at, results_table, volumes
from studies.films import Subset
from tests.limits import limit

UNIT = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
NONE = torch.zeros(1, 4, dtype=torch.bool)


@pytest.fixture(scope="module")
def movielens():
    """Skipped where the registry cannot be reached."""
    try:
        return data.movielens()
    except data.Missing as error:
        pytest.skip(f"MovieLens cannot be had: {error}")


# --- losses ---


def test_the_listwise_loss_by_hand():
    scores = torch.log(torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0]]))
    liked = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    excluded = torch.tensor(
        [[True, False, False, True], [False] * 4]
    )  # the fourth does not compete, the first is liked
    found = listwise_loss(scores, liked, excluded)
    assert found is not None
    loss, n = found
    assert n == 3
    assert float(loss) == pytest.approx(-(math.log(1 / 6) + math.log(2 / 6) + math.log(1 / 4)) / 3)
    assert listwise_loss(scores, torch.zeros(2, 4), excluded) is None


def test_the_similarity_loss_by_hand():
    scores = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    found = float(similarity_loss(scores, NONE, UNIT, soft=0.5, k=2))
    chances = [1 / (1 + math.exp(-(s - 0.5) / 0.5)) for s in (2, 1, 0, -1)]
    p = [c / sum(chances) for c in chances]
    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
    expected = sum(p[i] * p[j] * float(UNIT[i] @ UNIT[j]) for i, j in pairs) / sum(p[i] * p[j] for i, j in pairs)
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_similarity_of_a_hard_list_is_that_of_its_pairs():
    scores = torch.tensor([[9.0, 3.0, 8.0, 7.0]])
    pairs = (0.0 + 0.6 + 0.8) / 3  # of the films 0, 2 and 3
    assert float(similarity_loss(scores, NONE, UNIT, soft=0.01, k=3)) == pytest.approx(pairs, rel=1e-5)
    hidden = torch.tensor([[False, False, True, False]])
    assert float(similarity_loss(scores, hidden, UNIT, soft=0.01, k=2)) == pytest.approx(0.6, rel=1e-5)


def test_the_similarity_loss_falls_along_its_gradient():
    torch.manual_seed(0)
    scores = torch.randn(3, 4, requires_grad=True)
    loss = similarity_loss(scores, NONE.expand(3, 4), UNIT, k=2)
    [gradient] = torch.autograd.grad(loss, scores)
    with torch.no_grad():
        assert float(similarity_loss(scores - 0.1 * gradient, NONE.expand(3, 4), UNIT, k=2)) < float(loss.detach())


def test_a_list_longer_than_the_films_is_refused():
    with pytest.raises(ValueError, match="k=4, and a user has 4 films to list; take more films"):
        similarity_loss(torch.zeros(1, 4), NONE, UNIT, k=4)


def test_an_unknown_size_is_refused():
    with pytest.raises(ValueError, match="size='huge' is not one of 'demo', 'small', 'full'"):
        diverse_films.diverse_films("huge")


@torch.no_grad()
def test_scores_are_inner_products():
    model = Factorisation(3, 4)
    scores = model(torch.tensor([2, 0]))
    assert scores.shape == (2, 4)
    assert float(scores[0, 1]) == pytest.approx(float(model.user[2] @ model.film[1]), rel=1e-5)


# --- tables ---

VALUES = np.array([[[0.3, 0.5], [0.2, 0.8], [0.1, 0.9]], [[0.4, 0.5], [0.2, 0.9], [0.1, 1.0]]])


def test_volumes_by_hand():
    popular = np.array([0.1, 0.4])
    first = 0.1 * 0.4 + 0.1 * 0.1  # of the first seed: to diversity .8 with .1 more, to .5 with .1 more than that
    assert volumes(VALUES, popular) == pytest.approx([1000 * first, 1000 * (0.1 * 0.5 + 0.2 * 0.1)])
    assert volumes(VALUES, np.array([0.5, 0.4])).tolist() == [0, 0]  # nothing is better than this


def test_the_best_ndcg_at_a_diversity():
    assert ndcg_at(VALUES, 0.8).tolist() == [0.2, 0.2]
    assert ndcg_at(VALUES, 0.95).tolist() == [0, 0.1]


def test_verdicts_compare_with_linear():
    alike = VALUES[[0, 0]]  # two seeds that agree, so any difference counts
    table = results_table({"Linear": alike, "MMR": alike + np.array([0.1, 0.0])}, np.array([0.1, 0.4])).splitlines()
    assert "better" in table[3]
    assert "better" not in table[2]


def test_a_choice_keeps_the_bound_by_the_means():
    test = VALUES + 0.01
    chosen = choose(front_of(VALUES), test, ["a", "b", "c"], 0.2)
    assert chosen is not None
    assert chosen.setting == "b"
    assert chosen.test == pytest.approx([0.21, 0.86])
    assert "ndcg ≥ 0.2" in chosen.why
    assert choose(front_of(VALUES), test, ["a", "b", "c"], 0.5) is None


# --- the study ---


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def first_number(cell: str) -> float:
    found = re.match(r"[\d.]+", cell)
    assert found is not None
    return float(found[0])


def tables(printed: str) -> list[list[list[str]]]:
    return [cells(block) for block in printed.strip().split("\n\n") if block.startswith("|")]


@pytest.mark.docs  # beside the demo, so that the quick lane stays quick
def test_a_tiny_study(movielens, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(SIZES, "demo", Size(Subset(70, 150), 1, 3, 2))
    options = ["--size", "demo", "--out", str(tmp_path)]
    assert main(options) == 0
    printed = capsys.readouterr().out
    results, known, choices = tables(printed)
    assert [line[0] for line in results[2:]] == ["Linear", "SmoothTchebycheff", "MMR", "DPP", "quota of clusters"]
    assert [line[0] for line in known[2:]] == ["relevance alone", "most diverse", "most popular", "random"]
    assert [line[0] for line in choices[2:]] == [line[0] for line in results[2:]]
    assert "<svg" in (tmp_path / "demo" / "diverse-films.svg").read_text()
    assert main(options) == 0  # what is there is taken up
    assert capsys.readouterr().out == printed


@pytest.mark.docs
@pytest.mark.timeout(limit(600))  # a quarter of a minute, where the machine is idle
def test_the_demo(movielens, tmp_path, capsys):
    assert main(["--size", "demo", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Is there a measurable trade-off? measurable")
    results, known, choices = tables(printed)
    ends = {line[0]: [first_number(cell) for cell in line[1:]] for line in known[2:]}
    assert ends["relevance alone"][0] == max(ndcg for ndcg, _ in ends.values())
    assert ends["most diverse"][1] == max(diversity for _, diversity in ends.values())
    assert ends["random"][0] < ends["most popular"][0]
    for line in results[2:]:
        ndcg, diversity = map(first_number, line[4:])
        assert ndcg < 1.1 * ends["relevance alone"][0]
        assert diversity <= ends["most diverse"][1] + 0.005
    assert choices[2][1].startswith("preference")


def test_the_study_file_is_of_the_demo_s_size():
    text = Path(diverse_films.__file__).with_suffix(".toml").read_text()
    size = SIZES["demo"]
    for line in (f"preferences = {size.points}", f"epochs = {size.epochs}", f"seeds = {size.seeds}", 'size = "demo"'):
        assert line in text
