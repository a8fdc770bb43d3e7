from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import paretomtl as pm
from tests import toys

pytestmark = pytest.mark.usefixtures("unchecked")


def analytic(**changes):
    """A problem without data."""
    fields = {"deterministic": True, "train": None, "validate": None}
    return toys.two_regressions(**(fields | changes))


class Batches:
    """Two batches that can be read again and again."""

    def __iter__(self):
        return iter([1, 2])

    def __len__(self):
        return 2


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x00", "\x1b[31m", "\u202eabc", 3, None, "x" * 101])
def test_objective_refuses_names(name):
    with pytest.raises(ValueError, match="objective name"):
        pm.Objective(name)


@pytest.mark.parametrize("name", ["a", "Größe", "深度", "L2 error (m)", "x" * 100, "<script>"])
def test_objective_takes_names(name):
    assert pm.Objective(name).name == name


@pytest.mark.parametrize("goal", ["maximise", "minimize", "MAX", "", None, -1])
@pytest.mark.fault(41)
def test_objective_refuses_other_goals(goal):
    with pytest.raises(ValueError, match=rf"'depth': goal={goal!r} is not one of 'min', 'max'"):
        pm.Objective("depth", goal=goal)


def test_sign_turns_measures_to_smaller_is_better():
    assert (pm.Objective("a").sign, pm.Objective("a", goal="max").sign) == (1, -1)


@pytest.mark.fault(17)
@pytest.mark.parametrize("scale", [0, 0.0, -1.0, np.nan, np.inf, True, "2", None, [1.0]])
def test_objective_refuses_scales(scale):
    with pytest.raises(ValueError, match=r"'depth': scale=.*; give a positive number"):
        pm.Objective("depth", scale=scale)


def test_names_and_objectives_may_be_mixed():
    problem = toys.two_regressions(objectives=["a", pm.Objective("b", unit="m")])
    assert problem.names == ("a", "b")
    assert problem.described == (pm.Objective("a"), pm.Objective("b", unit="m"))


@pytest.mark.parametrize("objectives", [[], ["a"]])
@pytest.mark.fault(27)
def test_fewer_than_two_objectives(objectives):
    with pytest.raises(ValueError, match="nothing to trade off"):
        toys.two_regressions(objectives=objectives, ref_point=[1.0] * len(objectives))


def test_one_text_is_no_list_of_objectives():
    with pytest.raises(TypeError, match="objectives='ab' is one text"):
        toys.two_regressions(objectives="ab")


@pytest.mark.parametrize("objectives", [["a", "a"], ["a", pm.Objective("a", unit="m")]])
def test_names_must_differ(objectives):
    with pytest.raises(ValueError, match="names must differ"):
        toys.two_regressions(objectives=objectives)


@pytest.mark.parametrize("objectives", [["a", 3], ["a", None], ["a", ""]])
def test_bad_names_in_the_list(objectives):
    with pytest.raises(ValueError, match="objective name"):
        toys.two_regressions(objectives=objectives)


@pytest.mark.parametrize(
    ("ref_point", "said"),
    [
        ([np.nan, 1.0], "not finite"),
        ([np.inf, 1.0], "not finite"),
        ([1.0], "give 2 numbers"),
        ([1.0, 1.0, 1.0], "give 2 numbers"),
        (2.0, "give 2 numbers"),
        ([[1.0, 1.0]], "give 2 numbers"),
    ],
)
@pytest.mark.fault(33)
def test_bad_reference(ref_point, said):
    with pytest.raises(ValueError, match=rf"ref_point=.*{said}"):
        toys.two_regressions(ref_point=ref_point)


@pytest.mark.parametrize("ref_point", [{"a": 1.0, "b": 1.0}, ["x", 1.0], "ab"])
@pytest.mark.fault(33)
def test_a_reference_that_is_no_numbers_is_named(ref_point):
    with pytest.raises((TypeError, ValueError), match="ref_point"):
        toys.two_regressions(ref_point=ref_point)


@pytest.mark.parametrize(
    "ref_point", [[2, 2], (2.0, 2.0), np.array([2.0, 2.0], dtype=np.float32), torch.tensor([2, 2])]
)
def test_reference_becomes_plain_numbers(ref_point):
    assert toys.two_regressions(ref_point=ref_point).ref_point == (2.0, 2.0)


@pytest.mark.parametrize("field", ["model", "losses", "measure", "project"])
def test_functions_must_be_callable(field):
    with pytest.raises(TypeError, match=f"{field}=3 cannot be called"):
        toys.two_regressions(**{field: 3})


@pytest.mark.parametrize("field", ["model", "losses"])
def test_model_and_losses_are_needed(field):
    with pytest.raises(TypeError, match=field):
        toys.two_regressions(**{field: None})


def test_a_module_is_no_factory():
    with pytest.raises(TypeError, match="model is a module; give a factory"):
        toys.two_regressions(model=toys.TwoHeads())


def test_goal_max_needs_a_measure():
    objectives = ["a", pm.Objective("b", goal="max")]
    with pytest.raises(ValueError, match="'b' has goal='max', but there is no measure"):
        toys.two_regressions(objectives=objectives)
    assert toys.two_regressions(objectives=objectives, measure=lambda model, batches: {"a": 0.0, "b": 1.0})


@pytest.mark.parametrize("field", ["train", "validate"])
def test_data_must_be_given(field):
    with pytest.raises(ValueError, match=f"{field}= is missing; give batches, or deterministic=True"):
        toys.two_regressions(**{field: None})


@pytest.mark.parametrize("field", ["train", "validate", "test"])
def test_deterministic_problems_have_no_data(field):
    with pytest.raises(ValueError, match=f"deterministic=True, but {field}= is given"):
        analytic(**{field: [1]})


def test_deterministic_problems_are_measured_on_one_batch():
    assert {name: list(batches) for name, batches in analytic().open().items()} == {"validate": [None]}


@pytest.mark.parametrize(
    "given",
    [[1, 2], (1, 2), Batches(), lambda: [1, 2], partial(list, [1, 2]), Batches, lambda: Batches()],
    ids=["list", "tuple", "re-iterable", "lambda", "partial", "class", "lambda of a re-iterable"],
)
def test_data_and_factories_of_data_can_be_read_again(given):
    opened = toys.two_regressions(train=given, validate=[3]).open()
    assert list(opened) == ["train", "validate"]
    assert list(opened["train"]) == [1, 2] == list(opened["train"])


def test_a_factory_is_called_once_for_each_opening():
    calls = []
    problem = toys.two_regressions(validate=lambda: calls.append(1) or [1])
    assert not calls
    problem.open()
    problem.open()
    assert len(calls) == 2


def test_a_loader_is_opened_as_it_is():
    loader = toys.loader(1)
    opened = toys.two_regressions(train=loader, test=lambda: loader).open()
    assert opened["train"] is loader
    assert isinstance(opened["test"], DataLoader)


@pytest.mark.parametrize(
    "given", [iter([1, 2]), lambda: iter([1, 2]), (n for n in range(2)), lambda: (n for n in "ab")]
)
@pytest.mark.parametrize("split", ["train", "validate", "test"])
def test_what_can_be_read_only_once_is_refused(split, given):
    with pytest.raises(TypeError, match=f"{split} can be read only once"):
        toys.two_regressions(**{split: given}).open()


@pytest.mark.parametrize("given", [3, lambda: None, lambda: 3])
def test_what_is_no_data_is_refused(given):
    with pytest.raises(TypeError, match=r"train gave .*, which cannot be iterated over"):
        toys.two_regressions(train=given).open()


class Pair(NamedTuple):
    a: torch.Tensor
    b: torch.Tensor


def listed(returned, **changes):
    return toys.two_regressions(losses=lambda model, batch: returned, **changes).loss_list(nn.Linear(1, 1), None)


def test_losses_come_in_the_order_of_the_objectives():
    assert [float(loss) for loss in listed({"b": torch.tensor(2.0), "a": torch.tensor(1.0)})] == [1, 2]


@pytest.mark.fault(16)
def test_none_is_a_missing_label():
    assert listed({"a": None, "b": torch.tensor(2.0)}) == [None, torch.tensor(2.0)]


@pytest.mark.fault(99)
@pytest.mark.parametrize("count", [3, 3.0, np.int64(3), torch.tensor(3)], ids=repr)
def test_a_loss_may_come_with_its_number_of_labels(count):
    objectives = ["a", pm.Objective("b", scale=2.0)]
    returned = {"b": (torch.tensor(4.0), count), "a": torch.tensor(1.0)}
    assert listed(returned, objectives=objectives) == [torch.tensor(1.0), torch.tensor(2.0)]
    batch = (torch.zeros(7, 2), torch.zeros(7))
    for value, counts in ((returned, [7, 3]), (returned | {"a": None}, [0, 3])):
        counted = toys.two_regressions(losses=lambda *_, value=value: value).counted_losses(nn.Linear(1, 1), batch)
        assert (counted.counts, counted.is_stated) == (counts, value["a"] is None)


@pytest.mark.fault(99)
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("count", [0, -1, float("nan"), float("inf"), True, "3", [3], torch.ones(2)], ids=repr)
def test_a_count_that_is_no_number_of_labels(count):
    problem = toys.two_regressions(losses=lambda *_: {"a": (torch.ones(()), count), "b": torch.ones(())})
    with pytest.raises(ValueError, match=r"loss 'a' has the count .*give the number of its labels, or None"):
        problem.counted_losses(nn.Linear(1, 1), None)


@pytest.mark.fault(99)
@pytest.mark.parametrize("loss", [(torch.ones(()),), (torch.ones(()), 1, 2), (1.0, 3)], ids=repr)
def test_a_loss_that_is_no_pair(loss):
    with pytest.raises(ValueError, match=r"loss 'a' is .*give its mean, or \(mean, count\), or None"):
        listed({"a": loss, "b": torch.ones(())})


@pytest.mark.fault(17)
def test_losses_are_divided_by_their_scale():
    objectives = [pm.Objective("a", scale=4), pm.Objective("b", scale=0.5)]
    given = {"b": torch.tensor(2.0, requires_grad=True), "a": torch.tensor(1.0)}
    a, b = listed(given, objectives=objectives)
    assert (a.item(), b.item()) == (0.25, 4)
    b.backward()
    assert given["b"].grad == 2
    assert listed({"a": None, "b": torch.tensor(2.0)}, objectives=objectives) == [None, torch.tensor(4.0)]


@pytest.mark.parametrize("returned", [{"a": 1}, {"a": 1, "c": 2}, {"a": 1, "b": 2, "c": 3}, {}, {1: 1, "b": 2}])
@pytest.mark.fault(5)
def test_losses_with_other_keys(returned):
    tensors = {key: torch.tensor(float(value)) for key, value in returned.items()}
    with pytest.raises(ValueError, match=r"losses returned the keys .*the objectives are \['a', 'b'\]"):
        listed(tensors)


@pytest.mark.parametrize(
    "returned",
    [None, torch.ones(2), [torch.tensor(1.0), torch.tensor(2.0)], Pair(torch.tensor(1.0), torch.tensor(2.0))],
)
@pytest.mark.fault(5)
def test_losses_that_are_no_dict(returned):
    with pytest.raises(TypeError, match=r"losses returned .*give a dict with the keys \['a', 'b'\]"):
        listed(returned)


@pytest.mark.parametrize(
    ("loss", "said"),
    [(torch.ones(3), r"shape \(3,\)"), (torch.ones(1), r"shape \(1,\)"), (1.0, "float"), (np.float64(1), "float64")],
)
@pytest.mark.fault(5)
def test_losses_that_are_no_scalar_tensor(loss, said):
    with pytest.raises(ValueError, match=f"loss 'b' is .*{said}; give a 0-dimensional tensor"):
        listed({"a": torch.tensor(1.0), "b": loss})


def test_truth_travels_with_the_problem():
    truth = pm.Truth(np.eye(2), np.zeros(2), np.ones(2), 0.5)
    assert toys.two_regressions(truth=truth).truth is truth
