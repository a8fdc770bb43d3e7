"""Head fine-tuning beside adaptation of all weights: alike in the linear kernel limit, and not elsewhere."""

import math
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

import paretomtl as pm

INPUTS, SAMPLES = 12, 6  # fewer samples than inputs, so that kernels matter


class Wide(nn.Module):
    """A hidden layer in the kernel parametrisation: standard normal weights, scaled in the forward pass."""

    def __init__(self, width: int, activation: nn.Module, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.trunk, self.activation = nn.Linear(INPUTS, width, bias=False).double(), activation
        self.head = nn.Linear(width, 1, bias=False).double()
        with torch.no_grad():
            for layer in (self.trunk, self.head):
                layer.weight.normal_(generator=generator)
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.activation(self.trunk(x / math.sqrt(INPUTS)))) / math.sqrt(self.width)


class Centred(nn.Module):
    """The same less what it predicts at its first weights, as the kernel limit has it."""

    def __init__(self, inner: Wide):
        super().__init__()
        self.trunk, self.activation, self.head, self.width = inner.trunk, inner.activation, inner.head, inner.width
        self.first = Wide(inner.width, inner.activation).requires_grad_(requires_grad=False)
        self.first.load_state_dict(inner.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        return Wide.forward(self, x) - self.first(x)  # type: ignore[arg-type]


def held_task() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, queries = (torch.randn(n, INPUTS, generator=generator, dtype=torch.float64) for n in (SAMPLES, 50))
    return x, torch.randn(SAMPLES, 1, generator=generator, dtype=torch.float64), queries


@cache
def gap(width: int, linear: bool) -> pm.diagnosis.AdaptationGap:
    x, y, queries = held_task()
    model = Centred(Wide(width, nn.Identity() if linear else nn.ReLU()))
    return pm.diagnosis.adaptation_gap(model, "head", mse_loss, (x, y), queries, steps=150, learning_rate=0.5)


def test_wide_linear_networks_predict_alike():
    """Both kernels tend to x . x', at the rate of one over the root of the width."""
    seen = [gap(width, linear=True) for width in (64, 1024, 16384)]
    print([round(one.value, 4) for one in seen])
    assert all(max(one.head_loss, one.whole_loss) < 1e-3 for one in seen)
    assert seen[0].value > 2 * seen[1].value > 4 * seen[2].value
    assert seen[2].value < 0.02


def test_wide_networks_with_relus_do_not():
    """The kernel of all weights has a part that the kernel of the head has not."""
    seen = [gap(width, linear=False) for width in (1024, 16384)]
    print([round(one.value, 4) for one in seen])
    assert all(max(one.head_loss, one.whole_loss) < 1e-3 for one in seen)
    assert seen[1].value > 0.2 > 10 * gap(16384, linear=True).value


def test_a_linear_head_that_is_all_of_the_model_is_all_of_the_adaptation():
    x, y, queries = held_task()
    model = nn.Sequential(nn.Flatten(), nn.Linear(INPUTS, 1).double())
    seen = pm.diagnosis.adaptation_gap(model, "1", mse_loss, (x, y), queries, steps=5, learning_rate=0.1)
    assert seen.value == 0
    assert seen.head_loss == seen.whole_loss


def test_the_model_stays_as_it_is_and_is_without_dropout():
    x, y, queries = held_task()
    model = nn.Sequential(nn.Linear(INPUTS, 8), nn.Dropout(0.5), nn.Linear(8, 1)).double().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen = {
        pm.diagnosis.adaptation_gap(model, "2", mse_loss, (x, y), queries, steps=3, learning_rate=0.1) for _ in range(2)
    }
    assert len(seen) == 1
    assert model[1].training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert next(iter(seen)).value > 0


def test_bad_arguments_of_an_adaptation_are_named():
    x, y, queries = held_task()
    model = nn.Sequential(nn.Linear(INPUTS, 8), nn.Linear(8, 1)).double()

    def adapt(head: str = "1", steps: int = 3, learning_rate: float = 0.1):
        return pm.diagnosis.adaptation_gap(
            model, head, mse_loss, (x, y), queries, steps=steps, learning_rate=learning_rate
        )

    with pytest.raises(ValueError, match="head='head' names no module with trained parameters; the model has 0, 1"):
        adapt("head")
    with pytest.raises(ValueError, match="steps=0: give a whole number of at least 1"):
        adapt(steps=0)
    with pytest.raises(ValueError, match="learning_rate=-1: give a positive number"):
        adapt(learning_rate=-1)
    with pytest.raises(ArithmeticError, match="the adaptation has diverged; give a smaller learning_rate than 1e"):
        adapt(steps=50, learning_rate=1e9)
