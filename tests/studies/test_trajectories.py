"""The study of trajectories: its figures worked out by hand, its verdicts, one tiny task set, and the demo."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from paretomtl.diagnosis.factors import matched_means
from paretomtl.diagnosis.transfer import Correlation
from studies import data, trajectories, trajectories_sets, trajectories_tables
from studies.trajectories import SIZES, Size, diagnose_set, factors, main, summarise, tradeoff_of
from studies.trajectories_sets import Network, OneTask, Task, TaskSet, loss_of, losses, named, tanh_layer
from studies.trajectories_tables import (
    CONFIRMED,
    METHODS,
    REFUTED,
    UNCLEAR,
    Row,
    findings,
    format_tables,
    method_table,
    predicted,
    read_csv,
    unrelated,
    write_csv,
)
from tests.limits import limit

NAN = math.nan
TASKS = (Task("class", "classes", 3), Task("answer", "yes or no", 1), Task("number", "numbers", 1))


def parts():
    """Small data with a label of each kind."""
    made = {}
    for k, split in enumerate(("train", "validate", "test")):
        x = torch.randn(64, 5, generator=torch.Generator().manual_seed(k))
        labels = [x[:, :3].argmax(1).float(), (x[:, 3] > 0).float(), x[:, 4] + x[:, 0]]
        made[split] = x, torch.stack(labels, dim=1)
    return made


TINY = TaskSet("tiny", TASKS, partial(tanh_layer, 5, 4), 4, parts, 16, 0.003)


def row(task: str = "a", seed: int = 0, task_set: str = "one", **figures: float) -> Row:
    """A row of zeros, but for some figures."""
    zeros = dict.fromkeys(Row._fields[3:], 0.0)
    return Row(task_set, task, seed, **(zeros | {"alone": 1.0, "joint": 1.0} | figures))


# --- losses and networks ---


def test_each_kind_of_label_has_its_loss():
    zeros = torch.zeros(2, 4)
    assert float(loss_of("classes", zeros, torch.tensor([0.0, 3.0]))) == pytest.approx(math.log(4))
    assert float(loss_of("yes or no", zeros[:, :1], torch.tensor([0.0, 1.0]))) == pytest.approx(math.log(2))
    assert float(loss_of("numbers", zeros[:, :1], torch.tensor([1.0, 3.0]))) == pytest.approx(5)


def test_a_network_has_a_head_for_each_task():
    model = Network(partial(tanh_layer, 5, 4), 4, [task.outputs for task in TASKS])
    x, y = parts()["train"]
    outputs = model(x)
    assert [tuple(out.shape) for out in outputs] == [(64, 3), (64, 1), (64, 1)]
    assert torch.equal(OneTask(2, model)(x), outputs[2])
    assert list(losses(TASKS, model, (x, y))) == ["class", "answer", "number"]


def test_an_unknown_task_set_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="task_set='films' is not one of Fashion pairs, mixed pairs, Census"):
        named("films")


# --- factors at equal training loss ---


def test_factors_are_compared_at_training_losses_that_both_have():
    """The first is 10 at every loss; the second rises from 1 at loss 3 to 3 at loss 1; both have losses from 3 to 1."""
    first, second = ([4.0, 3.0, 1.0], [10.0, 10.0, 10.0]), ([3.0, 1.0, 0.5], [1.0, 3.0, 9.0])
    assert matched_means(first, second) == pytest.approx((10, 2))
    assert all(map(math.isnan, matched_means(([9.0, 8.0], [1.0, 1.0]), ([2.0, 1.0], [1.0, 1.0]))))
    assert all(map(math.isnan, matched_means(([], []), second)))


def records(sharpness: float, trace: float, squared_norm: float, coherence: float) -> dict:
    """Records of one task, whose loss falls from 3 to 1; the first step is unlike the others."""
    steps = (0, 10, 20)
    values = [{"trace": [trace], "squared_norm": [squared_norm], "debiased_coherence": [coherence]} for _ in steps]
    values[0] = {"trace": [99.0], "squared_norm": [99.0], "debiased_coherence": [0.9]}
    return {
        "loss": [{"step": s, "train": [t], "validate": [t]} for s, t in zip(steps, (3.0, 2.0, 1.0), strict=True)],
        "noise": [{"step": s, **v} for s, v in zip(steps, values, strict=True)],
        "curvature": [{"step": s, "sharpness": [sharpness if s else 1e3]} for s in steps],
        "fisher": [{"step": s, "trace": {"a": 2 * sharpness if s else 1e3}} for s in steps],
    }


def test_the_four_factors_worked_out_by_hand():
    """Sharpness and Fisher trace 8 against 2 are two doublings; noise 6 against 3 one."""
    seen = factors(records(8, 6, 1, 0.5), records(2, 6, 2, 0.25), 0)
    assert seen == pytest.approx({"sharpness": 2, "fisher": 2, "noise": 1, "coherence": 0.25})


def test_a_ratio_of_what_is_not_positive_is_undefined():
    seen = factors(records(-1, 6, -1, 0.5), records(2, 6, 2, 0.5), 0)
    assert math.isnan(seen["sharpness"])
    assert math.isnan(seen["noise"])
    assert seen["coherence"] == 0


# --- verdicts ---


@pytest.mark.parametrize(
    ("low", "high", "negative", "none"),
    [
        (-0.8, -0.1, CONFIRMED, REFUTED),
        (0.1, 0.8, REFUTED, REFUTED),
        (-0.2, 0.2, REFUTED, CONFIRMED),
        (-0.9, 0.9, UNCLEAR, UNCLEAR),
        (-0.25, 0.9, REFUTED, UNCLEAR),
    ],
)
def test_intervals_decide(low, high, negative, none):
    seen = Correlation((low + high) / 2, low, high, 50)
    assert (predicted(seen, -1), unrelated(seen)) == (negative, none)


def test_too_few_pairs_tell_nothing():
    nothing = Correlation(None, None, None, 3)
    assert predicted(nothing, -1) == unrelated(nothing) == UNCLEAR
    assert {finding.verdict for finding in findings([row(seed=k) for k in range(2)])} == {UNCLEAR}


def planted(noise: float = 0.01) -> list[Row]:
    """Two sets of four tasks and five seeds: disagreement costs fit and nothing else, and PCGrad always helps."""
    draw = np.random.default_rng(0)
    rows = []
    for k, task_set in enumerate(("one", "two")):
        for i in range(4):
            gap = (-2.0, 1.0, 3.0, -1.0)[(i + 2 * k) % 4]
            for seed in range(5):
                cosine = 0.1 * i + 0.02 * k + noise * draw.standard_normal()
                rows.append(row(
                    str(i), seed, task_set, cosine=cosine, fit=-cosine, gap=gap + noise * draw.standard_normal(),
                    early=gap + noise * draw.standard_normal(), late=2 * gap, PCGrad=-1 + 0.1 * draw.random(),
                    MGDA=draw.standard_normal() * 5,
                ))  # fmt: skip
    return rows


def test_planted_findings_are_found():
    persists, _, fit, gap, methods = findings(planted())
    assert persists.verdict == fit.verdict == CONFIRMED
    assert persists.ours.startswith("8 of 8 tasks have a late gap; 8 of these have it early with the same sign, 0 with")
    assert gap.verdict != REFUTED
    assert methods.verdict == REFUTED
    assert "PCGrad better / draw / worse 8/0/0" in methods.ours


def test_a_gap_that_turns_does_not_persist():
    turned = [one._replace(late=-one.late) for one in planted()]
    assert findings(turned)[0].verdict == REFUTED


def test_methods_are_judged_by_their_interval():
    better, worse, draw = ([v + e for e in (-0.1, 0.0, 0.1)] for v in (-2.0, 3.0, 0.01))
    rows = [
        row(seed=k, PCGrad=p, CAGrad=c, MGDA=m) for k, (p, c, m) in enumerate(zip(better, worse, draw, strict=True))
    ]
    line = method_table(rows).splitlines()[2]
    assert [cell.split()[-1] for cell in line.strip("| ").split("|")[2:]] == ["better", "worse", "draw", "draw"]


def test_rows_outlive_a_file(tmp_path):
    rows = [row(gap=1.25, noise=NAN), row(task="b", seed=1, cosine=-0.5)]
    write_csv(rows, tmp_path / "rows.csv")
    again = read_csv(tmp_path / "rows.csv")
    assert [r._replace(noise=0.0) for r in again] == [r._replace(noise=0.0) for r in rows]
    assert math.isnan(again[0].noise)
    assert "| one | a | " in format_tables(again)


# --- a tiny run, and the demo ---


@pytest.mark.filterwarnings("ignore")
@pytest.mark.docs  # beside the demo, so that the quick lane stays quick
def test_a_task_set_in_a_tiny_form(tmp_path):
    size = Size(("tiny",), 2, 11, 1)
    diagnosis = diagnose_set(TINY, size, tmp_path)
    rows = summarise(TINY, diagnosis)
    assert [(r.task, r.seed) for r in rows] == [
        (t.name, s) for t in TASKS for s in sorted(p.seed for p in diagnosis.joint.points)
    ]
    for one in rows:
        assert one.end == pytest.approx(100 * (one.joint - one.alone) / one.alone)
        assert -1 <= one.cosine <= 1
        assert 0 <= one.negative <= 1
        assert math.isfinite(one.fisher)
    assert any(one.PCGrad != 0 for one in rows)
    assert "trade-off" in tradeoff_of(TINY, diagnosis)
    again = summarise(TINY, diagnose_set(TINY, size, tmp_path))  # from the folder
    assert str(again) == str(rows)


def test_the_study_file_is_of_the_demo_s_size():
    text = Path(trajectories.__file__).with_suffix(".toml").read_text()
    size, task_set = SIZES["demo"], named("clothing reviews")
    for line in (f"steps = {size.steps}", f"seeds = {size.seeds}", f'task_set = "{task_set.name}"'):
        assert line in text
    assert f"lr = {task_set.rate:g}" in text.replace("3e-3", "0.003")


def test_the_last_step_is_recorded_at_every_size():
    for size in SIZES.values():
        assert (size.steps - 1) % (10 * size.every) == 0


@pytest.fixture(scope="module")
def stored():
    """The rows of the page."""
    return read_csv(Path(trajectories_tables.__file__).parents[1] / "docs" / "trajectories.csv")


@pytest.mark.docs
def test_the_page_has_the_tables_of_the_stored_runs(stored):
    page = (Path(trajectories_tables.__file__).parents[1] / "docs" / "trajectories.md").read_text()
    for line in format_tables(stored).splitlines():
        if line.startswith("|"):
            assert line in page


@pytest.mark.docs
@pytest.mark.timeout(limit(600))  # half a minute, where the machine is idle
@pytest.mark.filterwarnings("ignore")
def test_the_demo(tmp_path, capsys):
    try:
        for read in (trajectories_sets.people, trajectories_sets.hours, trajectories_sets.texts):
            read()
    except data.Missing as error:
        pytest.skip(f"the data cannot be had: {error}")
    assert main(["--size", "demo", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("## Is there a trade-off?\n- Census: ")
    rows = read_csv(tmp_path / "trajectories.csv")
    size = SIZES["demo"]
    assert {r.task_set for r in rows} == set(size.sets)
    assert len(rows) == 9 * size.seeds
    assert format_tables(rows) in printed
    assert (tmp_path / "trajectories.svg").stat().st_size > 5_000
    assert all(math.isfinite(getattr(r, name)) for r in rows for name in ("end", "fit", "cosine", *METHODS))
