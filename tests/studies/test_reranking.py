"""Lists, by hand: the best, MMR and the greedy DPP against plain loops, the quota; NDCG and diversity; bad input."""

import math

import numpy as np
import pytest
import torch

from studies import reranking
from studies.reranking import cluster_items, dpp, intra_list_diversity, mean_ndcg, mmr, most_diverse, quota, top

UNIT = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
SCORES = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0]])
NONE = torch.zeros(1, 5, dtype=torch.bool)


@pytest.fixture(scope="module")
def many():
    draw = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize(torch.randn(30, 5, generator=draw), dim=1)
    excluded = torch.rand(4, 30, generator=draw) < 0.3
    return torch.randn(4, 30, generator=draw), excluded, unit @ unit.T


def test_the_best_that_are_not_excluded():
    assert top(SCORES, NONE, 3).tolist() == [[0, 1, 2]]
    assert top(SCORES, torch.tensor([[True, False, True, False, False]]), 3).tolist() == [[1, 3, 4]]


def relevance_of(scores, excluded):
    shown = scores[~excluded].double()
    return (scores.double() - shown.min()) / (shown.max() - shown.min())


def greedy(value, excluded, k=5):
    chosen: list[int] = []
    for _ in range(k):
        left = [j for j in range(len(excluded)) if not excluded[j] and j not in chosen]
        chosen.append(max(left, key=lambda j: value(j, chosen)))
    return chosen


@pytest.mark.parametrize("weight", [0.8, 0.5, 0.2])
def test_mmr_is_that_of_a_plain_loop(many, weight):
    scores, excluded, similarity = many
    lists = mmr(scores, excluded, similarity, weight, 5).tolist()
    for own, hidden, found in zip(scores, excluded, lists, strict=True):
        relevance = relevance_of(own, hidden)

        def value(j, chosen, relevance=relevance):
            nearest = max((float(similarity[j, i]) for i in chosen), default=0.0)
            return weight * float(relevance[j]) - (1 - weight) * max(nearest, 0.0)

        assert found == greedy(value, hidden)


@pytest.mark.parametrize("weight", [0.9, 0.5, 0.1])
@pytest.mark.parametrize("ridge", [0.1, 1.0])
def test_the_dpp_adds_what_raises_the_determinant(many, weight, ridge):
    scores, excluded, similarity = many
    lists = dpp(scores, excluded, similarity, weight, ridge, 5).tolist()
    kernel = similarity.double().numpy() + ridge * np.eye(30)
    for own, hidden, found in zip(scores, excluded, lists, strict=True):
        relevance = relevance_of(own, hidden)

        def log_determinant(rows):
            return float(np.linalg.slogdet(kernel[np.ix_(rows, rows)])[1]) if rows else 0.0

        def value(j, chosen, relevance=relevance):
            added = log_determinant([*chosen, j]) - log_determinant(chosen)
            return weight * float(relevance[j]) + (1 - weight) * added

        assert found == greedy(value, hidden)


def test_relevance_alone_is_no_re_ranking(many):
    scores, excluded, similarity = many
    best = top(scores, excluded, 5)
    assert torch.equal(mmr(scores, excluded, similarity, 1.0, 5), best)
    assert torch.equal(dpp(scores, excluded, similarity, 1.0, k=5), best)
    assert torch.equal(quota(scores, excluded, torch.arange(30) % 3, 5, 5), best)


def test_a_quota_by_hand():
    cluster = torch.tensor([0, 0, 0, 1, 2])
    assert quota(SCORES, NONE, cluster, 1, 3).tolist() == [[0, 3, 4]]
    assert quota(SCORES, NONE, cluster, 2, 3).tolist() == [[0, 1, 3]]


def test_the_most_diverse_list_begins_with_the_best_and_breaks_ties_by_relevance():
    assert most_diverse(SCORES, NONE, UNIT @ UNIT.T, 3).tolist() == [[0, 2, 4]]


def test_no_list_repeats_an_item_or_has_an_excluded_one(many):
    scores, excluded, similarity = many
    for lists in (
        mmr(scores, excluded, similarity, 0.0, 8), dpp(scores, excluded, similarity, 0.0, 0.0, 8),
        most_diverse(scores, excluded, similarity, 8), quota(scores, excluded, torch.arange(30) % 8, 1, 8),
    ):  # fmt: skip
        for own, hidden in zip(lists.tolist(), excluded, strict=True):
            assert len(set(own)) == 8
            assert not hidden[own].any()


def test_clusters_keep_like_items_together():
    found = cluster_items(UNIT.numpy(), 3).tolist()
    assert found[0] == found[1]
    assert len(set(found)) == 3


# --- figures ---


def test_ndcg_by_hand():
    lists = torch.tensor([[0, 1, 2], [3, 0, 1], [0, 1, 2]])
    liked = torch.tensor([[1.0, 0, 1, 0, 0], [0, 0, 1.0, 0, 0], [0.0] * 5])  # nothing is known of the third
    first = (1 + 1 / 2) / (1 + 1 / math.log2(3))
    assert mean_ndcg(lists, liked) == pytest.approx((first + 0) / 2)
    many = torch.ones(1, 5)
    assert mean_ndcg(lists[:1], many) == pytest.approx(1)  # no list of three has more


def test_diversity_by_hand():
    assert intra_list_diversity(torch.tensor([[0, 2, 4]]), UNIT) == pytest.approx(1)
    assert intra_list_diversity(torch.tensor([[0, 1]]), UNIT) == pytest.approx(0)
    one = (0.4 + 0.2 + 1.0) / 3  # of 0 and 3, 2 and 3, 0 and 2
    assert intra_list_diversity(torch.tensor([[0, 2, 3], [0, 2, 4]]), UNIT) == pytest.approx((one + 1) / 2)


# --- bad input ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: top(SCORES, NONE, 6), "k=6, and a user has 5 items to list"),
        (lambda: top(SCORES, NONE[:, :4], 2), r"scores have shape \(1, 5\), excluded \(1, 4\)"),
        (lambda: top(SCORES * math.nan, NONE, 2), "scores are not finite"),
        (lambda: mmr(SCORES, NONE, UNIT @ UNIT.T, 1.5, 2), "weight=1.5: give a number from 0"),
        (lambda: quota(SCORES, NONE, torch.tensor([0, 0, 0, 1, 1]), 1, 3), "most=1 of each of 2 clusters do not fill"),
        (lambda: mean_ndcg(torch.tensor([[0]]), torch.zeros(1, 5)), "no user likes an item"),
        (lambda: reranking.unit_rows(torch.tensor([[1.0, 0], [0, 0]])), "item 1 has no genre"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
