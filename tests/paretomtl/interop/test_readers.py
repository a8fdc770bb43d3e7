"""Fronts of what other tools found, each made here by its tool: Optuna, pymoo, pandas. Ray's are in tests/cluster."""

import builtins
import copy

import numpy as np
import optuna
import pandas as pd
import pytest
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import Problem
from pymoo.optimize import minimize
from pymoo.problems import get_problem

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.storage import schema
from tests import toys
from tests.fronts import assert_usable, facts_of, failed, point, stored

VALUES = [[90.0, 3.0], [70.0, 1.0], [60.0, 2.0], [50.0, 0.5]]  # the third is dominated
THREE = [[0.1, 0.6, 0.5], [0.5, 0.2, 0.4], [0.6, 0.5, 0.1]]
ACCURATE = [pm.Objective("accuracy", "%", "max"), pm.Objective("seconds", "s")]
optuna.logging.set_verbosity(optuna.logging.WARNING)


# --- Optuna ---


def found(x):
    """An accuracy and the seconds that it takes."""
    return 100 - 2 * (x - 5) ** 2, 1 + x


def study_of(xs, names=("accuracy", "seconds")):
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=optuna.samplers.RandomSampler(0))
    if names:
        with pytest.warns(optuna.exceptions.ExperimentalWarning):
            study.set_metric_names(list(names))
    for x in xs:
        study.enqueue_trial({"x": x})
    study.optimize(lambda trial: found(trial.suggest_float("x", 0, 10)), n_trials=len(xs))
    return study


def with_others(study):
    """And a trial that failed, one that was pruned, one that runs, one that waits."""

    def unfinished(trial):
        raise {"failed": RuntimeError, "pruned": optuna.TrialPruned}[trial.suggest_categorical("how", [*ENDS])]

    for how in ENDS:
        study.enqueue_trial({"how": how})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optuna.study._optimize._logger, "warning", lambda *_, **__: None)  # of the failure
        study.optimize(unfinished, n_trials=len(ENDS), catch=(RuntimeError,))
    study.ask()
    study.enqueue_trial({"x": 1.0})
    return study


ENDS = ("failed", "pruned")


def test_a_study_of_optuna(tmp_path):
    study = with_others(study_of([0.0, 2.0, 4.0, 7.0]))
    front = pm.Front.from_optuna(study, [40.0, 12.0])
    assert front.objectives == (pm.Objective("accuracy", goal="max"), pm.Objective("seconds"))
    np.testing.assert_array_equal(front.values, [found(x) for x in (0, 2, 4, 7)])
    assert [p.id for p in front.points] == ["trial-0000", "trial-0001", "trial-0002", "trial-0003"]
    assert front.warnings() == ("4 of 8 trials left out: 1 failed, 1 pruned, 1 running, 1 waiting",)
    best = {f"trial-{trial.number:04d}" for trial in study.best_trials}
    assert {p.id for p in front.nondominated().points} == best == {"trial-0000", "trial-0001", "trial-0002"}
    assert front.select(best="accuracy", subject_to={"seconds": 4.0}).point.id == "trial-0001"
    assert_usable(front, tmp_path)


def test_objectives_of_optuna_by_name_in_any_order():
    study = study_of([0.0, 4.0], names=None)
    named = pm.Front.from_optuna(study, [0.0, 9.0], ["accuracy", "seconds"])
    assert [o.goal for o in named.objectives] == ["max", "min"]
    assert pm.Front.from_optuna(study, [0.0, 9.0], ACCURATE).objectives == tuple(ACCURATE)
    turned = pm.Front.from_optuna(study_of([0.0, 4.0]), [9.0, 0.0], ACCURATE[::-1])
    np.testing.assert_array_equal(turned.values, named.values[:, ::-1])
    assert turned.objectives == tuple(ACCURATE[::-1])


def test_a_part_of_what_optuna_traded_off():
    study = optuna.create_study(directions=["minimize", "maximize", "minimize"])
    for row in THREE:
        study.add_trial(optuna.trial.create_trial(values=row))
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        study.set_metric_names(["a", "b", "c"])
    front = pm.Front.from_optuna(study, [1.0, 0.0], ["c", "b"])
    np.testing.assert_array_equal(front.values, np.array(THREE)[:, [2, 1]])
    assert [o.goal for o in front.objectives] == ["min", "max"]


def test_trials_that_break_optunas_constraints_are_no_points():
    study = study_of([])
    for x, bounds in [(0.0, [-1.0, 0.0]), (4.0, [-1.0, 0.5])]:
        kept = {"constraints": bounds}  # as samplers with a constraints_func write it
        study.add_trial(optuna.trial.create_trial(values=found(x), system_attrs=kept))
    study.add_trial(optuna.trial.create_trial(values=found(7.0)))
    front = pm.Front.from_optuna(study, [0.0, 9.0])
    assert [p.id for p in front.points] == ["trial-0000", "trial-0002"]
    assert front.warnings() == ("1 of 3 trials left out: 1 infeasible",)


@pytest.mark.fault(40)
def test_values_of_optuna_that_are_not_finite_are_refused_by_trial():
    study = study_of([2.0])
    for k in range(7):
        study.add_trial(optuna.trial.create_trial(values=[np.inf, k] if k else [-np.inf, np.inf]))
    said = r"finite numbers; trial 1: accuracy is -inf, seconds is inf; trial 2: accuracy is inf; .*trial 5.*and 2 more"
    with pytest.raises(ValueError, match=said):
        pm.Front.from_optuna(study, [0.0, 9.0])


@pytest.mark.fault(29)
def test_a_study_without_a_complete_trial_is_no_front():
    with pytest.raises(pm.EmptyFrontError, match="no point among the trials, so nothing can be said"):
        pm.Front.from_optuna(study_of([]), [0.0, 9.0])
    with pytest.raises(
        pm.EmptyFrontError, match=r"no point among the trials \(1 failed, 1 pruned, 1 running, 1 waiting\)"
    ):
        pm.Front.from_optuna(with_others(study_of([])), [0.0, 9.0])


@pytest.mark.fault(27)
def test_a_study_of_one_objective_trades_nothing_off():
    with pytest.raises(ValueError, match="the study has one objective, so there is nothing to trade off"):
        pm.Front.from_optuna(optuna.create_study(), [1.0])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("names", "objectives", "error", "said"),
    [
        (None, None, ValueError, r"no metric names; give objectives=, a name for each of its 2 directions"),
        (None, ["a", "b", "c"], ValueError, r"objectives=\['a', 'b', 'c'\]: give 2 names, one for each direction"),
        (None, "ab", TypeError, "one text; give a list"),
        (None, ["a"], ValueError, "two or more different"),
        (("a", "b"), ["a", "c"], ValueError, "the study has no metric 'c'; it has 'a'; 'b'"),
        (None, [pm.Objective("a"), "b"], ValueError, "objective 'a': goal='min', but 'max' is the study's direction"),
        (("a", "b"), [pm.Objective("b", goal="max"), "a"], ValueError, "'b': goal='max', but 'min' is the study's"),
    ],
)
def test_objectives_that_are_not_optunas(names, objectives, error, said):
    with pytest.raises(error, match=said):
        pm.Front.from_optuna(study_of([1.0], names), [1.0, 1.0], objectives)


# --- pymoo ---


@pytest.fixture(scope="module")
def zdt1():
    return minimize(get_problem("zdt1", n_var=5), NSGA2(pop_size=20), ("n_gen", 60), seed=1)


class Bounded(Problem):
    """A square's far corner, of which the part beyond `least` is allowed."""

    def __init__(self, least):
        super().__init__(n_var=2, n_obj=2, n_ieq_constr=1, xl=0.0, xu=1.0)
        self.least = least

    def _evaluate(self, x, out, *args, **kwargs):
        out["F"], out["G"] = x, self.least - x.sum(axis=1, keepdims=True)


def test_a_result_of_pymoo(zdt1, tmp_path):
    front = pm.Front.from_pymoo(zdt1, [1.1, 1.1], ["f1", "f2"])
    np.testing.assert_array_equal(front.losses, zdt1.F)
    assert len(front.nondominated()) == len(zdt1.opt)
    assert front.warnings() == ()
    assert_usable(front, tmp_path)


@pytest.mark.parametrize("goals", [("max", "min"), ("min", "max"), ("max", "max")])
def test_what_was_negated_for_pymoo_is_turned_back(zdt1, goals):
    signs = [-1 if goal == "max" else 1 for goal in goals]
    objectives = [pm.Objective(name, goal=goal) for name, goal in zip("ab", goals, strict=True)]
    front = pm.Front.from_pymoo(zdt1, [1.1 * sign for sign in signs], objectives)
    np.testing.assert_array_equal(front.values, zdt1.F * signs)
    np.testing.assert_array_equal(front.losses, zdt1.F)
    assert front.hypervolume() == pm.Front.from_pymoo(zdt1, [1.1, 1.1], ["a", "b"]).hypervolume()


@pytest.mark.fault(29)
def test_a_result_of_pymoo_without_a_feasible_solution_is_no_front():
    asked = {"problem": Bounded(3.0), "algorithm": NSGA2(pop_size=10), "termination": ("n_gen", 3), "seed": 1}
    with pytest.raises(pm.EmptyFrontError, match="no F: pymoo found no feasible solution"):
        pm.Front.from_pymoo(minimize(**asked), [2.0, 2.0], ["a", "b"])
    with pytest.raises(pm.EmptyFrontError, match=r"no point among the solutions \(\d+ infeasible\)"):
        pm.Front.from_pymoo(minimize(**asked, return_least_infeasible=True), [2.0, 2.0], ["a", "b"])


def test_feasible_solutions_of_pymoo_are_points():
    result = minimize(Bounded(0.5), NSGA2(pop_size=20), ("n_gen", 10), seed=1)
    front = pm.Front.from_pymoo(result, [2.0, 2.0], ["a", "b"])
    assert (front.losses.sum(axis=1) >= 0.5).all()
    assert len(front) == len(result.F)


@pytest.mark.fault(30)
def test_a_single_solution_of_pymoo_is_a_front_of_one(zdt1):
    single = copy.copy(zdt1)
    single.F, single.opt = zdt1.F[0], None
    front = pm.Front.from_pymoo(single, [1.1, 1.1], ["f1", "f2"])
    assert len(front) == 1
    assert front.hypervolume() is not None
    assert (front.score().spacing, front.score().largest_gap) == (None, None)
    assert front.select(pm.rules.Knee()).point is None


@pytest.mark.parametrize(
    ("F", "objectives", "said"),
    [
        pytest.param([[0.0, np.nan], [np.inf, 1.0]], ["a", "b"], r"F\[0\]: b is nan; F\[1\]: a is inf",
                     marks=pytest.mark.fault(40)),
        ([[0.0, 1.0]], ["a", "b", "c"], r"objectives=\['a', 'b', 'c'\]: F has shape \(1, 2\); give a name for each"),
        pytest.param([[0.0]], ["a", "b"], "one objective, so there is nothing", marks=pytest.mark.fault(27)),
        ([[True, False]], ["a", "b"], "F holds bool; give"),
        ([["0", "1"]], ["a", "b"], "F holds <U1; give"),
        pytest.param(np.zeros((schema.MOST_POINTS + 1, 2)), ["a", "b"], "100,001 solutions; a front has at most",
                     marks=pytest.mark.fault(88)),
    ],
)  # fmt: skip
def test_bad_results_of_pymoo_are_refused(zdt1, F, objectives, said):
    result = copy.copy(zdt1)
    result.F, result.opt = np.array(F), None
    with pytest.raises(ValueError, match=said):
        pm.Front.from_pymoo(result, [1.1] * len(objectives), objectives)


# --- pandas ---


def frame_of(values=VALUES, **columns):
    return pd.DataFrame(values, columns=["accuracy", "seconds"]).assign(**columns)


def test_a_frame(tmp_path):
    frame = frame_of(seed=[0, 0, 0, 0], model=["p", "q", "r", "s"], id=["p", "q", "r", "s"], fast=True)
    front = pm.Front.from_frame(frame, [40.0, 4.0], ACCURATE)
    assert facts_of(front) == facts_of(pm.Front.from_values(VALUES, ACCURATE, [0.0, 4.0], ids=["p", "q", "r", "s"]))
    assert front.warnings() == ()
    assert pm.Front.from_frame(frame, [99.0, 4.0]).names == ("accuracy", "seconds")  # the other columns of numbers
    np.testing.assert_array_equal(pm.Front.from_frame(frame, [4.0, 99.0], ["seconds", "accuracy"]).values[0], [3, 90])
    assert_usable(front, tmp_path)


@pytest.mark.parametrize("dtype", ["Float64", "float32", "float64[pyarrow]", "object"])
def test_numbers_of_pandas_in_many_forms(dtype):
    frame = frame_of().astype(dtype)
    if dtype == "object":
        with pytest.raises(ValueError, match="column 'accuracy' of the frame holds object; give a column of numbers"):
            pm.Front.from_frame(frame, [0.0, 9.0], ACCURATE)
    else:
        np.testing.assert_array_equal(pm.Front.from_frame(frame, [0.0, 9.0], ACCURATE).values, VALUES)


def test_preferences_and_seeds_of_a_frame():
    frame = pd.DataFrame(
        {"a": [0.1, 0.2, 0.6, 0.7], "b": [0.9, 0.8, 0.3, 0.2], "seed": [0, 1, 0, 1],
         "id": ["p-seed-1", "p-seed-2", "q-seed-1", "q-seed-2"],
         "preference a": [0.8, 0.8, 0.3, 0.3], "preference b": [0.2, 0.2, 0.7, 0.7]}
    )  # fmt: skip
    front = pm.Front.from_frame(frame, [1.0, 1.0])
    np.testing.assert_array_equal(front.preferences, frame[["preference a", "preference b"]])
    assert [p.seed for p in front.points] == [0, 1, 0, 1]
    np.testing.assert_allclose(front.mean().losses, [[0.15, 0.85], [0.65, 0.25]])
    assert front.score().n_seeds == 2


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    """Losses as they are, as those of a frame are."""
    out = tmp_path_factory.mktemp("runs") / "front"
    problem = toys.two_regressions()
    return pm.explore(problem, ps.Linear(), preferences=3, epochs=2, seeds=2, out=out, normalise=None)


def test_to_frame_has_the_columns_of_points_csv_and_comes_back(explored):
    frame = explored.to_frame()
    there = pd.read_csv(explored.folder / "points.csv", dtype=str)  # pandas before 3.1 rounds the numbers it parses
    there = there.astype(dict.fromkeys(frame.select_dtypes("number"), float))
    assert list(frame) == list(there)
    assert frame["id"].tolist() == [p.id for p in explored.every]
    ordered = there.set_index("id").loc[frame["id"]].reset_index()[list(frame)]
    pd.testing.assert_frame_equal(frame, ordered, check_dtype=False, check_exact=True)
    front = pm.Front.from_frame(frame, [2.0, 2.0])
    assert facts_of(front) == facts_of(explored)
    assert facts_of(pm.Front.from_frame(there, [2.0, 2.0])) == facts_of(
        pm.Front.from_csv(explored.folder / "points.csv", [2.0, 2.0])
    )
    assert front.corners == ()
    assert front.score() == explored.score()
    assert facts_of(pm.Front.from_frame(front.to_frame(), [2.0, 2.0])) == facts_of(front)


@pytest.mark.parametrize("asked", [None, [[0.1, 0.9], [0.3, 0.7], [0.5, 0.5], [0.7, 0.3]]])
def test_to_frame_and_back(asked):
    front = pm.Front.from_values(VALUES, ACCURATE, [0.0, 4.0], asked, ids=["p", "q", "r", "s"])
    back = pm.Front.from_frame(front.to_frame(), [0.0, 4.0], ACCURATE)
    assert facts_of(back) == facts_of(front)
    assert back.study == front.study


def test_standard_errors_come_back_with_a_frame():
    errors = [[0.5, 0.1], [0.4, 0.1], [0.3, 0.2], [0.2, 0.0]]
    front = pm.Front.from_values(VALUES, ACCURATE, [0.0, 4.0], errors=errors)
    back = pm.Front.from_frame(front.to_frame(), [0.0, 4.0], ACCURATE[::-1])
    assert [p.errors["validate"] for p in back.points] == [tuple(row[::-1]) for row in errors]


def test_failed_rows_of_a_frame_are_counted(tmp_path):
    rows = [point("p1", (0.5, 1.0)), point("ideal-1", (0.1, 0.9), corner="a"), failed("p2"), failed("p3")]
    front = pm.Front.from_frame(stored(tmp_path, rows).to_frame(), [2.0, 2.0])
    assert [p.id for p in front.points] == ["p1"]
    assert front.warnings() == ("2 of 3 rows left out: 2 failed",)
    with pytest.raises(pm.EmptyFrontError, match=r"no point among the rows \(1 failed\)"):
        pm.Front.from_frame(stored(tmp_path / "none", [failed("p2")]).to_frame(), [2.0, 2.0])


def test_a_part_of_the_objectives_of_a_frame_has_no_preferences():
    front = pm.Front.from_values(THREE, ["a", "b", "c"], [1.0] * 3, [[0.2, 0.2, 0.6]] * 3)
    part = pm.Front.from_frame(front.to_frame(), [1.0, 1.0], ["c", "a"])
    np.testing.assert_array_equal(part.losses, np.array(THREE)[:, [2, 0]])
    assert {p.preference for p in part.points} == {()}


@pytest.mark.fault(31)
def test_equal_rows_of_a_frame_are_all_kept():
    once = pm.Front.from_frame(frame_of(), [0.0, 4.0], ACCURATE)
    twice = pm.Front.from_frame(pd.concat([frame_of(), frame_of()]), [0.0, 4.0], ACCURATE)
    assert (len(once), len(twice)) == (4, 8)
    assert twice.score() == once.score()


@pytest.mark.fault(40)
def test_rows_of_a_frame_that_are_not_finite_are_refused_by_their_label():
    frame = frame_of([[90.0, np.nan], [70.0, 1.0], [-np.inf, np.inf]]).set_index(pd.Index(["p", "q", "r"]))
    with pytest.raises(
        ValueError, match="finite numbers; row p: seconds is nan; row r: accuracy is -inf, seconds is inf"
    ):
        pm.Front.from_frame(frame, [0.0, 9.0], ACCURATE)
    missing = frame_of().convert_dtypes()
    missing.loc[2, "seconds"] = pd.NA
    with pytest.raises(ValueError, match="numbers; row 2: seconds is nan"):
        pm.Front.from_frame(missing, [0.0, 9.0], ACCURATE)
    many = frame_of([[np.nan, 1.0]] * 8)
    with pytest.raises(ValueError, match="row 4: accuracy is nan, and 3 more"):
        pm.Front.from_frame(many, [0.0, 9.0], ACCURATE)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("frame", "objectives", "error", "said"),
    [
        (frame_of(fast=True), ["accuracy", "fast"], ValueError, "column 'fast' of the frame holds bool; give a column"),
        (frame_of(name="p"), ["accuracy", "name"], ValueError, "column 'name' of the frame holds (str|object)"),
        (frame_of(), ["accuracy", "cost"], ValueError, "no column 'cost'; it has 'accuracy'; 'seconds'"),
        (frame_of()[["seconds"]], None, ValueError, r"objectives=\['seconds'\]: give two or more"),
        (frame_of(id=["p", "p", "q", "r"]), None, ValueError, "ids: 3 different ones for 4 points"),
        (frame_of(id=["p", None, "q", ""]), None, ValueError, "every row needs an id, or none .* row 1; row 3"),
        (frame_of(seed=[0, 1, -1, 0.5]), None, ValueError, "a seed is a whole .* not so in row 2: -1; row 3: 0.5"),
        (frame_of(seed=["0", "1", "2", "3"]), None, ValueError, "column 'seed' of the frame holds"),
        (frame_of().rename(columns={"seconds": "accuracy"}), None, ValueError, "two columns .* one name: 'accuracy'"),
        (VALUES, ["a", "b"], TypeError, "frame= is of type list; give a pandas.DataFrame"),
        pytest.param(frame_of()[:0], None, pm.EmptyFrontError, "no point among the rows", marks=pytest.mark.fault(29)),
        pytest.param(
            frame_of(np.zeros((schema.MOST_POINTS + 1, 2))), None, ValueError,
            "the frame has 100,001 rows; a front has at most 100,000 points", marks=pytest.mark.fault(88),
        ),
        pytest.param(
            frame_of(id=["../p", "q", "r", "s"]), None, ValueError, r"name '\.\./p'", marks=pytest.mark.fault(84)
        ),
    ],
)  # fmt: skip
def test_bad_frames_are_refused(frame, objectives, error, said):
    with pytest.raises(error, match=said):
        pm.Front.from_frame(frame, [99.0, 9.0], objectives)


@pytest.mark.fault(41)
@pytest.mark.usefixtures("unchecked")
def test_a_misspelt_goal_is_an_error_with_the_choices():
    with pytest.raises(ValueError, match="goal='maximise' is not one of 'min', 'max'"):
        pm.Front.from_frame(frame_of(), [0.0, 9.0], [pm.Objective("accuracy", goal="maximise"), "seconds"])  # type: ignore[arg-type]


@pytest.mark.parametrize("read", [pm.Front.from_optuna, pm.Front.from_pymoo, pm.Front.from_frame])
def test_what_another_tool_made_is_told_apart(read):
    with pytest.raises(TypeError, match=r"(study|result|frame)= is of type int; give "):
        read(3, [1.0, 1.0], ["a", "b"])


def test_without_pandas_to_frame_says_what_to_install(monkeypatch):
    imported = builtins.__import__

    def missing(name, *args):
        if name == "pandas":
            raise ImportError(name)
        return imported(name, *args)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match="to_frame needs pandas: pip install pandas"):
        pm.Front.from_values(VALUES, ACCURATE, [0.0, 4.0]).to_frame()
