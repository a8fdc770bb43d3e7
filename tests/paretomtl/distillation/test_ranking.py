"""CrossDistil's terms: a chain of ranks, correction, and calibration."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

import paretomtl as pm

terms = pm.distillation


def draw(n: int, scale: float, shift: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels of which the probability of yes has the logit scale * r + shift."""
    generator = torch.Generator().manual_seed(1)
    r = torch.randn(n, generator=generator, dtype=torch.float64)
    return r, (torch.rand(n, generator=generator) < (scale * r + shift).sigmoid()).double()


def test_the_value_of_a_chain():
    scores = torch.tensor([2.0, 1.0, 0.5, -1.0], dtype=torch.float64)
    assert terms.rank_chain(scores).item() == pytest.approx(0.9887519, abs=1e-7)
    assert terms.rank_chain(torch.stack([scores, scores], dim=1), dim=0, reduction="none").shape == (2,)
    assert terms.rank_chain(scores.flip(0)) > terms.rank_chain(scores)
    assert torch.autograd.gradcheck(terms.rank_chain, scores.requires_grad_())
    with pytest.raises(ValueError, match=r"scores has the shape \(4, 1\): an order along dim=-1 needs two or more"):
        terms.rank_chain(torch.zeros(4, 1))


@pytest.mark.parametrize(
    ("label", "r", "moved", "p", "loss"),
    [
        (1.0, -0.4, 0.5, 0.6341356, 0.6641146),
        (0.0, 0.2, -0.5, 0.2788848, 0.7706898),
        (1.0, 1.2, 1.2, 0.8320184, 0.6047497),
    ],
)
def test_the_values_of_crossdistil(label, r, moved, p, loss):
    student, r = torch.tensor([0.3], dtype=torch.float64), torch.tensor([r], dtype=torch.float64)
    logit = terms.corrected(r, torch.tensor([label]), margin=0.5)
    target = terms.calibrated(logit, terms.Platt(1.5, -0.2)).sigmoid()
    assert logit.item() == moved
    assert target.item() == pytest.approx(p, abs=1e-7)
    assert binary_cross_entropy_with_logits(student, target).item() == pytest.approx(loss, abs=1e-7)


def test_no_gradient_reaches_the_ranker():
    r = torch.tensor([0.1, -0.2], requires_grad=True)
    label = torch.tensor([1, 0])
    assert not terms.calibrated(terms.corrected(r, label, 0.5), terms.Platt(1.0, 0.0)).requires_grad
    assert not terms.calibrated(r, terms.Platt(1.0, 0.0)).requires_grad


def test_a_calibration_recovers_the_one_that_drew_the_labels():
    platt = terms.fit_platt(*draw(200_000, 1.5, -0.2))
    assert tuple(platt) == pytest.approx((1.5, -0.2), abs=0.02)


def test_a_calibration_has_no_gradient_left_in_its_loss():
    r, label = draw(500, 0.7, 0.4)
    for scale, shift in ((1.0, 0.0), (1e-3, 0.0), (1e3, 5e4)):  # badly scaled logits too
        platt = terms.fit_platt(scale * r + shift, label)
        w = torch.tensor(platt, dtype=torch.float64, requires_grad=True)
        n1, n0 = label.sum(), (1 - label).sum()
        target = torch.where(label == 1, (n1 + 1) / (n1 + 2), 1 / (n0 + 2))
        binary_cross_entropy_with_logits(w[0] * (scale * r + shift) + w[1], target).backward()
        assert w.grad.abs().max() < 1e-5 * max(scale, shift, 1.0)


def test_a_perfect_ranking_has_a_finite_calibration():
    platt = terms.fit_platt(torch.tensor([-2.0, -1.0, 1.0, 2.0]), torch.tensor([0, 0, 1, 1]))
    assert 0 < platt.scale < 10
    assert platt.shift == pytest.approx(0, abs=1e-9)


def test_what_cannot_be_calibrated_is_refused():
    r, label = draw(50, 1.0, 0.0)
    with pytest.raises(ValueError, match="label has 0 of yes and 50 of no; a calibration needs both"):
        terms.fit_platt(r, torch.zeros(50))
    with pytest.raises(ValueError, match="the ranker is no better than chance"):
        terms.fit_platt(-r, label)
    with pytest.raises(ValueError, match="give finite logits that differ"):
        terms.fit_platt(torch.ones(50), label)
    with pytest.raises(ValueError, match="give finite logits that differ"):
        terms.fit_platt(torch.full((50,), torch.nan), label)
    with pytest.raises(ValueError, match=r"label has the shape \(49,\), logit \(50,\)"):
        terms.fit_platt(r, label[1:])
    with pytest.raises(ValueError, match="label has nan; give 1 for yes and 0 for no"):
        terms.fit_platt(r, torch.full((50,), torch.nan))
    with pytest.raises(ValueError, match=r"platt=\(-1.0, 0.0\): a scale of at most 0"):
        terms.calibrated(r, terms.Platt(-1.0, 0.0))
    with pytest.raises(ValueError, match="margin=-1: give a number of at least 0"):
        terms.corrected(r, label, -1)
    with pytest.raises(ValueError, match="label has 2; give 1 for yes"):
        terms.corrected(r, 2 * torch.ones(50), 0.5)
    with pytest.raises(ValueError, match=r"label has the shape \(49,\)"):
        terms.corrected(r, label[1:], 0.5)


def test_quadruplets_have_the_labels_of_the_order():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randint(2, (2, 200), generator=generator)
    quadruplets = terms.sample_quadruplets(first, second, 100, generator)
    assert quadruplets.shape == (100, 4)
    assert (first[quadruplets] == torch.tensor([1, 1, 0, 0])).all()
    assert (second[quadruplets] == torch.tensor([1, 0, 1, 0])).all()
    assert len(quadruplets[:, 0].unique()) > 20
    again = terms.sample_quadruplets(first, second, 100, torch.Generator().manual_seed(3))
    assert torch.equal(again, terms.sample_quadruplets(first, second, 100, torch.Generator().manual_seed(3)))


def test_quadruplets_need_a_sample_of_each_group():
    with pytest.raises(ValueError, match="of 3 samples none has the label of the second alone"):
        terms.sample_quadruplets(torch.tensor([1, 1, 0]), torch.tensor([1, 0, 0]), 2)
    with pytest.raises(ValueError, match="second has -1; give 1 for yes and 0 for no"):
        terms.sample_quadruplets(torch.tensor([1, 1, 0]), torch.tensor([1, 0, -1]), 2)
