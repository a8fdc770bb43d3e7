"""What is told before a front model is trained: that it does not fit, or cannot be called."""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.conditioned.rehearsal import check_fit, rehearse
from paretomtl.solver import solved_status
from tests.networks import KINDS, Encoder, ResNet, batch, losses, mlp, preferences, problem

BATCH = pm.Sampling("batch", n=3)
of_each_kind = pytest.mark.parametrize("kind", KINDS)
PER_SAMPLE = [pm.FiLM(), pm.Inputs()]
of_each_per_sample = pytest.mark.parametrize("front_model", PER_SAMPLE, ids=["FiLM", "Inputs"])


def with_sampling(kind, sampling):
    found = copy.copy(KINDS[kind])
    object.__setattr__(found, "sampling", sampling)
    return found


def rehearsed(front_model, build=mlp, solver=None, given=losses, on=None, data=None):
    """The notes."""
    data = data or batch(double=False)
    network = front_model.attach(build(), 2)
    return rehearse(network, front_model, solver or ps.Linear(), on or problem(build, given), data, preferences(2))


def refusal(front_model, solver, error=ValueError, **changes):
    with pytest.raises(error) as caught:
        check_fit(front_model, solver, problem(**changes), 2, None)
    return str(caught.value)


# --- the method and the problem ---


@dataclass(frozen=True)
class Carrying(pm.Weighting):
    stateful: ClassVar[bool] = True

    def update(self, state: Any, losses, gramian, preference):
        return preference, state, solved_status(losses)


@dataclass(frozen=True)
class Ignoring(pm.Scalarization):
    uses_preference: ClassVar[bool] = False

    def update(self, state: Any, losses, preference):
        return torch.full_like(losses, 0.5), state, solved_status(losses)


@dataclass(frozen=True)
class Asking(pm.Stepper):
    def update(self, state: Any, closure, preference):
        return closure.parameters, state, solved_status(closure())


@of_each_kind
@pytest.mark.parametrize(
    ("solver", "said"),
    [
        (Asking(), "Asking asks for one network's losses at other weights"),
        (Carrying(), "Carrying carries its state from step to step"),
        (Ignoring(), "Ignoring ignores preferences"),
        (ps.MGDA(), "MGDA ignores preferences"),
    ],
)
def test_methods_that_cannot_train_one_are_refused(kind, solver, said):
    front_model = with_sampling(kind, BATCH)
    remedy = "; use a method such as Linear, Tchebycheff or EPO"
    assert refusal(front_model, solver) == f"front_model={type(front_model).__name__}: {said}{remedy}"


@of_each_kind
@pytest.mark.parametrize("solver", [ps.Linear(), ps.Tchebycheff(), ps.EPO(), ps.COSMOS(), ps.PHNHVI((9.0, 9.0))])
def test_others_fit(kind, solver):
    check_fit(with_sampling(kind, BATCH), solver, problem(), 2, None)
    check_fit(with_sampling(kind, pm.Sampling("part", n=4)), solver, problem(), 2, None)
    assert rehearsed(with_sampling(kind, BATCH), solver=solver) == []
    assert rehearsed(with_sampling(kind, pm.Sampling("part", n=3)), solver=solver) == []


def test_bounds_need_weights():
    said = refusal(pm.FiLM(), ps.Linear(), project=lambda model: None)
    assert said.startswith("front_model=FiLM: with a preference for each sample no weights are generated that the ")
    assert "problem's project= could bound; give sampling=pm.Sampling(" in said


@pytest.mark.parametrize("sampling", [pm.Sampling("batch"), pm.Sampling("batch", n=1), pm.Sampling("part", n=1)])
def test_a_method_that_weighs_preferences_against_one_another_needs_several(sampling):
    solver = ps.PHNHVI((9.0, 9.0))
    said = refusal(pm.LowRank(sampling=sampling), solver)
    assert said.startswith("front_model=LowRank: PHNHVI weighs the preferences of a step against one another; give ")
    assert "pm.Sampling(" in said
    alone = refusal(None, solver)
    assert alone.startswith(
        "PHNHVI weighs the preferences of a step against one another; give preferences=2, fleet=2; or "
    )


def test_without_a_front_model_other_methods_need_none():
    check_fit(None, ps.Linear(), problem(), 2, None)
    check_fit(None, Carrying(), problem(), 2, None)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("given", [pm.FiLM, "FiLM", 3])
def test_what_is_no_front_model_is_refused(given):
    assert refusal(given, ps.Linear(), TypeError).endswith("is not a FrontModel; give an instance, such as pm.FiLM()")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("FiLM", "Inputs")])
def test_a_preference_a_sample_takes_a_kind_that_acts_on_outputs(kind):
    said = refusal(with_sampling(kind, pm.Sampling("sample")), ps.Linear())
    assert "each='sample' would take other weights for each sample; use FiLM, or give sampling=" in said


@of_each_per_sample
def test_a_preference_a_sample_takes_samples_and_a_linear_method(front_model):
    check_fit(front_model, ps.Linear(), problem(), 2, None)
    kind = f"front_model={type(front_model).__name__}: "
    said = refusal(front_model, ps.Linear(), deterministic=True, train=None, validate=None)
    assert said.startswith(f"{kind}a deterministic problem has no samples to have a preference each; give sampling=")
    for solver in (ps.Tchebycheff(), ps.EPO(), ps.COSMOS()):
        said = refusal(front_model, solver)
        assert said.startswith(f"{kind}with a preference for each sample the losses must be weighed by the preference ")
        assert f"{type(solver).__name__} does not; use Linear, or give sampling=" in said


# --- the network ---


@of_each_per_sample
@pytest.mark.parametrize("build", [mlp, lambda: Places()], ids=["MLP", "transformer"])
def test_networks_that_treat_samples_apart_pass(front_model, build):
    assert rehearsed(front_model, build) == []


class Places(Encoder):
    def forward(self, x):
        return super().forward(x[:, :3, None] * x[:, None, 1:])


def sums(model, given):
    return {name: len(given[0]) * loss for name, loss in losses(model, given).items()}


def squared_mean(model, given):
    x, y = given
    return losses(model, given) | {"b": (model(x) - y).mean().square()}


@of_each_per_sample
@pytest.mark.parametrize("given", [sums, squared_mean])
def test_losses_that_are_not_means_over_the_samples_are_refused(front_model, given):
    with pytest.raises(ValueError, match=r"^losses: a batch's losses .* are not the means of its samples' losses, .*"):
        rehearsed(front_model, given=given)
    assert rehearsed(pm.FiLM(sampling=BATCH), given=given) == []


def test_a_batch_that_cannot_be_parted_is_refused():
    x, y = batch(double=False)

    def scaled(model, given):
        x, y, scale = given
        return {name: scale * loss for name, loss in losses(model, (x, y)).items()}

    with pytest.raises(ValueError, match=r"sample by sample .*each='batch'"):
        rehearsed(pm.FiLM(), given=scaled, data=(x, y, torch.tensor(2.0)))
    with pytest.raises(ValueError, match="cannot be dealt out"):
        rehearsed(pm.LowRank(), given=scaled, data=(x, y, torch.tensor(2.0)))


# --- BatchNorm ---


def normed(norm=nn.BatchNorm1d):
    return nn.Sequential(nn.Linear(4, 6), norm(6), nn.ReLU(), nn.Linear(6, 2))


@pytest.mark.fault(51)
@of_each_kind
@pytest.mark.parametrize("sampling", [BATCH, pm.Sampling("part", n=3)], ids=["batch", "part"])
def test_batch_norm_is_noted(kind, sampling):
    (note,) = rehearsed(with_sampling(kind, sampling), normed)
    assert note.startswith("'1' is a BatchNorm: its running statistics mix preferences in training")
    assert note.endswith("GroupNorm or LayerNorm needs none")


@pytest.mark.fault(51)
def test_other_normalisations_are_not_noted():
    for norm in (nn.LayerNorm, lambda n: nn.GroupNorm(2, n), lambda n: nn.BatchNorm1d(n, track_running_stats=False)):
        assert rehearsed(pm.FiLM(sampling=BATCH), lambda norm=norm: normed(norm)) == []


@pytest.mark.fault(51)
@of_each_per_sample
@pytest.mark.parametrize("norm", [nn.BatchNorm1d, lambda n: nn.BatchNorm1d(n, track_running_stats=False)])
def test_batch_norm_mixes_the_samples_so_each_cannot_have_a_preference(front_model, norm):
    with pytest.raises(ValueError, match=r"sample by sample .*the model must not mix them, as BatchNorm does"):
        rehearsed(front_model, lambda: normed(norm))


@pytest.mark.fault(51)
@of_each_per_sample
def test_batch_norm_of_pictures_mixes_the_samples_too(front_model):
    data = (torch.randn(6, 1, 6, 6), torch.randn(6, 2))
    with pytest.raises(ValueError, match=r"sample by sample .*the model must not mix them, as BatchNorm does"):
        rehearsed(front_model, lambda: ResNet(nn.BatchNorm2d), data=data)


# --- networks that cannot be called at other weights ---


class Shaping(nn.Module):
    """A network that may use its weights in another way than as they are named."""

    def __init__(self, keep):
        super().__init__()
        self.layer, self.last = nn.Linear(4, 6), nn.Linear(6, 2)
        self.kept = keep(self.layer)

    def forward(self, x):
        return self.last((x @ self.kept[0].T + self.layer.bias).tanh())


@pytest.mark.fault(60)
@pytest.mark.parametrize("seed", range(3))
@of_each_kind
def test_a_network_that_keeps_its_weights_elsewhere_is_refused(kind, seed):
    """Functional calls put other weights under their names, and this one reads them where it kept them."""
    torch.manual_seed(seed)
    front_model = with_sampling(kind, BATCH)
    if kind == "Inputs":  # biases alone: these are not kept
        assert rehearsed(front_model, lambda: Shaping(lambda layer: [layer.weight])) == []
        return
    with pytest.raises(ValueError, match=r"^model\(\): called at other weights .*hand in the plain module$"):
        rehearsed(front_model, lambda: Shaping(lambda layer: [layer.weight]))


@pytest.mark.fault(60)
@of_each_kind
def test_a_network_that_keeps_what_it_computed_of_its_weights_is_refused(kind):
    with pytest.raises(ValueError, match=r"^model\(\): it cannot be called after its weights were written out"):
        rehearsed(with_sampling(kind, BATCH), lambda: Shaping(lambda layer: [layer.weight * 2]))


@pytest.mark.fault(60)
@pytest.mark.parametrize("kind", ["full", "chunks", "low-rank", "PaLoRA", "PaMaL", "FiLM"])
def test_a_change_to_weights_is_seen_whatever_the_size_of_the_hypernetwork(kind):
    """The mean over many hidden units of small numbers is a small number."""
    wide = {"full": pm.Hypernetwork(), "chunks": pm.Hypernetwork(form="chunks", hidden=1000),
            "low-rank": pm.Hypernetwork(form="low-rank")}  # fmt: skip
    front_model = copy.copy(wide.get(kind, KINDS[kind]))
    object.__setattr__(front_model, "sampling", BATCH)
    for seed in range(5):
        torch.manual_seed(seed)
        with pytest.raises(ValueError, match="called at other weights"):
            rehearsed(front_model, lambda: Shaping(lambda layer: [layer.weight]))


@pytest.mark.fault(60)
@of_each_per_sample
def test_a_layer_that_is_never_called_has_no_output_to_change(front_model):
    with pytest.raises(ValueError, match="are not the means of its samples' losses"):
        rehearsed(front_model, lambda: Shaping(lambda layer: [layer.weight]))


@pytest.mark.fault(60)
@pytest.mark.parametrize("keep", [lambda layer: [layer.weight.detach().clone()], lambda layer: [layer.weight.detach()]])
def test_weights_that_no_gradient_reaches_are_as_they_would_be_without_a_front_model(keep):
    """`layer.weight` is not trained either way."""
    assert rehearsed(pm.LowRank(sampling=BATCH), lambda: Shaping(keep)) == []


@pytest.mark.fault(60)
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's own
@of_each_kind
def test_a_compiled_network_works(kind):
    """With torch's own compiler left out, which takes long; that which reads the program is the same."""
    front_model = KINDS[kind]
    assert rehearsed(front_model, lambda: torch.compile(mlp(), backend="eager")) == []
    model = front_model.attach(torch.compile(mlp(), backend="eager"), 2).at(preferences(2)[1].numpy())
    x = batch(double=False)[0]
    assert model(x).shape == (6, 2)


# --- what is left behind ---


@pytest.mark.fault(52)
@of_each_kind
def test_it_ends_in_train_mode_with_the_running_statistics_of_no_eval_pass(kind):
    front_model = with_sampling(kind, BATCH)
    network = front_model.attach(normed(), 2)
    modes = []
    network.plain.register_forward_pre_hook(lambda module, args: modes.append(module.training))
    rehearse(network, front_model, ps.Linear(), problem(normed), batch(double=False), preferences(2))
    assert all(module.training for module in network.modules())
    assert True in modes
    assert False in modes
    assert network.plain[1].num_batches_tracked == modes.count(True) == 3
    assert not any(module._forward_hooks for module in network.plain.modules())


@pytest.mark.fault(52)
def test_dropout_is_no_reason_to_refuse():
    for front_model in (pm.FiLM(), pm.FiLM(sampling=BATCH), pm.LowRank()):
        assert rehearsed(front_model, lambda: nn.Sequential(nn.Linear(4, 9), nn.Dropout(0.5), nn.Linear(9, 2))) == []


def test_a_deterministic_problem_has_no_batch():
    class Place(nn.Module):
        def __init__(self):
            super().__init__()
            self.x = nn.Parameter(torch.tensor([0.3, 0.4]))

    def apart(model, given):
        assert given is None
        return {"a": model.x.square().sum(), "b": (model.x - 1).square().sum()}

    analytic = pm.Problem(["a", "b"], Place, apart, ref_point=[9.0, 9.0], deterministic=True)
    for front_model in (pm.LowRank(), pm.Hypernetwork(sampling=BATCH)):
        network = front_model.attach(Place(), 2)
        assert rehearse(network, front_model, ps.EPO(), analytic, None, preferences(2)) == []
