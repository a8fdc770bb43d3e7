"""Whether gradients and weights are finite, and which is not."""

import pytest
import torch
from torch import nn

from paretomtl.autograd.finite import check_gradients, check_weights, has_finite_gradients
from paretomtl.autograd.gradients import clear_rounding
from paretomtl.errors import NegativeLossError, NonFiniteError
from paretomtl_solvers import EPO, Linear


def parameters(**gradients) -> dict[str, nn.Parameter]:
    named = {}
    for name, gradient in gradients.items():
        named[name] = nn.Parameter(torch.zeros(()) if gradient is None else torch.zeros_like(gradient))
        named[name].grad = gradient
    return named


@pytest.mark.fault(95)
@pytest.mark.parametrize(("number", "word"), [(torch.nan, "nan"), (torch.inf, "inf"), (-torch.inf, "inf")])
@pytest.mark.parametrize("place", ["first", "second"])
def test_the_parameter_is_named(number, word, place):
    gradients = {"first": torch.ones(3), "second": torch.ones(2, 2), "none": None}
    gradients[place].view(-1)[-1] = number
    with pytest.raises(NonFiniteError, match=f"{word} in the gradient of '{place}'") as caught:
        check_gradients(parameters(**gradients))
    assert caught.value.point is None


@pytest.mark.fault(95)
def test_of_several_points_the_first_is_to_blame():
    one, other = torch.ones(3, 4), torch.ones(3)
    one[2, 1], other[1] = torch.inf, torch.nan
    with pytest.raises(NonFiniteError, match="nan in the gradient of 'other'") as caught:
        check_gradients(parameters(one=one, other=other), stacked=True)
    assert caught.value.point == 1


def test_finite_numbers_pass_whatever_their_size_and_kind():
    large = torch.full((4,), 3e38)
    sparse = torch.sparse_coo_tensor([[1]], torch.ones(1, 2), (3, 2), check_invariants=True)
    named = parameters(large=large, half=torch.full((9,), 6e4, dtype=torch.float16), empty=torch.zeros(0), none=None)
    named["sparse"] = nn.Parameter(torch.zeros(3, 2))
    named["sparse"].grad = sparse
    check_gradients(named)
    assert has_finite_gradients(list(named.values()))
    check_gradients({})
    named["sparse"].grad = sparse * torch.nan
    with pytest.raises(NonFiniteError, match="nan in the gradient of 'sparse'"):
        check_gradients(named)


@pytest.mark.fault(95)
def test_the_weights_of_what_is_trained():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    check_weights(model)
    mask = nn.Parameter(torch.full((2,), -torch.inf), requires_grad=False)  # as attention has them
    model.register_parameter("mask", mask)
    check_weights(model)
    with torch.no_grad():
        model[1].bias[0] = torch.inf
    with pytest.raises(NonFiniteError, match=r"inf in the weights '1\.bias'"):
        check_weights(model)


@pytest.mark.fault(97)
def test_rounding_below_zero_is_zero_by_the_points_own_scale():
    values = torch.tensor([[1.0, -9e-7], [1e6, -0.9], [0.5, 2.0]], dtype=torch.float64)
    cleared = clear_rounding(EPO(), values, ["a", "b"])
    assert cleared.tolist() == [[1.0, 0.0], [1e6, 0.0], [0.5, 2.0]]
    assert values[0, 1] < 0
    assert clear_rounding(Linear(), values, ["a", "b"]) is values
    values[2, 0] = -3e-6
    with pytest.raises(NegativeLossError, match="loss 'a' is -3e-06, and EPO needs losses of at least 0") as caught:
        clear_rounding(EPO(), values, ["a", "b"])
    assert caught.value.point == 2
