"""One of each method, as the toy of two regressions takes it."""

import paretomtl as pm
import paretomtl_solvers as ps

SPECIAL = {
    "DRGrad": ps.DRGrad(heads=("a", "b")),
    "DWA": ps.DWA(period=2),
    "FSMTL": ps.FSMTL(ps.MGDA()),
    "HypervolumeAscent": ps.HypervolumeAscent((4.0, 4.0), 0.9),
    "MGDAUB": ps.MGDAUB(at="trunk"),
    "MOOSVGD": ps.MOOSVGD(phase_one=0.9),
    "MultiBalance": ps.MultiBalance(at="trunk"),
    "PHNHVI": ps.PHNHVI((4.0, 4.0)),
    "ParetoMTL": ps.ParetoMTL(0.9),
    "RotoGrad": ps.RotoGrad(at="trunk", heads=("a", "b")),
}
EVERY: dict[str, pm.Solver] = {name: SPECIAL.get(name) or getattr(ps, name)() for name in sorted(ps.__all__)}
