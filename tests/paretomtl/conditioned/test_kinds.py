"""Front models as JSON and back; options that make no sense are refused before any memory is asked for."""

import json
import re
import sys
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
import torch

import paretomtl as pm
from paretomtl.conditioned.kinds import FRONT_MODELS, find_front_model, from_options, name_of, to_options
from tests.toys import named

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


@pytest.mark.parametrize("front_model", [*OTHER, *(kind() for kind in FRONT_MODELS.values())], ids=repr)
def test_there_and_back(front_model):
    stored = json.loads(json.dumps(to_options(front_model)))
    assert stored["kind"] == type(front_model).__name__
    found = from_options(stored)
    assert found == front_model
    assert type(found) is type(front_model)
    assert hash(found) == hash(front_model)


def test_each_kind_is_told_apart_by_what_it_holds():
    assert {type(front_model) for front_model in OTHER} == set(FRONT_MODELS.values())
    assert len({json.dumps(to_options(front_model)) for front_model in OTHER}) == len(OTHER)


def test_a_list_of_names_is_kept_as_a_tuple():
    assert pm.FiLM(layers=["a", "b"]) == pm.FiLM(layers=("a", "b"))
    assert pm.Inputs(layers=["a"]).layers == ("a",)
    assert pm.Hypernetwork(modules=["a"]).modules == pm.LowRank(modules=["a"]).modules == ("a",)


@dataclass(frozen=True)
class Own(pm.FiLM):
    """A kind that the library does not know, with options of every sort that can be stored."""

    text: str = "a"
    several: tuple[str | float | None, ...] = (1.5, "b", None)
    on: bool = True

    @dataclass(frozen=True)
    class Within(pm.LowRank):
        """One within a class."""


@pytest.mark.parametrize(
    ("front_model", "name"), [(Own(text="c", several=()), "Own"), (Own.Within(rank=2), "Own.Within")], ids=str
)
def test_a_kind_of_one_s_own_has_a_qualified_name(front_model, name):
    stored = json.loads(json.dumps(to_options(front_model)))
    assert stored["kind"] == f"{__name__}:{name}"
    result = from_options(stored)
    assert result == front_model
    assert type(result) is type(front_model) is find_front_model(stored["kind"])


def test_our_own_kinds_have_their_bare_names():
    assert {name: name_of(kind) for name, kind in FRONT_MODELS.items()} == {name: name for name in FRONT_MODELS}
    assert [find_front_model(name) for name in FRONT_MODELS] == list(FRONT_MODELS.values())


def test_of_two_classes_with_one_name_the_last_is_meant():
    """As in a notebook, where a cell is run again."""

    def define():
        space = {"__name__": "a_notebook", "dataclass": dataclass, "pm": pm}
        exec("@dataclass(frozen=True)\nclass Mine(pm.LowRank):\n    more: int = 1", space)
        return space["Mine"]

    first, last = define(), define()
    assert find_front_model("a_notebook:Mine") is last is not first
    assert type(from_options(to_options(first()))) is last


@pytest.mark.parametrize(("file", "spec", "module"), [
    ("/some/where/train.py", None, "train"),
    ("/some/where/__main__.py", "mypackage.train", "mypackage.train"),
    (None, None, "__main__"),
])  # fmt: skip
def test_a_class_of_the_script_that_runs_has_the_name_by_which_it_is_imported(file, spec, module, monkeypatch):
    main = ModuleType("__main__")
    main.__file__, main.__spec__ = file, None if spec is None else ModuleSpec(spec, None)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(Own, "__module__", "__main__")
    assert to_options(Own())["kind"] == f"{module}:Own"
    assert type(from_options(to_options(Own()))) is Own


class Bare(pm.FiLM):
    """Not a dataclass, so an option of its own would be lost."""


@dataclass(frozen=True)
class Option(pm.LowRank):
    """An option of any type."""

    option: object = None


@dataclass(frozen=True)
class Derived(pm.LowRank):
    """A field that is no argument."""

    derived: int = field(default=1, init=False)


@dataclass(frozen=True)
class Turned(pm.LowRank):
    """An option that does not stay as it was given."""

    sign: int = 1

    def __post_init__(self):
        object.__setattr__(self, "sign", -self.sign)


@dataclass(frozen=True)
class Kind(pm.LowRank):
    """An option with a name that is needed otherwise."""

    kind: str = "a"


@dataclass(frozen=True)
class More(pm.Sampling):
    """A sampling of one's own."""


UNSTORABLE = [[1], {"a": 1}, (1, (2,)), float("nan"), (float("inf"),), 1j, torch.zeros(1), pm.Sampling(), len]
REMEDY = "cannot be stored; give a text, a finite number, a bool, None, or a tuple of these"


def local() -> pm.FrontModel:
    @dataclass(frozen=True)
    class Local(pm.LowRank):
        pass

    return Local()


@pytest.mark.parametrize(
    ("front_model", "said"),
    [
        (Bare(), r"Bare is no dataclass; write @dataclass\(frozen=True\)"),
        (local(), "its class is defined within a function"),
        (Derived(), "cannot be made again from its options .*derived"),
        (Turned(), "is not equal to Turned"),
        (Kind(), "the option 'kind' has the name"),
        (pm.LowRank(sampling=More()), "is not equal to LowRank"),
        *((Option(option=value), f"the option option=.* {REMEDY}") for value in UNSTORABLE),
    ],
    ids=named,
)
def test_what_could_not_be_made_again_cannot_be_stored(front_model, said):
    with pytest.raises(TypeError, match=f"^front_model={re.escape(repr(front_model))}.*{said}"):
        to_options(front_model)


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
        ({"kind": "antigravity:Mine", "sampling": SAMPLING}, "'antigravity:Mine' is a class that is not imported here"),
        ({"kind": "json:JSONDecoder", "sampling": SAMPLING}, "'json:JSONDecoder' is a class that is not imported here"),
        ({"kind": f"{__name__}:FrontModel", "sampling": SAMPLING}, "is a class that is not imported here"),
        ({"kind": "paretomtl.conditioned.front_model:FrontModel", "sampling": SAMPLING}, "is not imported here"),
        (
            {"kind": f"{__name__}:Own", "sampling": SAMPLING, "other": 1},
            r":Own does not take its stored options: it has no options \['other'\]",
        ),
        (
            {"kind": f"{__name__}:Own", "sampling": SAMPLING, "hidden": 0},
            ":Own does not take its stored options: hidden=0",
        ),
        (
            {"kind": "FiLM", "sampling": SAMPLING, "form": "full"},
            r"front_model FiLM is damaged: it has no options \['form'\]",
        ),
        ({"kind": "FiLM"}, "lacks its sampling"),
        ({"kind": "FiLM", "sampling": None}, "lacks its sampling"),
        ({"kind": "FiLM", "sampling": [1]}, "lacks its sampling"),
        ({"kind": "FiLM", "sampling": SAMPLING | {"every": 1}}, "front_model FiLM is damaged: .*every"),
        ({"kind": "FiLM", "sampling": SAMPLING | {"n": 0}}, "n=0"),
        ({"kind": "FiLM", "sampling": SAMPLING | {"each": {}}}, "each={}"),
        ({"kind": "FiLM", "sampling": SAMPLING | {"ends": "1"}}, "ends='1'"),
        ({"kind": "FiLM", "sampling": SAMPLING | {"concentration": [1]}}, r"concentration=\[1\]"),
    ],
)
def test_what_is_of_no_front_model_is_refused(stored, said):
    with pytest.raises(ValueError, match=said):
        from_options(stored)
