"""Front models as JSON and back; options that make no sense are refused before any memory is asked for."""

import json

import pytest

import paretomtl as pm
from paretomtl.conditioned.kinds import KINDS, from_options, to_options

pytestmark = pytest.mark.usefixtures("unchecked")
SAMPLING = {"each": "batch", "n": 3, "concentration": 0.5, "ends": 0.25}
OTHER = [
    pm.FiLM(layers=("a", "b.c"), hidden=7, sampling=pm.Sampling("part", n=3)),
    pm.FiLM(sampling=pm.Sampling(**SAMPLING)),
    pm.Inputs(layers=("a",), sampling=pm.Sampling("batch", ends=1.0)),
    pm.Hypernetwork(modules=("a",), form="chunks", hidden=7, chunk=11, rank=3, sampling=pm.Sampling(**SAMPLING)),
    pm.LowRank(modules=("a", "b"), rank=2, sampling=pm.Sampling("batch", n=9)),
    pm.LowRank(rank=None),
]


@pytest.mark.parametrize("front_model", [*OTHER, *(kind() for kind in KINDS.values())], ids=repr)
def test_there_and_back(front_model):
    stored = json.loads(json.dumps(to_options(front_model)))
    assert stored["kind"] == type(front_model).__name__
    found = from_options(stored)
    assert found == front_model
    assert type(found) is type(front_model)
    assert hash(found) == hash(front_model)


def test_each_kind_is_told_apart_by_what_it_holds():
    assert {type(front_model) for front_model in OTHER} == set(KINDS.values())
    assert len({json.dumps(to_options(front_model)) for front_model in OTHER}) == len(OTHER)


def test_a_list_of_names_is_kept_as_a_tuple():
    assert pm.FiLM(layers=["a", "b"]) == pm.FiLM(layers=("a", "b"))
    assert pm.Inputs(layers=["a"]).layers == ("a",)
    assert pm.Hypernetwork(modules=["a"]).modules == pm.LowRank(modules=["a"]).modules == ("a",)


class Own(pm.FiLM):
    """A kind that the library does not know."""


def test_a_kind_of_one_s_own_cannot_be_stored():
    with pytest.raises(TypeError, match="is not one of FiLM, Hypernetwork, Inputs, LowRank, and could not be loaded"):
        to_options(Own())


WRONG = [
    (pm.FiLM, {"hidden": 10**9}, "hidden=1000000000: give a whole number from 1 to 65,536"),
    (pm.FiLM, {"hidden": True}, "hidden=True"),
    (pm.FiLM, {"hidden": 0}, "hidden=0"),
    (pm.FiLM, {"hidden": 2.0}, "hidden=2.0"),
    (pm.FiLM, {"hidden": None}, "hidden=None"),
    (pm.FiLM, {"layers": "abc"}, r"layers='abc' is a text; give a tuple of names, \('abc',\)"),
    (pm.FiLM, {"layers": ""}, "layers='' is a text"),
    (pm.FiLM, {"layers": (1,)}, r"layers=\(1,\): give a tuple of names"),
    (pm.FiLM, {"layers": None}, "layers=None"),
    (pm.FiLM, {"layers": {"a": 1}}, "layers={'a': 1}"),
    (pm.FiLM, {"sampling": "sample"}, r"sampling='sample': give a pm.Sampling\("),
    (pm.Inputs, {"layers": "abc"}, "layers='abc' is a text"),
    (pm.Inputs, {"sampling": None}, "sampling=None"),
    (pm.Hypernetwork, {"modules": "abc"}, "modules='abc' is a text"),
    (pm.Hypernetwork, {"form": "fuller"}, "form='fuller' is not one of 'full', 'chunks', 'low-rank'"),
    (pm.Hypernetwork, {"form": ["full"]}, r"form=\['full'\]"),
    (pm.Hypernetwork, {"hidden": 65_537}, "hidden=65537"),
    (pm.Hypernetwork, {"chunk": 10**9}, "chunk=1000000000"),
    (pm.Hypernetwork, {"rank": 10**9}, "rank=1000000000"),
    (pm.Hypernetwork, {"rank": -1}, "rank=-1"),
    (pm.Hypernetwork, {"sampling": 3}, "sampling=3"),
    (pm.LowRank, {"rank": 10**9}, "rank=1000000000: give a whole number from 1 to 65,536, or None for full rank"),
    (pm.LowRank, {"rank": "4"}, "rank='4'"),
    (pm.LowRank, {"rank": False}, "rank=False"),
    (pm.LowRank, {"modules": "abc"}, "modules='abc' is a text"),
    (pm.LowRank, {"sampling": {}}, "sampling={}"),
]


@pytest.mark.parametrize(("kind", "given", "said"), WRONG)
def test_options_that_make_no_sense_are_refused(kind, given, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        kind(**given)


@pytest.mark.parametrize(("kind", "given", "said"), [wrong for wrong in WRONG if "sampling" not in wrong[1]])
def test_they_are_refused_where_they_were_stored_too(kind, given, said):
    with pytest.raises(ValueError):
        from_options(to_options(kind()) | given)


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ({}, "front_model 'None' is not one of FiLM, Hypernetwork, Inputs, LowRank"),
        ({"kind": "Film", "sampling": SAMPLING}, "front_model 'Film' is not one of"),
        ({"kind": ["FiLM"], "sampling": SAMPLING}, "is not one of"),
        ({"kind": {"FiLM": 1}, "sampling": SAMPLING}, "is not one of"),
        ({"kind": "x" * 1000}, f"front_model '{'x' * 40}' is not one of"),
        ({"kind": "FiLM", "sampling": SAMPLING, "form": "full"}, r"front_model FiLM has no options \['form'\]"),
        ({"kind": "FiLM"}, "lacks its sampling"),
        ({"kind": "FiLM", "sampling": None}, "lacks its sampling"),
        ({"kind": "FiLM", "sampling": [1]}, "lacks its sampling"),
        ({"kind": "FiLM", "sampling": SAMPLING | {"every": 1}}, "front_model FiLM: .*every"),
        ({"kind": "FiLM", "sampling": SAMPLING | {"n": 0}}, "n=0"),
        ({"kind": "FiLM", "sampling": SAMPLING | {"each": {}}}, "each={}"),
        ({"kind": "FiLM", "sampling": SAMPLING | {"ends": "1"}}, "ends='1'"),
        ({"kind": "FiLM", "sampling": SAMPLING | {"concentration": [1]}}, r"concentration=\[1\]"),
    ],
)
def test_what_is_of_no_front_model_is_refused(stored, said):
    with pytest.raises(ValueError, match=said):
        from_options(stored)
