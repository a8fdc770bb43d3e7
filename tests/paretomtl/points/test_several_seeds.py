"""Studies that train each point several times: means, their noise, and what is said of both."""

import shutil
from functools import partial
from itertools import chain

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.show import report
from paretomtl.show.figures import facts as drawn
from tests import toys
from tests.fronts import point, seeded, stored

IDS = ["point-001", "point-002", "point-003"]


def quick(parameters):
    return torch.optim.Adam(parameters, lr=0.05)


def explored(problem=None, solver=None, **changes):
    asked = {"preferences": 3, "epochs": 6, "seeds": 3, "optimizer": quick} | changes
    return pm.explore(problem or toys.two_regressions(), solver or ps.Linear(), **asked)


def pulled(sign, model, batch):
    """Two losses of one output, whose targets have noise of their own: alike for 1, opposed for -1."""
    x, y = batch
    z, noise = model(x)[:, 0], y - x[:, :2]
    return {"a": (z - x[:, 0] - noise[:, 0]).square().mean(), "b": (z - sign * x[:, 0] - noise[:, 1]).square().mean()}


def pulls(sign):
    return toys.two_regressions(model=partial(nn.Linear, 4, 1), losses=partial(pulled, sign), ref_point=[9.0, 9.0])


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    problem = toys.two_regressions(test=partial(toys.loader, 3))
    return explored(problem, out=tmp_path_factory.mktemp("runs") / "front")


@pytest.fixture(scope="module")
def one(front):
    """A study of one seed, in the units that the corners of all three have told."""
    problem = toys.two_regressions(test=partial(toys.loader, 3))
    return explored(problem, seeds=1, normalise=front.normalisation)


def ids(points):
    return [p.id for p in points]


def of_seeds(*names):
    """The ids of these points for each of three seeds; those of the first do not name it."""
    return [[f"{name}-seed-{s}" if s > 1 else name for name in names] for s in (1, 2, 3)]


def test_the_first_seed_is_the_study_of_one_seed(front, one):
    assert ids(front.points) == [*chain(*of_seeds(*IDS))]
    assert ids(front.corners) == [*chain(*of_seeds("ideal-1", "ideal-2"))]
    assert front.points[:3] == one.points
    assert len({p.weights for p in front.every}) == 15
    assert [p["id"] for p in front.study["points"]][3:6] == ["ideal-1", "ideal-2", "point-001-seed-2"]


def test_the_front_of_each_seed_is_one_of_its_own(front, one):
    parts = front.by_seed()
    assert [ids(part.points) for part in parts] == of_seeds(*IDS)
    np.testing.assert_array_equal(np.vstack([part.losses for part in parts]), front.losses)
    assert [part.normalisation for part in parts] == [front.normalisation] * 3 != [None] * 3
    assert parts[0].score() == one.score()
    assert parts[1].select(best="a").why.startswith("point-003-seed-2 has the lowest a")
    assert "means" not in parts[1].select(best="a").why
    assert len(parts[1].study["points"]) == 5
    assert [ids(part.points) for part in one.by_seed()] == [IDS]


def test_means_and_spreads(front, one):
    cube = front.losses.reshape(3, 3, 2)
    mean, spread = front.mean(), front.spread()
    assert (ids(mean.points), ids(mean.corners)) == (IDS, ["ideal-1", "ideal-2"])
    np.testing.assert_allclose(mean.losses, cube.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(mean.losses_on("test"), front.losses_on("test").reshape(3, 3, 2).mean(axis=0))
    np.testing.assert_array_equal(mean.preferences, one.preferences)
    assert mean.points[0].counts["steps"] == 3 * 24
    np.testing.assert_allclose(front.ideals, np.mean([part.ideals for part in front.by_seed()], axis=0))
    assert (spread.ids, spread.n) == (tuple(IDS), (3, 3, 3))
    np.testing.assert_allclose(spread.mean, mean.losses)
    half = stats.t.ppf(0.975, 2) * stats.sem(cube, axis=0)
    np.testing.assert_allclose(spread.half_width, half)
    with pytest.raises(ValueError, match="point-001 has no weights: it was not trained here, or is a mean over seeds"):
        mean.load_model(mean.points[0], toys.TwoHeads)


def test_figures_are_means_over_the_seeds_and_counts_are_sums(front):
    parts, figures = [part.score() for part in front.by_seed()], front.score()
    volumes = [part.hypervolume for part in parts]
    assert front.hypervolume() == figures.hypervolume == pytest.approx(np.mean(volumes), rel=1e-12)
    low, high = stats.t.interval(0.95, 2, np.mean(volumes), stats.sem(volumes))
    assert figures.hypervolume_interval == pytest.approx((high - low) / 2)
    assert figures.spacing == pytest.approx(np.mean([part.spacing for part in parts]))
    assert (figures.n_seeds, figures.n_points) == (3, 9)
    assert figures.n_nondominated == sum(part.n_nondominated for part in parts)
    known = np.array([[0.0, 0.1]])
    assert front.score(known).igd_plus == pytest.approx(np.mean([p.score(known).igd_plus for p in front.by_seed()]))


@pytest.mark.fault(92)
def test_one_seed_has_no_interval(one):
    assert one.score().hypervolume_interval is None
    assert "hypervolume_interval  not available (one seed)" in str(one.score())
    assert one.tradeoff() == (None, "not available: one seed; explore with seeds=2 or more")
    assert np.isnan(one.spread().half_width).all()
    assert one.compare(one).verdict == "not available"


def test_a_point_is_dominated_within_its_seed_alone(tmp_path):
    made = seeded(tmp_path, [(0.5, 0.5), (0.4, 0.6)], [(0.1, 0.1), (0.2, 0.2)])
    kept = made.nondominated()
    assert ids(kept.points) == ["p1-seed-1", "p2-seed-1", "p1-seed-2"]
    with pytest.raises(pm.EmptyFrontError):
        seeded(tmp_path / "none", [None], [None]).nondominated()


def test_a_rule_sees_means_and_hands_back_the_nearest_model(front, tmp_path):
    pick = front.select(best="a")
    assert pick.why.startswith("point-003 has the lowest a")
    told = f"; these are means over 3 seeds, {pick.agreement * 3:.0f} of which choose the same alone, and "
    assert pick.why.endswith(f"{told}{pick.point.id} is the model nearest to its mean")
    assert pick.load(toys.TwoHeads)
    assert {r.point.id.partition("-seed")[0] for r in pick.runners_up} == {"point-001", "point-002"}
    # the model of one seed that is best of all is of a point that is worse on average
    made = seeded(tmp_path, [(0.0, 1.0), (0.3, 0.9)], [(1.0, 1.0), (0.4, 0.9)], [(0.8, 1.0), (0.32, 0.5)])
    pick = made.select(best="a")
    assert pick.point.id == "p2-seed-1"
    assert pick.agreement == pytest.approx(2 / 3)  # of the first seed's own front it is p1
    assert "3 seeds, 2 of which choose the same alone" in pick.why
    with pytest.raises(pm.NoFeasiblePoint, match=r"nearest is p2 with a = 0\.34") as caught:
        made.select(best="a", subject_to={"a": 0.01})
    assert caught.value.nearest == pick.point


def test_a_seed_without_a_feasible_point_does_not_agree(tmp_path):
    made = seeded(tmp_path, [(0.1, 0.9), (0.9, 0.1)], [(0.1, 0.8), (0.9, 0.1)], [(0.9, 0.9), None])
    pick = made.select(best="a", subject_to={"b": 0.87})
    assert pick.agreement == pytest.approx(1 / 3)
    assert made.select(pm.rules.Knee()).agreement is None  # nothing was chosen


def test_a_margin_is_of_the_spread_over_seeds_and_of_the_measures_errors(tmp_path):
    seeds = [[(0.1 + d, 0.5 - d), (0.5, 0.1)] for d in (-0.05, 0.0, 0.05)]
    plain = seeded(tmp_path / "plain", *seeds)
    assert plain.select(best="b", subject_to={"a": 0.5}).point.id.startswith("p2")
    just = 0.1 + stats.t.isf(0.05, 2) * 0.05 * np.sqrt(1 + 1 / 3)  # the mean, and a prediction bound for one seed more
    for off, id in ((1e-9, "p1"), (-1e-9, None)):
        try:
            assert plain.select(best="b", subject_to={"a": just + off}, margin=0.95).point.id.startswith(str(id))
        except pm.NoFeasiblePoint:
            assert id is None
    rows = [point(p.id, p.losses["validate"], seed=p.seed, errors={"validate": (0.2, 0.2)}) for p in plain.points]
    noisy = stored(tmp_path, rows)
    just = 0.1 + np.hypot(just - 0.1, stats.norm.isf(0.05) * 0.2)
    assert noisy.select(best="b", subject_to={"a": just + 1e-9}, margin=0.95).point.id.startswith("p1")
    with pytest.raises(pm.NoFeasiblePoint, match="at worst"):
        noisy.select(best="b", subject_to={"a": just - 1e-9}, margin=0.95)


def test_regret_is_against_the_means_of_the_ideals(tmp_path):
    rows = [point(f"p{k}-seed-{s + 1}", row, seed=s) for s in (0, 1) for k, row in enumerate([(0.2, 1.0), (1.0, 0.5)])]
    alone = [("a", 0, (0.0, 0.9)), ("a", 1, (-2.0, 0.9)), ("b", 0, (0.9, 0.5)), ("b", 1, (0.9, 0.5))]
    corners = [point(f"ideal-{name}-seed-{s + 1}", row, seed=s, corner=name) for name, s, row in alone]
    why = stored(tmp_path, [*rows, *corners]).select(pm.rules.MinMaxRegret()).why
    assert why.startswith("p1 (a 1, b 0.5) has the least worst regret, 1 of the way")
    assert "100% in a, 0% in b" in why  # p0: 60 % in a, from -1 on, and 100 % in b


def test_a_trade_off_is_told_from_noise(front):
    opposed, alike = (explored(pulls(sign), preferences=2, seeds=4) for sign in (-1, 1))
    assert opposed.tradeoff().measurable is True
    assert opposed.tradeoff().why.startswith("measurable: every point is above an ideal by more than seed noise")
    assert alike.tradeoff().measurable is False
    assert alike.tradeoff().why.startswith("no measurable trade-off: point-00")
    assert f"trade-off: {front.tradeoff().why}" in report.format_report(front)
    assert str(front.spread()) in report.format_report(front)
    without = explored(preferences=[[0.3, 0.7]], seeds=2, epochs=1)
    assert without.tradeoff().measurable is None
    assert without.tradeoff().why.startswith("not available: no ideals")


def test_a_trade_off_leaves_out_what_is_not_there_for_all_seeds(tmp_path):
    def part(s, *there):
        rows = [point(f"{id}-seed-{s + 1}", row, seed=s) for id, row in there]
        corners = [point(f"ideal-{n}-seed-{s + 1}", (0.1, 0.1), seed=s, corner=n) for n in "ab"]
        return [*rows, *(corners if s else corners[:1])]

    # the first seed lacks an ideal and the first point, so that points come in another order there
    far, near = ("far", (0.9, 0.9)), ("near", (0.2 + 1e-3, 0.2))
    rows = [*part(0, near, far), *part(1, far, near), *part(2, ("alone", (0.1, 0.1)), far, ("near", (0.2, 0.2)))]
    found = stored(tmp_path, rows).tradeoff()
    assert found.measurable
    assert "closest is near (a +0.1005" in found.why
    assert "2 seeds" in found.why
    assert stored(tmp_path / "none", [*part(1, far), *part(2, near)]).tradeoff() == (
        None,
        "not available: no point succeeded at every seed",
    )


def test_methods_are_compared_in_pairs(front, tmp_path):
    with pytest.warns(UserWarning, match="degrees off the ray"):
        other = explored(toys.two_regressions(test=partial(toys.loader, 3)), ps.Tchebycheff())
    found = other.compare(front)
    volumes = [[part.hypervolume() for part in f.by_seed()] for f in (other, front)]
    assert found.difference == pytest.approx(np.mean(np.subtract(*volumes)))
    assert (found.n, found.difference) == (3, -front.compare(other).difference)
    assert front.compare(front).verdict == "draw"
    made = [seeded(tmp_path / str(d), *([(x + d, x)] for x in (0.5, 0.6, 0.55))) for d in (0.0, 0.3, 3.0)]
    assert [made[0].compare(m).verdict for m in made] == ["draw", "better", "better"]
    assert made[2].compare(made[0]).verdict == "worse"  # it dominates nothing, which is no volume


def stop(which, step):
    if step.point in which:
        raise RuntimeError("stopped")


def test_a_point_that_fails_in_one_seed(tmp_path):
    fail = ["point-002-seed-2"]
    with pytest.warns(UserWarning, match=r"1 of 10 points failed \(point-002-seed-2: .*stopped"):
        made = explored(seeds=2, epochs=1, callbacks=[partial(stop, fail)], out=tmp_path / "front")
    assert ids(made.failed) == fail
    assert made.spread().n == (2, 1, 2)
    np.testing.assert_array_equal(made.mean().losses[1], made.points[1].losses["validate"])
    assert (made.score().n_failed, made.score().n_points) == (1, 5)
    assert "(one seed: no interval)" in str(made.spread())
    assert any("point-002-seed-2" in warning for warning in made.warnings())
    assert [m.interval is None for m in drawn.collect_front(made).marks] == [False, True, False]


@pytest.mark.filterwarnings("ignore:a corner failed")
def test_a_seed_in_which_all_points_fail(tmp_path):
    fail = [f"{id}-seed-2" for id in (*IDS, "ideal-1", "ideal-2")]
    with pytest.warns(UserWarning, match="5 of 10 points failed"):
        made = explored(seeds=2, epochs=1, callbacks=[partial(stop, fail)], out=tmp_path / "front")
    assert [len(part) for part in made.by_seed()] == [3, 0]
    assert made.score()._replace(n_failed=0) == made.by_seed()[0].score()
    assert made.tradeoff().measurable is None
    with pytest.raises(ValueError, match=r"seeds \[0\] here, \[0, 1\] in the other"):
        made.compare(explored(seeds=2, epochs=1))
    assert ids(made.nondominated().failed) == ids(made.failed)


def test_a_method_that_ignores_preferences_takes_seeds():
    made = explored(solver=ps.MGDA(), preferences=1, epochs=1)
    assert ids(made.points) == [*chain(*of_seeds("point-001"))]
    assert len({p.weights for p in made.points}) == 3
    with pytest.raises(ValueError, match=r"MGDA ignores preferences.*preferences=1 \(and seeds= for several\)"):
        explored(solver=ps.MGDA(), preferences=2)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("seeds", [0, -1, True, 1.5, "2"])
def test_seeds_is_a_number(seeds):
    with pytest.raises(ValueError, match=rf"seeds={seeds!r}: give a whole number of at least 1"):
        explored(seeds=seeds)


def test_what_is_lost_of_a_study_is_computed_again(tmp_path):
    whole = explored(seeds=2, epochs=1, out=tmp_path / "whole")
    part = shutil.copytree(whole.folder, tmp_path / "part")
    (part / "points" / "point-002-seed-2.json").unlink()
    explored(seeds=2, epochs=1, out=part)
    names = {p.relative_to(whole.folder) for p in whole.folder.rglob("*.*") if p.name != "log.jsonl"}
    assert all((part / name).read_bytes() == (whole.folder / name).read_bytes() for name in names)


@pytest.mark.fault(93)
def test_choosing_by_the_test_data_is_told(front, one):
    for made in (front, one):
        with pytest.warns(UserWarning, match="chosen on test, so its figures there no longer say anything"):
            pick = made.select(best="a", split="test")
        assert "; chosen on test, so its figures there no longer say anything about unseen data" in pick.why
        tests = made.mean().losses_on("test")[:, 0]
        assert f"lowest a, {tests.min():.4g}" in report.choice_as_json(pick, made.folder)["why"]
    with pytest.raises(ValueError, match=r"split='train' was not measured at point-001; it has 'validate', 'test'"):
        one.select(best="a", split="train")
    same = toys.two_regressions(test=partial(toys.loader, 2))
    with pytest.warns(UserWarning, match="test and validate hold the same data"):
        made = explored(same, seeds=1, epochs=1)
    assert [text.partition(":")[0] for text in made.warnings()] == ["test and validate hold the same data"]
