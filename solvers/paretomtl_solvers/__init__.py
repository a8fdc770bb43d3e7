"""The methods, one file each; `__all__` is the list that `paretomtl methods` prints."""

from paretomtl_solvers.augmented_tchebycheff import AugmentedTchebycheff
from paretomtl_solvers.cograd import CoGrad
from paretomtl_solvers.continuous_pareto import ContinuousPareto
from paretomtl_solvers.cosmos import COSMOS
from paretomtl_solvers.cr_mogm import CRMOGM
from paretomtl_solvers.db_mtl import DBMTL
from paretomtl_solvers.emtl import EMTL
from paretomtl_solvers.epo import EPO
from paretomtl_solvers.excess_mtl import ExcessMTL
from paretomtl_solvers.fairgrad import FairGrad
from paretomtl_solvers.graddrop import GradDrop
from paretomtl_solvers.gradient_norm_scaling import GradientNormScaling
from paretomtl_solvers.gradnorm import GradNorm
from paretomtl_solvers.hypervolume_ascent import HypervolumeAscent
from paretomtl_solvers.linear import Linear
from paretomtl_solvers.mgda import MGDA
from paretomtl_solvers.moco import MoCo
from paretomtl_solvers.modo import MoDo
from paretomtl_solvers.moo_svgd import MOOSVGD
from paretomtl_solvers.pareto_mtl import ParetoMTL
from paretomtl_solvers.pbi import PBI
from paretomtl_solvers.phn_hvi import PHNHVI
from paretomtl_solvers.smooth_tchebycheff import SmoothTchebycheff
from paretomtl_solvers.tchebycheff import Tchebycheff

__all__ = [
    "COSMOS",
    "CRMOGM",
    "DBMTL",
    "EMTL",
    "EPO",
    "MGDA",
    "MOOSVGD",
    "PBI",
    "PHNHVI",
    "AugmentedTchebycheff",
    "CoGrad",
    "ContinuousPareto",
    "ExcessMTL",
    "FairGrad",
    "GradDrop",
    "GradNorm",
    "GradientNormScaling",
    "HypervolumeAscent",
    "Linear",
    "MoCo",
    "MoDo",
    "ParetoMTL",
    "SmoothTchebycheff",
    "Tchebycheff",
]
