"""The report of a diagnosis: its facts, its page and figure, and the command that writes them."""

import csv
import json
import os
import re
from functools import partial

import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.cli import main
from paretomtl.diagnosis.transfer import measure_transfer, summarise
from paretomtl.errors import escape_controls
from paretomtl.show.diagnosis.collect import COLUMNS, collect_diagnosis
from paretomtl.show.plots import plot_diagnosis
from tests import toys
from tests.folders import files
from tests.paretomtl.show.page.browser import Opened, chromium

HOSTILE = ("<script>alert(1)</script>", '</section><img src=x onerror="alert(2)">', "{{style}}\u2028$x_1$")
FORMATS = (".svg", ".png", ".pdf", ".html")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a diagnosis with every recorder."""
    recorders = pm.diagnosis
    out = tmp_path_factory.mktemp("diagnosis") / "out"
    pm.diagnose(
        toys.two_regressions(), ps.Linear(), steps=20, seeds=3, every=5, out=out,
        optimizer=partial(torch.optim.Adam, lr=0.02), specialised={"MGDA": ps.MGDA()},
        recorders=[
            recorders.AffinityRecorder(0.02, every=5), recorders.NoiseRecorder(10), recorders.CurvatureRecorder(10)
        ],
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def diagnosis(folder):
    return pm.Diagnosis.load(folder)


def records(train, validate, cosine=0.5):
    """What is recorded of the three tasks of HOSTILE, all alike."""
    rows = list(enumerate(zip(train, validate, strict=True)))
    table = [[1.0, cosine, None], [cosine, 1.0, None], [None, None, 1.0]]
    return {
        "loss": [{"step": k, "train": [t] * 3, "validate": [v] * 3} for k, (t, v) in rows],
        "conflict": [{"step": k, "cosines": table} for k, _ in rows],
        "fisher": [{"step": 0, "trace": {HOSTILE[0]: 2.0}}],
    }


def hostile_facts(alone=(2.0, 1.0), seeds=2):
    joint = [records([9.0, 8.0], [9.0, 8.0])] * seeds
    own = [[records(alone, alone)] * seeds] * 3
    transfers = measure_transfer(joint, own, HOSTILE)
    effects = {"<b>method": np.array([[0.5] * 3, [0.1] * 3])}
    return collect_diagnosis(transfers, joint, own, ["a note"], effects)


# --- loading ---


def test_a_loaded_diagnosis_is_the_one_that_was_written(folder, diagnosis):
    before = files(folder)
    again = pm.diagnose(
        toys.two_regressions(), ps.Linear(), steps=20, seeds=3, every=5, out=folder,
        optimizer=partial(torch.optim.Adam, lr=0.02), specialised={"MGDA": ps.MGDA()},
        recorders=[
            pm.diagnosis.AffinityRecorder(0.02, every=5), pm.diagnosis.NoiseRecorder(10),
            pm.diagnosis.CurvatureRecorder(10),
        ],
    )  # fmt: skip
    assert files(folder) == before
    assert str(again) == str(diagnosis)
    assert list(diagnosis.specialised) == ["MGDA"]
    assert str(diagnosis).startswith("Training together ")


def test_the_last_training_losses_are_those_of_the_same_seed_and_task(diagnosis):
    """The front of the single tasks has its points seed by seed."""
    alone = {(p.seed, int(np.argmax(p.preference))): p for p in diagnosis.alone.points}
    expected = []
    for point in sorted(diagnosis.joint.points, key=lambda p: p.seed):
        last = diagnosis.joint.recordings(point)["loss"][-1]["train"]
        own = [diagnosis.alone.recordings(alone[point.seed, i])["loss"][-1]["train"][i] for i in range(2)]
        expected.append(np.subtract(last, own))
    together, own = diagnosis._last_losses()
    assert np.array_equal(together - own, expected)
    for i, transfer in enumerate(diagnosis.transfers):
        assert transfer.train.mean == pytest.approx(np.mean(expected, axis=0)[i])


def test_a_folder_without_a_diagnosis_is_refused(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match=r"no front in joint and alone/ of it\); give the folder that pm.diag"):
        pm.Diagnosis.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds no diagnosis"):
        pm.Diagnosis.load(folder / "joint")


def test_a_diagnosis_that_was_interrupted_says_what_is_missing(tmp_path, folder):
    import shutil

    shutil.copytree(folder, tmp_path / "out")
    os.remove(tmp_path / "out" / "alone" / "points" / "point-002-seed-2.json")
    with pytest.raises(ValueError, match=r"alone: not every one of the 3 seeds is trained; call pm\.diagnose again"):
        pm.Diagnosis.load(tmp_path / "out")


# --- facts ---


def test_facts_are_what_was_recorded(diagnosis):
    facts = diagnosis.facts
    assert facts.names == ("a", "b")
    assert facts.seeds == 3
    [strip] = facts.cosines.strips
    assert strip.label == "a · b"
    assert strip.mean == pytest.approx(diagnosis.cosines[:, 0, 1].mean())
    assert facts.cosines.steps == [0, 5, 10, 15]
    assert [s.label for s in facts.affinity.strips] == ["a → b", "b → a"]
    assert facts.groups[0].startswith("one group: a + b (score ")
    assert [len(panel.curves) for panel in facts.gaps] == [4, 4]  # a line a seed, and their mean
    assert [f.title for f in facts.factors][-1] == "largest eigenvalue of the Hessian"
    means, halves = diagnosis.effect_of("MGDA")
    assert [tuple(facts.effects[t][0])[1:] for t in "ab"] == list(zip(means, halves, strict=True))


def test_long_trainings_are_averaged_to_a_width_that_can_be_seen():
    joint = [records(np.linspace(9, 8, 150), np.linspace(9, 8, 150), cosine=c) for c in (0.2, 0.4)]
    facts = collect_diagnosis(measure_transfer(joint, [joint] * 3, HOSTILE), joint, [joint] * 3, [], {})
    assert len(facts.cosines.steps) == COLUMNS
    first, second, _ = facts.cosines.strips
    assert first.values == pytest.approx(np.full(COLUMNS, 0.3))
    assert np.isnan(second.values).all()
    assert facts.affinity is None
    assert facts.groups == []


def test_a_conflict_that_was_not_recorded_leaves_its_map_out():
    joint = [{"loss": records([3.0, 2.0], [3.0, 2.0])["loss"]}] * 2
    facts = collect_diagnosis(measure_transfer(joint, [joint] * 3, HOSTILE), joint, [joint] * 3, [], {})
    assert facts.heat_maps == []
    assert facts.factors == []


def transfers(*shifts):
    """Transfers of tasks that end higher by these, over three seeds, with losses on one line."""
    own = [records([3.0, 2.0 + e], [3.0, 2.0 + e]) for e in (0.0, 0.01, -0.01)]
    joint = []
    for e in (0.0, 0.01, -0.01):
        rows = [{"train": [x + s * k for s in shifts], "validate": [x + s * k for s in shifts]}
                for k, x in enumerate((3.0, 2.0 + 2 * e))]  # fmt: skip
        joint.append({"loss": rows})
    return measure_transfer(joint, [own] * len(shifts), "abc"[: len(shifts)])


@pytest.mark.parametrize(
    ("shifts", "sentence"),
    [
        (
            (0.5, -0.5, 0.0),
            "harms a (fitted less well), helps b (fitted better) and makes no difference to c that 3 seeds could show.",
        ),
        ((0.0, 0.0), "makes no difference to any task that 3 seeds could show."),
        ((0.5, 0.5), "harms a (fitted less well), b (fitted less well)."),
    ],
)
def test_the_sentence_to_take_away(shifts, sentence):
    assert summarise(transfers(*shifts)) == f"Training together {sentence}"


def test_one_seed_says_nothing():
    assert hostile_facts(seeds=1).summary.startswith("With one seed no difference can be told from noise")


# --- page and figure ---


@pytest.mark.parametrize("suffix", FORMATS)
def test_it_is_written_with_its_data_and_the_same_bytes_each_time(diagnosis, tmp_path, suffix):
    path = diagnosis.plot(tmp_path / "new" / f"one{suffix}")
    assert path.read_bytes() == diagnosis.plot(tmp_path / f"two{suffix}").read_bytes()
    with path.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    [row] = [r for r in rows if r["what"] == "transfer" and r["of"] == "a" and r["line"] == "at equal training loss"]
    assert float(row["value"]) == diagnosis.transfers[0].gap.mean
    assert {r["what"] for r in rows} >= {"transfer", "effect", "cosine of gradients", "affinity", "noise scale"}


def test_another_format_is_refused(diagnosis, tmp_path):
    with pytest.raises(ValueError, match=r"a plot is written as \.svg, \.pdf, \.png, \.html, not '\.jpg'"):
        diagnosis.plot(tmp_path / "diagnosis.jpg")


def test_the_page_says_it_all_and_loads_nothing(diagnosis, tmp_path):
    text = diagnosis.plot(tmp_path / "page.html").read_text()
    facts = diagnosis.facts
    assert f'<p class="finding">{facts.summary}</p>' in text
    for one in facts.tasks:
        verdict = one.verdict.removeprefix(f"{one.task}: ")
        assert verdict[1:] in text
    titles = re.findall(r"<h2 [^>]*>(.*?)</h2>", text)
    assert titles == [
        "In short", "Each task", "Conflict of gradients", "Affinity", "The gap at equal training loss",
        "Along the training", "Other methods",
    ]  # fmt: skip
    assert "<script" not in text
    assert not re.search(r"(src|href)=\"(?!data:)|url\(|@import|https?:", text)
    assert "NaN" not in text
    assert "nan" not in text


@pytest.mark.parametrize("suffix", FORMATS)
def test_names_are_text_and_what_is_undefined_is_said(tmp_path, suffix):
    path = plot_diagnosis(hostile_facts(), tmp_path / f"page{suffix}")
    if suffix in (".png", ".pdf"):
        return
    text = path.read_text()
    assert "<script" not in text
    assert "<img" not in text
    assert "<b>method" not in text
    if suffix == ".html":
        assert "\u2028" not in text
        assert "nan" not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
        assert "{{style}}" in text
        assert text.count("undefined: the two trainings have no training loss in common") == 3
        assert "not recorded" in text
    else:
        assert text.count("undefined:") == 3


# --- the command ---


def test_the_command_prints_the_sentences_and_writes_the_page(folder, diagnosis, tmp_path, capsys):
    before = files(folder)
    assert main(["diagnose", str(folder), "-o", str(tmp_path / "page.html")]) == 0
    out = capsys.readouterr().out
    assert out.startswith(str(diagnosis))
    assert f"written: {tmp_path / 'page.html'} and {tmp_path / 'page.csv'}" in out
    assert (tmp_path / "page.html").read_bytes() == diagnosis.plot(tmp_path / "again.html").read_bytes()
    assert files(folder) == before


def test_the_command_prints_json(folder, diagnosis, capsys):
    assert main(["diagnose", str(folder), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["summary"] == diagnosis.facts.summary
    assert [task["verdict"] for task in value["tasks"]] == [t.verdict for t in diagnosis.transfers]
    assert value["tasks"][1]["together_less_alone"]["validation loss at the end"] == {
        "mean": diagnosis.transfers[1].end.mean,
        "half_width": diagnosis.transfers[1].end.half_width,
    }
    assert value["effects"]["a"]["MGDA"]["mean"] == diagnosis.effect_of("MGDA")[0, 0]
    assert value["figure"] is None


def test_the_command_refuses_a_folder_that_is_no_diagnosis(folder, capsys):
    assert main(["diagnose", str(folder / "MGDA")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"paretomtl diagnose: {folder / 'MGDA'} holds no diagnosis")
    assert "give the folder that pm.diagnose(…, out=) wrote" in said


# --- in a browser ---


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


def test_the_page_fits_a_window_and_a_phone_in_light_and_dark(browser, diagnosis, tmp_path):
    shown = {"real": diagnosis.facts, "hostile": hostile_facts()}
    grounds = set()
    for name, facts in shown.items():
        path = plot_diagnosis(facts, tmp_path / f"{name}.html")
        for width in (1280, 390):
            for scheme in ("light", "dark"):
                one = Opened(browser, path, viewport={"width": width, "height": 900}, color_scheme=scheme)
                assert one.page.evaluate("document.documentElement.scrollWidth") == width
                wide = "[...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > %d)"
                assert one.page.evaluate(f"{wide % width}.length") == 0
                assert escape_controls(facts.summary) == one.text(".finding")
                grounds.add(one.page.evaluate("getComputedStyle(document.body).backgroundColor"))
                one.close()
    assert len(grounds) == 2
