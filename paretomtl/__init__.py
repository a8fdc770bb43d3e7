"""Explore the trade-off front between the objectives of a torch model, choose a point on it, get the model back.

The public names are in `__init__.pyi`. Each is imported at first use, so that reading and choosing need no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
