"""`Descent` in a loop of one's own: the steps of `explore`, and what it refuses."""

import io

import pytest
import torch
from torch import nn

import paretomtl as pm
import paretomtl_solvers as ps
from paretomtl.point import Code
from tests import toys
from tests.one_point import SGD, apart, labelled, marked

pytestmark = pytest.mark.filterwarnings("ignore:.*degrees off the ray:UserWarning")

BATCHES = list(toys.loader(1))
THREE = [{"a": 0.2, "b": 0.8}, {"a": 0.5, "b": 0.5}, {"a": 0.8, "b": 0.2}]
ASKED = {"a": 0.2, "b": 0.8}


FAR = [{"a": a, "b": 1 - a} for a in (0.98, 0.5, 0.02)]  # the model starts outside the first one's sector


def pareto_mtl(**changes) -> pm.Descent:
    """With a phase 1 of five steps."""
    fields = {"solver": ps.ParetoMTL(phase_one=0.3125), "preference": FAR[0], "preferences": FAR, "steps": 16}
    return pm.Descent(**(fields | changes))


def train(step: pm.Descent, epochs: int = 2, model=None, optimizer=None) -> toys.TwoHeads:
    """A training loop as a user has it."""
    model = toys.initial() if model is None else model
    optimizer = optimizer or SGD(model.parameters())
    for batch in BATCHES * epochs:
        optimizer.zero_grad()
        if isinstance(step.solver, pm.Stepper):
            step.backward(lambda batch=batch: toys.losses(model, batch))
        else:
            step.backward(toys.losses(model, batch))
        optimizer.step()
    return model


@pytest.mark.parametrize(
    "solver",
    [
        ps.Linear(),
        ps.EPO(),
        ps.MGDA(),
        ps.ParetoMTL(phase_one=0.5),
        toys.Turned(),
        ps.CoGrad(gamma=2.0),
        ps.CoGrad(gamma=0.5, hessian="hvp", look_ahead=0.1),
    ],
    ids=repr,
)
def test_it_takes_the_steps_that_explore_takes(solver):
    among = [THREE[1], ASKED, THREE[2]] if solver.uses_preference else [ASKED]
    front = pm.explore(toys.two_regressions(train=BATCHES), solver, preferences=among, epochs=2, optimizer=SGD)
    explored = front.load_model(front.points[among.index(ASKED)], toys.TwoHeads)
    step = pm.Descent(solver, ASKED, preferences=among, steps=8)
    assert apart(train(step), explored) < 1e-6
    if not isinstance(solver, ps.Linear):
        assert apart(train(pm.Descent(ps.Linear(), ASKED)), explored) > 1e-4  # the method had its say


def test_fishers_samples_are_not_known_here():
    step = pm.Descent(ps.CoGrad(hessian="fisher"), ASKED)
    with pytest.raises(ValueError, match="the samples are not known here"):
        train(step)


class Normed(toys.TwoHeads):
    """With running statistics behind the trunk, and noise before it."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(1, affine=False)

    def forward(self, x):
        z = self.norm(self.trunk(nn.functional.dropout(x, 0.5, self.training)))
        return self.a(z)[:, 0], self.b(z)[:, 0]


def test_with_the_model_methods_can_name_modules_of_it():
    front = pm.explore(
        toys.two_regressions(train=BATCHES), ps.MGDAUB("trunk"), preferences=[ASKED], epochs=2, optimizer=SGD
    )
    explored, model = front.load_model(front.points[0], toys.TwoHeads), toys.initial()
    assert apart(train(pm.Descent(ps.MGDAUB("trunk"), ASKED, model=model), model=model), explored) < 1e-6
    other = toys.initial()
    with pytest.raises(ValueError, match=r"at='trunk': the losses run that module 0 times"):  # of another model
        train(pm.Descent(ps.MGDAUB("trunk"), ASKED, model=other))
    with pytest.raises(ValueError, match=r"at='trunk': modules are not known here; .* give Descent\(…, model=model\)"):
        train(pm.Descent(ps.MGDAUB("trunk"), ASKED))


def test_with_the_model_its_running_statistics_count_a_batch_once():
    model = Normed()
    step = pm.Descent(ps.MGDAUB("trunk"), ASKED, model=model)
    for k, batch in enumerate(BATCHES):
        step.backward(lambda batch=batch: toys.losses(model, batch))
        assert int(model.norm.num_batches_tracked) == k + 1


def test_a_loop_of_ones_own_trains():
    step = pm.Descent(ps.EPO(), {"a": 0.3, "b": 0.7})
    model = toys.initial()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    first = {name: loss.item() for name, loss in toys.losses(model, BATCHES[0]).items()}
    for batch in BATCHES * 20:
        optimizer.zero_grad()
        status = step.backward(toys.losses(model, batch))
        optimizer.step()
        assert Code(int(status.code)).word in ("solved", "stationary")
    last = {name: loss.item() for name, loss in toys.losses(model, BATCHES[0]).items()}
    assert last["b"] < 0.7 * first["b"]
    assert last["b"] < last["a"]


def test_gradients_accumulate_over_batches():
    model, step = toys.initial(), pm.Descent(ps.EPO(), ASKED)
    each = []
    for batch in BATCHES[:2]:
        model.zero_grad()
        step.backward(toys.losses(model, batch))
        each.append([p.grad.clone() for p in model.parameters()])
    model.zero_grad()
    for batch in BATCHES[:2]:
        step.backward(toys.losses(model, batch))
    for p, one, other in zip(model.parameters(), *each, strict=True):
        assert torch.allclose(p.grad, one + other, rtol=1e-6)


def test_the_names_fix_the_order_and_not_the_losses():
    models = [toys.initial(), toys.initial()]
    for model, order in zip(models, (("a", "b"), ("b", "a")), strict=True):
        losses = toys.losses(model, BATCHES[0])
        pareto_mtl().backward({name: losses[name] for name in order})
    for p, q in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(p.grad, q.grad)


@pytest.mark.fault(18)
def test_it_clips_as_explore_does():
    front = pm.explore(
        toys.two_regressions(train=BATCHES), ps.EPO(), preferences=[ASKED], epochs=2, optimizer=SGD, clip=0.1
    )
    explored = front.load_model(front.points[0], toys.TwoHeads)
    assert apart(train(pm.Descent(ps.EPO(), ASKED, clip=0.1)), explored) < 1e-6
    assert apart(train(pm.Descent(ps.EPO(), ASKED)), explored) > 1e-3


# --- missing labels ---


@pytest.mark.fault(16)
@pytest.mark.fault(98)
def test_a_missing_label_leaves_the_other_loss_its_weight():
    model, plain = toys.initial(), toys.initial()
    status = pm.Descent(ps.Linear(), ASKED).backward({"a": toys.losses(model, BATCHES[0])["a"], "b": None})
    (0.2 * toys.losses(plain, BATCHES[0])["a"]).backward()
    assert status.code == Code.SOLVED
    for (name, p), q in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert name.startswith("b") == (p.grad is None), name
        assert p.grad is None or torch.allclose(p.grad, q.grad, rtol=1e-6), name


@pytest.mark.fault(98)
@pytest.mark.parametrize("labels", ["plain", "balanced"])
def test_the_losses_that_are_there_keep_their_preference(labels):
    x = nn.Parameter(torch.ones(2, dtype=torch.float64))
    step = pm.Descent(ps.Linear(labels=labels), {"a": 0.2, "b": 0.3, "c": 0.5})
    for b in (None, x[0]):
        x.grad = None
        step.backward({"a": x[0] * 10, "b": b, "c": None if b is None else x[1] * 10})
    assert x.grad.tolist() == pytest.approx([2.3, 5] if labels == "plain" else [2.6, 10])
    other = pm.Descent(step.solver, {"a": 0.2, "b": 0.3, "c": 0.5})
    other.load_state_dict(saved_and_loaded(step.state_dict()))
    for resumed in (step, other):  # "b" is in two batches of three
        x.grad = None
        resumed.backward({"a": None, "b": x[0] * 10, "c": None})
        assert x.grad.tolist() == pytest.approx([3 if labels == "plain" else 4.5, 0])


@pytest.mark.fault(16)
def test_labels_that_do_not_matter_move_nothing():
    model, step = toys.initial(), pm.Descent(ps.Linear(), {"a": 0.0, "b": 1.0})
    assert step.backward(toys.losses(model, BATCHES[0]) | {"b": None}).code == Code.SOLVED
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.fault(98)
@pytest.mark.parametrize("solver", [ps.EPO(), ps.ParetoMTL(), ps.Tchebycheff(), ps.CoGrad()], ids=repr)
def test_what_weighs_losses_against_each_other_needs_every_label(solver):
    step = pm.Descent(solver, ASKED, preferences=THREE)
    losses = toys.losses(toys.initial(), BATCHES[0]) | {"b": None}
    with pytest.raises(ValueError, match=r"no label of \['b'\], and .* weighs the losses .* until each is there"):
        step.backward((lambda: losses) if isinstance(solver, pm.Stepper) else losses)


@pytest.mark.fault(98)
def test_losses_of_several_batches_make_one_step():
    """The remedy that the message names gives the step that `explore` takes from the same batches."""
    step, model = pm.Descent(ps.EPO(), ASKED), toys.initial()
    step.backward({name: toys.losses(model, batch)[name] for name, batch in zip("ab", BATCHES, strict=False)})
    SGD(model.parameters()).step()
    alternating = [(*batch, name) for name, batch in zip("ab", BATCHES, strict=False)]
    problem = toys.two_regressions(losses=labelled, train=alternating, validate=marked("ab"))
    with pytest.warns(UserWarning, match="labels of 'a' in 50%"):
        front = pm.explore(problem, ps.EPO(), preferences=[ASKED], epochs=1, optimizer=SGD)
    assert apart(model, front.load_model(front.points[0], toys.TwoHeads)) < 1e-6


# --- what is refused ---


def one() -> torch.Tensor:
    return nn.Parameter(torch.ones(())) * 2


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("losses", "named"),
    [
        ({"a": one()}, r"losses=\['a'\]; give a dict with the keys \['a', 'b'\]"),
        ({"a": one(), "c": one()}, r"losses=\['a', 'c'\]; give a dict with the keys \['a', 'b'\]"),
        ({"a": one(), "b": one(), "c": one()}, r"losses=\['a', 'b', 'c'\]; give a dict"),
        ([one(), one()], "losses=list; give a dict with the keys"),
        (one(), "losses=Tensor; give a dict with the keys"),
        ({"a": one(), "b": one().repeat(3)}, "loss 'b' is not a 0-dimensional tensor with a gradient"),
        ({"a": one(), "b": one().detach()}, "loss 'b' is not a 0-dimensional tensor with a gradient"),
        ({"a": one(), "b": 1.0}, "loss 'b' is not a 0-dimensional tensor with a gradient: 1.0"),
        ({"a": None, "b": None}, r"every one of \['a', 'b'\] is None"),
    ],
)
@pytest.mark.parametrize("solver", [ps.Linear(), ps.CoGrad()], ids=repr)
def test_losses_that_are_no_scalars_by_name(losses, named, solver):
    step = pm.Descent(solver, ASKED)
    with pytest.raises(ValueError, match=named):
        step.backward((lambda: losses) if isinstance(solver, pm.Stepper) else losses)


@pytest.mark.usefixtures("unchecked")
def test_a_stepper_takes_a_function_and_others_do_not():
    losses = {"a": one(), "b": one()}
    with pytest.raises(TypeError, match="CoGrad asks for the losses elsewhere; give a function"):
        pm.Descent(ps.CoGrad(), ASKED).backward(losses)
    with pytest.raises(TypeError, match="EPO takes the losses themselves, not a function"):
        pm.Descent(ps.EPO(), ASKED).backward(lambda: losses)
    with pytest.raises(TypeError, match="CoGrad asks for the losses elsewhere, which knows no scaler"):
        pm.Descent(ps.CoGrad(), ASKED, scaler=torch.amp.GradScaler("cpu"))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("asked", "error", "named"),
    [
        ({"solver": ps.EPO}, TypeError, "is not a Solver; give an instance"),
        ({"preference": [0.3, 0.7]}, TypeError, r"preference=\[0.3, 0.7\]: give a dict"),
        ({"preference": {"a": -1.0, "b": 2.0}}, ValueError, "preference = .* has a negative entry"),
        ({"preference": {"a": 0.0, "b": 0.0}}, ValueError, "preference = .* is all zero"),
        ({"preference": {"a": float("nan"), "b": 1.0}}, ValueError, "preference = .* is not finite"),
        ({"preferences": [{"a": 1.0, "c": 1.0}]}, ValueError, r"preferences\[0\] has the keys .*; give \['a', 'b'\]"),
        ({"preferences": THREE[1:]}, ValueError, "preference=.* is not one of the preferences given"),
        ({"clip": -1.0}, ValueError, "clip=-1.0: give a positive number"),
        ({"solver": ps.ParetoMTL()}, ValueError, "give at least 2"),
        ({"solver": ps.ParetoMTL(), "preferences": [ASKED, ASKED]}, ValueError, "have the same ray"),
    ],
)
def test_what_cannot_work_is_refused_before_the_first_step(asked, error, named):
    with pytest.raises(error, match=named):
        pm.Descent(**({"solver": ps.EPO(), "preference": ASKED} | asked))


def test_preferences_need_not_sum_to_1():
    models = [toys.initial(), toys.initial()]
    for model, scale in zip(models, (1, 5), strict=True):
        asked = [{name: scale * share for name, share in row.items()} for row in THREE]
        pm.Descent(ps.ParetoMTL(), asked[1], preferences=asked).backward(toys.losses(model, BATCHES[0]))
    for p, q in zip(*(model.parameters() for model in models), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=1e-5)


# --- checkpoints ---


def saved_and_loaded(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_a_checkpoint_resumes_to_the_same_steps():
    step = pareto_mtl()
    model = train(step, epochs=1)
    kept = saved_and_loaded({"model": model.state_dict(), "step": step.state_dict()})
    assert step.state.left == 1
    train(step, epochs=3, model=model)

    resumed, restored = toys.TwoHeads(), pareto_mtl()
    resumed.load_state_dict(kept["model"])
    restored.load_state_dict(kept["step"])
    assert (restored.state.left, restored.state.own) == (1, 0)
    assert isinstance(restored.state, type(step.state))
    train(restored, epochs=3, model=resumed)
    assert apart(resumed, model) == 0
    assert restored.state.left == step.state.left == 0

    anew = toys.TwoHeads()
    anew.load_state_dict(kept["model"])
    assert apart(train(pareto_mtl(), epochs=3, model=anew), model) > 1e-6  # its phase 1 is longer


@pytest.mark.parametrize("solver", [ps.Linear(), ps.EPO()], ids=repr)
def test_checkpoints_of_small_states(solver):
    step, other = pm.Descent(solver, ASKED), pm.Descent(solver, ASKED)
    other.load_state_dict(saved_and_loaded(step.state_dict()))
    assert other.state is None if step.state is None else torch.equal(other.state, step.state)


def test_a_checkpoint_is_not_a_view_of_the_state():
    step, other = pareto_mtl(), pareto_mtl()
    kept = step.state_dict()
    other.load_state_dict(kept)
    step.state.left.fill_(99)
    other.state.left.fill_(77)
    assert [int(x) for x in kept["state"][1:]] == [0, 5]
    assert int(step.state.left) == 99


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"solver": ps.ParetoMTL(phase_one=0.2)}, r"the saved solver is ParetoMTL\(phase_one=0.3125"),
        ({"solver": ps.EPO()}, "the saved solver is ParetoMTL"),
        ({"preference": FAR[1]}, r"the saved preference is .*'a': 0.98.*build the same Descent"),
        ({"preference": {"b": 0.8, "c": 0.2}, "preferences": [{"b": 0.8, "c": 0.2}, {"b": 0.5, "c": 0.5}]}, "'c'"),
    ],
)
def test_a_checkpoint_of_another_method_or_preference_is_refused(changes, named):
    step = pareto_mtl(**changes)
    before = step.state_dict()
    with pytest.raises(ValueError, match=named):
        step.load_state_dict(pareto_mtl().state_dict())
    assert repr(step.state_dict()) == repr(before)


@pytest.mark.fault(95)
@pytest.mark.parametrize("solver", [ps.Linear(), ps.EPO()])
def test_a_gradient_that_is_nan_in_a_head_is_an_error(solver):
    model = toys.initial()
    values = toys.losses(model, BATCHES[0])
    values["b"] = values["b"] + (model.b.bias * 0).sum().sqrt()
    with pytest.raises(pm.errors.NonFiniteError, match=r"in the gradient of a parameter of shape \(1,\)"):
        pm.Descent(solver, ASKED).backward(values)


@pytest.mark.fault(97)
def test_a_loss_below_zero_is_named():
    values = toys.losses(toys.initial(), BATCHES[0])
    with pytest.raises(ValueError, match=r"loss 'b' is -.*EPO needs losses of at least 0 \(shift it, or use Linear"):
        pm.Descent(ps.EPO(), ASKED).backward(values | {"b": values["b"] - 100})


RANGES = {"scales": {"a": 2.0, "b": 40.0}, "ideals": {"a": 0.5, "b": 10.0}}


@pytest.mark.parametrize("solver", [ps.EPO(), ps.Linear(), ps.SmoothTchebycheff(0.1), ps.CoGrad()], ids=repr)
def test_scales_and_ideals_are_those_of_losses_normalised_by_hand(solver):
    """One step by losses in their own units, and one by losses that the loop normalises itself."""
    start = 0.5 if solver.from_ideal else 0.0, 10.0 if solver.from_ideal else 0.0
    gradients = []
    for by_hand in (False, True):
        w = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)

        def losses(w=w, by_hand=by_hand):
            a, b = 0.7 + 0.1 * w[:2].square().sum(), 12 + 20 * (w[1:] - 3).square().sum()
            return {"a": (a - start[0]) / 2, "b": (b - start[1]) / 40} if by_hand else {"a": a, "b": b}

        step = pm.Descent(solver, {"a": 0.3, "b": 0.7}, **({} if by_hand else RANGES))
        step.backward(losses if isinstance(solver, pm.Stepper) else losses())
        gradients.append(w.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("given", "gradient"), [(RANGES, 0.7 * 5 / 40), ({"scales": RANGES["scales"]}, 0.3 * 6 / 2)])
def test_a_loss_beyond_its_worst_counts_as_that_where_that_is_known(given, gradient):
    """Losses of 9 and 30: 4.25, or 1, and 0.5 with both; 4.5 and 0.75 from 0 on."""
    w = torch.tensor([3.0], requires_grad=True)
    pm.Descent(ps.Tchebycheff(), {"a": 0.3, "b": 0.7}, **given).backward({"a": w.square().sum(), "b": 15 + 5 * w.sum()})
    assert float(w.grad) == pytest.approx(gradient)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scales": {"a": 1.0}}, r"scales=\{'a': 1.0\}: give a number for each of \['a', 'b'\]"),
        ({"scales": {"a": 1.0, "b": 0.0}}, r"scales=\{'a': 1.0, 'b': 0.0\}: give a positive number for each loss"),
        ({"ideals": {"a": 1.0, "b": float("nan")}}, "give a finite number for each loss"),
        ({"ideals": 0.5}, "ideals=0.5: give a number for each"),
    ],
)
def test_ranges_that_are_none_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        pm.Descent(ps.EPO(), {"a": 0.3, "b": 0.7}, **given)


def test_a_checkpoint_of_other_units_is_refused():
    saved = pm.Descent(ps.EPO(), {"a": 0.3, "b": 0.7}, **RANGES).state_dict()
    pm.Descent(ps.EPO(), {"a": 0.3, "b": 0.7}, **RANGES).load_state_dict(saved)
    with pytest.raises(ValueError, match="the saved units is"):
        pm.Descent(ps.EPO(), {"a": 0.3, "b": 0.7}).load_state_dict(saved)
