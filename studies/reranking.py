"""Lists of items from a model's scores: the best, and those that three known ways re-rank to be diverse; and figures.

All take the scores of all items for many users at once, and the items that are not to be listed. A parameter between 1
and 0 trades relevance for diversity. Relevance here is a score as a share of the user's range, from 0 to 1.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

TOP = 10
Scores = Float[Tensor, "users items"]
Excluded = Bool[Tensor, "users items"]
Lists = Int[Tensor, "users k"]


def top(scores: Scores, excluded: Excluded, k: int = TOP) -> Lists:
    """Return each user's k items of the largest scores."""
    _check(scores, excluded, k)
    return scores.masked_fill(excluded, -torch.inf).topk(k, dim=1).indices


def share_of_range(scores: Scores, excluded: Excluded) -> Scores:
    """Return scores from 0 to 1, by each user's smallest and largest; -inf for excluded items."""
    least = scores.masked_fill(excluded, torch.inf).amin(dim=1, keepdim=True)
    most = scores.masked_fill(excluded, -torch.inf).amax(dim=1, keepdim=True)
    shares = (scores - least) / (most - least).clamp_min(1e-12)
    return shares.masked_fill(excluded, -torch.inf)


def mmr(
    scores: Scores, excluded: Excluded, similarity: Float[Tensor, "items items"], weight: float, k: int = TOP
) -> Lists:
    """Re-rank by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

    The next item has the largest weight * relevance - (1 - weight) * similarity to the most similar one in the list.
    """
    _check(scores, excluded, k, weight)
    relevance, nearest = share_of_range(scores, excluded), torch.zeros_like(scores)
    chosen: list[Tensor] = []
    for _ in range(k):
        chosen.append(_take_best(relevance, weight, -nearest))
        nearest = torch.maximum(nearest, similarity[chosen[-1]])
    return torch.stack(chosen, dim=1)


def most_diverse(scores: Scores, excluded: Excluded, similarity: Float[Tensor, "items items"], k: int = TOP) -> Lists:
    """Return lists that begin with the best item, and go on with the item least similar to the list on average."""
    _check(scores, excluded, k)
    relevance, total = share_of_range(scores, excluded), torch.zeros_like(scores)
    chosen = [_take_best(relevance, 1.0, total)]
    for _ in range(k - 1):
        total = total - similarity[chosen[-1]]
        chosen.append(_take_best(relevance, 0.0, total))
    return torch.stack(chosen, dim=1)


def dpp(
    scores: Scores, excluded: Excluded, similarity: Float[Tensor, "items items"], weight: float,
    ridge: float = 1.0, k: int = TOP,
) -> Lists:  # fmt: skip
    """Re-rank by the greedy most probable set of a determinantal point process (Chen, Zhang and Zhou, NeurIPS 2018).

    The next item has the largest weight * relevance + (1 - weight) * log of what it adds to the determinant of the
    similarities, which `ridge` on the diagonal keeps regular: there are more films than genres.
    """
    _check(scores, excluded, k, weight)
    relevance, rows = share_of_range(scores, excluded), torch.arange(len(scores))
    added = similarity.diagonal().expand_as(scores) + ridge  # to the determinant, as a factor
    cholesky = scores.new_zeros(len(scores), k, scores.shape[1])
    chosen: list[Tensor] = []
    for step in range(k):
        item = _take_best(relevance, weight, added.clamp_min(1e-12).log())
        known = torch.einsum("ui,uin->un", cholesky[rows, :step, item], cholesky[:, :step])
        column = (similarity[item] - known) / added[rows, item].clamp_min(1e-12).sqrt()[:, None]
        cholesky[:, step], added = column, added - column.square()
        chosen.append(item)
    return torch.stack(chosen, dim=1)


def quota(scores: Scores, excluded: Excluded, cluster: Int[Tensor, " items"], most: int, k: int = TOP) -> Lists:
    """Re-rank with at most so many items of one cluster."""
    _check(scores, excluded, k)
    if most < 1 or most * int(cluster.unique().numel()) < k:
        raise ValueError(
            f"most={most} of each of {cluster.unique().numel()} clusters do not fill a list of {k}; allow more of each"
        )
    relevance, rows = share_of_range(scores, excluded), torch.arange(len(scores))
    counts = scores.new_zeros(len(scores), int(cluster.max()) + 1)
    chosen: list[Tensor] = []
    for _ in range(k):
        full = (counts >= most)[:, cluster]
        chosen.append(_take_best(relevance, 1.0, torch.zeros_like(scores), full))
        counts[rows, cluster[chosen[-1]]] += 1
    return torch.stack(chosen, dim=1)


def _take_best(relevance: Tensor, weight: float, diversity: Tensor, full: Tensor | None = None) -> Tensor:
    """Return the best item of each user (ties: the more relevant), and take it out of `relevance`."""
    present = relevance.isfinite()
    values = weight * relevance.masked_fill(~present, 0.0) + (1 - weight) * diversity
    values = values.masked_fill(~present if full is None else ~present | full, -torch.inf)
    best = values == values.amax(dim=1, keepdim=True)
    item = relevance.masked_fill(~best, -torch.inf).argmax(dim=1)
    relevance[torch.arange(len(relevance)), item] = -torch.inf
    return item


def _check(scores: Tensor, excluded: Tensor, k: int, weight: float | None = None) -> None:
    if scores.shape != excluded.shape:
        raise ValueError(f"scores have shape {tuple(scores.shape)}, excluded {tuple(excluded.shape)}; give one shape")
    if not bool(scores.isfinite().all()):
        raise ValueError("scores are not finite; a model that diverged cannot rank")
    if (fewest := int((~excluded).sum(dim=1).min())) < k:
        raise ValueError(f"k={k}, and a user has {fewest} items to list; take a smaller k or more items")
    if weight is not None and not 0 <= weight <= 1:
        raise ValueError(f"weight={weight}: give a number from 0, diversity alone, to 1, relevance alone")


def unit_rows(features: Float[Tensor, "items d"]) -> Float[Tensor, "items d"]:
    """Return rows of length 1, whose inner products are cosines."""
    norms = features.norm(dim=1, keepdim=True)
    if not bool((norms > 0).all()):
        raise ValueError(f"item {int((norms[:, 0] == 0).nonzero()[0])} has no genre; leave it out, or give it a genre")
    return features / norms


def cluster_items(features: Float[np.ndarray, "items d"], clusters: int) -> Int[Tensor, " items"]:
    """Return the cluster of each item, by k-means from a fixed seed."""
    from sklearn.cluster import KMeans

    labels = KMeans(clusters, random_state=0).fit_predict(features)
    return torch.from_numpy(labels.astype(np.int64))


def mean_ndcg(lists: Lists, liked: Float[Tensor, "users items"]) -> float:
    """Return the mean NDCG of lists over the users who like an item; any gain is 1."""
    from sklearn.metrics import ndcg_score

    has = liked.sum(dim=1) > 0
    if not bool(has.any()):
        raise ValueError("liked is empty: no user likes an item of this split, so there is no NDCG")
    k = lists.shape[1]
    ranks = torch.zeros_like(liked).scatter_(1, lists, torch.arange(k, 0, -1.0).expand(len(lists), k))
    return float(ndcg_score(liked[has].numpy(), ranks[has].numpy(), k=k, ignore_ties=True))


def intra_list_diversity(lists: Lists, unit: Float[Tensor, "items d"]) -> float:
    """Return the mean over users of the mean distance, 1 - cosine, between two items of the list."""
    k = lists.shape[1]
    total = unit[lists].sum(dim=1).square().sum(dim=1)  # of the cosines of all ordered pairs, the k of itself with it
    return float((1 - (total - k) / (k * (k - 1))).mean())


def figures(lists: Lists, liked: Float[Tensor, "users items"], unit: Float[Tensor, "items d"]) -> tuple[float, float]:
    """Return NDCG and diversity of lists."""
    return mean_ndcg(lists, liked), intra_list_diversity(lists, unit)
