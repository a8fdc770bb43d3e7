"""Frozen teachers: no gradients, one evaluation a batch, and no part of the student."""

import gc
import weakref
from functools import partial

import cloudpickle
import pytest
import torch
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.distillation import teacher as teachers

X = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))
Y = X.sum(1, keepdim=True)


class Counted(nn.Module):
    """A linear map that counts its evaluations."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.linear = nn.Linear(3, 1)
        self.calls: list[int] = []

    def forward(self, x):
        self.calls.append(len(x))
        return self.linear(x)


def counted() -> tuple[pm.distillation.Teacher, list[int]]:
    """A teacher, and the sizes of the batches that it was evaluated on."""
    teacher = pm.distillation.Teacher(Counted().eval())
    assert isinstance(teacher.model, Counted)
    return teacher, teacher.model.calls


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def distilled(teacher: pm.distillation.Teacher) -> pm.Problem:
    """The task and the teacher as objectives of a student, in batches of 8 that are made anew."""

    def losses(model, batch):
        x, y = batch
        z = model(x)
        return {"task": (z - y).square().mean(), "teacher": pm.distillation.bernoulli_kl(teacher(x), z)}

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=8)
    return pm.Problem(["task", "teacher"], build, losses, [20.0, 5.0], loader, [(X, Y)])


def explore(teacher: pm.distillation.Teacher, steps: int = 4, **options) -> pm.Front:
    return pm.explore(
        distilled(teacher), options.pop("solver", ps.Linear()), steps=steps, normalise=None,
        optimizer=partial(torch.optim.SGD, lr=0.1), **({"preferences": 5} | options),
    )  # fmt: skip


def test_a_teacher_gives_no_gradient_and_is_not_changed_by_training():
    model = nn.Linear(3, 1).eval()
    teacher = pm.distillation.Teacher(model)
    before = teacher(X)
    assert not before.requires_grad
    with torch.no_grad():
        model.weight += 1
    torch.testing.assert_close(teacher(X.clone()), before)
    assert all(p.requires_grad for p in model.parameters())
    assert not any(p.requires_grad for p in teacher.model.parameters())


def test_features_that_need_a_gradient_get_none_from_a_teacher():
    features = X.clone().requires_grad_()
    assert not pm.distillation.Teacher(nn.Identity().eval())(features).requires_grad


def test_the_same_inputs_are_evaluated_once_and_others_anew():
    teacher, calls = counted()
    x, other = X.clone(), X.clone()
    first = teacher(x)
    assert teacher(x) is first
    teacher(other)
    assert teacher(x) is first
    assert len(calls) == 2
    x.mul_(2)  # in place
    torch.testing.assert_close(teacher(x), teacher.model(x))
    assert len(calls) == 4


def test_inputs_that_are_gone_are_not_taken_for_new_ones_at_their_place():
    teacher, calls = counted()
    for k in range(4):
        x = torch.full((4, 3), float(k))
        torch.testing.assert_close(teacher(x), teacher.model.linear(x))
        del x
        gc.collect()
    assert len(calls) == 4


def test_inputs_are_told_apart_by_their_structure_and_by_what_is_no_tensor():
    class Scaled(nn.Module):
        def forward(self, inputs, scale=1.0):
            return sum(inputs.values()) * scale if isinstance(inputs, dict) else inputs * scale

    teacher = pm.distillation.Teacher(Scaled().eval())
    assert torch.equal(teacher(X), X)
    assert torch.equal(teacher(X, 2.0), 2 * X)
    assert torch.equal(teacher({"a": X, "b": X}), 2 * X)
    assert torch.equal(teacher(X, 3.0), 3 * X)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_teacher_works_where_no_gradients_are_kept(mode):
    teacher, calls = counted()
    with mode():
        x = X.clone()
        assert torch.equal(teacher(x), teacher(x))
    assert len(calls) == 1


def test_several_outputs_keep_their_structure():
    class Two(nn.Module):
        def forward(self, x):
            return {"logit": x[:, 0], "features": (x, len(x))}

    output = pm.distillation.Teacher(Two().eval())(X)
    assert torch.equal(output["logit"], X[:, 0])
    assert output["features"][1] == len(X)


def test_a_teacher_in_train_mode_is_refused_with_the_part_that_is():
    with pytest.raises(ValueError, match=r"model Linear is in train mode: dropout .* call model.eval\(\) first"):
        pm.distillation.Teacher(nn.Linear(3, 1))
    part = nn.Sequential(nn.Linear(3, 1), nn.Dropout()).eval()
    part[1].train()
    with pytest.raises(ValueError, match="model Sequential is in train mode, and so is its part '1'"):
        pm.distillation.Teacher(part)
    with pytest.raises(TypeError, match="model is list; give a module, for several one Teacher each"):
        pm.distillation.Teacher([nn.Linear(3, 1).eval()])


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        ({}, 7),  # one after the other, and two corners
        ({"fleet": 5}, 2),  # the points, and the corners
        ({"front_model": pm.FiLM()}, 1),  # a preference a sample, all in one program
        ({"front_model": pm.FiLM(sampling=pm.Sampling("batch"))}, 1),
        ({"front_model": pm.Hypernetwork(sampling=pm.Sampling("batch"))}, 1),
    ],
    ids=["alone", "fleet", "FiLM", "FiLM, whole batches", "Hypernetwork, whole batches"],
)
def test_a_teacher_is_evaluated_once_a_batch_however_many_points_it_trains(options, calls):
    numbers = []
    for steps in (4, 8):
        teacher, sizes = counted()
        explore(teacher, steps, **options)
        numbers.append(len(sizes))
    assert numbers[1] - numbers[0] == 4 * calls


def test_of_a_batch_in_parts_a_teacher_sees_each_sample_once():
    numbers = []
    for steps in (4, 8):
        teacher, sizes = counted()
        explore(teacher, steps, front_model=pm.LowRank(sampling=pm.Sampling("part")))
        numbers.append(sum(size for size in sizes if size < 8))
    assert numbers[1] - numbers[0] == 4 * 8


def test_a_step_that_looks_at_its_batch_several_times_asks_once():
    numbers = []
    for steps in (4, 8):
        teacher, sizes = counted()
        explore(teacher, steps, preferences=[[0.5, 0.5]], solver=ps.SequentialReptile(rate=0.1))
        numbers.append(len(sizes))
    assert numbers[1] - numbers[0] == 4


def test_a_fleet_with_a_teacher_trains_the_same_points_as_one_by_one():
    alone, together = explore(counted()[0], solver=ps.MGDA(), preferences=[[0.3, 0.7]]), explore(counted()[0], fleet=5)
    linear = explore(counted()[0])
    assert not torch.equal(torch.tensor(alone.losses[0]), torch.tensor(linear.losses[0]))
    torch.testing.assert_close(torch.tensor(together.losses), torch.tensor(linear.losses), rtol=1e-5, atol=1e-7)


def test_a_teacher_is_neither_stored_with_the_student_nor_trained(tmp_path):
    teacher, _ = counted()
    weights = {name: p.clone() for name, p in teacher.model.named_parameters()}
    model = explore(teacher, out=tmp_path / "front").select(best="task").load(build)
    assert set(model.state_dict()) == set(build().state_dict())
    for name, p in teacher.model.named_parameters():
        assert torch.equal(p, weights[name])


def test_another_teacher_is_another_study(tmp_path):
    def run(bias: float) -> pm.Front:
        model = nn.Linear(3, 1).eval()
        nn.init.ones_(model.weight), nn.init.constant_(model.bias, bias)
        return explore(pm.distillation.Teacher(model), out=tmp_path / "front", preferences=2)

    assert run(0.0).losses.tolist() == run(0.0).losses.tolist()  # the second time it is there already
    with pytest.raises(ValueError, match="another study"):
        run(1.0)


def test_a_teacher_travels_without_what_it_remembers():
    teacher, _ = counted()
    small = len(cloudpickle.dumps(teacher))
    said = teacher(torch.zeros(100_000, 3))
    assert len(cloudpickle.dumps(teacher)) < small + 1_000
    again = cloudpickle.loads(cloudpickle.dumps(teacher))
    torch.testing.assert_close(again(torch.zeros(2, 3)), said[:2])


def test_nothing_is_remembered_of_a_teacher_that_is_gone():
    teacher, _ = counted()
    teacher(X)
    gone = weakref.ref(teacher)
    assert gone in teachers._answers.keyrefs()
    del teacher
    gc.collect()
    assert gone() is None
    assert gone not in teachers._answers.keyrefs()
