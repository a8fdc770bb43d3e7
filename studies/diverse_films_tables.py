"""Tables and figure of `studies.diverse_films`: re-ranked lists, known ends, what each way reaches and chooses."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import paretomtl as pm
from paretomtl.points import score
from paretomtl.points.seeds import compare_paired, interval_half_width
from studies import reranking
from studies.conditioned_fronts import markdown
from studies.films import Subset, list_parts, unit_genres
from studies.reranking import TOP, figures

CLUSTERS = 10
RIDGE = 1.0  # of the DPP
KEPT = 0.9  # the share of the NDCG of relevance alone that a choice has to keep
DIVERSE = 0.8  # the diversity at which the table compares NDCG
LABELS = {"ndcg": f"NDCG@{TOP}", "diversity": f"diversity@{TOP}"}
Values = Float[np.ndarray, "seeds points 2"]


def rerankers(subset: Subset, points: int) -> dict[str, list[tuple[str, Callable[[Tensor, Tensor], Tensor]]]]:
    """Return by name the settings of each way to re-rank: what each is called, and how it makes lists."""
    unit = unit_genres(subset)
    similarity, weights = unit @ unit.T, np.linspace(1, 0, points).round(3).tolist()
    cluster = reranking.cluster_items(unit.numpy(), CLUSTERS)
    most = sorted({round(x) for x in np.linspace(1, TOP, points)}, reverse=True)
    return {
        "MMR": [(f"weight {w:g}", partial(reranking.mmr, similarity=similarity, weight=w)) for w in weights],
        "DPP": [(f"weight {w:g}", partial(_dpp, similarity=similarity, weight=w)) for w in weights],
        "quota of clusters": [(f"at most {n}", partial(reranking.quota, cluster=cluster, most=n)) for n in most],
    }


def _dpp(scores: Tensor, excluded: Tensor, similarity: Tensor, weight: float) -> Tensor:
    return reranking.dpp(scores, excluded, similarity, weight, RIDGE)


def rerank(scores: Sequence[Tensor], subset: Subset, points: int, split: str) -> dict[str, Values]:
    """Return the figures of each way to re-rank, over seeds and settings."""
    _, liked, excluded = list_parts(subset)[split]
    unit = unit_genres(subset)
    return {
        name: np.array([[figures(make(s, excluded), liked, unit) for _, make in settings] for s in scores])
        for name, settings in rerankers(subset, points).items()
    }


def ends(scores: Sequence[Tensor], subset: Subset, split: str) -> dict[str, Values]:
    """Return the figures of lists that need no trade: of relevance alone, of most diversity, popular and random."""
    _, liked, excluded = list_parts(subset)[split]
    unit, popular = unit_genres(subset), list_parts(subset)["train"][1].sum(dim=0)
    draw = torch.Generator().manual_seed(0)
    lists = {
        "relevance alone": [reranking.top(s, excluded) for s in scores],
        "most diverse": [reranking.most_diverse(s, excluded, unit @ unit.T) for s in scores],
        "most popular": [reranking.top(popular.expand_as(s), excluded) for s in scores],
        "random": [reranking.top(torch.rand(s.shape, generator=draw), excluded) for s in scores],
    }
    return {name: np.array([[figures(one, liked, unit)] for one in made]) for name, made in lists.items()}


def values_by_seed(front: pm.Front, split: str) -> Values:
    """Return the measures of a front's points, over seeds and preferences."""
    return np.array([[point.values[split] for point in own.points] for own in front.by_seed()])


def volumes(values: Values, popular: Float[np.ndarray, " 2"]) -> Float[np.ndarray, " seeds"]:
    """Return the hypervolume of each seed beyond the list of the most popular films, times 1,000."""
    return np.array([1000 * (score.hypervolume(-own, -popular) or 0.0) for own in values])


def ndcg_at(values: Values, diversity: float) -> Float[np.ndarray, " seeds"]:
    """Return each seed's best NDCG among points that are so diverse at least; 0 where none is."""
    return np.array([own[own[:, 1] >= diversity, 0].max(initial=0.0) for own in values])


def results_table(groups: dict[str, Values], popular: Float[np.ndarray, " 2"]) -> str:
    """Return the table of each way's figures on test, with 95 % intervals over the seeds."""
    first = volumes(groups["Linear"], popular)
    rows = []
    for name, values in groups.items():
        own = volumes(values, popular)
        columns = [own, ndcg_at(values, DIVERSE), values[..., 0].max(axis=1), values[..., 1].max(axis=1)]
        verdict = "" if name == "Linear" else compare_paired(own, first).verdict
        rows.append([name, _interval(own, 2), verdict, *(_interval(column, 4) for column in columns[1:])])
    at = f"NDCG where diversity ≥ {DIVERSE:g}"
    return markdown(["", "hypervolume × 1000", "is", at, "best NDCG", "best diversity"], rows)


def _interval(samples: Float[np.ndarray, " seeds"], digits: int) -> str:
    half = interval_half_width(samples)
    return f"{samples.mean():.{digits}f}" + ("" if half is None else f" ± {float(half):.{digits}f}")


def ends_table(known: dict[str, Values]) -> str:
    """Return the table of the lists that need no trade."""
    rows = [[name, *(_interval(values[:, 0, i], 4) for i in range(2))] for name, values in known.items()]
    return markdown(["", *LABELS.values()], rows)


class Choice(NamedTuple):
    """What a way chose on validation: the setting, why, and the mean figures on test."""

    setting: str
    why: str
    test: Float[np.ndarray, " 2"]


def choose(front: pm.Front, test: Values, settings: Sequence[str], bound: float) -> Choice | None:
    """Choose the most diverse setting that keeps the bound on NDCG, by means over seeds; None where none does."""
    try:
        pick = front.select(best="diversity", subject_to={"ndcg": bound})
    except pm.NoFeasiblePoint:
        return None
    assert pick.point is not None
    ids = [point.id for point in front.by_seed()[0].points]
    k = ids.index(pick.point.id.rsplit("-seed-", 1)[0])
    return Choice(settings[k], pick.why, test[:, k].mean(axis=0))


def front_of(values: Values) -> pm.Front:
    """Make a front of figures over seeds and settings."""
    n_seeds, n = values.shape[:2]
    return pm.Front.from_values(
        values.reshape(-1, 2), [pm.Objective(name, goal="max") for name in LABELS], [0.0, 0.0],
        ids=[f"setting-{k}" + (f"-seed-{seed + 1}" if seed else "") for seed in range(n_seeds) for k in range(n)],
        seeds=np.repeat(np.arange(n_seeds), n).tolist(),
    )  # fmt: skip


def choices_table(choices: dict[str, Choice | None]) -> str:
    """Return the table of choices, with their figures on test."""
    rows = [
        [name, *(["none keeps it", "", ""] if one is None else [one.setting, *(f"{x:.4f}" for x in one.test)])]
        for name, one in choices.items()
    ]
    return markdown(["", "chosen", *LABELS.values()], rows)


def collect_choices(
    fronts: dict[str, pm.Front], reranked: dict[str, Values], groups: dict[str, Values], subset: Subset,
    alone: float, points: int,
) -> dict[str, Choice | None]:  # fmt: skip
    """Return the choice of each way, by a bound that is a share of the NDCG of relevance alone.

    Args:
        fronts: of the methods.
        reranked: figures of the ways to re-rank, on validation.
        groups: figures of all ways on test.
        subset: users and films.
        alone: the NDCG of relevance alone on validation.
        points: the number of settings of each way.
    """
    found = {}
    for name, front in fronts.items():
        settings = [f"preference {point.preference[1]:.2g}" for point in front.by_seed()[0].points]
        found[name] = choose(front, groups[name], settings, KEPT * alone)
    for name, ways in rerankers(subset, points).items():
        settings = [setting for setting, _ in ways]
        found[name] = choose(front_of(reranked[name]), groups[name], settings, KEPT * alone)
    return found


def draw(groups: dict[str, Values], known: dict[str, Values], path: Path) -> None:
    """Draw all ways on test, means over the seeds."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    styles = {"Linear": ("#d55e00", "-o"), "SmoothTchebycheff": ("#cc79a7", "-s"), "MMR": ("#0072b2", "--^"),
              "DPP": ("#009e73", "--v"), "quota of clusters": ("#777777", "--d")}  # fmt: skip
    marks = {"relevance alone": "*", "most diverse": "P", "most popular": "X", "random": "x"}
    with rc_context({"svg.hashsalt": "diverse films"}):
        figure = Figure(figsize=(7.6, 4), layout="constrained")
        axes = figure.subplots()
        for name, values in groups.items():
            colour, style = styles[name]
            mean = values.mean(axis=0)
            axes.plot(mean[:, 1], mean[:, 0], style, color=colour, ms=4, lw=1.2, label=name)
        for name, values in known.items():
            ndcg, diversity = values.mean(axis=(0, 1))
            axes.plot(diversity, ndcg, marks[name], color="black", ms=8, ls="none", label=name, zorder=3)
        axes.set(xlabel=f"{LABELS['diversity']} (mean genre distance)", ylabel=LABELS["ndcg"], ylim=(0, None))
        axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {})
