"""Task loss against teacher loss: words, masks, figures, teachers, tables, a tiny study, and the study at size demo."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps
from studies import data, reviews, student_digits, student_teacher
from studies.distilled import (
    OBJECTIVES,
    Course,
    all_present,
    calibration_error,
    figures,
    losses,
    measure,
    train_or_load,
)
from studies.student_tables import (
    LABELS,
    LINEAR,
    SMOOTH,
    TEACHER,
    TEACHER_ALONE,
    Result,
    format_tables,
    read_csv,
    student_table,
    volume_table,
    write_csv,
)
from studies.student_teacher import Scale, Setting, choose, folder_name, main

DOCS = Path(__file__).parents[2] / "docs"


# --- words ---


def test_words_and_pairs_by_hand():
    assert reviews.words_of("I LOVE it!! 5'8\" tall…") == ["i", "love", "it", "!", "!", "5'8", "tall"]
    assert reviews.with_pairs(["a", "b", "c"]) == ["a", "b", "c", "a b", "b c"]


def test_a_vocabulary_counts_texts_not_words():
    texts = [["b", "b", "b", "a"], ["a", "c"], ["c"]]
    assert reviews.frequent(texts, 1) == {"a": 0, "c": 1, "b": 2}  # two texts, two, one
    assert reviews.frequent(texts, 2) == {"a": 0, "c": 1}
    assert reviews.frequent(texts, 1, 1) == {"a": 0}


def test_unknown_words_are_left_out():
    texts = [["b", "x", "b", "a"], ["x"], ["b"]]
    vocabulary = {"a": 0, "b": 1}
    assert reviews.numbered(texts, vocabulary).tolist() == [[1, 2], [0, 0], [2, 0]]
    assert reviews.presence(texts, vocabulary).tolist() == [[1, 1], [0, 0], [0, 1]]


@pytest.fixture
def made_up(monkeypatch):
    """Made-up reviews: "good" has five stars, "bad" one; two have no text, and two are alike."""
    draw = np.random.default_rng(0)
    texts: list[str | None] = [None, ""]
    stars = [1, 1]
    for k in range(400):
        rating = int(draw.integers(1, 6))
        words = ["good"] * (rating - 1) + ["bad"] * (5 - rating)
        texts.append(f"{k} " + " ".join(draw.permutation([*words, "a", "dress"])))
        stars.append(rating)
    columns = {"Review Text": [*texts, texts[-1]], "Rating": [*stars, stars[-1]]}
    monkeypatch.setattr(data, "clothing", lambda: columns)
    monkeypatch.setattr(reviews, "SIZES", {"tiny": reviews.Texts(None, 80, 2)})
    reviews.reviews_of.cache_clear()
    yield columns
    reviews.reviews_of.cache_clear()


def test_reviews_without_text_and_alike_are_left_out_and_words_come_from_training_texts(made_up):
    parts, terms = reviews.reviews_of("tiny")
    assert {split: len(part[2]) for split, part in parts.items()} == {"train": 240, "validate": 80, "test": 80}
    train = reviews.divide(400, 80, 80)["train"]
    texts = [reviews.with_pairs(reviews.words_of(made_up["Review Text"][2 + k])) for k in train]
    known = {term for term in {t for text in texts for t in text} if sum(term in text for text in texts) >= 5}
    assert terms == len(known)
    assert not any(term.isdigit() for term in known)
    assert parts["train"][2].tolist() == [made_up["Rating"][2 + k] - 1 for k in train]


# --- losses and figures ---


class Given(nn.Module):
    """What it sees are its logits, times a number that can be trained."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


def said(probability: float) -> float:
    """Return the logit of the second of two classes whose first has the logit 0."""
    return math.log(probability / (1 - probability))


def test_losses_by_hand():
    student = torch.tensor([[0.0, said(0.8)], [0.0, said(0.6)], [0.0, 5.0]])
    teacher = torch.tensor([[0.0, said(0.5)], [0.0, said(0.6)], [0.0, 5.0]])
    batch = (student, teacher, torch.tensor([1, 0, 1]), torch.tensor([True, True, False]))
    found = losses(Given(), batch, pm.distillation.Teacher(Given().eval()), 1.0)
    task, count = found["task"]
    assert count == 2
    assert task.item() == pytest.approx(-(math.log(0.8) + math.log(0.4)) / 2, abs=1e-6)
    assert found["teacher"].item() == pytest.approx((0.5 * math.log(0.5 / 0.8) + 0.5 * math.log(0.5 / 0.2)) / 3, 1e-5)


def test_a_missing_label_has_no_part_in_the_task():
    teacher, model, seen = pm.distillation.Teacher(Given().eval()), Given(), torch.randn(4, 3)
    present = torch.tensor([True, False, True, False])
    gradients = []
    for missing in (0, 2):
        label = torch.tensor([1, missing, 0, missing])
        task, _ = losses(model, (seen, seen, label, present), teacher, 1.0)["task"]
        gradients.append(torch.autograd.grad(task, model.factor)[0])
    assert torch.equal(*gradients)
    assert losses(model, (seen, seen, torch.zeros(4, dtype=torch.long), ~all_present(4)), teacher, 1.0)["task"] is None


def test_figures_by_hand():
    logit = torch.tensor([[0.0, said(0.8)], [0.0, said(0.8)], [0.0, said(0.3)], [0.0, said(0.9)]])
    teacher = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    found = figures(logit, teacher, torch.tensor([1, 0, 0, 1]))
    assert found.accuracy == 75
    assert found.by_class == pytest.approx(75)  # 1 of 2, and 2 of 2
    assert found.agreement == 50
    assert found.loss == pytest.approx(-(math.log(0.8) + math.log(0.2) + math.log(0.7) + math.log(0.9)) / 4)
    # of two decisions at .8 one is right; .7 and .9 stand alone and are right
    assert found.calibration == pytest.approx(100 * (0.6 + 0.3 + 0.1) / 4)
    skewed = figures(logit, teacher, torch.tensor([1, 1, 0, 0]))
    assert skewed.by_class == pytest.approx(75)
    assert figures(logit, teacher, torch.tensor([1, 1, 1, 0])).by_class == pytest.approx(100 / 3)


def test_a_confident_network_that_is_always_right_is_calibrated():
    assert calibration_error(torch.ones(5), all_present(5)) == 0
    assert calibration_error(torch.ones(4), torch.tensor([True, False, False, False])) == pytest.approx(75)


def test_measures_by_hand_over_batches():
    logit, teacher = (
        torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]),
        torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]),
    )
    label, none = torch.tensor([1, 0, 1]), ~all_present(3)
    batches = [(logit[:2], teacher[:2], label[:2], none[:2]), (logit[2:], teacher[2:], label[2:], none[2:])]
    found = measure(Given(), batches, pm.distillation.Teacher(Given().eval()))
    assert found == {"task": 100.0, "teacher": pytest.approx(100 / 3)}


# --- teachers ---


def test_a_teacher_is_trained_once_and_stored(tmp_path):
    path, trained = tmp_path / "deep" / "teacher.safetensors", []

    def fit(model: nn.Module) -> None:
        trained.append(model)

    first = train_or_load(path, lambda: nn.Linear(2, 2), fit, {"epochs": 1})
    again = train_or_load(path, lambda: nn.Linear(2, 2), fit, {"epochs": 1})
    assert len(trained) == 1
    assert torch.equal(first.weight, again.weight)
    assert not again.training
    train_or_load(path, lambda: nn.Linear(2, 2), fit, {"epochs": 2})
    assert len(trained) == 2
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_training_a_teacher_leaves_the_caller_s_draws_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    train_or_load(None, lambda: nn.Linear(2, 2), lambda model: None, {})
    assert torch.equal(torch.rand(1), expected)


class Counting(nn.Module):
    """A teacher that notes how many inputs it gets at each call."""

    calls: list[int] = []  # noqa: RUF012 - shared by the copies

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(x))
        return self.layer(x)


def small_parts() -> dict[str, tuple[torch.Tensor, ...]]:
    draw = torch.Generator().manual_seed(0)
    sizes = {"train": 64, "validate": 30, "test": 30}
    parts = {}
    for split, n in sizes.items():
        x = torch.randn(n, 3, generator=draw)
        parts[split] = (x, x, (x[:, 0] > x[:, 1]).long(), all_present(n))
    return parts


def small_student() -> nn.Module:
    return nn.Linear(3, 2)


def small_course(size: str = "tiny", folder: Path | None = None) -> Course:
    del size, folder
    torch.manual_seed(0)
    return Course(small_parts, pm.distillation.Teacher(Counting().eval()), small_student, 2, 16, (2.0, 2.0))


def test_a_fleet_asks_the_teacher_once_a_batch():
    course = small_course()

    def calls(points: int, epochs: int) -> int:
        Counting.calls.clear()
        shares = np.linspace(0.1, 0.9, points)
        preferences = np.stack([shares, 1 - shares], axis=1)
        pm.explore(course.problem(1.0), ps.Linear(), preferences=preferences, epochs=epochs, fleet=points)
        return Counting.calls.count(course.batch)

    few = calls(6, 3)
    assert few == calls(2, 3)
    assert calls(6, 5) - few == 2 * 64 // course.batch  # two epochs more, without the calls of the rehearsal


# --- bad input ---


def test_bad_input_says_what_to_give(made_up):
    with pytest.raises(ValueError, match="size='huge' is not one of tiny"):
        reviews.reviews("huge")
    with pytest.raises(ValueError, match="size='huge' is not one of demo, full"):
        student_digits.student_digits("huge")
    with pytest.raises(ValueError, match="labels='none' is not one of all, few"):
        student_digits.student_digits("demo", "none")
    for temperature in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=r"temperature=.*; give a positive number"):
            small_course().problem(temperature)


def test_few_labels_are_one_in_ten_of_the_training_digits_alone():
    try:
        few, every = student_digits.parts_of("demo", "few"), student_digits.parts_of("demo", "all")
    except data.Missing as error:
        pytest.skip(f"small digits cannot be had: {error}")
    assert int(few["train"][3].sum()) == 120
    assert all(part[3].all() for split, part in few.items() if split != "train")
    assert all(part[3].all() for part in every.values())


# --- tables ---


def result(
    row: str, seed: int, accuracy: float, share: float = 0.5, chosen: bool = False, volume: float = 1.0
) -> Result:
    return Result("Tiny", row, share, chosen, seed, 0.01, accuracy, 50.0, 80.0, 0.5, 3.0, volume, volume / 2)


RESULTS = [
    result(TEACHER, 0, 70.0, math.nan),
    *(result(LABELS, seed, 60.0 + seed, 1.0) for seed in range(3)),
    *(result(TEACHER_ALONE, seed, 58.0 + seed, 0.0) for seed in range(3)),
    *(result(LINEAR, seed, 61.5 + seed + x, 0.25, True) for seed, x in enumerate((0.1, 0.0, -0.1))),
    *(result(LINEAR, seed, 10.0, 0.75) for seed in range(3)),
    *(result(SMOOTH, seed, 60.0, 0.5, True, volume=1.5) for seed in range(3)),
]


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_the_table_of_students_by_hand():
    rows = {row[0]: row[1:] for row in cells(student_table(RESULTS))}
    assert rows[TEACHER][:2] == ["70.00", ""]
    assert rows[LABELS][0] == "61.00 ± 2.48"  # t = 4.303 of 3 seeds
    assert rows[TEACHER_ALONE][1] == "-2.00 ± 0.00 worse"
    assert rows["Linear, chosen: 0.25 for the task"][1] == "+1.50 ± 0.25 better"
    assert rows["SmoothTchebycheff, chosen: 0.50 for the task"][1] == "-1.00 ± 2.48 draw"


def test_the_table_of_fronts_by_hand():
    rows = cells(volume_table(RESULTS))
    assert rows[2] == [LINEAR, "0.01", "1.0000 ± 0.0000", "", "0.5000 ± 0.0000"]
    assert rows[3][2:4] == ["1.5000 ± 0.0000", "+0.5000 ± 0.0000 better"]


def test_stored_results_give_the_same_tables(tmp_path):
    write_csv(RESULTS, tmp_path / "results.csv")
    assert format_tables(read_csv(tmp_path / "results.csv")) == format_tables(RESULTS)


def test_the_page_has_the_tables_of_the_stored_results():
    page = (DOCS / "task-and-teacher.md").read_text(encoding="utf-8")
    for part in format_tables(read_csv(DOCS / "task-and-teacher.csv")).split("\n\n"):
        assert part in page


# --- the study ---


def test_half_a_point_of_accuracy_is_given_up():
    rows = np.array([[80.0, 60.0], [79.6, 70.0], [79.4, 90.0]])
    front = pm.Front.from_values(rows, objectives=OBJECTIVES, ref_point=[0.0, 0.0])
    assert choose(front).point.values["validate"] == (79.6, 70.0)


def test_names_of_folders():
    assert folder_name("by hand, α = .5, T = 4") == "by-hand-.5-t-4"


@pytest.mark.docs  # beside the demo, so that the quick lane stays quick
def test_a_tiny_study(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(student_teacher, "SETTINGS", (Setting("Tiny", small_course),))
    monkeypatch.setattr(student_teacher, "SIZES", {"demo": Scale("demo", 2, 3, (1e-2, 1e-1), (2.0,))})
    assert main(["--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "\nTrade-off: " in printed
    assert "\nLinear: point-" in printed
    results = read_csv(tmp_path / "task-and-teacher.csv")
    seeds = {row: sorted(r.seed for r in results if r.row == row) for row in dict.fromkeys(r.row for r in results)}
    assert seeds == {
        TEACHER: [0], LABELS: [0, 1], TEACHER_ALONE: [0, 1], LINEAR: [0, 0, 0, 1, 1, 1], SMOOTH: [0, 0, 0, 1, 1, 1],
        "MGDA, equal gradients": [0, 1], "by hand, α = .5, T = 4": [0, 1], "by hand, α = .9, T = 4": [0, 1],
    }  # fmt: skip
    assert all(sum(r.chosen for r in results if r.row == row) == 2 for row in (LINEAR, SMOOTH))
    [teacher] = [r for r in results if r.row == TEACHER]
    assert teacher.agreement == 100
    assert "<svg" in (tmp_path / "task-and-teacher.svg").read_text()
    assert format_tables(results) in printed
    assert main(["--out", str(tmp_path)]) == 0  # what is there is taken up
    assert capsys.readouterr().out == printed


@pytest.mark.docs
@pytest.mark.filterwarnings("ignore:cannot tell whether the code of studies.data.folder:UserWarning")
def test_the_study_at_size_demo(tmp_path, capsys):
    try:
        reviews.reviews_of("demo")
        student_digits.digits("demo")
    except data.Missing as error:
        pytest.skip(f"reviews or digits cannot be had: {error}")
    assert main(["--size", "demo", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("Trade-off: ") == 3
    results = read_csv(tmp_path / "task-and-teacher.csv")
    few = [r for r in results if r.setting == "digits, few labels"]
    means = {row: np.mean([r.accuracy for r in few if r.row == row]) for row in (LABELS, TEACHER_ALONE)}
    assert means[TEACHER_ALONE] > means[LABELS] + 2  # where labels are few, the teacher helps
