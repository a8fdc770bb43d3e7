"""Are the texts of a figure whole and apart?"""

import itertools

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from paretomtl.show.figures import view
from paretomtl.show.plots import STYLE

LONG = [
    *("segmentation of the foreground", "depth", "surface_normals_in_camera_coordinates_of_the_scene", "edges ($)"),
    *("reconstruction", "6", "a name with many short words in it, so many that no label holds them all", "eight"),
    *("nine_nine", "ten"),
]
SCALES = np.array([1e-4, 1.0, 3.2e6, 40.0, 1e-9, 12345.0, 1.0, 2.0, 3.0, 4.0])


def assert_legible(draw, shown, width=None):
    """No text leaves the figure and no two overlap, but for touching ones."""
    with mpl.rc_context(STYLE | view.text_settings(width)):
        figure = draw(shown, width)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    assert width is None or figure.get_figwidth() == width
    renderer = canvas.get_renderer()
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    beyond = _beyond(figure)
    boxes = {text: text.get_window_extent(renderer) for text in texts if text not in beyond}
    for text, box in boxes.items():
        inside = (box.min >= figure.bbox.min - 1).all() and (box.max <= figure.bbox.max + 1).all()
        assert inside, f"{text.get_text()!r} leaves the figure"
    for (one, first), (other, second) in itertools.combinations(boxes.items(), 2):
        overlap = np.minimum(first.max, second.max) - np.maximum(first.min, second.min)
        assert overlap.min() < 2, f"{one.get_text()!r} is over {other.get_text()!r}"


def _beyond(figure):
    """The labels of ticks that lie beyond the ends of their axis, which are not drawn."""
    ticks = []
    for axes in figure.axes:
        for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            ticks += [tick for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high]
    return {label for tick in ticks for label in (tick.label1, tick.label2)}
