"""The terms that compare a student with a teacher: values, gradients, scales, and bad input."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

import paretomtl as pm

terms = pm.distillation
SEED = torch.Generator().manual_seed(0)
T, S = (torch.randn(6, 4, generator=SEED, dtype=torch.float64) for _ in range(2))
TABLE = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.0, 0.0, 1.0], [0.3, 0.3, 0.4]], dtype=torch.float64)


def matching(t: Tensor, s: Tensor, **options) -> Tensor:
    """The distribution matching of four classes with three of the student's logits."""
    return terms.distribution_matching(t, s[..., :3], TABLE, **options)


TERMS = {
    "bernoulli_kl": terms.bernoulli_kl,
    "bernoulli_kl at 3": lambda t, s, **o: terms.bernoulli_kl(t, s, temperature=3.0, **o),
    "categorical_kl": terms.categorical_kl,
    "categorical_kl at 3": lambda t, s, **o: terms.categorical_kl(t, s, temperature=3.0, **o),
    "categorical_kl along 0": lambda t, s, **o: terms.categorical_kl(t, s, dim=0, **o),
    "policy_kl": lambda t, s, **o: terms.policy_kl(t, s, temperature=0.5, **o),
    "logit_matching": terms.logit_matching,
    "feature_distance": terms.feature_distance,
    "distribution_matching": matching,
}
AGREEING = {  # a student that says what the teacher says
    "policy_kl": T / 0.5,
    "feature_distance": 3.0 * T,  # up to the scale
    "distribution_matching": terms.imply(T.softmax(-1), TABLE).log(),
}


def logit(*p: float) -> Tensor:
    return torch.tensor(p, dtype=torch.float64).logit()


@pytest.mark.parametrize("name", TERMS)
def test_a_term_is_zero_where_student_and_teacher_agree_and_positive_elsewhere(name):
    agreeing = AGREEING.get(name, T).clone().requires_grad_()
    value = TERMS[name](T, agreeing)
    value.backward()
    assert abs(value.item()) < 1e-12
    assert agreeing.grad.abs().max() < 1e-12
    assert TERMS[name](T, S).item() > 1e-3


@pytest.mark.parametrize("name", TERMS)
def test_the_gradient_is_that_of_finite_differences_and_the_teacher_has_none(name):
    student, teacher = S.clone().requires_grad_(), T.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: TERMS[name](T, s), student)
    assert torch.autograd.grad(TERMS[name](teacher, student), teacher, allow_unused=True) == (None,)


@pytest.mark.parametrize("name", TERMS)
def test_the_mean_is_that_of_the_single_values(name):
    values = TERMS[name](T, S, reduction="none")
    assert values.ndim >= 1
    torch.testing.assert_close(TERMS[name](T, S), values.mean())
    with pytest.raises(ValueError, match="reduction='sum': give 'mean' or 'none'"):
        TERMS[name](T, S, reduction="sum")


@pytest.mark.parametrize("name", TERMS)
def test_extreme_numbers_give_finite_values_and_gradients(name):
    student = (1e3 * S).float().requires_grad_()
    value = TERMS[name]((1e3 * T).float(), student)
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4, 5)])
def test_terms_of_yes_and_no_take_any_shape(shape):
    t, s = torch.randn(shape, generator=SEED), torch.randn(shape, generator=SEED)
    assert terms.bernoulli_kl(t, s).shape == ()
    assert terms.bernoulli_kl(t, s, reduction="none").shape == shape


def test_a_term_of_pictures_takes_the_channels_along_its_dimension():
    t, s = torch.randn(2, 3, 4, 5, generator=SEED), torch.randn(2, 3, 4, 5, generator=SEED)
    assert terms.categorical_kl(t, s, dim=1, reduction="none").shape == (2, 4, 5)
    expected = terms.feature_distance(t.movedim(1, -1).reshape(-1, 3), s.movedim(1, -1).reshape(-1, 3))
    torch.testing.assert_close(terms.feature_distance(t, s), expected)


# --- published and derived values ---


def test_the_losses_of_dmtl():
    click, read, student = logit(0.3), logit(0.5), logit(0.2)
    both, yes = terms.both_logit(click, read), torch.ones(1, dtype=torch.float64)
    distillation = terms.bernoulli_kl(both, student).item()
    teacher = (binary_cross_entropy_with_logits(click, yes) + binary_cross_entropy_with_logits(both, yes)).item()
    assert both.sigmoid().item() == pytest.approx(0.15, abs=1e-12)
    assert (distillation, teacher, distillation + teacher) == pytest.approx((0.0083786, 3.1010928, 3.1094714), abs=1e-7)


def test_the_gradient_of_a_divergence_is_that_of_the_cross_entropy_with_soft_labels():
    for divergence, loss in (
        (terms.bernoulli_kl, lambda s: binary_cross_entropy_with_logits(s, T.sigmoid())),
        (terms.categorical_kl, lambda s: cross_entropy(s, T.softmax(-1))),
    ):
        s = S.clone().requires_grad_()
        torch.testing.assert_close(torch.autograd.grad(divergence(T, s), s), torch.autograd.grad(loss(s), s))


def test_feature_distance_of_a_right_angled_triangle():
    f_stl, f_mtl = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    assert terms.feature_distance(f_stl, f_mtl).item() == pytest.approx(0.8, abs=1e-6)


def test_logit_matching_sums_over_classes_and_means_over_samples():
    t, s = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    assert terms.logit_matching(t, s).item() == (5 + 9) / 2


@pytest.mark.parametrize("divergence", [terms.bernoulli_kl, terms.categorical_kl])
def test_a_temperature_keeps_the_scale_of_the_gradient(divergence):
    """Without the factor it would fall a hundredfold from 1 to 10, and ten thousandfold to 100."""
    norms = []
    for temperature in (1.0, 10.0, 100.0):
        s = S.clone().requires_grad_()
        divergence(T, s, temperature=temperature).backward()
        norms.append(s.grad.norm().item())
    assert max(norms) < 2 * min(norms)


def test_a_hot_divergence_of_classes_is_half_the_squared_distance_of_centred_logits_over_their_number():
    centred = (T - T.mean(-1, keepdim=True)) - (S - S.mean(-1, keepdim=True))
    expected = centred.square().sum(-1).mean() / (2 * 4)
    torch.testing.assert_close(terms.categorical_kl(T, S, temperature=1e4), expected, rtol=1e-3, atol=0)


# --- ensembles ---


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_an_ensemble_says_the_mean_of_its_teachers_probabilities(temperature):
    logits = [T, S, 2 * T]
    mean = torch.stack([(x / temperature).softmax(-1) for x in logits]).mean(0)
    torch.testing.assert_close((terms.average_categorical(logits, temperature) / temperature).softmax(-1), mean)
    along = terms.average_categorical([x.T for x in logits], temperature, dim=0).T
    torch.testing.assert_close((along / temperature).softmax(-1), mean)
    mean = torch.stack([(x / temperature).sigmoid() for x in logits]).mean(0)
    torch.testing.assert_close((terms.average_bernoulli(logits, temperature) / temperature).sigmoid(), mean)


def test_an_ensemble_of_one_is_its_teacher():
    torch.testing.assert_close(terms.categorical_kl(terms.average_categorical([T]), S), terms.categorical_kl(T, S))
    torch.testing.assert_close(terms.average_bernoulli([T]), T)


@pytest.mark.parametrize("average", [terms.average_categorical, terms.average_bernoulli])
def test_an_ensemble_of_none_or_of_unlike_teachers_is_refused(average):
    with pytest.raises(ValueError, match="give a list with one tensor a teacher"):
        average([])
    with pytest.raises(ValueError, match=r"logits have the shapes \[\(6, 4\), \(6, 3\)\]"):
        average([T, S[:, :3]])


# --- a chain of events ---


def test_the_logit_of_both_is_exact_at_the_ends():
    a, b = torch.tensor([-1e3, 1e3, 1e3, 0.0]), torch.tensor([1e3, 1e3, -1e3, -1e3])
    a.requires_grad_(), b.requires_grad_()
    both = terms.both_logit(a, b)
    torch.testing.assert_close(both.detach(), torch.tensor([-1e3, 1e3 - 0.6931472, -1e3, -1e3 - 0.6931472]))
    both.sum().backward()
    assert a.grad.isfinite().all()
    assert b.grad.isfinite().all()


def test_the_logit_of_both_is_that_of_the_product():
    torch.testing.assert_close(terms.both_logit(T, S), (T.sigmoid() * S.sigmoid()).logit())
    with pytest.raises(ValueError, match=r"first_logit has the shape \(6, 4\), second_logit \(6,\)"):
        terms.both_logit(T, S[:, 0])


def test_a_second_event_without_the_first_is_refused():
    click, read = torch.tensor([1, 0, 1, 0]), torch.tensor([1, 0, 0, 1])
    terms.check_chain(click, click * read, ("click", "read"))
    with pytest.raises(ValueError, match=r"read is 1 where click is 0 in 1 samples, the first at \[3\]"):
        terms.check_chain(click, read, ("click", "read"))
    with pytest.raises(ValueError, match=r"click has the shape \(4,\), read \(3,\)"):
        terms.check_chain(click, read[:3], ("click", "read"))


# --- adaptors ---


def test_adaptors_begin_as_the_identity_and_keep_places():
    adaptors = terms.Adaptors(["left", "right"], 3)
    features = torch.randn(2, 3, 4, 5, generator=SEED)
    torch.testing.assert_close(adaptors(features, "left"), features)
    torch.testing.assert_close(adaptors(features[:, :, 0, 0], "right"), features[:, :, 0, 0])
    assert terms.feature_distance(features, adaptors(features, "left")).item() == pytest.approx(0, abs=1e-6)
    assert terms.Adaptors(["left"], 3, 7)(features, "left").shape == (2, 7, 4, 5)
    with pytest.raises(ValueError, match=r"task='middle': the adaptors are for \['left', 'right'\]"):
        adaptors(features, "middle")


# --- bad input ---


@pytest.mark.parametrize("name", [name for name in TERMS if name != "distribution_matching"])
def test_unlike_classes_or_samples_are_refused_with_both_shapes(name):
    with pytest.raises(ValueError, match=r"\(6, 4\), student_\w+ \(5, 4\).*give both for the same"):
        TERMS[name](T, S[:5])
    with pytest.raises(ValueError, match=r"\(6, 4\), student_\w+ \(6, 3\).*give both for the same"):
        TERMS[name](T, S[:, :3])


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
@pytest.mark.parametrize("term", [terms.bernoulli_kl, terms.categorical_kl, terms.policy_kl])
def test_a_temperature_that_is_not_positive_is_refused(term, temperature):
    with pytest.raises(ValueError, match=f"temperature={temperature}: give a positive number"):
        term(T, S, temperature=temperature)


@pytest.mark.parametrize(
    ("term", "squash", "function"),
    [(terms.bernoulli_kl, torch.sigmoid, "sigmoid"), (terms.categorical_kl, nn.Softmax(-1), "softmax")],
)
def test_probabilities_in_the_place_of_logits_are_refused(term, squash, function):
    student = S.clone().requires_grad_()
    with pytest.raises(ValueError, match=f"student_logit comes out of a {function}; give the numbers that go into it"):
        term(T, squash(student))
    with pytest.raises(ValueError, match=f"student_logit comes out of a {function}"):
        term(T[:, None], squash(student)[:, None])
    teacher = squash(torch.randn(32, 4, generator=SEED))
    with pytest.raises(ValueError, match=r"teacher_logit has only numbers between 0 and 1.*these are probabilities"):
        term(teacher, torch.zeros(32, 4))


def test_logits_that_lie_between_0_and_1_by_chance_are_taken():
    few, own = torch.tensor([0.3, 0.6]), torch.rand(100, generator=SEED).requires_grad_()
    assert terms.bernoulli_kl(few, few + 1).item() > 0
    assert terms.bernoulli_kl(own, own + 1).item() > 0  # of a teacher that is trained too, and has learned nothing yet
    with torch.no_grad():
        assert terms.bernoulli_kl(own, own + 1).item() > 0
    assert terms.categorical_kl(torch.rand(32, 4, generator=SEED), torch.zeros(32, 4)).item() > 0


@pytest.mark.parametrize("name", [name for name in TERMS if "along" not in name])
def test_terms_are_computed_sample_by_sample_as_well(name):
    by_sample = torch.vmap(lambda t, s: TERMS[name](t[None], s[None]))(T, S)
    torch.testing.assert_close(by_sample.mean(), TERMS[name](T, S))
