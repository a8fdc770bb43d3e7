"""Whether a stored study is that of a problem but for its measure, and how it is described with the new measure."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from paretomtl.preflight.description import RULE, describe_difference, is_code_comparable, name_part, roots_of
from paretomtl.preflight.fingerprint import Fingerprint, fingerprint_code, number_of
from paretomtl.problem import Problem

SAME = ("name", "scale")  # fields of an objective that the weights depend on; goal and unit belong to the measure


def fingerprint_problem(stored: Mapping[str, Any], problem: Problem) -> Fingerprint:
    """Return the fingerprint of a problem's code, with the numbers that modules have in a stored study."""
    trained = max(map(number_of, stored.get("code", {})), default=0)
    return fingerprint_code(roots_of(problem), problem.measure, stored.get("modules", [])[:trained])


def describe_with_measure(
    stored: Mapping[str, Any], problem: Problem, data: Mapping[str, Any], before: Fingerprint
) -> dict[str, Any]:
    """Return a stored study with the measure of a problem in place of its own.

    Args:
        stored: the study, as stored.
        problem: the problem whose measure counts; all else must be as it was.
        data: the fingerprint of each split.
        before: the fingerprint of the problem's code before its rehearsal; values that changed in it are state.

    Raises:
        ValueError: more than the measure has changed, so that the weights are those of another study.
    """
    code = fingerprint_problem(stored, problem).without_state(before)
    texts = {key: f"{name_part(key, code.modules)} changed: {why}" for key, why in code.unknown.items()}
    known = stored["code"]
    state = {key for key in code.code if key not in known and texts.get(key) in stored.get("unknown", ())}
    # what the measure shares with the method or the optimizer is code of the study
    every = {key: each for key, each in (code.code | code.measure).items() if key not in state}
    shared = {key: each for key, each in every.items() if key in code.code or key in known}
    differences = describe_difference(
        {
            "objectives": [{key: o[key] for key in SAME} for o in stored["objectives"]],
            "splits": stored["splits"],
            "rule": stored.get("rule"),
            "code": {key: known[key] for key in shared if key in known},
            "modules": stored.get("modules", []),
            "state": stored.get("state", []),
            "data": stored["data"],
        },
        {
            "objectives": [{key: getattr(o, key) for key in SAME} for o in problem.described],
            "splits": [s for s in ("validate", "test") if s == "validate" or getattr(problem, s) is not None],
            "rule": RULE,
            "code": shared if known else {},  # schema 1 stored none
            "modules": code.modules,
            "state": code.state,
            "data": {split: facts for split, facts in data.items() if split in stored["data"]},
        },
    )
    if problem.ref_point is not None and list(problem.ref_point) != stored["ref_point"]:
        differences += f"\n  ref_point: {stored['ref_point']} there, {list(problem.ref_point)} here"
    if differences:
        raise ValueError(
            "the problem differs from that of the front in more than its measure, so its models would be measured as "
            f"those of another study. Go back to what the front was made with, or explore anew:\n{differences.lstrip()}"
        )
    changed = {
        **stored,
        "objectives": [asdict(o) for o in problem.described],
        "measured": problem.measure is not None,
    }
    if not is_code_comparable(stored) or not known:
        return changed
    modules, old = stored["modules"], stored["measure_code"]
    ours = {f"{name_part(key, modules)} changed: " for key in old}
    kept = [text for text in stored["unknown"] if not text.startswith(tuple(ours))]
    return changed | {
        "measure_code": {key: each for key, each in every.items() if key not in shared},
        "modules": code.modules,
        "state": code.state,
        "unknown": [*kept, *(text for key, text in sorted(texts.items()) if text not in kept)],
    }
