"""All lines of promises."""

from tests.solvers.promises import fronts, gramians, programs, representations, scalarizations, steppers, tracking

ROOMS = (fronts, gramians, programs, tracking, scalarizations, steppers, representations)
TABLE = [line for room in ROOMS for line in room.TABLE]
