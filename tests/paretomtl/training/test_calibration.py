"""Running statistics estimated anew: those of the data, at the preference that a network is written out at."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import paretomtl as pm
from paretomtl.training.calibration import BATCHES, calibrate, running_layers
from tests.networks import losses, moved, problem

X = torch.randn(60, 4, generator=torch.Generator().manual_seed(1)) * 3 + 1
Y = torch.zeros(60, 2)


class Normed(nn.Module):
    """A layer, dropout, and two normalisations with running statistics beside one without."""

    def __init__(self, p=0.0):
        super().__init__()
        self.layer, self.norm = nn.Linear(4, 6), nn.BatchNorm1d(6, momentum=0.3)
        self.drop = nn.Dropout(p)
        self.still = nn.BatchNorm1d(6, track_running_stats=False)
        self.last, self.out = nn.BatchNorm1d(6, momentum=None), nn.Linear(6, 2)

    def forward(self, x):
        return self.out(self.last(self.drop(self.still(self.norm(self.layer(x)).tanh()))))


def data(size=20):
    return [(X[i : i + size], Y[i : i + size]) for i in range(0, 60, size)]


@pytest.mark.fault(51)
@pytest.mark.parametrize("front_model", [pm.LowRank(), pm.FiLM(hidden=8), pm.Hypernetwork(hidden=8)], ids=repr)
def test_they_are_the_means_over_the_batches_at_that_preference(front_model):
    network = moved(front_model.attach(Normed(), 2))
    found = {}
    for r in (0.0, 0.7):
        model = network.at(np.array([r, 1 - r]))
        model.train()(X)  # what it has by now is forgotten
        before = [p.clone() for p in model.parameters()]
        calibrate(problem(Normed), model, data(), "cpu")
        z = [model.layer(x) for x, _ in data()]
        assert torch.allclose(model.norm.running_mean, torch.stack([b.mean(0) for b in z]).mean(0), atol=1e-5)
        assert torch.allclose(model.norm.running_var, torch.stack([b.var(0) for b in z]).mean(0), rtol=1e-4)
        assert model.norm.num_batches_tracked == 3
        assert model.last.running_mean.abs().max() < 1  # of normalised outputs
        assert all(torch.equal(p, was) and p.grad is None for p, was in zip(model.parameters(), before, strict=True))
        found[r] = model.norm.running_mean
    assert not torch.allclose(found[0.0], found[0.7], atol=1e-2)
    assert (network.plain.norm.num_batches_tracked, network.plain.norm.running_mean.any()) == (0, False)


def test_momentum_is_put_back_and_all_is_in_eval_mode():
    model = Normed().train()
    calibrate(problem(Normed), model, data(), "cpu")
    assert (model.norm.momentum, model.last.momentum) == (0.3, None)
    assert not any(module.training for module in model.modules())


@pytest.mark.fault(52)
def test_dropout_is_off_meanwhile():
    model, without = Normed(0.9), Normed()
    without.load_state_dict(model.state_dict())
    for each in (model, without):
        calibrate(problem(Normed), each, data(), "cpu")
    for key, value in without.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


@pytest.mark.usefixtures("unchecked")  # the shape checker draws from python's generator
def test_the_order_of_the_data_is_the_study_s_and_no_generator_is_touched():
    def found(seed):
        loader = DataLoader(TensorDataset(X, Y), 7, shuffle=True, generator=torch.Generator())
        torch.manual_seed(0)
        model = Normed()
        before = (torch.random.get_rng_state(), random.getstate(), np.random.get_state()[1].copy())  # noqa: NPY002
        calibrate(problem(Normed), model, loader, "cpu", seed)
        assert torch.equal(torch.random.get_rng_state(), before[0])
        assert random.getstate() == before[1]
        assert (np.random.get_state()[1] == before[2]).all()  # noqa: NPY002
        return model.norm.running_var

    assert torch.equal(found(1), found(1))
    assert not torch.equal(found(1), found(2))


def test_a_stream_without_an_end_is_left_after_some_batches():
    class Stream:
        def __iter__(self):
            self.given = 0
            while True:
                self.given += 1
                yield X[:10], Y[:10]

    stream, model = Stream(), Normed()
    calibrate(problem(Normed), model, stream, "cpu")
    assert model.norm.num_batches_tracked == BATCHES == stream.given


def test_without_statistics_or_data_nothing_is_done():
    def never(model, batch):
        raise AssertionError

    assert (
        running_layers(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False), nn.GroupNorm(1, 2)))
        == []
    )
    plain = nn.Linear(4, 2).train()
    calibrate(problem(Normed, never), plain, data(), "cpu")
    assert plain.training
    model = Normed()
    calibrate(problem(Normed, never), model, None, "cpu")
    assert model.norm.num_batches_tracked == 0


def test_losses_without_a_label_are_no_hindrance():
    model = Normed()
    calibrate(problem(Normed, lambda model, batch: losses(model, batch) | {"b": None}), model, data(), "cpu")
    assert model.norm.num_batches_tracked == 3
