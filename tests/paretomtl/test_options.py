"""One list of options: `explore`, the command line, study files, `resume` and `trainable` have the same."""

import argparse
import inspect
import json
import re
from dataclasses import MISSING
from pathlib import Path

import pytest
import torch

import paretomtl as pm
from paretomtl.cli import exploring, main
from paretomtl.cli.commands import build_parser
from paretomtl.cli.study_file import build_optimizer
from paretomtl.options import FLAGS, KEYS, OPTIONS, REMEMBERED
from paretomtl.storage.store import Store
from paretomtl.training.study import adam

ROOT = Path(__file__).parents[2]
PARAMETERS = inspect.signature(pm.explore).parameters

# a value of each key, other than its default, and of each flag; a new option needs one here
FILE = {
    "problem": '"tests.toys:two_regressions"', "method": '"EPO"', "optimizer": '{ name = "SGD", lr = 0.1 }',
    "preferences": "5", "steps": "7", "out": '"runs/a"', "seed": "3", "seeds": "2", "device": '"auto"', "clip": "2.0",
    "fleet": "4", "ray": "{ workers = 2 }", "front_model": '"FiLM"', "normalise": '"none"',
}  # fmt: skip
LINE = {
    "method": "EPO", "lr": "0.5", "preferences": "5", "refine": "2", "steps": "7", "out": "runs/a", "seed": "3",
    "seeds": "2", "device": "auto", "fleet": "4", "ray": None, "front_model": "FiLM", "normalise": "none",
}  # fmt: skip


@pytest.fixture
def explored(monkeypatch, tmp_path):
    """The arguments that the command line calls `explore` with; nothing is computed."""

    def run(*words: str) -> dict:
        calls = []

        def explore(**arguments):
            calls.append(arguments)
            raise KeyboardInterrupt

        monkeypatch.setattr(exploring, "explore", explore)
        assert main(words) == 130
        (arguments,) = calls
        return arguments

    monkeypatch.chdir(tmp_path)
    return run


def is_default(name: str, arguments: dict) -> bool:
    """Whether an argument of `explore` is what `explore` takes without it."""
    if name == "optimizer":
        return comparable(arguments)[name] == (torch.optim.Adam, {"lr": 1e-3})
    return arguments[name] == PARAMETERS[name].default


def comparable(arguments: dict) -> dict:
    """Arguments without those that are made anew at each call, or taken apart."""
    optimizer = arguments["optimizer"]
    return arguments | {"problem": None, "optimizer": (optimizer.func, optimizer.keywords)}


def words_of(values: dict) -> list[str]:
    return [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", value) if word]


def test_explore_has_the_options_and_no_others():
    assert sorted(PARAMETERS) == sorted(option.argument for option in OPTIONS.values())
    kinds = {name: parameter.kind for name, parameter in PARAMETERS.items()}
    assert [name for name, kind in kinds.items() if kind is not inspect.Parameter.KEYWORD_ONLY] == ["problem", "solver"]
    for option in OPTIONS.values():
        default = PARAMETERS[option.argument].default
        if option.default is MISSING:
            assert default is inspect.Parameter.empty
        elif option.name != "optimizer":
            assert default == option.default
    weights = [torch.nn.Parameter(torch.ones(1))]
    assert PARAMETERS["optimizer"].default is adam
    assert adam(weights).defaults == build_optimizer(OPTIONS["optimizer"].default)(weights).defaults


def test_explore_says_what_each_option_is():
    section = inspect.getdoc(pm.explore).partition("Args:")[2].partition("Raises:")[0]
    names = re.findall(r"^    ([\w, ]+):", section, re.MULTILINE)
    assert sorted(", ".join(names).split(", ")) == sorted(PARAMETERS)


def test_trainable_has_the_options_of_one_point():
    parameters = list(inspect.signature(pm.trainable).parameters.values())
    assert [p.name for p in parameters[:2]] == ["problem", "solver"]
    keywords = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert keywords == {name: PARAMETERS[name].default for name, option in OPTIONS.items() if option.in_trial}


def test_every_option_says_what_it_is():
    assert all(option.help for option in OPTIONS.values())
    assert all(key.remedy for key in KEYS.values())
    assert all(flag.help for flag in FLAGS)


def test_run_has_the_flags_with_their_help():
    (commands,) = (a for a in build_parser("run")._actions if isinstance(a, argparse._SubParsersAction))
    run = {action.dest: action for action in commands.choices["run"]._actions}
    assert set(run) == {"help", "json", "problem", *(flag.name for flag in FLAGS)}
    assert all(run[flag.name].help == flag.help and run[flag.name].default is None for flag in FLAGS)


def test_every_key_of_a_study_file_reaches_explore(explored):
    assert {*FILE, "epochs"} == set(KEYS)
    Path("study.toml").write_text("\n".join(f"{key} = {value}" for key, value in FILE.items()))
    arguments = explored("run", "study.toml")
    assert set(arguments) == set(PARAMETERS)
    assert all(not is_default(KEYS[name].argument, arguments) for name in FILE)
    Path("study.toml").write_text(Path("study.toml").read_text().replace("steps", "epochs"))
    assert explored("run", "study.toml")["epochs"] == 7


def test_what_a_study_file_leaves_out_is_the_default_of_explore(explored):
    least = {name: value for name, value in FILE.items() if KEYS[name].required or name == "steps"}
    Path("study.toml").write_text("\n".join(f"{key} = {value}" for key, value in least.items()))
    arguments = explored("run", "study.toml")
    assert all(is_default(option.argument, arguments) for name, option in OPTIONS.items() if name not in least)


def test_every_flag_reaches_explore_and_is_remembered(explored):
    assert {*LINE, "epochs"} == {flag.name for flag in FLAGS}
    arguments = explored("run", "tests.toys:two_regressions", *words_of(LINE))
    names = {name for name, option in OPTIONS.items() if {flag.name for flag in option.flags} & set(LINE)}
    assert all(not is_default(OPTIONS[name].argument, arguments) for name in names)
    command = arguments["command"]
    assert set(command) == set(REMEMBERED) == {"problem", *LINE, "epochs"} - {"out"}
    assert all(command[name] is not None for name in (*LINE, "problem") if name != "out")

    assert comparable(explored_again(explored, command)) == comparable(arguments)


def explored_again(explored, command) -> dict:
    """The arguments of `resume`, by a command as study.json stores it."""
    stored = json.loads(json.dumps(command))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "command", stored)
        patch.setattr(Store, "study", {"points": [None] * 9})
        Path("runs/a").mkdir(parents=True)
        return explored("resume", "runs/a", stored["problem"])


def test_what_a_command_lacks_was_left_out(explored):
    """Folders of versions that did not have an option yet."""
    least = {"method": "EPO", "preferences": "5", "steps": "7", "out": "runs/a"}
    arguments = explored("run", "tests.toys:two_regressions", *words_of(least))
    command = {name: value for name, value in arguments["command"].items() if name in ("problem", *least)}
    assert comparable(explored_again(explored, command)) == comparable(arguments | {"command": command})


def test_the_docs_name_every_key():
    section = (ROOT / "docs/durable.md").read_text().partition("## Study files")[2].partition("\n## ")[0]
    assert all(re.search(rf"\b{name}\b", section) for name in KEYS)
