"""The progress line of a sweep: points done, best hypervolume so far, time left. Quiet outside of a terminal."""

import shutil
import sys
from collections.abc import Sequence

import numpy as np

from paretomtl.points import score
from paretomtl.sweep.executor import ComputedPoint

LINE = "{desc} |{bar:12}| {remaining} left{postfix}"  # 80 columns, with a failure or two


class Progress:
    """The progress line of one sweep.

    Args:
        title: the name of the method.
        n: the number of points in all.
        ref_point: the reference point of the hypervolume; None while it is not fixed.
        done: the points that are done already, in a sweep that is resumed.
    """

    def __init__(self, title: str, n: int, ref_point: Sequence[float] | None, done: int = 0):
        from tqdm import tqdm

        self._title, self._n, self._reference = title, n, ref_point
        self._losses: list[tuple[float, ...]] = []
        self._done, self._failed, self._seed = done, 0, 0
        # 80 by 24 where the terminal does not know its size: then tqdm, left to itself, prints nothing
        columns, rows = shutil.get_terminal_size()
        self._bar = tqdm(
            total=n,
            initial=done,
            desc=self._make_title(),
            bar_format=LINE,
            file=sys.stderr,
            disable=None,
            ncols=columns,
            nrows=rows,
            smoothing=0,  # the time left is by the mean pace: the first step, which imports much, is not the pace
        )

    def __call__(self, news: ComputedPoint | float) -> None:
        """Show a finished point, or the share of the one in work."""
        if isinstance(news, ComputedPoint):
            self._done += 1
            self._failed += news.point.state == "failed"
            if news.point.seed != self._seed:
                self._seed, self._losses = news.point.seed, []  # the hypervolume is that of one seed's front
            if news.point.state == "done" and news.point.corner is None:
                self._losses.append(news.point.losses["validate"])
            self._move(float(self._done))
            self._describe()
        else:
            self._move(self._done + news)

    def close(self) -> None:
        """Leave the line as it is."""
        self._bar.close()

    def _move(self, to: float) -> None:
        self._bar.update(max(to - self._bar.n, 0))  # points of one network come all at once, after it

    def _make_title(self) -> str:
        return f"{self._title}: {self._done} of {self._n} points"

    def _describe(self) -> None:
        self._bar.set_description_str(self._make_title(), refresh=False)
        failed = f", {self._failed} failed" if self._failed else ""
        known = None if not self._losses else self._reference
        volume = None if known is None else score.hypervolume(np.array(self._losses), known)
        text = "" if volume is None else f", hypervolume {volume:.4f}"
        self._bar.set_postfix_str((text + failed).removeprefix(", "), refresh=True)
