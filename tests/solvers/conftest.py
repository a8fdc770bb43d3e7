import cvxpy as cp
import pytest


@pytest.fixture
def unreliable(monkeypatch):
    """Makes cvxpy fail: one fault a call, None for none, the last one for good. The calls' options come back.

    A fault is an exception to raise, or what to make of the answer.
    """

    def _unreliable(*faults):
        calls, solve = [], cp.Problem.solve

        def failing(problem, **options):
            calls.append(options)
            fault = faults[min(len(calls), len(faults)) - 1]
            if isinstance(fault, Exception):
                raise fault
            answer = solve(problem, **options)
            if fault is not None:
                (variable,) = problem.variables()
                variable.save_value(fault(variable.value))
            return answer

        monkeypatch.setattr(cp.Problem, "solve", failing)
        return calls

    return _unreliable
