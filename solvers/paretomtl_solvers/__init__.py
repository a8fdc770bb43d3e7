"""The methods, one file each; `__all__` is the list that `paretomtl methods` prints."""

from paretomtl_solvers.augmented_tchebycheff import AugmentedTchebycheff
from paretomtl_solvers.cograd import CoGrad
from paretomtl_solvers.continuous_pareto import ContinuousPareto
from paretomtl_solvers.cosmos import COSMOS
from paretomtl_solvers.drgrad import DRGrad
from paretomtl_solvers.epo import EPO
from paretomtl_solvers.fairgrad import FairGrad
from paretomtl_solvers.hypervolume_ascent import HypervolumeAscent
from paretomtl_solvers.linear import Linear
from paretomtl_solvers.mgda import MGDA
from paretomtl_solvers.mgda_ub import MGDAUB
from paretomtl_solvers.moo_svgd import MOOSVGD
from paretomtl_solvers.multi_balance import MultiBalance
from paretomtl_solvers.pareto_mtl import ParetoMTL
from paretomtl_solvers.pbi import PBI
from paretomtl_solvers.phn_hvi import PHNHVI
from paretomtl_solvers.rotograd import RotoGrad
from paretomtl_solvers.smooth_tchebycheff import SmoothTchebycheff
from paretomtl_solvers.tchebycheff import Tchebycheff

__all__ = [
    "COSMOS",
    "EPO",
    "MGDA",
    "MGDAUB",
    "MOOSVGD",
    "PBI",
    "PHNHVI",
    "AugmentedTchebycheff",
    "CoGrad",
    "ContinuousPareto",
    "DRGrad",
    "FairGrad",
    "HypervolumeAscent",
    "Linear",
    "MultiBalance",
    "ParetoMTL",
    "RotoGrad",
    "SmoothTchebycheff",
    "Tchebycheff",
]
