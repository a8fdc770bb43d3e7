import gc
import json
import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.points import score
from paretomtl.preference import control_error
from tests import toys
from tests.fronts import failed, point, stored

ROOT = Path(toys.__file__).parents[1]


def quick(parameters):
    return torch.optim.Adam(parameters, lr=0.05)


def explored(out=None, epochs=4, **changes):
    return pm.explore(
        toys.two_regressions(**changes), ps.Linear(), preferences=3, epochs=epochs, optimizer=quick, out=out
    )


@pytest.fixture(scope="module")
def problem():
    return toys.two_regressions(test=partial(toys.loader, 3))


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    return explored(tmp_path_factory.mktemp("runs") / "front", test=partial(toys.loader, 3))


def test_arrays_follow_the_preferences(front, problem):
    assert [p.id for p in front.points] == ["point-001", "point-002", "point-003"]
    assert len(front) == 3
    np.testing.assert_allclose(front.preferences, [[0.25, 0.75], [0.5, 0.5], [0.75, 0.25]])
    assert front.losses.shape == (3, 2)
    assert front.losses.dtype == np.float64
    measured = [pm.evaluate(problem, front.load_model(p, toys.TwoHeads)) for p in front.points]
    np.testing.assert_allclose(front.losses, [[losses["a"], losses["b"]] for losses in measured], rtol=0, atol=1e-9)
    assert np.ptp(front.losses, axis=0).min() > 1e-3
    np.testing.assert_array_equal(front.values, front.losses)
    np.testing.assert_allclose(front.control_errors, control_error(front.normalised(front.losses), front.preferences))


def test_the_test_split_is_measured_beside(front, problem):
    measured = [pm.evaluate(problem, front.load_model(p, toys.TwoHeads), "test") for p in front.points]
    np.testing.assert_allclose(front.losses_on("test"), [[m["a"], m["b"]] for m in measured], rtol=0, atol=1e-9)
    assert np.abs(front.losses_on("test") - front.losses).min() > 1e-6
    np.testing.assert_array_equal(front.losses_on("validate"), front.losses)


def test_a_split_that_was_not_measured(tmp_path, front):
    without = stored(tmp_path, [point("p", (1.0, 2.0))])
    for given, split in ((without, "test"), (front, "train")):
        with pytest.raises(ValueError, match=f"split='{split}' was not measured; this front has validate"):
            given.losses_on(split)


def test_ideals_are_what_each_objective_reaches_alone(front, problem):
    assert [p.corner for p in front.corners] == ["a", "b"]
    alone = [pm.evaluate(problem, front.load_model(p, toys.TwoHeads)) for p in front.corners]
    np.testing.assert_allclose(front.ideals, [alone[0]["a"], alone[1]["b"]], rtol=0, atol=1e-9)
    assert front.ideals[0] < front.corners[1].losses["validate"][0]
    assert front.ideals[1] < front.corners[0].losses["validate"][1]


@pytest.mark.parametrize("second", [None, failed("ideal-2")])
def test_no_ideals_unless_all_corners_succeeded(tmp_path, second):
    corner = point("ideal-1", (0.1, 0.9), corner="a")
    others = [] if second is None else [replace(second, corner="b")]
    assert stored(tmp_path, [point("p", (0.5, 0.5)), corner, *others]).ideals is None


def test_score(front):
    figures = front.score()
    assert figures.hypervolume == front.hypervolume() == score.hypervolume(front.losses, [2.0, 2.0])
    assert figures.ref_point == (2.0, 2.0)
    assert figures.control_error_mean == pytest.approx(front.control_errors.mean())
    assert figures.control_error_worst == front.control_errors.max()
    assert figures.spacing == score.spacing(front.losses)
    assert figures.largest_gap == score.largest_gap(front.losses)
    assert figures.hypervolume_error is None
    assert (figures.n_points, figures.n_nondominated) == (3, len(front.nondominated()))
    assert (figures.n_outside, figures.n_failed, figures.n_relaxed, figures.n_fallback) == (0, 0, 0, 0)


@pytest.mark.fault(31)
@pytest.mark.fault(32)
def test_score_counts(tmp_path):
    relaxed = [point(f"p{k}", (0.5, 1.0), counts={"relaxed": k, "fell_back": 2}) for k in (1, 2)]
    others = [point("p3", (1.0, 0.5)), point("p4", (1.0, 1.5)), point("p5", (0.1, 2.0)), failed("p6")]
    made = stored(tmp_path, [*relaxed, *others])
    figures = made.score()
    assert [p.id for p in made.points] == ["p1", "p2", "p3", "p4", "p5"]
    assert figures.hypervolume == pytest.approx(1.5 * 1 + 1 * 0.5)
    assert (figures.n_outside, figures.n_failed, figures.n_relaxed, figures.n_fallback) == (1, 1, 3, 4)
    assert (figures.n_points, figures.n_nondominated) == (4, 3)


KNOWN = np.array([[0.0, 1.0], [0.5, 0.25], [1.0, 0.0], [2.0, 2.0]])


def test_score_against_a_known_front(tmp_path):
    made = stored(tmp_path, [point("p1", (0.1, 1.0)), point("p2", (1.0, 0.1))])
    figures = made.score(KNOWN)
    assert figures.igd_plus == score.igd_plus(made.losses, KNOWN) > 0
    assert figures.epsilon_additive == score.epsilon_additive(made.losses, KNOWN) == 0.5
    # the known front goes from 0 to 1 in both; its dominated point does not widen it
    assert figures.largest_gap == pytest.approx(np.hypot(0.9, 0.9))
    without = made.score()
    assert (without.igd_plus, without.epsilon_additive) == (None, None)
    assert without.largest_gap == pytest.approx(2**0.5)
    assert without._replace(igd_plus=0, epsilon_additive=0, largest_gap=0) == figures._replace(
        igd_plus=0, epsilon_additive=0, largest_gap=0
    )


def test_score_against_another_front(tmp_path):
    made = stored(tmp_path / "made", [point("p1", (0.1, 1.0)), point("p2", (1.0, 0.1))])
    rows = [point(f"q{k}", tuple(row)) for k, row in enumerate(KNOWN.tolist())]
    assert made.score(stored(tmp_path / "known", rows)) == made.score(KNOWN)
    assert made.score(made).igd_plus == made.score(made).epsilon_additive == 0


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ({"objectives": ("a", "c")}, r"objectives: .*'b'.* here, .*'c'.* in the other front"),
        ({"objectives": ("a", pm.Objective("b", unit="m"))}, r"objectives: .*unit='m'"),
        ({"objectives": ("b", "a")}, r"objectives: "),
        ({"ref_point": [2.0, 3.0]}, r"ref_point: \(2\.0, 2\.0\) here, \(2\.0, 3\.0\) in the other front"),
    ],
)
@pytest.mark.fault(34)
def test_a_reference_front_of_another_problem_is_refused(tmp_path, there, said):
    made = stored(tmp_path / "made", [point("p1", (0.1, 1.0))])
    other = stored(tmp_path / "other", [point("p1", (0.1, 1.0))], **there)
    with pytest.raises(ValueError, match=said):
        made.score(other)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (np.zeros((0, 2)), "no point in reference"),
        (np.array([[0.1, np.nan]]), r"reference\[0\] is not finite"),
        (np.zeros((2, 3)), "2 columns"),
    ],
)
def test_a_bad_known_front_is_refused(tmp_path, reference, said):
    with pytest.raises(ValueError, match=said):
        stored(tmp_path, [point("p1", (0.1, 1.0))]).score(reference)


@pytest.mark.fault(28)
@pytest.mark.fault(35)
def test_score_of_twelve_objectives_says_that_the_hypervolume_is_approximate(tmp_path):
    drawn = np.random.default_rng(0).exponential(size=(20, 12))
    rows = (drawn / drawn.sum(axis=1, keepdims=True)).tolist()
    made = stored(tmp_path, [point(f"p{k}", row) for k, row in enumerate(rows)], [f"o{i}" for i in range(12)])
    figures = made.score()
    assert figures.hypervolume == made.hypervolume()
    assert 0 < figures.hypervolume_error < 0.05 * figures.hypervolume
    assert "(approximate)" in str(figures)


@pytest.mark.fault(29)
def test_a_front_without_points(tmp_path):
    made = stored(tmp_path, [failed("p1"), failed("p2")])
    assert made.losses.shape == made.values.shape == made.preferences.shape == (0, 2)
    for figure in (made.hypervolume, made.score, made.nondominated, partial(made.select, best="a")):
        with pytest.raises(pm.EmptyFrontError, match="no point"):
            figure()


def test_nondominated_keeps_corners_and_failures(tmp_path):
    corner = point("ideal-1", (0.1, 0.9), corner="a")
    rows = [point("p1", (0.5, 1.0)), point("p2", (0.6, 1.0)), point("p3", (1.0, 0.5)), failed("p4"), corner]
    made = stored(tmp_path, rows)
    kept = made.nondominated()
    assert [p.id for p in kept.points] == ["p1", "p3"]
    assert kept.corners == made.corners == (corner,)
    assert kept.failed == made.failed
    assert len(made) == 3


@pytest.mark.parametrize("best", ["a", "b"])
def test_a_chosen_model_has_the_losses_that_are_stored(front, problem, best):
    pick = front.select(best=best)
    i = front.names.index(best)
    assert pick.point.losses["validate"][i] == front.losses[:, i].min()
    assert pick.why.startswith(f"{pick.point.id} has the lowest {best}")
    assert pick.point not in [r.point for r in pick.runners_up]
    assert pick.agreement is None
    model = pick.load(toys.TwoHeads)
    assert not model.training
    measured = pm.evaluate(problem, model)
    assert list(measured) == ["a", "b"]
    np.testing.assert_allclose(list(measured.values()), pick.point.losses["validate"], rtol=0, atol=1e-9)


def test_select_by_bound_and_by_rule(front):
    limit = float(np.sort(front.losses[:, 1])[1])
    pick = front.select(best="a", subject_to={"b": limit})
    same = front.select(pm.rules.Constraint("a", {"b": limit}))
    assert (pick.point, pick.why) == (same.point, same.why)
    assert pick.point.losses["validate"][1] <= limit
    with pytest.raises(pm.NoFeasiblePoint) as caught:
        front.select(best="a", subject_to={"b": 0.0})
    assert caught.value.nearest in front.points


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, r"needs a rule, or best= one of 'a', 'b'"),
        ({"subject_to": {"b": 1.0}}, r"needs a rule, or best="),
        ({"best": "c"}, r"'c' is not one of 'a', 'b'"),
        ({"rule": pm.rules.Knee(), "best": "a"}, "not both"),
        ({"rule": pm.rules.Knee(), "subject_to": {"a": 1.0}}, "not both"),
        ({"rule": pm.rules.Knee(), "margin": 0.95}, "not both"),
    ],
)
def test_select_says_what_it_needs(front, given, said):
    with pytest.raises(ValueError, match=said):
        front.select(**given)


@pytest.mark.fault(30)
def test_nothing_chosen_is_nothing_to_load(tmp_path):
    pick = stored(tmp_path, [point("p1", (1.0, 1.0))]).select(pm.rules.Knee())
    assert pick.point is None
    assert repr(pick) == f"Pick(None: {pick.why})"
    with pytest.raises(ValueError, match="nothing was chosen: no knee"):
        pick.load(toys.TwoHeads)


def test_a_failed_point_has_no_model(tmp_path):
    made = stored(tmp_path, [failed("p1")])
    with pytest.raises(ValueError, match="p1 has no weights: nan in 'a' at step 3"):
        made.load_model(made.failed[0], toys.TwoHeads)


def test_a_loaded_front_is_the_front(front, tmp_path):
    copied = shutil.copytree(front.folder, tmp_path / "copied")
    loaded = pm.Front.load(copied)
    for name in ("points", "corners", "failed", "study", "objectives", "ref_point", "names"):
        assert getattr(loaded, name) == getattr(front, name)
    np.testing.assert_array_equal(loaded.losses_on("test"), front.losses_on("test"))
    assert loaded.score() == front.score()
    assert loaded.table() == front.table()
    assert loaded.select(best="a").why == front.select(best="a").why
    shutil.rmtree(copied)
    with pytest.raises(FileNotFoundError, match="copied holds no front"):
        pm.Front.load(copied)


NEW_PROCESS = """
import json, sys
import paretomtl as pm
from tests import toys
front = pm.Front.load(sys.argv[1])
problem = toys.two_regressions()
models = {p.id: front.load_model(p, toys.TwoHeads) for p in (*front.points, *front.corners)}
print(json.dumps({id: pm.evaluate(problem, model) for id, model in models.items()}))
"""


def test_a_new_process_measures_the_stored_losses(front, tmp_path):
    command = [sys.executable, "-W", "error", "-c", NEW_PROCESS, str(front.folder)]
    path = os.pathsep.join(map(str, (ROOT, ROOT / "solvers")))
    run = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    measured = json.loads(run.stdout)
    assert set(measured) == {p.id for p in (*front.points, *front.corners)}
    for p in (*front.points, *front.corners):
        np.testing.assert_allclose(list(measured[p.id].values()), p.losses["validate"], rtol=0, atol=1e-6)


class Wider(toys.TwoHeads):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Linear(4, 3)


class Deeper(toys.TwoHeads):
    def __init__(self):
        super().__init__()
        del self.b
        self.more = nn.Linear(1, 2)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (
            Wider,
            [
                r"different: .*trunk\.weight float32 \(1, 4\) stored, float32 \(3, 4\) here",
                r"trunk\.bias float32 \(1,\)",
            ],
        ),
        (Deeper, [r"stored only: .*b\.weight float32 \(1, 1\)", r"in the model only: .*more\.weight float32 \(2, 1\)"]),
        (
            partial(nn.Linear, 2, 2),
            [r"stored only: a\.bias float32 \(1,\), .* …; in", r"in the model only: weight float32 \(2, 2\)"],
        ),
    ],
)
@pytest.mark.fault(55)
def test_another_model_is_refused_with_the_difference(front, build, said):
    pick = front.select(best="a")
    for part in said:
        with pytest.raises(ValueError, match=rf"the model of {pick.point.id} is not the one .*{part}"):
            pick.load(build)


@pytest.mark.fault(78)
def test_damaged_weights_are_refused(front, tmp_path):
    loaded = pm.Front.load(shutil.copytree(front.folder, tmp_path / "copied"))
    path = loaded.folder / "weights" / f"{loaded.points[0].weights}.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        loaded.load_model(loaded.points[0], toys.TwoHeads)
    assert loaded.load_model(loaded.points[1], toys.TwoHeads)


def scores(model, batches):
    """A measure whose "a" is better when larger, and whose "b" is the root of its loss."""
    losses = [{k: float(v) for k, v in toys.losses(model, batch).items()} for batch in batches]
    a, b = (np.mean([each[name] for each in losses]) for name in "ab")
    return {"a": 100 * (1 - a), "b": b**0.5}


def test_measures_have_their_own_sense():
    objectives = [pm.Objective("a", "%", "max"), pm.Objective("b", "m")]
    made = explored(objectives=objectives, measure=scores, epochs=4)
    assert made.objectives == tuple(objectives)
    np.testing.assert_allclose(made.values, np.stack([100 * (1 - made.losses[:, 0]), made.losses[:, 1] ** 0.5], axis=1))
    pick = made.select(best="a")
    assert pick.point.values["validate"][0] == made.values[:, 0].max()
    assert pick.point.losses["validate"][0] == made.losses[:, 0].min()
    assert "highest a" in pick.why
    assert " %" in pick.why
    limit = float(np.sort(made.values[:, 0])[1])
    bound = made.select(best="b", subject_to={"a": limit})
    assert bound.point.values["validate"][0] >= limit
    assert "a ≥" in bound.why
    assert made.hypervolume() == score.hypervolume(made.losses, [2.0, 2.0])


def test_a_temporary_folder_lives_as_long_as_what_needs_it():
    made = explored(epochs=1)
    folder = made.folder
    part, pick = made.nondominated(), made.select(best="a")
    del made
    gc.collect()
    assert pick.load(toys.TwoHeads)
    del pick
    gc.collect()
    assert part.load_model(part.points[0], toys.TwoHeads)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del part
        gc.collect()
    assert not folder.parent.exists()
    assert [str(warning.message) for warning in caught] == []


@pytest.mark.fault(74)
def test_a_folder_that_holds_the_front_of_another_study_is_refused(front):
    before = {path: path.is_file() and path.read_bytes() for path in front.folder.rglob("*")}
    with pytest.raises(
        ValueError, match=r"holds another study\. Give a new out=.*\n(.*\n)*.*splits: .* there, .* here"
    ):
        explored(front.folder)
    assert {path: path.is_file() and path.read_bytes() for path in front.folder.rglob("*")} == before


def test_equal_runs_are_equal_bytes(front, tmp_path):
    again = explored(tmp_path / "again", test=partial(toys.loader, 3))
    paths = [p.relative_to(front.folder) for p in front.folder.rglob("*") if p.is_file() and p.name != "log.jsonl"]
    assert len(paths) == 3 + 5 + 5
    for path in paths:
        assert (again.folder / path).read_bytes() == (front.folder / path).read_bytes()


def test_table_of_an_explored_front(front):
    lines = front.table().splitlines()
    assert lines[0].split()[-7:] == ["test", "a", "test", "b", "off", "ray", "status"]
    assert [line.split()[0] for line in lines[1:-1]] == ["point-001", "point-002", "point-003", "ideal-1", "ideal-2"]
    assert f"{front.losses_on('test')[1, 1]:.4f}" in lines[2].split()
    ends = zip("ab", *front.normalisation, strict=True)
    told = ", ".join(f"{name} {ideal:.4g} to {nadir:.4g}" for name, ideal, nadir in ends)
    assert lines[-1] == f"off ray: in units of what there is to gain in each loss, from ideal to nadir: {told}"


BEYOND = "; front.with_reference takes one beyond the worst losses, (1, 1)"


def test_warnings_tell_what_a_reader_should_know(tmp_path, front):
    off = [point(f"p{k}", (0.5, 1.0 - k), warnings=("6.0 degrees off",)) for k in (1, 2)]
    assert stored(tmp_path, [*off, failed("p3")], notes=["1 duplicate dropped"]).warnings() == (
        "1 of 3 points failed (p3: nan in 'a' at step 3); mend the cause and explore with a new out=, for here they "
        "stay failed",
        "no trade-off on 'a': its loss is the same at every point; leave it out of the objectives",
        "1 duplicate dropped",
        "p1, p2: 6.0 degrees off",
    )
    assert front.nondominated().warnings() == ()


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (
            [0.5, 2.0],
            ("2 of 3 points do not dominate the reference (0.5, 2) and add nothing to the hypervolume" + BEYOND,),
        ),
        (
            [1.0, 2.0],
            ("1 of 3 points does not dominate the reference (1, 2) and adds nothing to the hypervolume" + BEYOND,),
        ),
        ([0.2, 0.25], ("no point dominates the reference (0.2, 0.25), so the hypervolume is undefined" + BEYOND,)),
        ([1.1, 2.0], ()),
    ],
)
@pytest.mark.fault(32)
def test_points_that_do_not_dominate_the_reference_are_told(tmp_path, reference, said):
    rows = [point("p1", (0.2, 1.0)), point("p2", (0.5, 0.5)), point("p3", (1.0, 0.2))]
    assert stored(tmp_path, rows, ref_point=reference).warnings() == said


@pytest.mark.fault(32)
def test_exploring_warns_of_a_reference_that_no_point_dominates():
    with pytest.warns(
        UserWarning, match=r"no point dominates the reference \(0\.001, 2\), so the hypervolume is undef"
    ):
        made = explored(ref_point=[0.001, 2.0])
    assert made.hypervolume() is None


def test_repr(front):
    assert repr(front) == f"Front(3 points of 'a' and 'b', {str(front.folder)!r})"
    pick = front.select(best="a")
    assert repr(pick) == f"Pick({pick.point.id!r}: {pick.why})"


@pytest.mark.fault(123)
@pytest.mark.parametrize(
    ("use", "message"),
    [
        (
            lambda front: front.select("knee"),
            r"rule='knee': give an instance of a rule, such as pm\.rules\.Knee\(\), or",
        ),
        (lambda front: front.select("a"), r"rule='a': .* or best= one of 'a', 'b'"),
        (lambda front: front.select(pm.rules.Knee), r"rule=the class Knee: give an instance of a rule"),
        (lambda front: front.select(best="a", subject_to=[3.0]), r"subject_to=\[3\.0\]: give a bound by objective"),
        (
            lambda front: front.select(best="a").load(toys.TwoHeads()),
            r"build= is a TwoHeads; .* the class TwoHeads",
        ),
        (lambda front: front.load_model(front.points[0], None), r"build= is a NoneType; give a function without"),
        (
            lambda front: front.load_model(front.points[0], dict),
            r"build\(\) returned a dict; give a function that returns",
        ),
        (
            lambda front: front.load_model("point-001", toys.TwoHeads),
            r"point='point-001' is a str; give one of front\.",
        ),
        (lambda front: pm.Front.load(toys.TwoHeads()), r"folder= is a TwoHeads; give the path of a front's folder"),
        (lambda front: front.plot("x.svg", pm.rules.Knee()), r"pick= is a Knee; give what front\.select returned"),
    ],
)
def test_what_is_of_the_wrong_kind_is_named_with_the_remedy(front, use, message):
    with pytest.raises(TypeError, match=message):
        use(front)
