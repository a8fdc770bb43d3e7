"""Labels that are missing: masked, filled in, implied."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

import paretomtl as pm

terms = pm.distillation
TABLE = torch.tensor([[0.5, 0.5], [0.0, 1.0], [0.25, 0.75]])


def test_a_masked_mean_is_that_of_what_has_a_label_and_says_how_many():
    values, present = torch.tensor([1.0, 2.0, 30.0]), torch.tensor([True, True, False])
    values.requires_grad_()
    mean, count = terms.labelled_mean(values, present)
    mean.backward()
    assert (mean.item(), count) == (1.5, 2.0)
    assert values.grad.tolist() == [0.5, 0.5, 0.0]


def test_a_batch_without_a_label_has_no_loss():
    assert terms.labelled_mean(torch.ones(3), torch.zeros(3, dtype=torch.bool)) is None


def test_all_labels_give_the_plain_mean():
    values = torch.randn(7, generator=torch.Generator().manual_seed(0))
    mean, count = terms.labelled_mean(values, torch.ones(7, dtype=torch.bool))
    torch.testing.assert_close(mean, values.mean())
    assert count == 7.0


def test_a_mask_is_neither_numbers_nor_of_another_shape():
    with pytest.raises(ValueError, match=r"present has the dtype torch.float32; give True and False"):
        terms.labelled_mean(torch.ones(3), torch.ones(3))
    with pytest.raises(ValueError, match=r"present has the shape \(2,\), values \(3,\)"):
        terms.labelled_mean(torch.ones(3), torch.ones(2, dtype=torch.bool))


def test_a_problem_takes_a_masked_mean_as_it_is_and_skips_a_batch_without():
    def losses(model, batch):
        x, y, present = batch
        error = (model(x)[:, 0] - y).square()
        return {"first": terms.labelled_mean(error, present), "second": error.mean()}

    x, y = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(6)
    some, none = torch.tensor([True, False] * 3), torch.zeros(6, dtype=torch.bool)
    problem = pm.Problem(
        ["first", "second"], lambda: torch.nn.Linear(2, 1), losses, [9.0, 9.0], [(x, y, some)], [(x, y, some)]
    )
    assert problem.counted_losses(problem.model(), (x, y, some)).counts == [3.0, 6.0]
    assert problem.loss_list(problem.model(), (x, y, none))[0] is None


def test_complete_labels_give_the_full_loss_and_missing_ones_the_teachers():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 5, 3, generator=generator)
    label, present = torch.tensor([0, 1, 2, 0, -1]), torch.tensor([True] * 4 + [False])
    target = terms.fill_labels(label, present, teacher)
    torch.testing.assert_close(cross_entropy(student[:4], target[:4]), cross_entropy(student[:4], label[:4]))
    torch.testing.assert_close(target[4], teacher[4].softmax(-1))
    whole = terms.fill_labels(label.clamp(min=0), torch.ones(5, dtype=torch.bool), teacher)
    torch.testing.assert_close(cross_entropy(student, whole), cross_entropy(student, label.clamp(min=0)))


def test_labels_of_yes_and_no_are_filled_by_probabilities():
    logit, label = torch.tensor([0.0, 2.0]), torch.tensor([1.0, torch.nan])
    target = terms.fill_labels(label, torch.tensor([True, False]), logit)
    torch.testing.assert_close(target, torch.tensor([1.0, logit[1].sigmoid()]))
    assert binary_cross_entropy_with_logits(logit, target).isfinite()


def test_labels_that_do_not_fit_the_teacher_are_refused():
    present = torch.ones(2, dtype=torch.bool)
    with pytest.raises(ValueError, match="label has the class 3, the teacher 3 classes from 0 on"):
        terms.fill_labels(torch.tensor([0, 3]), present, torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"teacher_logit has the shape \(3, 3\); give \(2, 'classes'\)"):
        terms.fill_labels(torch.tensor([0, 2]), present, torch.zeros(3, 3))
    with pytest.raises(ValueError, match=r"present is torch.bool of shape \(2,\); give True and False of shape \(3,\)"):
        terms.fill_labels(torch.tensor([0, 2, 1]), present, torch.zeros(3, 3))


def test_a_label_implies_its_row_and_a_mixture_the_mixture_of_rows():
    torch.testing.assert_close(terms.imply(torch.eye(3), TABLE), TABLE)
    torch.testing.assert_close(terms.imply(torch.tensor([0.5, 0.5, 0.0]), TABLE), torch.tensor([0.25, 0.75]))


def test_a_table_whose_rows_are_no_distributions_is_refused():
    with pytest.raises(ValueError, match=r"give P\(b \| a\), whose rows sum to 1"):
        terms.imply(torch.eye(3), 2 * TABLE)
    with pytest.raises(ValueError, match=r"give P\(b \| a\), whose rows sum to 1"):
        terms.imply(torch.eye(3), TABLE - torch.tensor([1.0, -1.0]))
    with pytest.raises(ValueError, match="probability has 2 classes, table 3 rows"):
        terms.imply(torch.eye(2), TABLE)


def test_a_class_that_nothing_implies_has_a_finite_divergence():
    sure = torch.tensor([[-1e4, 1e4, -1e4]])
    student = torch.zeros(1, 2, requires_grad=True)
    value = terms.distribution_matching(sure, student, TABLE)
    value.backward()
    assert value.item() == pytest.approx(torch.log(torch.tensor(2.0)).item())
    torch.testing.assert_close(student.grad, torch.tensor([[0.5, -0.5]]))
