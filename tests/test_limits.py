"""No limit of time in the tests is one of this machine."""

import re
from pathlib import Path

from tests import limits

BARE = re.compile(r"(timeout ?[=(]|\.join\(|\.wait\() ?\d")


def test_a_limit_grows_with_the_slowness_of_the_machine(monkeypatch):
    monkeypatch.setenv(limits.MEASURED, "3.5")
    assert limits.limit(100) == 350


def test_slowness_is_measured_once_and_never_shortens_a_limit(monkeypatch):
    monkeypatch.delenv(limits.MEASURED)
    seconds = iter([9.0, 0.05, 0.04, 0.06, 0.4, 0.5, 0.3, 0.4])
    monkeypatch.setattr(limits, "work", lambda: next(seconds))
    assert [limits.slowness(), limits.slowness()] == [1.0, 1.0]
    monkeypatch.delenv(limits.MEASURED)
    assert limits.slowness() == 0.4 / limits.REFERENCE


def test_every_limit_of_the_tests_is_one_of_these():
    tests = Path(__file__).parent
    bare = {path.name: BARE.findall(path.read_text()) for path in tests.rglob("*.py")}
    assert {name: found for name, found in bare.items() if found} == {}
