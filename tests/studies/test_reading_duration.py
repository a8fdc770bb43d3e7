"""The study of reading duration: the values of its losses, its log, its towers' data, retrieval, and all of it tiny."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import paretomtl as pm
import paretomtl_solvers as ps
from studies import double_tower, reading_duration, reading_log, reading_towers
from studies.double_tower import DMTL, Batch, Catalogue, DoubleTower, LazyAdam, Logits, check_catalogue, losses
from studies.reading_duration import main
from studies.reading_log import LONG, Size, build_catalogue, draw_log, draw_world, simulate
from studies.reading_towers import STUDENT, TEACHER, Budget, auc, judge, read_csv, recall_at, write_csv
from studies.retrieval import Exact, Index, Retriever, build_index, lift, recall_of
from tests.limits import limit

TINY = Size(30, 120, 40)


def logit(p: float) -> torch.Tensor:
    return torch.tensor([math.log(p / (1 - p))], dtype=torch.float64)


def catalogue(users: int = 6, items: int = 9) -> Catalogue:
    draw = torch.Generator().manual_seed(0)
    history = torch.randint(items, (users, 4), generator=draw)
    history[:, 2:] = -1
    return Catalogue(
        user_kinds=torch.randint(3, (users, 2), generator=draw),
        user_numbers=torch.randn(users, 1, generator=draw),
        item_kinds=torch.zeros(items, 0, dtype=torch.long),
        item_numbers=torch.randn(items, 5, generator=draw),
        history=history,
    )


def batch(n: int = 20) -> Batch:
    clicks = (torch.arange(n) % 3 == 0).float()
    return torch.arange(n) % 6, torch.arange(n) % 9, clicks, clicks * (torch.arange(n) % 2)


# --- the model and its losses ---


def test_the_losses_have_the_values_worked_out_by_hand():
    """A click of .3, a long read given it of .5, a student's .2, and both happen."""

    class Given(torch.nn.Module):
        def forward(self, users: torch.Tensor, items: torch.Tensor) -> Logits:
            return Logits(logit(0.3), logit(0.5), logit(0.2))

    one = torch.ones(1, dtype=torch.float64)
    each = losses(Given(), (torch.zeros(1).long(), torch.zeros(1).long(), one, one))  # type: ignore[arg-type]
    assert float(each["distillation"]) == pytest.approx(0.0083786, abs=1e-6)
    assert float(each["click"] + each["long read"]) == pytest.approx(3.1010928, abs=1e-6)
    assert float(sum(each.values())) == pytest.approx(3.1094714, abs=1e-6)


def test_a_long_read_counts_only_with_its_click():
    users, items, _, _ = batch(4)
    torch.manual_seed(0)
    model = DMTL(catalogue())
    without = torch.zeros(4)
    each = [float(losses(model, (users, items, without, z))["long read"].detach()) for z in (without, without + 1)]
    assert each[0] == each[1]


def test_distillation_moves_the_student_and_what_it_shares_alone():
    model = DMTL(catalogue())
    losses(model, batch())["distillation"].backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and bool((p.grad != 0).any())}
    assert not any(name.startswith("teacher.") for name in moved)
    assert {"features.user.weight", "features.item.weight", "constant"} <= moved
    assert any(name.startswith("user_tower.") for name in moved)


def test_the_loss_of_long_reads_reaches_both_factors_and_that_of_clicks_one():
    for name, towers in (("click", {"0"}), ("long read", {"0", "1"})):
        model = DMTL(catalogue())
        losses(model, batch())[name].backward()
        grads = {key for key, p in model.named_parameters() if p.grad is not None and key.startswith("teacher.towers")}
        assert {key.split(".")[2] for key in grads} == towers
        assert all(p.grad is None for p in model.user_tower.parameters())


def test_the_student_is_an_inner_product_and_a_constant():
    model = DMTL(catalogue()).eval()
    users, items, _, _ = batch()
    with torch.no_grad():
        model.constant.fill_(0.7)
        product = (model.user_vectors()[users] * model.item_vectors()[items]).sum(dim=1)
        assert torch.allclose(model(users, items).student, product + 0.7, atol=1e-6)


def test_a_history_is_the_mean_of_its_items():
    known = catalogue()
    model = DoubleTower(known)
    features = model.features.embed_users(torch.tensor([2]))
    expected = model.features.item.weight[known.history[2, :2]].mean(dim=0)
    assert torch.allclose(features[0, 16:32], expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"history": torch.tensor([[0, -1], [-1, -1]])}, "history of user 1 is empty.*leave these users out"),
        ({"history": torch.tensor([[0, 9], [1, 1]])}, "history holds items from 0 to 9; .* from 0 to 8"),
        ({"history": torch.tensor([[0, 1]])}, "history has 1 rows, and there are 2 users"),
        ({"user_kinds": torch.tensor([[0], [-1]])}, "user_kinds holds -1; count categories from 0"),
        ({"item_numbers": torch.zeros(3, 1)}, "item_kinds has 9 rows, item_numbers 3"),
        ({"item_numbers": torch.full((9, 1), math.nan)}, "item_numbers is not finite"),
    ],
)
def test_a_bad_catalogue_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        check_catalogue(catalogue(users=2)._replace(**changes))


# --- sparse tables ---


def test_lazy_adam_is_sparse_adam_on_tables_and_adam_elsewhere():
    torch.manual_seed(0)
    first = torch.nn.ModuleList([torch.nn.Embedding(20, 3, sparse=True), torch.nn.Linear(3, 1)])
    second = torch.nn.ModuleList([torch.nn.Embedding(20, 3, sparse=True), torch.nn.Linear(3, 1)])
    second.load_state_dict(first.state_dict())
    ours = [LazyAdam(first.parameters(), lr=0.1)]
    theirs = [
        torch.optim.SparseAdam(list(second[0].parameters()), lr=0.1),
        torch.optim.Adam(second[1].parameters(), lr=0.1),
    ]
    for _ in range(15):
        rows = torch.randint(20, (6,))
        for (table, layer), optimizers in ((first, ours), (second, theirs)):
            for optimizer in optimizers:
                optimizer.zero_grad()
            (layer(table(rows)).exp() - 2 * layer(table(rows))).mean().backward()
            for optimizer in optimizers:
                optimizer.step()
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-3)  # its epsilon has another place there


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
@pytest.mark.parametrize("method", [ps.Linear(), ps.SmoothTchebycheff()], ids=repr)
def test_sparse_tables_give_the_gradients_of_dense_ones(method, monkeypatch):
    """After one step, which Adam takes from the gradient's sign alone, nothing tells them apart."""
    weights = []
    for long in (5, 1_000):
        monkeypatch.setattr(double_tower, "LONG", long)
        model = DMTL(catalogue())
        assert model.features.item.sparse == (long == 5)
        front = pm.explore(
            pm.Problem(
                [*double_tower.OBJECTIVES],
                lambda: DMTL(catalogue()),
                losses,
                [1.0] * 3,
                train=[batch()],
                validate=[batch()],
            ),
            method,
            preferences=[[0.3, 0.3, 0.4]],
            steps=1,
            optimizer=lambda parameters: LazyAdam(parameters, lr=0.01),
        )
        assert not front.failed
        weights.append(front.load_model(front.points[0], lambda: DMTL(catalogue())).state_dict())
    for name, sparse in weights[0].items():
        assert torch.allclose(sparse, weights[1][name], atol=1e-6), name


# --- the log ---


@pytest.fixture(scope="module")
def world():
    return draw_world(TINY, 3)


def test_the_log_is_of_its_size_and_its_seed(world):
    log = draw_log(world, TINY.shown, 3)
    assert len(log.user) == TINY.users * TINY.shown
    pairs = set(zip(log.user.tolist(), log.item.tolist(), strict=True))
    assert len(pairs) == len(log.user)  # no item is shown twice
    assert all(np.array_equal(a, b) for a, b in zip(log, draw_log(world, TINY.shown, 3), strict=True))
    assert not np.array_equal(log.item, draw_log(world, TINY.shown, 4).item)
    assert bool(((log.seconds > 0) == (log.click == 1)).all())
    assert bool((log.read <= log.click).all())


def test_clicks_and_seconds_are_those_of_the_truth():
    """Means over many draws of the same few pairs, within four standard errors."""
    world = draw_world(Size(2, 5, 5), 0)
    many = world._replace(**{
        field: np.repeat(getattr(world, field)[:1], 8_000, axis=0)
        for field in ("tastes", "depths", "activity", "patience", "group", "region")
    })  # fmt: skip
    log = draw_log(many, 5, 1)
    probability, seconds = world.click_probability(np.array([0]))[0], world.seconds(np.array([0]))[0]
    reads = world.read_probability(np.array([0]))[0]
    for item in range(5):
        mine = log.item == item
        for values, truth in ((log.click, probability), (log.seconds, seconds), (log.read, reads)):
            sample = values[mine].astype(float)
            assert abs(sample.mean() - truth[item]) < 4 * sample.std() / math.sqrt(mine.sum()) + 1e-9


def test_the_policy_favours_what_is_clicked_and_titles_shorten_reading(world):
    log = draw_log(world, TINY.shown, 3)
    shown = np.zeros((TINY.users, TINY.items), bool)
    shown[log.user, log.item] = True
    users = np.arange(TINY.users)
    clicks = world.click_probability(users)
    assert clicks[shown].mean() > 1.3 * clicks[~shown].mean()
    catchy = world._replace(title=world.title + 1)
    assert (catchy.click_probability(users) > clicks).all()
    assert (catchy.seconds_clicked(users) < world.seconds_clicked(users)).all()
    assert np.allclose(world.click_probability(users), 1 / (1 + np.exp(-world.click_logit(users))))


def test_splits_share_no_impression_and_histories_are_whole(monkeypatch):
    monkeypatch.setitem(reading_log.SIZES, "demo", TINY)
    data = simulate.__wrapped__("demo", 1)
    sizes = {split: len(part[0]) for split, part in data.parts.items()}
    assert sizes == {"train": 960, "validate": 120, "test": 120}
    pairs = [set(zip(part[0].tolist(), part[1].tolist(), strict=True)) for part in data.parts.values()]
    assert len(set.union(*pairs)) == sum(sizes.values())
    check_catalogue(data.catalogue)
    assert int(data.catalogue.history.min()) >= 0


def test_a_long_read_without_a_click_is_refused(monkeypatch):
    monkeypatch.setitem(reading_log.SIZES, "demo", TINY)
    draw = reading_log.draw_log
    monkeypatch.setattr(reading_log, "draw_log", lambda *a: draw(*a)._replace(seconds=np.full(1200, LONG + 1)))
    with pytest.raises(ValueError, match="long read is 1 where click is 0"):
        simulate.__wrapped__("demo", 1)


def test_what_a_model_sees_does_not_hold_the_truth(world):
    seen = build_catalogue(world, 3)
    assert abs(np.corrcoef(seen.item_numbers[:, 1], world.title)[0, 1]) < 0.9
    assert seen.user_numbers.shape == (TINY.users, 0)


# --- figures ---


def test_auc_by_hand():
    """Of the four pairs two are right, one is a tie, one is wrong."""
    assert auc(torch.tensor([1.0, 0.0, 1.0, 0.0]), torch.tensor([0.9, 0.9, 0.5, 0.1])) == pytest.approx(2.5 / 4)
    with pytest.raises(ValueError, match="labels are all 0: an AUC needs both"):
        auc(torch.zeros(3), torch.rand(3))


def test_recall_by_hand():
    """User 0 has two positives, one of them retrieved; user 1 has one, retrieved; user 2 has none."""
    retrieved = np.array([[4, 5], [6, 7], [1, 2]])
    users, items = torch.tensor([0, 0, 1, 2]), torch.tensor([4, 9, 7, 1])
    assert recall_at(retrieved, users, items, torch.tensor([1.0, 1.0, 1.0, 0.0])) == pytest.approx((0.5 + 1) / 2)


def test_targets_are_met_by_the_whole_interval_or_the_mean_or_not():
    assert judge(np.array([0.030, 0.031, 0.032]), 0.02) == "yes"
    assert judge(np.array([0.00, 0.05, 0.04]), 0.02) == "by the mean alone"
    assert judge(np.array([0.010, 0.011, 0.012]), 0.02) == "no"
    assert judge(np.array([0.1]), 0.02) == "by the mean alone"
    assert judge(np.array([0.1, 0.1]), None) == ""


def test_the_page_has_the_tables_of_the_stored_runs():
    docs = Path(__file__).parents[2] / "docs"
    seeds, page = read_csv(docs / "reading-duration.csv"), (docs / "reading-duration.md").read_text(encoding="utf-8")
    assert reading_towers.table(seeds) in page
    assert reading_towers.targets_table(seeds) in page


def test_figures_are_read_as_they_were(tmp_path):
    seeds = [{STUDENT: {"auc": 0.1, "recall": 1 / 3}, TEACHER: {"auc": 0.5}}, {STUDENT: {"auc": 0.2, "recall": 0.0}}]
    write_csv(seeds, tmp_path / "figures.csv")
    assert read_csv(tmp_path / "figures.csv") == seeds


# --- retrieval ---


@pytest.fixture(scope="module")
def vectors():
    draw = np.random.default_rng(0)
    lengths = draw.lognormal(0, 0.5, (2_000, 1))
    items = draw.standard_normal((2_000, 8)) * lengths + 1.5  # of unlike lengths, aside of the origin
    return draw.standard_normal((60, 8)).astype(np.float32), items.astype(np.float32)


def test_exact_retrieval_is_that_of_sorting(vectors):
    users, items = vectors
    found = Exact(items)(users, 7)
    assert np.array_equal(found, np.argsort(-(users @ items.T), axis=1)[:, :7])
    retriever = Retriever(users, items)
    assert np.array_equal(retriever.retrieve(3, 7), found[3])
    with pytest.raises(ValueError, match="k=2001, and there are 2000 items"):
        retriever.retrieve(3, 2001)
    with pytest.raises(ValueError, match="user=60: users are numbered from 0 to 59"):
        retriever.retrieve(60, 7)


def test_lifted_items_are_equally_long_and_near_where_the_product_is_large(vectors):
    users, items = vectors
    lifted = lift(items)
    lengths = np.linalg.norm(lifted, axis=1)
    assert lengths == pytest.approx(np.full(len(items), lengths[0]), rel=1e-4)
    distance = np.square(lifted - np.append(users[0], 0)).sum(axis=1)
    assert np.array_equal(np.argsort(distance)[:50], np.argsort(-(items @ users[0]))[:50])


def test_the_index_finds_what_exact_retrieval_does(vectors):
    pytest.importorskip("faiss")
    users, items = vectors
    index = build_index(items, users[:30], 100, recall=0.98)
    assert recall_of(index(users[30:], 100), Exact(items)(users[30:], 100)) >= 0.98
    assert np.array_equal(Retriever(users, items, index).retrieve(0, 1), Exact(items)(users[:1], 1)[0])
    with pytest.raises(ValueError, match="k=0, and there are 2000 items"):
        Index(items)(users, 0)


def test_an_index_that_cannot_have_the_recall_says_so(vectors, monkeypatch):
    pytest.importorskip("faiss")
    users, items = vectors
    monkeypatch.setattr("studies.retrieval.FAR", 128)
    with pytest.raises(RuntimeError, match=r"recall=1\.01: at a reach of 128"):
        build_index(items, users, 10, recall=1.01)


def test_recall_counts_what_is_found_whatever_its_order():
    assert recall_of(np.array([[3, 1], [5, -1]]), np.array([[1, 3], [4, 5]])) == pytest.approx(0.75)


# --- the study ---


def shrink(monkeypatch) -> Budget:
    """Make the demo a study of some seconds."""
    monkeypatch.setitem(reading_log.SIZES, "demo", Size(60, 150, 60))
    budget = reading_duration.STUDIES["demo"].towers._replace(epochs=1)
    front = reading_duration.STUDIES["demo"].front._replace(budget=budget, preferences=3, bound=0.1)
    monkeypatch.setitem(reading_duration.STUDIES, "demo", reading_duration.Study(budget, front, False))
    reading_log.simulate.cache_clear()
    return budget


@pytest.mark.filterwarnings("ignore:.* not dominate the reference:UserWarning")
@pytest.mark.docs  # beside the demo, so that the quick lane stays quick
def test_a_tiny_study(tmp_path, monkeypatch, capsys):
    pytest.importorskip("faiss")
    shrink(monkeypatch)
    assert main(["--size", "demo", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Is there a trade-off? ")
    assert re.search(r"the choice by SmoothTchebycheff: point-\d+ has the (highest|only) long read", printed) or (
        "no choice" in printed
    )
    for name in (TEACHER, STUDENT, *reading_towers.WAYS, *reading_towers.TARGETS):
        assert name == "DMTL" or f"| {name} |" in printed
    assert (tmp_path / "front.html").exists()
    assert "<svg" in (tmp_path / "fronts.svg").read_text()
    assert len(pm.Front.load(tmp_path / "front-SmoothTchebycheff").corners) == 6
    assert main(["--size", "demo", "--out", str(tmp_path)]) == 0  # what is there is taken up
    again = capsys.readouterr().out
    assert [line for line in again.splitlines() if line in printed] == again.splitlines()
    assert "towers, seed" not in again
    simulate.cache_clear()


@pytest.mark.docs
@pytest.mark.timeout(limit(600))  # half a minute, where the machine is idle
@pytest.mark.filterwarnings("ignore:.* not dominate the reference:UserWarning")
def test_the_demo_from_end_to_end(tmp_path, capsys):
    """Its log is small; still a tower that knows of long reads is better than one of clicks, and far from the truth."""
    pytest.importorskip("faiss")
    assert main(["--size", "demo", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ")[1:] for line in printed.splitlines() if "|" in line}
    aucs = {name: float(row[0].split()[0]) for name, row in rows.items() if name in (STUDENT, "clicks alone")}
    assert aucs[STUDENT] > aucs["clicks alone"]
    assert float(rows[STUDENT][2].split()[0]) > float(rows["random"][2].split()[0])
    assert (tmp_path / "front.html").exists()


def test_a_net_is_its_seed_s(monkeypatch):
    budget = shrink(monkeypatch)
    data = simulate("demo", 0)
    first, again, other = (reading_towers.train("DMTL", data, budget, 0.01, seed) for seed in (0, 0, 1))
    assert torch.equal(first.user_vectors(), again.user_vectors())
    assert not torch.equal(first.user_vectors(), other.user_vectors())
    simulate.cache_clear()


def test_a_tower_on_clicked_items_sees_nothing_else(monkeypatch):
    budget = shrink(monkeypatch)
    data = simulate("demo", 0)
    users, items, clicks, reads = data.parts["train"]
    blank = clicks > 0
    changed = (torch.where(blank, users, 0), torch.where(blank, items, 0), clicks, reads)
    other = data._replace(parts={**data.parts, "train": changed})
    first, second = (reading_towers.train("clicked items alone", d, budget, 0.01, 0) for d in (data, other))
    assert torch.equal(first.item_vectors(), second.item_vectors())
    simulate.cache_clear()


def test_measures_of_the_problem_are_those_of_the_model(monkeypatch):
    shrink(monkeypatch)
    problem = reading_duration.reading("demo")
    [data] = problem.open()["validate"]
    users, items, clicks, reads = data
    model = problem.model().eval()
    assert isinstance(model, DMTL)
    values = reading_duration.measure(model, [tuple(part[:100] for part in data), tuple(part[100:] for part in data)])
    logits = model(users, items)
    assert set(values) == set(problem.names)
    assert values["click"] == pytest.approx(auc(clicks, logits.click.detach()))
    assert values["long read"] == pytest.approx(auc(clicks * reads, logits.teacher.detach()))
    assert 0 <= values["distillation"] <= 1
    simulate.cache_clear()
