"""The pictures of docs/explorer.md, of the rocket injector's front: python -m tests.paretomtl.show.page.screenshots"""

import io
import os
import tempfile
from pathlib import Path

import torch
from PIL import Image

import paretomtl as pm
import paretomtl_solvers as ps
from studies.rocket import rocket_injector
from tests.limits import limit
from tests.paretomtl.show.page.browser import Opened, chromium

DOCS = Path(__file__).parents[4] / "docs"
BOUNDS = (0.3, 0.25)  # of an axis, from its worst end, on the first two objectives


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # so that the page names the front as a reader would
        front = pm.explore(
            rocket_injector(),
            ps.Tchebycheff(),
            preferences=36,
            steps=400,
            fleet=36,
            optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.02),
            out="runs/rocket",
        )
        path = front.plot(Path(folder) / "front.html")
        with chromium() as browser:
            for width, height in ((1280, 1750), (390, 2050)):
                one = Opened(browser, path, viewport={"width": width, "height": height})
                one.choose("Constraint")
                one.page.get_by_label("best", exact=True).select_option(front.names[2])
                one.page.evaluate(
                    "(at) => at.forEach((h, j) => paretomtl.state.setBound(j, paretomtl.state.boundAt(h, j)))", BOUNDS
                )
                one.page.wait_for_timeout(limit(500))
                picture = Image.open(io.BytesIO(one.page.screenshot()))
                few = picture.convert("RGB").quantize(96, dither=Image.Dither.NONE)  # colours, for a small file
                few.save(DOCS / f"explorer-{width}.png", optimize=True)
                one.close()


if __name__ == "__main__":
    main()
