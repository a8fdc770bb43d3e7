import pickle
import sys
import textwrap
from functools import partial

import pytest
import torch

import paretomtl_solvers as ps
from paretomtl.cli.study_file import MOST_FILE_BYTES, build, build_optimizer, read_study_file
from paretomtl.errors import StudyFileError
from paretomtl.options import Named, Options
from paretomtl.preference import Refine

LEAST = {"problem": '"mine:problem"', "method": '"EPO"', "preferences": "9", "epochs": "20", "out": '"runs/mine"'}


@pytest.fixture
def study(tmp_path):
    """Write a study file: the least that it must have, with these keys changed, and without those that are None."""

    def write(**changes):
        lines = [f"{key} = {value}" for key, value in (LEAST | changes).items() if value is not None]
        path = tmp_path / "study.toml"
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return write


def refusal(path):
    with pytest.raises(StudyFileError) as caught:
        read_study_file(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert len(message) < 400
    return message


def test_the_least_that_a_file_must_have(study, tmp_path):
    assert read_study_file(study()) == Options(
        problem=Named("mine:problem", {}),
        method=Named("EPO", {}),
        preferences=9,
        epochs=20,
        steps=None,
        out=tmp_path / "runs" / "mine",
        optimizer=Named("Adam", {"lr": 1e-3}),
        seed=0,
        seeds=1,
        device="cpu",
        clip=None,
        ray=None,
    )


def test_all_that_a_file_can_have(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(
        textwrap.dedent("""\
            # the pairs of digits, small
            problem = { name = "studies.digit_pairs:digit_pairs", size = "small", fold = 2 }
            preferences = [[0.2, 0.8], [1, 1]]
            steps = 300
            out = "../runs/mine"
            seed = 7
            seeds = 3
            device = "auto"
            clip = 1
            fleet = 4
            ray = { workers = 2, resources = { cpu = 1 } }

            [optimizer]
            name = "SGD"
            lr = 1e-2

            [method]
            name = "EPO"
            eps = 1e-4

            [front_model]
            name = "LowRank"
            rank = 8
            sampling = { n = 4, ends = 0.3 }
        """)
    )
    assert read_study_file(path) == Options(
        problem=Named("studies.digit_pairs:digit_pairs", {"size": "small", "fold": 2}),
        method=Named("EPO", {"eps": 1e-4}),
        preferences=[[0.2, 0.8], [1.0, 1.0]],
        epochs=None,
        steps=300,
        out=tmp_path / "../runs/mine",
        optimizer=Named("SGD", {"lr": 1e-2}),
        seed=7,
        seeds=3,
        device="auto",
        clip=1.0,
        fleet=4,
        ray={"workers": 2, "resources": {"cpu": 1}},
        front_model=Named("LowRank", {"rank": 8, "sampling": {"n": 4, "ends": 0.3}}),
    )


def test_preferences_in_rounds(study):
    assert read_study_file(study(preferences='{ start = 5, total = 25, by = "hypervolume" }')).preferences == Refine(
        5, 25, by="hypervolume"
    )


@pytest.mark.parametrize(
    ("ray", "expected"), [("true", {}), ("false", None), ("{}", {}), ("{workers = 1}", {"workers": 1})]
)
def test_ray_is_a_switch_or_a_table(study, ray, expected):
    assert read_study_file(study(ray=ray)).ray == expected


def test_a_name_alone_takes_the_defaults(study):
    assert read_study_file(study(front_model='"FiLM"')).front_model == Named("FiLM", {})
    assert read_study_file(study()).front_model is None
    assert read_study_file(study(optimizer='"AdamW"')).optimizer == Named("AdamW", {})


def test_a_folder_from_the_root_stays_there(study, tmp_path):
    assert read_study_file(study(out=f"'{tmp_path / 'elsewhere'}'")).out == tmp_path / "elsewhere"


def test_a_mark_that_editors_put_in_front_is_no_error(study):
    path = study()
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_study_file(path).preferences == 9


@pytest.mark.parametrize(
    ("key", "value", "remedy"),
    [
        ("problem", "3", "MODULE:PROBLEM"),
        ("problem", '"mine"', "MODULE:PROBLEM"),
        ("problem", '":problem"', "MODULE:PROBLEM"),
        ("problem", '"mine:"', "MODULE:PROBLEM"),
        ("problem", '"mine:problem()"', "MODULE:PROBLEM"),
        ("problem", "\"__import__('os'):system\"", "MODULE:PROBLEM"),
        ("problem", '"../mine:problem"', "MODULE:PROBLEM"),
        ("problem", '{ size = "small" }', '{ name = "mine:problem", size = "small" }'),
        ("method", "true", 'such as "EPO"'),
        ("method", '""', 'such as "EPO"'),
        ("method", "{ eps = 1e-4 }", '{ name = "EPO", eps = 1e-4 }'),
        ("method", "{ name = 3 }", '{ name = "EPO", eps = 1e-4 }'),
        ("optimizer", "1e-3", "torch.optim"),
        ("optimizer", "{ lr = 1e-3 }", '{ name = "Adam", lr = 1e-3 }'),
        ("preferences", "true", "[[0.2, 0.8], [0.5, 0.5]]"),
        ("preferences", "0", "such as 9"),
        ("preferences", "2.0", "such as 9"),
        ("preferences", "[]", "such as 9"),
        ("preferences", "[0.5, 0.5]", "[[0.2, 0.8], [0.5, 0.5]]"),
        ("preferences", '[["a", "b"]]', "[[0.2, 0.8], [0.5, 0.5]]"),
        ("preferences", "[[nan, 1.0]]", "[[0.2, 0.8], [0.5, 0.5]]"),
        ("preferences", "[[]]", "[[0.2, 0.8], [0.5, 0.5]]"),
        ("epochs", "true", "whole number of at least 1"),
        ("epochs", "0", "whole number of at least 1"),
        ("epochs", '"20"', "whole number of at least 1"),
        ("steps", "1.5", "whole number of at least 1"),
        ("out", "3", "give a folder"),
        ("out", '""', "give a folder"),
        ("seed", "false", "whole number of at least 0"),
        ("seed", "-1", "whole number of at least 0"),
        ("seeds", "0", "whole number of at least 1"),
        ("device", "0", '"cuda"'),
        ("clip", "true", "positive number"),
        ("clip", "0", "positive number"),
        ("clip", "inf", "positive number"),
        ("clip", "nan", "positive number"),
        ("clip", f"1{'0' * 400}", "positive number"),
        ("ray", "2", "{ workers = 2 }"),
        ("front_model", "true", 'such as "FiLM"'),
        ("front_model", "{ rank = 8 }", '{ name = "LowRank", rank = 8, sampling = { n = 4 } }'),
    ],
)
def test_a_value_of_another_kind_is_named_with_the_remedy(study, key, value, remedy):
    message = refusal(study(**{key: value}))
    assert f": {key} = " in message
    assert remedy in message


def test_the_value_is_in_the_message_and_a_long_one_is_cut(study):
    assert "preferences = -3: " in refusal(study(preferences="-3"))
    assert "clip = 'x" in refusal(study(clip=f'"{"x" * 5000}"'))


@pytest.mark.parametrize(
    ("key", "meant"), [("epoch", "'epochs'"), ("Method", "'method'"), ("preference", "'preferences'")]
)
def test_an_unknown_key_is_told_what_may_be_meant(study, key, meant):
    message = refusal(study(**{key: "3"}))
    assert f"no key {key!r} (did you mean {meant}" in message
    assert "the keys are problem, method, optimizer, preferences, epochs" in message


def test_a_key_like_no_other(study):
    message = refusal(study(zzz="3"))
    assert "no key 'zzz'; the keys are" in message


@pytest.mark.parametrize("key", ["problem", "method", "preferences", "out"])
def test_a_key_that_is_missing(study, key):
    assert f": {key} is missing; give " in refusal(study(**{key: None}))


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({"epochs": None}, "epochs and steps are missing"),
        ({"epochs": "20", "steps": "300"}, "epochs = 20, steps = 300"),
    ],
)
def test_there_is_one_budget(study, budget, said):
    assert refusal(study(**budget)).endswith(f": {said}; give one of epochs and steps")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('problem = "mine:problem"\nmethod = EPO\n', "line 2"),
        ("seed = 1\nseed = 2\n", "line 2"),
        ("preferences = " + 5000 * "[", "recursion"),
        (f"seed = {'9' * 5000}\n", "digits"),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(tmp_path, text, said):
    path = tmp_path / "study.toml"
    path.write_text(text)
    message = refusal(path)
    assert "is not TOML" in message
    assert said in message


def test_what_is_no_utf_8(tmp_path):
    path = tmp_path / "study.toml"
    path.write_bytes('out = "größer"'.encode("latin-1"))
    assert "not UTF-8 at byte 9; save it as UTF-8" in refusal(path)


@pytest.mark.parametrize("name", ["absent.toml", "."])
def test_what_is_no_file(tmp_path, name):
    assert "is not a file; give the path of a study file" in refusal(tmp_path / name)


@pytest.mark.fault(88)
def test_a_file_that_is_far_too_large_is_refused_unread(study, monkeypatch):
    path = study()
    with path.open("a") as file:
        file.write("#" * MOST_FILE_BYTES)
    monkeypatch.setattr(type(path), "read_bytes", lambda _: pytest.fail("it was read"))
    message = refusal(path)
    assert f"has {path.stat().st_size} bytes" in message
    assert str(MOST_FILE_BYTES) in message


@pytest.mark.fault(83)
def test_reading_imports_and_runs_nothing_that_a_file_names(study, tmp_path, monkeypatch):
    (tmp_path / "mine_is_code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    path = study(
        problem='{ name = "mine_is_code:problem", size = "__import__(\'mine_is_code\')" }',
        method='"mine_is_code.EPO"',
        optimizer='{ name = "mine_is_code.Adam", lr = "1 + 1" }',
    )
    read_study_file(path)  # the first call may bring modules of the shape checker
    before = set(sys.modules)
    settings = read_study_file(path)
    assert set(sys.modules) == before
    assert "mine_is_code" not in before
    assert not (tmp_path / "ran").exists()
    assert settings.problem == Named("mine_is_code:problem", {"size": "__import__('mine_is_code')"})
    assert settings.optimizer.arguments == {"lr": "1 + 1"}


def test_an_optimizer_with_its_arguments():
    made = build_optimizer(Named("Adam", {"lr": 0.5, "betas": [0.8, 0.9]}))
    weights = [torch.nn.Parameter(torch.ones(2))]
    optimizer = pickle.loads(pickle.dumps(made))(weights)
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.defaults["lr"] == 0.5
    assert list(optimizer.defaults["betas"]) == [0.8, 0.9]


@pytest.mark.parametrize("name", ["SGD", "AdamW", "RMSprop", "Adagrad", "NAdam"])
def test_optimizers_of_torch(name):
    assert isinstance(
        build_optimizer(Named(name, {"lr": 0.1}))([torch.nn.Parameter(torch.ones(2))]), torch.optim.Optimizer
    )


@pytest.mark.parametrize("name", ["Adm", "adam", "Optimizer", "lr_scheduler", "torch", "__builtins__", "os.system"])
def test_what_is_no_optimizer_is_told_the_names(name):
    with pytest.raises(StudyFileError) as caught:
        build_optimizer(Named(name, {}))
    message = str(caught.value)
    assert message.startswith(f"optimizer = {name!r} is not in torch.optim")
    assert "SGD" in message
    assert ("did you mean 'Adam'" in message) == (name in ("Adm", "adam"))
    assert "'Optimizer'" not in message.partition("there are")[2]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"learning_rate": 0.1}, ["'learning_rate'", "its arguments are lr, betas"]),
        ({"weight_deca": 0.1}, ["'weight_deca'", "did you mean 'weight_decay'"]),
        ({"params": []}, ["'params'"]),
        ({"lr": -1.0}, ["'lr': -1.0", "Invalid learning rate"]),
        ({"lr": "high"}, ["'lr': 'high'", "change that value"]),
        ({"betas": [0.9]}, ["'betas': [0.9]"]),
        ({"betas": [0.9, 2.0]}, ["'betas': [0.9, 2.0]", "Invalid beta"]),
    ],
)
def test_arguments_that_an_optimizer_does_not_take(arguments, named):
    with pytest.raises(StudyFileError) as caught:
        build_optimizer(Named("Adam", arguments))
    message = str(caught.value)
    assert message.startswith("optimizer = Adam with")
    assert all(part in message for part in named), message


def make(n, size="small"):
    return n, size


def test_what_a_function_makes_of_its_arguments():
    assert build("problem", make, {"n": 3}) == (3, "small")
    assert build("problem", partial(make, 1), {"size": "large"}) == (1, "large")
    assert build("method", ps.EPO, {"eps": 0.1}) == ps.EPO(eps=0.1)


@pytest.mark.parametrize(
    ("kind", "made", "arguments", "named"),
    [
        (
            "method",
            ps.EPO,
            {"epss": 1e-4},
            ["method = EPO", "'epss'", "did you mean 'eps'", "its arguments are eps, backend"],
        ),
        ("method", ps.Linear, {"eps": 1e-4}, ["method = Linear", "'eps'", "its arguments are labels"]),
        ("problem", make, {}, ["problem = make", "'n'", "its arguments are n, size"]),
        ("problem", make, {"n": 1, "sise": 2}, ["'sise': 2", "did you mean 'size'"]),
        ("problem", partial(make, n=1), {"fold": 2}, ["'fold'", "its arguments are n, size"]),
    ],
)
def test_arguments_that_do_not_fit(kind, made, arguments, named):
    with pytest.raises(StudyFileError) as caught:
        build(kind, made, arguments)
    assert all(part in str(caught.value) for part in named), str(caught.value)


def test_an_error_inside_of_what_is_called_is_its_own():
    def broken(n):
        raise TypeError(f"inside, at {n}")

    with pytest.raises(TypeError, match="inside, at 3") as caught:
        build("problem", broken, {"n": 3})
    assert not isinstance(caught.value, StudyFileError)
