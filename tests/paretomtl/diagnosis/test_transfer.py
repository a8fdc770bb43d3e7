"""Transfer: what training together did to each task, from records and from whole trainings."""

import math
from functools import partial

import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.diagnosis.transfer import Estimate, estimate
from tests import toys
from tests.folders import files

diagnosis = pm.diagnosis
NAMES = ("a", "b")


def records(train, validate):
    """What a LossRecorder records, for both tasks alike."""
    return {"loss": [{"train": [t, t], "validate": [v, v]} for t, v in zip(train, validate, strict=True)]}


def test_two_equal_trainings_differ_in_nothing():
    run = records([3.0, 2.0, 1.0], [3.5, 2.5, 2.0])
    for transfer in diagnosis.measure_transfer([run] * 3, [[run] * 3] * 2, NAMES):
        assert (transfer.end.mean, transfer.gap.mean, transfer.train.mean) == (0, 0, 0)
        assert (transfer.end.sign, transfer.gap.sign, transfer.train.sign) == (0, 0, 0)
        assert "it ends no differently, as far as the seeds tell, (+0 ± 0)" in transfer.verdict


def test_a_slower_training_ends_worse_but_has_no_gap():
    fast, slow = records([3, 2, 1], [3, 2, 1]), records([3, 2.5, 2], [3, 2.5, 2])
    noise = [records([3, 2.5, 2 + e], [3, 2.5, 2 + e]) for e in (0.0, 0.01, -0.01)]
    [transfer, _] = diagnosis.measure_transfer(noise, [[fast] * 3] * 2, NAMES)
    assert transfer.end.sign == transfer.train.sign == 1
    assert transfer.gap == pytest.approx((0, 0, 3))
    assert "together it ends worse (+1 ± " in transfer.verdict
    assert "at equal training loss the difference is" in transfer.verdict
    assert "it generalises alike; the training loss differs by +1 ± 0.025: it is fitted less well" in transfer.verdict
    [back, _] = diagnosis.measure_transfer([fast] * 3, [[slow] * 3] * 2, NAMES)
    assert back.end.mean == -1


def test_a_gap_of_trainings_without_a_common_loss_is_undefined():
    [transfer, _] = diagnosis.measure_transfer(
        [records([9, 8], [9, 8])] * 2, [[records([2, 1], [2, 1])] * 2] * 2, NAMES
    )
    assert transfer.gap.n == 0
    assert str(transfer.gap) == "undefined"
    assert "the two trainings have no training loss in common, so the gap is undefined" in transfer.verdict


def test_one_seed_has_no_interval_and_no_verdict():
    run = records([3.0, 2.0], [3.5, 2.5])
    [transfer, _] = diagnosis.measure_transfer([run], [[run]] * 2, NAMES)
    assert transfer.end.half_width is None
    assert (
        transfer.verdict
        == "a: +0 (one seed: no interval) at the end; seeds=2 or more tell whether that is more than noise."
    )


def test_an_estimate_has_students_interval():
    seen = estimate([1.0, 2.0, 3.0])
    assert seen.mean == 2
    assert seen.half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert seen.sign == 0
    assert Estimate(-1.0, 0.5, 3).sign == -1


def test_records_without_losses_are_refused():
    empty = {"loss": [{"train": [None, 1.0], "validate": [1.0, 1.0]}]}
    with pytest.raises(ValueError, match="the records have no losses of objective 0; give the run a LossRecorder"):
        diagnosis.measure_transfer([empty], [[empty]] * 2, NAMES)


# --- correlations ---


def test_a_correlation_of_ranks_with_its_interval():
    x = np.arange(10.0).reshape(5, 2)
    seen = diagnosis.correlate(x, np.exp(x))
    assert (seen.value, seen.low, seen.high) == pytest.approx((1, 1, 1))
    assert diagnosis.correlate(x, -x).value == pytest.approx(-1)
    assert str(seen) == "+1.00 (+1.00 to +1.00, 10 pairs)"


def test_ties_share_their_rank():
    stats = pytest.importorskip("scipy.stats")
    x = np.array([[1.0, 1, 2, 3, 3, 3, 4]])
    y = np.array([[2.0, 1, 2, 5, 4, 4, 9]])
    assert diagnosis.correlate(x, y).value == pytest.approx(stats.spearmanr(x[0], y[0]).statistic)


def test_the_interval_of_noise_holds_zero_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    seen = [diagnosis.correlate(*rng.standard_normal((2, 5, 5)), seed=k) for k in range(20)]
    share = np.mean([one.low <= 0 <= one.high for one in seen])
    assert share >= 0.8


def test_too_few_pairs_or_constants_have_no_correlation():
    few = diagnosis.correlate(np.ones((2, 2)), np.ones((2, 2)))
    assert str(few) == "not available (4 pairs of task and seed; 5 are needed)"
    assert diagnosis.correlate(np.ones((3, 2)), np.arange(6.0).reshape(3, 2)).value is None
    undefined = np.arange(8.0).reshape(4, 2)
    undefined[0, 0] = np.nan
    assert diagnosis.correlate(undefined, np.arange(8.0).reshape(4, 2)).n == 7


# --- whole trainings ---


def diagnose(**options):
    fixed = {"steps": 30, "seeds": 3, "every": 5, "optimizer": partial(torch.optim.Adam, lr=0.02)}
    return pm.diagnose(toys.two_regressions(), ps.Linear(), **(fixed | options))


@pytest.fixture(scope="module")
def diagnosed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diagnosed")
    return folder, diagnose(specialised={"MGDA": ps.MGDA()}, out=folder / "out")


def test_a_diagnosis_has_its_facts(diagnosed):
    _, seen = diagnosed
    assert seen.names == ["a", "b"]
    assert seen.cosines.shape == (3, 2, 2)
    assert np.allclose(seen.cosines, seen.cosines.transpose(0, 2, 1))
    assert seen.conflict_and_gap.n == 6
    assert seen.effect_of("MGDA").shape == (2, 2)
    for k, transfer in enumerate(seen.transfers):
        ends = [point.losses["validate"][k] for point in seen.joint.points]
        own = [point.losses["validate"][k] for point in seen.alone.points if point.preference[k] == 1]
        assert transfer.end.n == 3
        # the last record is five steps before the end
        assert transfer.end.mean == pytest.approx(np.mean(np.subtract(ends, own)), abs=0.1)
    text = str(seen)
    for part in ("a: together it ends", "b: together it ends", "of the recorded pairs", "MGDA instead of the joint"):
        assert part in text


def test_all_trainings_of_a_seed_begin_alike(diagnosed):
    _, seen = diagnosed
    first = [front.recordings(front.points[0])["loss"][0] for front in (seen.joint, *seen.specialised.values())]
    assert all(abs(a - b) < 0.1 for a, b in zip(first[0]["train"], first[1]["train"], strict=True))


def test_a_diagnosis_goes_on_and_ends_at_the_same_bytes(diagnosed):
    folder, seen = diagnosed
    before = files(folder / "out")
    again = diagnose(specialised={"MGDA": ps.MGDA()}, out=folder / "out")
    assert files(folder / "out") == before
    assert str(again) == str(seen)


def test_the_training_loss_is_recorded_at_the_same_batches_each_time():
    front = pm.explore(
        toys.two_regressions(), ps.Linear(), preferences=[[0.5, 0.5]], steps=3, normalise=None,
        optimizer=partial(torch.optim.SGD, lr=0.0),
        callbacks=[diagnosis.LossRecorder(1, probe=[next(iter(toys.loader(1)))])],
    )  # fmt: skip
    rows = [entry["train"] for entry in front.recordings(front.points[0])["loss"]]
    assert rows[0] == rows[1] == rows[2]


@pytest.mark.parametrize("name", ["alone", "joint"])
def test_a_specialised_method_has_a_folder_of_its_own(name):
    with pytest.raises(ValueError, match=f"specialised has the name '{name}', which is that of a folder"):
        diagnose(specialised={name: ps.MGDA()})
    with pytest.raises(ValueError, match=r"name '\.\./x': use 1 to 100 letters"):
        diagnose(specialised={"../x": ps.MGDA()})


# --- factors ---


def with_sharpness(train, sharpness, by_name=False):
    steps = range(len(train))
    value = [{"a": s, "b": s} if by_name else [s, s] for s in sharpness]
    return {
        "loss": [{"step": k, "train": [t, t], "validate": [t, t]} for k, t in zip(steps, train, strict=True)],
        "curvature": [{"step": k, "sharpness": v} for k, v in zip(steps, value, strict=True)],
    }


@pytest.mark.parametrize("by_name", [False, True])
def test_a_factor_is_compared_where_the_training_losses_are_equal(by_name):
    """The slower training is as sharp at each loss; at equal steps it would seem half as sharp."""
    fast = with_sharpness([9.0, 4.0, 2.0, 1.0], [0.0, 4.0, 2.0, 1.0], by_name)
    slow = with_sharpness([9.0, 4.0, 3.0, 2.0], [0.0, 4.0, 3.0, 2.0], by_name)
    pair = diagnosis.factors_at_matched_loss(slow, fast, 0)["sharpness"]
    assert pair.together == pytest.approx(pair.alone)
    assert pair.together == pytest.approx(3.0)  # of losses from 4 to 2, without the first step


def test_a_factor_without_a_common_loss_is_undefined_and_one_that_was_not_recorded_is_absent():
    far = diagnosis.factors_at_matched_loss(
        with_sharpness([9, 8, 7], [1, 1, 1]), with_sharpness([3, 2, 1], [1, 1, 1]), 0
    )
    assert all(map(math.isnan, far["sharpness"]))
    assert set(far) == {"sharpness"}


def test_the_noise_scale_is_a_ratio_of_means():
    noisy = {
        "loss": [{"step": k, "train": [t], "validate": [t]} for k, t in enumerate([9.0, 4.0, 2.0])],
        "noise": [
            {"step": k, "trace": [t], "squared_norm": [s], "debiased_coherence": [None]}
            for k, (t, s) in enumerate([(0.0, 0.0), (6.0, -1.0), (2.0, 3.0)])
        ],
    }
    seen = diagnosis.factors_at_matched_loss(noisy, noisy, 0)
    assert seen["noise scale"].together == pytest.approx(4.0)  # of means 4 and 1
    assert all(map(math.isnan, seen["coherence"]))


def test_a_diagnosis_has_the_factors_that_were_recorded(diagnosed):
    _, plain = diagnosed
    assert plain.factors == {}
    seen = diagnose(recorders=[diagnosis.NoiseRecorder(every=5)], steps=20)
    assert list(seen.factors) == ["coherence", "noise scale"]
    assert seen.factors["coherence"][0].n == 3
    assert seen.factor_and_gap("coherence").n == 6
    assert "coherence at equal training loss, together less alone: a " in str(seen)
    assert "coherence, its difference against the gap: " in str(seen)
