"""Whether a stored study is that of a problem but for its measure, and how it is described with the new measure."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from paretomtl.preflight.description import describe_difference, roots_of
from paretomtl.preflight.fingerprint import fingerprint_code
from paretomtl.problem import Problem

METHOD_FIELDS = ("solver", "optimizer")  # of a study; with its front model's kind, what may be code of the user's own
SAME = ("name", "scale")  # fields of an objective that the weights depend on; goal and unit belong to the measure


def describe_with_measure(stored: Mapping[str, Any], problem: Problem, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored study with the measure of a problem in place of its own.

    Args:
        stored: the study, as stored.
        problem: the problem whose measure counts; all else must be as it was.
        data: the fingerprint of each split.

    Raises:
        ValueError: more than the measure has changed, so that the weights are those of another study.
    """
    roots = roots_of(problem)
    every = fingerprint_code(roots)
    trained = fingerprint_code({name: root for name, root in roots.items() if name != "measure"})
    known = stored["code"]
    # lambdas of a module share a digest, the measure's among them
    trained = {name: each if known.get(name) != every[name] else every[name] for name, each in trained.items()}
    differences = describe_difference(
        {
            "objectives": [{key: o[key] for key in SAME} for o in stored["objectives"]],
            "ref_point": stored["ref_point"],
            "splits": stored["splits"],
            "code": {name: known[name] for name in trained if name in known},
            "data": stored["data"],
        },
        {
            "objectives": [{key: getattr(o, key) for key in SAME} for o in problem.described],
            "ref_point": list(problem.ref_point),
            "splits": [s for s in ("validate", "test") if s == "validate" or getattr(problem, s) is not None],
            "code": trained if known else {},  # schema 1 stored none
            "data": {split: facts for split, facts in data.items() if split in stored["data"]},
        },
    )
    if differences:
        raise ValueError(
            f"the problem differs from that of the front in more than its measure, so its models would be measured as "
            f"those of another study. Go back to what the front was made with, or explore anew:\n{differences}"
        )
    return {
        **stored,
        "objectives": [asdict(o) for o in problem.described],
        "measured": problem.measure is not None,
        "code": {} if not known else _without_old_measure(stored, every) | every,
    }


def _without_old_measure(stored: Mapping[str, Any], present: Mapping[str, str]) -> dict[str, str]:
    """Return the stored digests, less those that only the old measure can have brought.

    Where the method or the optimizer is the user's own, its digests cannot be told from the old measure's; all stay.
    """
    code = stored["code"]
    methods = [str(stored.get(field)) for field in METHOD_FIELDS] + [str((stored.get("front_model") or {}).get("kind"))]
    own = any(text.partition("(")[0] in code for text in methods)
    return {
        name: digest for name, digest in code.items() if name in present or (own and not name.startswith("measure: "))
    }
