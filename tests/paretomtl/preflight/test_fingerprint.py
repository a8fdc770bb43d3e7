import functools
import importlib
import itertools
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from paretomtl.preflight import fingerprint

ROOT = Path(__file__).parents[3]
COUNT = itertools.count()

BASE = '''
import functools
import helper_NNN as helper
from functools import partial
import torch
from torch.nn.functional import mse_loss as distance

SCALE = 2.0
SECRET = "sk-very-secret"
CACHE = [torch.zeros(3)]
calls = 0

class Base(torch.nn.Module):
    width = 4

    def forward(self, x):
        return self.inner(x) * 3

    @staticmethod
    def inner(x):
        return x

    @property
    def wide(self):
        return self.width > 3

class Net(Base):
    def __init__(self):
        """What it is."""
        super().__init__()

def unused():
    return 17

def one(x):
    return two(x) if x else 0

def two(x):
    return one(x - 1)

def with_closure(k):
    def losses(y):
        return y * k
    return losses

closed = with_closure(5)

def decorated(f):
    @functools.wraps(f)
    def wrapper(*args):
        return f(*args) + 1
    return wrapper

@decorated
def wrapped(x):
    return x - 1

@torch.no_grad()
def without_gradient(x):
    return x - 9

def losses(model, batch, weight=0.5, *, shift=1):
    """The losses."""
    global calls
    calls += 1
    CACHE.append(batch)
    SECRET.upper()
    # a comment
    near = [v * SCALE for v in batch if v in {"a", "b", "c"}]
    return (near, one(3), closed(2), wrapped(1), helper.used(1), distance(batch, batch), without_gradient(1))

def imports(x):
    from helper_NNN import used
    return used(x)

TABLE = {"a": losses, "b": two}
build = partial(Net)
optimizer = partial(torch.optim.Adam, lr=0.25)

def model():
    return Net()

class Callable:
    def __init__(self, k):
        self.k, self.loss = k, two
    def __call__(self):
        return self.k
    def bound(self):
        return self.k

instance = Callable(3)
first, second = lambda x: x + 1, lambda x: x + 2
'''
HELPER = """
def used(x):
    return deeper(x)

def deeper(x):
    return x * 11

def not_used(x):
    return x * 12
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Modules of a user, under the same names each time, with replacements in their source."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    n = next(COUNT)

    def loaded(*replacements):
        sources = {f"user_{n}": BASE, f"helper_{n}": HELPER}
        for name, source in sources.items():
            for old, new in replacements:
                source = source.replace(old, new)
            (tmp_path / f"{name}.py").write_text(source.replace("NNN", str(n)))
            sys.modules.pop(name, None)
        assert all(any(old in source for source in (BASE, HELPER)) for old, _ in replacements)
        importlib.invalidate_caches()
        return importlib.import_module(f"user_{n}")

    yield loaded
    for name in (f"user_{n}", f"helper_{n}"):
        sys.modules.pop(name, None)


def code(roots):
    return fingerprint.fingerprint_code(roots).code


def roots(user):
    return {"model": user.model, "losses": user.losses, "optimizer": user.optimizer, "nothing": None}


def short(found):
    """Without the numbers of the tests' modules, and without what names stand for."""
    return {key.removeprefix("1."): d for key, d in found.items() if not key.startswith("= ")}


def changed(load, *replacements, of=roots):
    before = short(code(of(load())))
    after = short(code(of(load(*replacements))))
    return {key for key in before | after if before.get(key) != after.get(key)}


def test_what_is_reached(load):
    found = code(roots(load()))
    helpers = {key.partition(".")[2] for key in found if key.startswith("2.")}
    assert helpers == {"used", "deeper"}
    assert {key for key in short(found) if not key.startswith("2.")} == {
        "model", "Net", "Net.__init__", "Base", "Base.forward", "Base.inner", "Base.wide", "losses", "one", "two",
        "with_closure.<locals>.losses", "wrapped", "decorated.<locals>.wrapper", "without_gradient",
        "SCALE", "SECRET", "Base.width", "losses: weight", "losses: shift", "with_closure.<locals>.losses: k",
        "optimizer: arguments",
    }  # fmt: skip
    assert all(len(digest) == 12 and int(digest, 16) >= 0 for digest in found.values())


def test_of_installed_code_only_the_name_is_known():
    values = {
        "a": torch.optim.Adam,
        "b": fingerprint.fingerprint_code,
        "c": None,
        "d": len,
        "e": json.dumps,
        "f": [1].append,
    }
    found = code(values)
    assert set(found) == {"= a", "= b", "= d", "= e", "= f"}  # what the names stand for
    assert found["= b"] != code({"b": fingerprint.describe_value})["= b"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    # a comment\n", "\n\n    # another\n    # and more\n"),
        ('"""The losses."""', '"""Other words."""'),
        ('    """The losses."""\n', ""),
        ('"""What it is."""', '"""Other."""'),
        ("one(3), closed(2)", "one( 3 ),\n        closed(2)"),
        ("return 17", "return 18"),
        ("return x * 12", "return x * 120"),
        ("CACHE = [torch.zeros(3)]", "CACHE = [torch.ones(9)] * 1000"),
        ("calls = 0", "calls = 7"),
    ],
)
def test_what_does_not_matter(load, old, new):
    assert changed(load, (old, new)) == set()


@pytest.mark.parametrize(
    ("old", "new", "keys"),
    [
        ("* 3", "* 4", {"Base.forward"}),
        ("width = 4", "width = 5", {"Base.width"}),
        ("width > 3", "width > 4", {"Base.wide"}),
        ("return x\n", "return -x\n", {"Base.inner"}),
        ("one(x - 1)", "one(x - 2)", {"two"}),
        ("SCALE = 2.0", "SCALE = 2.5", {"SCALE"}),
        ("sk-very-secret", "sk-other", {"SECRET"}),
        ("with_closure(5)", "with_closure(6)", {"with_closure.<locals>.losses: k"}),
        ("weight=0.5", "weight=0.6", {"losses: weight"}),
        ("shift=1", "shift=2", {"losses: shift"}),
        ("batch, weight=0.5, *,", "batch, weight=0.5,", {"losses"}),
        ('"c"}', '"d"}', {"losses"}),
        ("mse_loss as distance", "l1_loss as distance", {"losses"}),
        ("(*args) + 1", "(*args) + 2", {"decorated.<locals>.wrapper"}),
        ("return x - 1", "return x - 3", {"wrapped"}),
        ("return x - 9", "return x - 8", {"without_gradient"}),
        ("lr=0.25", "lr=0.3", {"optimizer: arguments"}),
        (
            "class Net(Base)",
            "class Net(torch.nn.Module)",
            {"Net", "Base", "Base.forward", "Base.inner", "Base.wide", "Base.width"},
        ),
    ],
)
def test_what_matters_and_under_which_name(load, old, new, keys):
    assert changed(load, (old, new)) == keys


def test_helper_modules(load):
    (key,) = changed(load, ("x * 11", "x * 110"))
    assert key == "2.deeper"


def test_what_is_imported_within_a_function(load):
    assert changed(load, ("x * 11", "x * 110"), of=lambda user: {"losses": user.imports}) == {"2.deeper"}


def test_roots_of_many_kinds(load):
    def keys(of):
        return {key for key in short(code({"root": of(load())})) if not key.startswith("2.")}

    assert {"root: arguments", "Callable", "Callable.__call__", "two"} <= keys(lambda user: user.instance)
    assert {"root: arguments", "Callable.bound"} <= keys(lambda user: user.instance.bound)
    assert {"losses", "two", "root: arguments"} <= keys(lambda user: user.TABLE)
    assert {"Net", "Base.forward"} <= keys(lambda user: user.build)
    assert {"two", "one"} <= keys(lambda user: functools.lru_cache(user.two))
    assert {"Net", "Base"} <= keys(lambda user: user.Net())
    assert changed(load, ("Callable(3)", "Callable(4)"), of=lambda user: {"root": user.instance}) == {"root: arguments"}
    inside = {"root: arguments"}
    assert (
        changed(load, ("Callable(3)", "Callable(4)"), of=lambda u: {"root": functools.partial(u.two, u.instance)})
        == inside
    )
    assert changed(load, ('"b": two', '"b": one'), of=lambda user: {"root": user.TABLE}) == inside


def test_lambdas_share_a_name(load):
    def both(user):
        return {"losses": [user.first, user.second]}

    assert "<lambda>" in short(code(both(load())))
    assert changed(load, ("x + 2", "x + 3"), of=both) == {"<lambda>", "losses: arguments"}
    user = load()
    assert code({"a": user.first, "b": user.second}) != code({"a": user.second, "b": user.first})


def test_no_value_is_in_the_result(load):
    found = code(roots(load()))
    assert "SECRET" in short(found)
    assert "sk-very-secret" not in json.dumps(found)


def test_what_holds_itself_ends(load):
    user = load()
    user.CACHE.clear()
    user.CACHE.append(user.CACHE)
    user.TABLE["self"] = user.TABLE
    argument = [1]
    argument.append(argument)
    first = code({**roots(user), "table": user.TABLE, "argument": functools.partial(user.two, argument)})
    assert first == code({**roots(user), "table": user.TABLE, "argument": functools.partial(user.two, argument)})
    space = {"__name__": "chain", "__file__": str(ROOT / "chain.py")}
    exec("\n".join(f"def f{k}():\n    return f{k + 1}()" for k in range(3000)), space)
    assert len(code({"model": space["f0"]})) == 3001


SCRIPT = """
import json, sys
from functools import partial
from paretomtl.preflight import fingerprint
SCALE = 2
WORDS = {"a", "b", "c", "d"}
class Net:
    names = {"x": frozenset({"p", "q", "r"})}
    def forward(self): return SCALE
def losses(x): return Net(), x in WORDS, x in {"u", "v", "w"}, __name__
def show():
    roots = {"losses": losses, "model": partial(losses, {"a", "b"}, k={"e": 1, "f": 2})}
    print(json.dumps(fingerprint.fingerprint_code(roots).code))
if __name__ == "__main__":
    show()
"""


def test_stable_over_processes_and_as_script_or_module(tmp_path):
    (tmp_path / "train_it.py").write_text(SCRIPT)

    def run(seed, *command):
        env = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": f"{ROOT}:{tmp_path}"}
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    first = run(1, "train_it.py")
    expected = {"1.losses", "1.Net", "1.Net.names", "1.Net.forward", "1.SCALE", "1.WORDS", "= losses"}
    assert set(first) == {*expected, "model: arguments"}
    assert run(2, "train_it.py") == first
    assert run(3, "-m", "train_it") == first
    assert run(4, "-c", "import train_it; train_it.show()") == first
    assert run(5, "-c", SCRIPT) == first
    (tmp_path / "renamed.py").write_text(f"# another name, and another line\n{SCRIPT}")
    assert run(6, "renamed.py") == first


def test_described():
    adam = functools.partial(torch.optim.Adam, lr=0.01)
    assert fingerprint.describe_value(adam) == "torch.optim.adam.Adam(lr=0.01)"
    more = functools.partial(torch.optim.Adam, betas=(0.9, 0.99), fused=None, foreach=True, name="sk-1", x=object())
    shown = fingerprint.describe_value(more)
    assert shown == "torch.optim.adam.Adam(betas=(0.9, 0.99), fused=None, foreach=True, name=…, x=object)"
    assert fingerprint.describe_value(textwrap.dedent) == "textwrap.dedent"
    assert fingerprint.describe_value(object()) == "builtins.object()"


ZOO = """
import abc, collections, functools, itertools, logging, re, threading, typing
from dataclasses import dataclass, field
from enum import Enum, Flag, auto
import torch

class Color(Enum):
    RED = auto()
    def shown(self): return self.name
class Rights(Flag):
    READ = auto()
@dataclass(frozen=True, slots=True)
class Slots:
    a: int = 1
    b: list = field(default_factory=list)
class Row(typing.NamedTuple):
    x: int = 3
class Protocol(typing.Protocol):
    def f(self) -> int: ...
class Abstract(abc.ABC):
    @abc.abstractmethod
    def g(self): ...
class Generic(typing.Generic[typing.TypeVar("T")]):
    table = {"a": {1, 2, 3}}
class Meta(type):
    z = 4
class WithMeta(metaclass=Meta):
    class Inner:
        q = 6
class Weird:
    def __getattr__(self, name): raise RuntimeError("no " + name)
class Parent:
    def __init__(self):
        self.children = []
@functools.singledispatch
def dispatched(x): return x
@functools.lru_cache
def cached(x): return x * 2
LOG, PATTERN, OBJECT = logging.getLogger("a"), re.compile("a+"), object()
SLOTS, ROW, WEIRD = Slots(2, [1]), Row(1), Weird()
ORDERED, COUNTED, QUEUE = collections.OrderedDict(a=1), collections.Counter("aab"), collections.deque([1, 2])
MANY, MIXED = {dispatched, cached, Color, "s", 3}, {"p": {"q", "r"}, 3: (1, "s")}
LAZY, META, EMPTY = torch.nn.LazyLinear(2), torch.zeros(2, device="meta"), torch.zeros(0, 3)
PARENTS = [Parent() for _ in range(30)]
for each in PARENTS:
    each.children += PARENTS
LOCK, COUNT = threading.Lock(), itertools.count()

def use():
    return (Color.RED, Rights.READ, Slots, Row, Protocol, Abstract, Generic, WithMeta, WEIRD, dispatched, cached, LOG,
            PATTERN, SLOTS, ROW, OBJECT, ORDERED, COUNTED, QUEUE, MANY, MIXED, LAZY, META, EMPTY, PARENTS, LOCK, COUNT)
"""
SHOW_ZOO = """
import json
from paretomtl.preflight.fingerprint import fingerprint_code
found = fingerprint_code({"losses": zoo.use})
print(json.dumps([found.code, found.unknown]))
"""


@pytest.mark.fault(114, 115)
def test_values_of_every_kind_are_the_same_in_each_process_and_under_each_name(tmp_path):
    results = []
    for seed, name in enumerate(["first", "second"]):
        (tmp_path / f"{name}.py").write_text(ZOO)
        environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": f"{ROOT}:{tmp_path}"}
        command = [sys.executable, "-W", "ignore", "-c", f"import {name} as zoo\n{SHOW_ZOO}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        results.append(json.loads(done.stdout))
    assert results[0] == results[1]
    holds = {"COUNT": "count", "LAZY": "RemovableHandle", "LOCK": "lock"}
    assert results[0][1] == {f"1.{name}": f"it holds a {kind}" for name, kind in holds.items()}
