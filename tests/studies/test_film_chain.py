"""DMTL on films rated and liked: impressions, history, figures, the study in a tiny form and in demo size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from studies import data, film_chain
from studies.double_tower import DMTL
from studies.film_chain import NEGATIVES, SIZES, Size, draw_chain, is_past, main, score_way, table
from studies.films import Ratings, Subset
from studies.reading_towers import CLICKED, CLICKS, DIRECT, DMTL_NAME, STUDENT, TEACHER
from tests.limits import limit

SUBSET = Subset(3, 8)


@pytest.fixture
def ratings(monkeypatch):
    """Two users rate six of eight films, the third two; of six, two are the past, two train, one each is held out."""
    user, film = np.array([0] * 6 + [1] * 6 + [2] * 4), np.array([0, 1, 2, 3, 4, 5, 7, 6, 5, 4, 3, 2, 0, 1, 2, 3])
    split = np.array([0, 0, 0, 0, 1, 2] * 2 + [0, 0, 1, 2])
    few = Ratings(
        user, film, np.array([5, 1, 4, 3, 4, 5, 2, 5, 5, 1, 1, 4, 4, 2, 4, 5]), np.array([*range(12), 9, 8, 10, 11]),
        split, np.eye(8, 3, dtype=np.float32), np.array([[20, 0], [30, 1], [40, 0]], np.float32), np.array([1, 0, 1]),
        tuple("abcdefgh"),
    )  # fmt: skip
    monkeypatch.setattr(film_chain, "load_ratings", lambda subset: few)
    draw_chain.cache_clear()
    yield few
    draw_chain.cache_clear()


def test_the_past_is_the_earlier_third_of_training_and_one_rating_at_least(ratings):
    past = is_past(ratings)
    assert ratings.film[past].tolist() == [0, 7, 1]  # the third user's second rating is the earlier one


def test_impressions_are_ratings_and_films_never_rated(ratings):
    rated = {(u, f) for u, f in zip(ratings.user.tolist(), ratings.film.tolist(), strict=True)}
    parts = draw_chain(SUBSET, 0).parts
    users, items, clicks, liked = parts["train"]
    assert len(users) == (1 + NEGATIVES) * 7  # of ten ratings to train with, three are the past
    known = [(u, f) for u, f, y in zip(users.tolist(), items.tolist(), clicks.tolist(), strict=True) if y]
    unknown = [(u, f) for u, f, y in zip(users.tolist(), items.tolist(), clicks.tolist(), strict=True) if not y]
    assert known == [(0, 1), (0, 2), (0, 3), (1, 6), (1, 5), (1, 4), (2, 0)]
    assert not rated & set(unknown)
    assert np.bincount([u for u, _ in unknown]).tolist() == [3 * NEGATIVES, 3 * NEGATIVES, NEGATIVES]
    assert liked[: len(known)].tolist() == [0, 1, 0, 1, 1, 0, 1]
    assert not liked[len(known) :].any()
    assert liked.dtype == clicks.dtype == torch.float32


def test_held_out_impressions_are_the_same_for_every_seed(ratings):
    first, second = draw_chain(SUBSET, 0).parts, draw_chain(SUBSET, 1).parts
    for split in ("validate", "test"):
        assert all(torch.equal(a, b) for a, b in zip(first[split], second[split], strict=True))
    assert not torch.equal(first["train"][1], second["train"][1])


def test_the_catalogue_knows_nothing_after_the_history(ratings):
    catalogue = draw_chain(SUBSET, 0).catalogue
    assert catalogue.history[:, 0].tolist() == [0, 7, 1]
    assert (catalogue.history[:, 1:] == -1).all()
    assert catalogue.user_kinds.tolist() == [[0, 1], [1, 0], [0, 1]]
    assert catalogue.user_numbers[:, 0].tolist() == pytest.approx([-(1.5**0.5), 0, 1.5**0.5])
    assert catalogue.item_numbers.tolist() == np.eye(8, 3).tolist()
    assert catalogue.item_kinds.shape == (8, 0)


def test_a_user_who_rated_everything_is_refused(ratings, monkeypatch):
    whole = ratings._replace(titles=tuple("ab"), user=np.array([0, 0, 0]), film=np.array([0, 1, 0]),
                             split=np.array([0, 0, 1]), stars=np.array([4, 4, 4]), time=np.arange(3),
                             genres=np.eye(2, dtype=np.float32), people=np.ones((1, 2), np.float32),
                             occupation=np.zeros(1, np.int64))  # fmt: skip
    monkeypatch.setattr(film_chain, "load_ratings", lambda subset: whole)
    with pytest.raises(ValueError, match="user 0 has rated all 2 films; take more films"):
        draw_chain(Subset(1, 2), 0)


def test_an_unknown_size_is_refused():
    with pytest.raises(ValueError, match="size='huge' is not one of 'demo', 'small', 'full'"):
        film_chain.film_chain("huge")


class Given(torch.nn.Module):
    """Scores that are the items' numbers."""

    def forward(self, users, items):
        return items.float()


def test_auc_over_impressions_and_among_the_rated_by_hand():
    impressions = (torch.zeros(5).long(), torch.tensor([4, 1, 3, 2, 0]), torch.tensor([1.0, 1, 1, 0, 0]),
                   torch.tensor([1.0, 0, 1, 0, 0]))  # fmt: skip
    model: Any = Given()
    rows = score_way(CLICKS, model, {"test": impressions}, "test")
    assert rows == {CLICKS: {"auc": 1.0, "among rated": 1.0}}
    worse = (*impressions[:3], torch.tensor([0.0, 1, 1, 0, 0]))
    rows = score_way(CLICKS, model, {"test": worse}, "test")
    assert rows[CLICKS]["auc"] == pytest.approx(3 / 6)  # 1 is above 0 alone; 3 above 2 and 0
    assert rows[CLICKS]["among rated"] == 0


def test_the_table_pairs_the_student_with_each_row():
    seeds = [
        {name: {"auc": auc + 0.01 * k, "among rated": 0.6}
         for name, auc in ((TEACHER, 0.9), (STUDENT, 0.89), (DIRECT, 0.88), (CLICKS, 0.8), (CLICKED, 0.7))}
        for k in range(2)
    ]  # fmt: skip
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table(seeds).splitlines()]
    assert lines[2][2:4] == ["-0.0100 ± 0.0000", "worse"]
    assert lines[3][2:4] == ["", ""]
    assert lines[5][2:4] == ["+0.0900 ± 0.0000", "better"]


# --- the study ---


@pytest.fixture(scope="module")
def movielens():
    """Skipped where the registry cannot be reached."""
    try:
        return data.movielens()
    except data.Missing as error:
        pytest.skip(f"MovieLens cannot be had: {error}")


@pytest.mark.docs  # beside the demo, so that the quick lane stays quick
def test_a_tiny_study(movielens, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(SIZES, "demo", Size(Subset(40, 300), 1, 2048, 2, 3))
    options = ["--size", "demo", "--out", str(tmp_path)]
    assert main(options) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Is there a measurable trade-off? ")
    assert "Chosen, with weights" in printed
    assert printed.count("\n| ") == len(film_chain.ROWS) + 2  # the titles, the line below them, the rows
    assert "<svg" in (tmp_path / "demo" / "film-chain.svg").read_text()
    monkeypatch.setattr(film_chain, "run_seed", None)  # results that are there are not computed again
    assert main(options) == 0
    assert capsys.readouterr().out == printed


def test_teacher_and_student_are_rows_of_one_model(movielens):
    chain = draw_chain(Subset(60, 300), 0)
    torch.manual_seed(0)
    rows = score_way(DMTL_NAME, DMTL(chain.catalogue), chain.parts, "test")
    assert [*rows] == [TEACHER, STUDENT]
    assert all(0.3 < value < 0.7 for row in rows.values() for value in row.values())  # nothing is learnt yet
    assert rows[TEACHER] != rows[STUDENT]


@pytest.mark.docs
@pytest.mark.timeout(limit(600))  # half a minute, where the machine is idle
def test_the_demo(movielens, tmp_path, capsys):
    assert main(["--size", "demo", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    lines = [line.strip("| ").split(" | ") for line in printed.splitlines() if line.startswith("| ")]
    aucs = {line[0]: float(line[1].split()[0]) for line in lines if line[0] in film_chain.ROWS.values()}
    assert set(aucs) == set(film_chain.ROWS.values())
    assert min(aucs[film_chain.ROWS[name]] for name in (TEACHER, STUDENT)) > 0.6
    assert aucs[film_chain.ROWS[STUDENT]] > aucs[film_chain.ROWS[CLICKED]]
    assert float(printed.strip().rsplit(" ", 1)[1]) >= 0.98  # the index's least recall


def test_the_study_file_is_of_the_demo_s_size():
    text = Path(film_chain.__file__).with_suffix(".toml").read_text()
    size = SIZES["demo"]
    for line in (f"preferences = {size.points}", f"epochs = {size.epochs}", "seeds = 2", 'size = "demo"'):
        assert line in text
