"""What one batch reveals is raised before work; each message names the field, the value and the remedy."""

import itertools
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.preflight.dry_run import resolve_device
from tests import toys


def refusal(tmp_path, error=ValueError, solver=None, budget=None, **changes) -> str:
    """The message with which `explore` refuses the toy problem with these changes; it must leave nothing behind."""
    out = tmp_path / "front"
    with pytest.raises(error) as caught:
        pm.explore(
            toys.two_regressions(**changes),
            solver or ps.Linear(),
            preferences=[[0.5, 0.5]],
            out=out,
            **(budget or {"epochs": 1}),
        )
    assert not out.exists()
    return str(caught.value)


def changed(change, model, batch):
    """The toy's losses after a change; at module level, as a `partial` of it is what users would write."""
    return change(toys.losses(model, batch))


def losses_with(change):
    return partial(changed, change)


def assert_names(message: str, *parts: str) -> None:
    absent = [part for part in parts if part not in message]
    assert not absent, f"{message!r} lacks {absent}"


@pytest.mark.fault(5)
@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        pytest.param(
            lambda x: {"a": x["a"], "c": x["b"]},
            ValueError,
            ("losses", "['a', 'c']", "['a', 'b']", "give"),
            id="renamed",
        ),
        pytest.param(lambda x: {"a": x["a"]}, ValueError, ("losses", "['a']", "['a', 'b']", "give"), id="too few"),
        pytest.param(
            lambda x: x | {"c": x["a"]}, ValueError, ("losses", "['a', 'b', 'c']", "['a', 'b']", "give"), id="too many"
        ),
        pytest.param(lambda x: x | {"b": x["b"].repeat(3)}, ValueError, ("loss 'b'", "(3,)", "mean"), id="vector"),
        pytest.param(
            lambda x: x | {"b": x["b"][None]}, ValueError, ("loss 'b'", "(1,)", "0-dim"), id="one in a vector"
        ),
        pytest.param(lambda x: x | {"b": x["b"].item()}, ValueError, ("loss 'b'", "float", "0-dim"), id="a float"),
        pytest.param(lambda x: list(x.values()), TypeError, ("losses", "list", "give a dict"), id="a list"),
    ],
)
def test_losses_of_another_shape(tmp_path, change, error, named):
    assert_names(refusal(tmp_path, error, losses=losses_with(change)), *named)


@pytest.mark.fault(6)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda x: x | {"b": x["b"].detach()}, id="detached"),
        pytest.param(lambda x: x | {"b": torch.tensor(1.5)}, id="a constant"),
        pytest.param(lambda x: x | {"b": torch.ones((), requires_grad=True).square()}, id="of other parameters"),
    ],
)
@pytest.mark.parametrize("solver", [ps.Linear(), ps.EPO()])
def test_a_loss_without_gradient_is_named(tmp_path, solver, change):
    message = refusal(tmp_path, solver=solver, losses=losses_with(change))
    assert_names(message, "loss 'b'", ".detach()")
    assert "loss 'a'" not in message


def lowered(x):
    return x | {"b": x["b"] - 100}


@pytest.mark.fault(13)
def test_a_negative_loss_is_refused_with_epo(tmp_path):
    message = refusal(tmp_path, solver=ps.EPO(), losses=losses_with(lowered))
    assert_names(message, "loss 'b'", "is -9", "EPO", "at least 0", "shift", "Linear")


@pytest.mark.fault(13)
def test_a_loss_that_is_negative_in_validation_alone_is_refused_with_epo(tmp_path):
    validate = [(x, y + 1000) for x, y in toys.loader(2)]
    far = losses_with(lambda x: x if x["b"] < 1000 else x | {"b": -x["b"]})
    message = refusal(tmp_path, solver=ps.EPO(), losses=far, validate=validate)
    assert_names(message, "loss 'b'", "validate", "EPO", "shift")


@pytest.mark.fault(97)
@pytest.mark.filterwarnings("ignore:.*degrees off the ray:UserWarning", "ignore:.* times loss:UserWarning")
def test_rounding_below_zero_is_no_negative_loss():
    problem = toys.two_regressions(losses=losses_with(lambda x: x | {"b": x["b"] * 0 - 1e-12}))
    assert len(pm.explore(problem, ps.Tchebycheff(), preferences=[[0.5, 0.5]], epochs=1)) == 1


@pytest.mark.fault(13)
def test_a_negative_loss_is_fine_with_linear():
    problem = toys.two_regressions(losses=losses_with(lowered))
    front = pm.explore(problem, ps.Linear(), preferences=[[0.5, 0.5]], epochs=1)
    assert front.losses[0, 1] < 0


@pytest.mark.fault(47)
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_cuda_asked_for_and_absent(device):
    with pytest.raises(ValueError) as caught:
        pm.explore(toys.two_regressions(), ps.Linear(), preferences=1, epochs=1, device=device)
    assert_names(str(caught.value), f"device={device!r}", "CUDA", "'cpu'", "'auto'")


@pytest.mark.fault(47)
def test_auto_takes_what_there_is():
    assert resolve_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resolve_device("cpu") == "cpu"


@pytest.mark.fault(47)
@pytest.mark.parametrize("device", ["gpu", "", "cpu:x", "CUDA please"])
def test_a_device_that_torch_does_not_know(device):
    with pytest.raises(ValueError) as caught:
        pm.explore(toys.two_regressions(), ps.Linear(), preferences=1, epochs=1, device=device)
    assert_names(str(caught.value), f"device={device!r}", "'cpu'", "'auto'")


class Borrowing(toys.TwoHeads):
    """Models that are new, but for a trunk that they share."""

    trunk_of_all = nn.Linear(4, 1)

    def __init__(self):
        super().__init__()
        self.trunk = self.trunk_of_all


@pytest.mark.fault(53)
def test_a_factory_that_returns_the_same_model_twice(tmp_path):
    model = toys.TwoHeads()
    assert_names(refusal(tmp_path, model=lambda: model), "model()", "same weights", "build a new module")


@pytest.mark.fault(53)
def test_models_that_share_a_submodule(tmp_path):
    assert_names(refusal(tmp_path, model=Borrowing), "model()", "same weights", "build a new module")


@pytest.mark.fault(53)
def test_tied_weights_within_a_model_are_fine():
    class Tied(toys.TwoHeads):
        def __init__(self):
            super().__init__()
            self.b.weight = self.a.weight

    front = pm.explore(toys.two_regressions(model=Tied), ps.Linear(), preferences=[[0.5, 0.5]], epochs=1)
    loaded = front.load_model(front.points[0], Tied)
    assert torch.equal(loaded.a.weight, loaded.b.weight)


def test_a_model_that_is_no_module(tmp_path):
    message = refusal(tmp_path, TypeError, model=lambda: {"trunk": nn.Linear(4, 1)})
    assert_names(message, "model()", "dict", "torch.nn.Module")


def test_a_model_for_data_parallel_training_is_refused(tmp_path):
    class Wrapped(nn.parallel.DistributedDataParallel):
        def __init__(self):  # without the process group that the real one asks for
            nn.Module.__init__(self)
            self.module = toys.TwoHeads()

    assert_names(refusal(tmp_path, TypeError, model=Wrapped), "model()", "DistributedDataParallel", "plain module")


def test_a_model_with_nothing_to_train(tmp_path):
    message = refusal(tmp_path, model=lambda: toys.TwoHeads().requires_grad_(False))
    assert_names(message, "model()", "requires a gradient")


class Lazy(toys.TwoHeads):
    def __init__(self):
        super().__init__()
        self.trunk = nn.LazyLinear(1)


def initialised() -> Lazy:
    model = Lazy()
    model(torch.zeros(1, 4))
    return model


@pytest.mark.fault(103)
@pytest.mark.parametrize(
    "budget", [{}, {"fleet": 2}, {"front_model": pm.FiLM()}], ids=["alone", "fleet", "front model"]
)
def test_a_lazy_layer(tmp_path, budget):
    message = refusal(tmp_path, model=Lazy, budget={"epochs": 1} | budget)
    assert_names(message, "model()", "'trunk.weight' is lazy", "nn.LazyLinear", "one batch")
    problem = toys.two_regressions(model=initialised)
    assert len(pm.explore(problem, ps.Linear(), preferences=[[0.5, 0.5]], epochs=1, **budget)) == 1


class Complex(nn.Module):
    """A parameter of complex numbers."""

    def __init__(self):
        super().__init__()
        self.z = nn.Parameter(torch.ones(2, dtype=torch.complex64))


@pytest.mark.fault(96)
@pytest.mark.parametrize("solver", [ps.Linear(), ps.EPO()])
def test_complex_parameters_are_refused(tmp_path, solver):
    def losses(model, batch):
        return {"a": (model.z - 1j).abs().square().sum(), "b": (model.z + 1).abs().square().sum()}

    message = refusal(tmp_path, solver=solver, model=Complex, losses=losses)
    assert_names(message, "model()", "'z' is complex (complex64)", "torch.view_as_real", "torch.view_as_complex")


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.ones(4, dtype=torch.float64))


def noise_of(size, model, _):
    x = model.x + size * torch.randn(4)
    return {"a": x.square().sum(), "b": (x - 2).square().sum()}


def exact(size: float) -> pm.Problem:
    return pm.Problem(["a", "b"], Noisy, partial(noise_of, size), ref_point=[20.0, 20.0], deterministic=True)


@pytest.mark.fault(104)
@pytest.mark.parametrize("size", [0.1, 1e-9])
def test_noise_in_a_deterministic_problem(size):
    with pytest.raises(ValueError) as caught:
        pm.explore(exact(size), ps.EPO(), preferences=3, steps=2)
    assert_names(str(caught.value), "deterministic=True", "loss 'a' is ", "and then", "dropout", "train= and validate=")
    assert len(pm.explore(exact(0.0), ps.Linear(), preferences=3, steps=2)) == 3


@pytest.mark.fault(58)
@pytest.mark.parametrize("split", ["train", "validate", "test"])
@pytest.mark.parametrize(
    "batches",
    [
        pytest.param([], id="an empty list"),
        pytest.param(
            DataLoader(TensorDataset(torch.zeros(3, 4), torch.zeros(3, 2)), 4, drop_last=True), id="drop_last"
        ),
    ],
)
def test_an_empty_loader(tmp_path, split, batches):
    assert_names(refusal(tmp_path, **{split: batches}), f"{split} is empty", "batch size", "drop_last")


class Endless:
    """The same few batches for ever; it has no length."""

    def __iter__(self):
        return itertools.cycle(list(toys.loader(1)))


@pytest.mark.fault(58)
def test_a_loader_without_length_needs_steps(tmp_path):
    assert_names(refusal(tmp_path, train=Endless()), "train", "no length", "steps=", "epochs=")


@pytest.mark.fault(58)
@pytest.mark.parametrize("split", ["validate", "test"])
def test_a_measuring_loader_without_length(tmp_path, split):
    message = refusal(tmp_path, budget={"steps": 2}, **{split: Endless()})
    assert_names(message, split, "no length", "give batches that end")


@pytest.mark.fault(58)
def test_a_loader_of_unknown_length_that_turns_out_empty(tmp_path):
    class Nothing:
        def __iter__(self):
            return iter(())

    assert_names(refusal(tmp_path, budget={"steps": 2}, train=Nothing()), "train is empty", "batch")


@pytest.mark.fault(58)
def test_an_endless_loader_with_steps():
    front = pm.explore(toys.two_regressions(train=Endless), ps.Linear(), preferences=[[0.5, 0.5]], steps=7)
    assert front.points[0].counts["steps"] == 7


def test_a_loader_that_can_be_read_once(tmp_path):
    message = refusal(tmp_path, TypeError, train=iter([next(iter(toys.loader(1)))]))
    assert_names(message, "train", "only once", "factory")


def test_data_that_cannot_be_iterated_over(tmp_path):
    assert_names(refusal(tmp_path, TypeError, validate=lambda: 5), "validate", "int", "give batches")


@pytest.mark.parametrize(
    ("at", "named"),
    [
        ("encoder", ("at='encoder'", "no module", "it has trunk, a, b")),
        ("", ("at=''", "give the name of a module")),
        ("a", ("at='a'", "losses still share parameters", "name the last shared module")),
    ],
)
def test_a_module_that_a_method_names_and_cannot_use(tmp_path, at, named):
    """What a stepper raises, it raises in the rehearsal."""
    if at == "":
        with pytest.raises(ValueError) as caught:
            ps.MGDAUB(at)
        assert_names(str(caught.value), *named)
    elif at == "a":
        message = refusal(tmp_path, solver=ps.MGDAUB(at), losses=both_by_a, model=Chained)
        assert_names(message, *named)
    else:
        assert_names(refusal(tmp_path, solver=ps.MGDAUB(at)), *named)


def both_by_a(model, batch):
    x, y = batch
    z = model.b(model.a(model.trunk(x)))[:, 0]
    return {"a": (z - y[:, 0]).square().mean(), "b": (z - y[:, 1]).square().mean()}


class Chained(toys.TwoHeads):
    """Both heads in a row."""


class Counting(pm.Stepper):
    """Changes the model, as a stepper may, and counts its calls."""

    calls = 0

    def update(self, state, closure, preference):
        type(self).calls += 1
        closure.move(closure.parameters + 0.01)
        return torch.zeros_like(closure.parameters), state, pm.solver.status_of(0)


def test_the_rehearsal_of_a_stepper_leaves_the_study_alone():
    before = toys.initial()
    front = pm.explore(toys.two_regressions(), Counting(), preferences=[[0.5, 0.5]], steps=2)
    assert Counting.calls == 3  # one of them in the rehearsal
    model = front.load_model(front.points[0], toys.TwoHeads)
    for p, q in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.allclose(p, q + 0.02)
