"""FiLM and Inputs: what they do to outputs, sample by sample, is what their weights do."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

import paretomtl as pm
from tests.networks import NETWORKS, ResNet, built, inputs, mlp, moved, output, preferences

FILM, INPUTS = pm.FiLM(hidden=8), pm.Inputs()
of_both = pytest.mark.parametrize("kind", [FILM, INPUTS], ids=["FiLM", "Inputs"])


def each_called(network, x, r):
    """The outputs of samples, each at the weights of its preference."""
    rows = network.generate(r)
    return torch.cat(
        [
            output(
                lambda x, k=k: functional_call(network.plain, {n: w[k] for n, w in rows.items()}, (x,)), x[k : k + 1]
            )
            for k in range(len(x))
        ]
    )


def each_acted_on(network, x, r):
    def one(changes, sample):
        with network.applying(changes):
            return output(network.plain, sample[None])[0]

    changes = network.changes(r)
    dims = [type(change)(*(None if part is None else 0 for part in change)) for change in changes]
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return torch.vmap(one, in_dims=(dims, 0))(changes, x)


@pytest.mark.parametrize("name", NETWORKS)
@of_both
def test_changed_outputs_are_the_outputs_at_generated_weights_sample_by_sample(kind, name):
    network, x, r = moved(kind.attach(built(name), 3)), inputs(name, 4), preferences(3, 4)
    assert torch.allclose(each_acted_on(network, x, r), each_called(network, x, r), rtol=1e-9, atol=1e-9)
    assert not any(module._forward_hooks for module in network.plain.modules())


@of_both
def test_a_network_may_be_a_single_layer(kind):
    network, x, r = moved(kind.attach(nn.Linear(4, 2).double(), 3)), torch.randn(5, 4).double(), preferences(3, 5)
    torch.testing.assert_close(each_acted_on(network, x, r), each_called(network, x, r))


class Sequences(nn.Module):
    """Convolutions over one and over three axes, normalisations of all sorts, a linear layer within a sequence."""

    def __init__(self):
        super().__init__()
        self.line, self.norm_1 = nn.Conv1d(2, 4, 2), nn.InstanceNorm1d(4, affine=True)
        self.cube, self.norm_3 = nn.Conv3d(4, 4, (1, 1, 2)), nn.BatchNorm3d(4)
        self.place, self.norm = nn.Linear(4, 4), nn.LayerNorm((3, 4))
        self.flat = nn.BatchNorm1d(4)

    def forward(self, x):
        z = self.norm_1(self.line(x)).tanh()
        z = self.norm_3(self.cube(z[:, :, None, None])).tanh()[:, :, 0, 0]
        return self.flat(self.norm(self.place(z.mT)).sum(dim=1))


def test_every_sort_of_layer_is_changed_by_its_channels():
    plain = Sequences().double().eval()
    for norm in (plain.norm_3, plain.flat):
        norm.running_mean.normal_()
    network, x, r = moved(FILM.attach(plain, 2)), torch.randn(4, 2, 5).double(), preferences(2, 4)
    assert network.layers == ("line", "norm_1", "cube", "norm_3", "place", "norm", "flat")
    assert network.channels == [4, 4, 4, 4, 4, 12, 4]
    assert torch.allclose(each_acted_on(network, x, r), each_called(network, x, r), rtol=1e-9, atol=1e-9)


def test_hooks_are_gone_after_an_error():
    network = FILM.attach(mlp(), 2)
    changes = [type(change)(*(part[0] for part in change)) for change in network.changes(preferences(2).float())]

    def fails():
        with network.applying(changes):
            assert any(module._forward_hooks for module in network.plain.modules())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert not any(module._forward_hooks for module in network.plain.modules())


def test_film_scales_by_one_and_a_part_and_shifts_by_another():
    plain = nn.Sequential(nn.Linear(3, 2)).double()
    network = moved(FILM.attach(plain, 2))
    r, x = preferences(2), torch.randn(5, 3).double()
    given = network.modulator(r)
    for k in range(3):
        expected = (1 + given[k, :2]) * plain(x) + given[k, 2:]
        assert torch.allclose(network.at(r[k].numpy())(x), expected, rtol=1e-12)


# --- Inputs: against layers that are really fed ---


@pytest.mark.parametrize("m", [2, 3])
def test_inputs_is_a_linear_layer_that_is_fed_the_preference_too(m):
    plain = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).double()
    network = moved(INPUTS.attach(plain, m))
    wider = nn.Linear(4 + m, 6).double()
    with torch.no_grad():
        wider.weight.copy_(torch.cat([plain[0].weight, network.further.weight], dim=1))
        wider.bias.copy_(plain[0].bias)
    x = torch.randn(5, 4).double()
    for r in preferences(m):
        fed = plain[2](plain[1](wider(torch.cat([x, r.expand(5, m)], dim=1))))
        assert torch.allclose(network.at(r.numpy())(x), fed, rtol=1e-12)


def test_inputs_is_a_convolution_that_is_fed_constant_channels_too():
    plain = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten()).double()
    network = moved(INPUTS.attach(plain, 2))
    wider = nn.Conv2d(4, 3, 3).double()
    with torch.no_grad():
        # any weights over the place whose sum is that of Inputs
        spread = torch.randn(3, 2, 3, 3).double()
        spread += (network.further.weight - spread.sum(dim=(2, 3)))[..., None, None] / 9
        wider.weight.copy_(torch.cat([plain[0].weight, spread], dim=1))
        wider.bias.copy_(plain[0].bias)
    x = torch.randn(5, 2, 6, 7).double()
    for r in preferences(2):
        channels = r[None, :, None, None].expand(5, 2, 6, 7)
        assert torch.allclose(network.at(r.numpy())(x), wider(torch.cat([x, channels], dim=1)).flatten(1), rtol=1e-10)


def test_inputs_feeds_the_first_layer_that_it_can_and_others_when_asked():
    assert INPUTS.attach(built("LeNet"), 2).layers == ("trunk.0",)
    assert INPUTS.attach(built("ResNet"), 2).layers == ("head",)  # its convolutions have no bias
    assert pm.Inputs(layers=["left", "right"]).attach(built("LeNet"), 2).layers == ("left", "right")
    network = moved(pm.Inputs(layers=("0", "4")).attach(built("MLP"), 2))
    generated = network.generate(preferences(2))
    assert set(generated) == {"0.bias", "4.bias"}
    x, r = inputs("MLP", 3), preferences(2)
    assert torch.allclose(each_acted_on(network, x, r), each_called(network, x, r), rtol=1e-12)


# --- the choice of layers ---


def test_film_takes_all_layers_with_a_weight_and_a_bias_of_their_own():
    assert FILM.attach(built("LeNet"), 2).layers == ("trunk.0", "trunk.3", "trunk.7", "left", "right")
    assert FILM.attach(built("ResNet"), 2).layers == ("norm", "block.norm_1", "block.norm_2", "head")
    assert FILM.attach(built("tied"), 2).layers == ("hidden",)
    # the projection within attention is no call of its layer
    assert FILM.attach(built("transformer"), 2).layers == (
        "embed", "layers.layers.0.linear1", "layers.layers.0.linear2", "layers.layers.0.norm1",
        "layers.layers.0.norm2", "out",
    )  # fmt: skip
    assert pm.FiLM(layers=["block.norm_2", "head"]).attach(built("ResNet"), 2).layers == ("block.norm_2", "head")


REMEDY = "name other layers, or use Hypernetwork or LowRank"


@pytest.mark.parametrize("kind", [pm.FiLM, pm.Inputs])
@pytest.mark.parametrize(
    ("name", "layer", "said"),
    [
        ("ResNet", "heads", "there is no module 'heads' in the network; it has stem, norm, block,"),
        ("ResNet", "stem", f"module 'stem' has no weight or no bias; {REMEDY}"),
        ("ResNet", "block", f"module 'block' is a Block, not a linear, convolution or normalisation layer; {REMEDY}"),
        ("tied", "decode", f"module 'decode' shares its weights with another; {REMEDY}"),
        ("tied", "embed", "module 'embed' is a Embedding, not a linear"),
        ("transformer", "layers.layers.0.self_attn.out_proj", "module 'layers.layers.0.self_attn.out_proj' is a Non"),
    ],
)
def test_layers_that_cannot_be_changed_are_refused(kind, name, layer, said):
    with pytest.raises(ValueError) as caught:
        kind(layers=(layer,)).attach(built(name), 2)
    assert str(caught.value).startswith(f"{kind.__name__}: {said}")


def test_a_normalisation_has_no_inputs_to_add_to():
    with pytest.raises(ValueError, match=r"^Inputs: module 'norm' is a GroupNorm, which has no inputs to add to"):
        pm.Inputs(layers=("norm",)).attach(ResNet(), 2)


@of_both
def test_a_network_without_any_fitting_layer_is_refused(kind):
    with pytest.raises(ValueError, match="has no linear, convolution or normalisation layer with a bias; use Hyper"):
        kind.attach(nn.Linear(4, 2, bias=False), 2)


def test_inputs_refuses_a_network_that_has_normalisations_alone():
    with pytest.raises(ValueError, match=r"^Inputs: no linear or convolution layer with a bias; name layers, or use"):
        INPUTS.attach(nn.Sequential(nn.Linear(4, 2, bias=False), nn.LayerNorm(2)), 2)


def test_a_layer_without_trained_weights_is_still_changed():
    plain = mlp().double()
    plain.requires_grad_(False)
    network = moved(FILM.attach(plain, 2))
    model = network.at(np.array([0.3, 0.7]))
    x = inputs("MLP")
    assert not torch.allclose(model(x), plain(x))
