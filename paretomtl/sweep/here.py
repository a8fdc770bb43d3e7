"""The executor that computes points in this process."""

from collections.abc import Sequence
from dataclasses import dataclass

from paretomtl.storage.store import Store
from paretomtl.sweep.executor import Executor, Report, compute_task
from paretomtl.sweep.keeper import FolderCheckpointer
from paretomtl.training.study import Job, Study


@dataclass(frozen=True)
class Here(Executor):
    """Computes one point after the other, in this process.

    Args:
        checkpoint_seconds: seconds of training between two checkpoints, from which a stopped point goes on; 0 keeps one
            after every step.
    """

    checkpoint_seconds: float = 60.0

    def __post_init__(self):
        check_seconds(self.checkpoint_seconds)

    def run(self, study: Study, jobs: Sequence[Job], store: Store, report: Report) -> None:
        """Compute the jobs in their order."""
        splits, keeper = study.open(), FolderCheckpointer(store, self.checkpoint_seconds)
        for task in study.tasks(jobs):
            for computed in compute_task(study, task, splits, store, report, keeper):
                report(computed)


def check_seconds(seconds: float) -> None:
    """Raise unless it is a time between two checkpoints."""
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not is_number or not 0 <= seconds < float("inf"):
        raise ValueError(f"checkpoint_seconds={seconds!r}: give a number of seconds; 0 keeps one after every step")
