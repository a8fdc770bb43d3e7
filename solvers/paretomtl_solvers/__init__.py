"""The methods, one file each; `__all__` is the list that `paretomtl methods` prints."""

from paretomtl_solvers.alpha_fair_losses import AlphaFairLosses
from paretomtl_solvers.augmented_tchebycheff import AugmentedTchebycheff
from paretomtl_solvers.cograd import CoGrad
from paretomtl_solvers.continuous_pareto import ContinuousPareto
from paretomtl_solvers.cosmos import COSMOS
from paretomtl_solvers.dwa import DWA
from paretomtl_solvers.ema_weighting import EMAWeighting
from paretomtl_solvers.epo import EPO
from paretomtl_solvers.fairgrad import FairGrad
from paretomtl_solvers.famo import FAMO
from paretomtl_solvers.geometric_mean import GeometricMean
from paretomtl_solvers.hypervolume_ascent import HypervolumeAscent
from paretomtl_solvers.imtl_l import IMTLL
from paretomtl_solvers.linear import Linear
from paretomtl_solvers.mgda import MGDA
from paretomtl_solvers.moo_svgd import MOOSVGD
from paretomtl_solvers.pareto_mtl import ParetoMTL
from paretomtl_solvers.pbi import PBI
from paretomtl_solvers.phn_hvi import PHNHVI
from paretomtl_solvers.rlw import RLW
from paretomtl_solvers.slaw import SLAW
from paretomtl_solvers.smooth_tchebycheff import SmoothTchebycheff
from paretomtl_solvers.tchebycheff import Tchebycheff
from paretomtl_solvers.uw import UW

__all__ = [
    "COSMOS",
    "DWA",
    "EPO",
    "FAMO",
    "IMTLL",
    "MGDA",
    "MOOSVGD",
    "PBI",
    "PHNHVI",
    "RLW",
    "SLAW",
    "UW",
    "AlphaFairLosses",
    "AugmentedTchebycheff",
    "CoGrad",
    "ContinuousPareto",
    "EMAWeighting",
    "FairGrad",
    "GeometricMean",
    "HypervolumeAscent",
    "Linear",
    "ParetoMTL",
    "SmoothTchebycheff",
    "Tchebycheff",
]
