"""The table of walks beside points trained one by one, on the quick problem."""

import pytest

from studies import walks
from studies.walks import TRIALS, main


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_walk_takes_fewer_calls(monkeypatch, capsys, unchecked):
    monkeypatch.setattr(walks, "TRIALS", TRIALS[1:])
    monkeypatch.setattr(walks, "BUDGETS", (120,))
    assert main() == 0
    trained, walked = (
        [cell.strip() for cell in row.split("|")[1:-1]] for row in capsys.readouterr().out.splitlines()[2:]
    )
    assert trained[1] == "Linear, 120 steps"
    assert walked[1] == "walk of 10 points from one of them"
    assert int(walked[2]) < int(trained[2]) / 4
    assert float(walked[4]) < 1e-3
    assert float(walked[5]) > 1.06
