"""Constructed inputs for methods: Jacobians (m, n), and preferences and losses by m. Names are test ids."""

import numpy as np

ROOT3 = 3**0.5


def _normal(seed: int, m: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(m, n))


_THREE = [[1, 2, 0], [-1, 1, 1], [0.5, -1, 2]]
_TWO = [[1, 0], [-1.5, 1.5 * ROOT3]]

JACOBIANS = {
    "conflicting": _TWO,
    "agreeing": [[1, 0], [1, 1]],
    "one dominates": [[1, 0], [3, 1]],
    "parallel": [[1, 2], [2, 4]],
    "nearly collinear": [[1, 0], [1, 1e-6]],
    "nearly opposed": [[1, 0], [-1, 1e-3]],
    "duplicates": [[1, 2], [1, 2]],
    "opposed": [[1, 2], [-1, -2]],
    "opposed, unequal": [[1, 2], [-3, -6]],
    "a zero row": [[0, 0], [-1, 2]],
    "norms 1e4 apart": [[1e-4, 0], [-1, 1]],
    "norms 1e6 apart": [[3, 1], [-1e-6, 1e-6]],
    "two, all zero": [[0, 0, 0], [0, 0, 0]],
    "two, tiny": (1e-8 * np.array(_TWO)).tolist(),
    "two, huge": (1e8 * np.array(_TWO)).tolist(),
    "three": _THREE,
    "three, agreeing": [[2, 1, 0], [1, 2, 0], [1, 1, 1]],
    "three, orthogonal": [[1, 0, 0], [0, 2, 0], [0, 0, 3]],
    "three, all conflicting": [[2, -1, -1], [-1, 2, -1], [-1, -1, 2.5]],
    "three, two alike": [[1, 2, 0], [1, 2, 0], [0.5, -1, 2]],
    "three, parallel": [[1, -1], [2, -2], [3, -3]],
    "three, nearly collinear": [[1, 0], [1, 1e-6], [1, -1e-6]],
    "three, restriction infeasible": [[1, -1, 3], [-1, -1, 3], [-3, -1, -3]],  # of EPO's descent
    "three in the plane": [[1, 0.2], [0.3, 1], [2, -0.5]],
    "opposed and another": [[1, 2], [-3, -6], [5, 0]],
    "around zero": [[2, 0], [-1, 1.7], [-1, -1.7]],
    "three, a zero row": [[0, 0, 0], [1, 2, 0], [-1, 1, 1]],
    "three, norms 1e6 apart": [[1, 2, 0], [-1e-6, 1e-6, 1e-6], [0.5e-3, -1e-3, 2e-3]],
    "three, all zero": [[0, 0, 0, 0]] * 3,
    "three, tiny": (1e-8 * np.array(_THREE)).tolist(),
    "three, huge": (1e8 * np.array(_THREE)).tolist(),
    "five": _normal(5, 5, 7).tolist(),
    "five, two alike twice": np.repeat(_normal(6, 3, 5), [2, 1, 2], axis=0).tolist(),
    "five in the plane": [[1, 0.1], [1, 0.5], [1, -0.3], [0.5, 0.9], [2, -0.6]],
    "five around zero": [[1, 0], [-1, 2], [-1, -2], [3, 1], [0, -1]],
    "eight": _normal(8, 8, 12).tolist(),
    "eight in a half-space": (np.abs(_normal(9, 8, 4)) * [1, 1, -1, 1] + [0.5, -0.8, 0.8, -0.8]).tolist(),
    "eight, norms 1e3 apart": (_normal(10, 8, 12) * np.geomspace(1, 1e3, 8)[:, None]).tolist(),
}

# those whose hull holds zero: no direction lowers all losses
HOLD_ZERO = {
    "opposed", "opposed, unequal", "a zero row", "two, all zero", "opposed and another", "around zero",
    "three, a zero row", "three, all zero", "five around zero",
}  # fmt: skip

PREFERENCES = {
    2: {
        "centre": (0.5, 0.5),
        "generic": (0.7, 0.3),
        "first corner": (1, 0),
        "last corner": (0, 1),
        "near a corner": (1 - 1e-5, 1e-5),
        "near zero": (1e-9, 1 - 1e-9),
    },
    3: {
        "centre": (1 / 3, 1 / 3, 1 / 3),
        "generic": (0.2, 0.3, 0.5),
        "first corner": (1, 0, 0),
        "edge": (0, 0.5, 0.5),
        "near zero": (0.4, 1e-9, 0.6 - 1e-9),
    },
    5: {
        "generic": (0.1, 0.2, 0.3, 0.3, 0.1),
        "first corner": (1, 0, 0, 0, 0),
        "edge": (0, 0.25, 0, 0.5, 0.25),
    },
    8: {
        "generic": (0.05, 0.1, 0.15, 0.2, 0.2, 0.15, 0.1, 0.05),
        "last corner": (0, 0, 0, 0, 0, 0, 0, 1),
    },
}
# "on the ray": of the generic preference
LOSSES = {
    2: {"generic": (0.6, 0.3), "on the ray": (3, 7), "far apart": (2, 0.04)},
    3: {"generic": (0.9, 0.2, 0.3), "on the ray": (15, 10, 6), "far apart": (30, 0.8, 0.003)},
    5: {"generic": (1, 2, 3, 2, 1), "on the ray": (6, 3, 2, 2, 6)},
    8: {"generic": (0.3, 2, 0.7, 0.1, 1.1, 0.5, 0.9, 1.6), "on the ray": (12, 6, 4, 3, 3, 4, 6, 12)},
}
