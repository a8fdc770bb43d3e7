"""The methods, one file each; `__all__` is the list that `paretomtl methods` prints.

`from_torchjd` makes others from those of TorchJD.
"""

from paretomtl_solvers.aligned_mtl import AlignedMTL
from paretomtl_solvers.alpha_fair_losses import AlphaFairLosses
from paretomtl_solvers.alternating_groups import AlternatingGroups
from paretomtl_solvers.augmented_tchebycheff import AugmentedTchebycheff
from paretomtl_solvers.cagrad import CAGrad
from paretomtl_solvers.cograd import CoGrad
from paretomtl_solvers.con_fig import ConFIG
from paretomtl_solvers.conic_grad import ConicGrad
from paretomtl_solvers.continuous_pareto import ContinuousPareto
from paretomtl_solvers.cosmos import COSMOS
from paretomtl_solvers.cr_mogm import CRMOGM
from paretomtl_solvers.db_mtl import DBMTL
from paretomtl_solvers.drgrad import DRGrad
from paretomtl_solvers.dualproj import DualProj
from paretomtl_solvers.dwa import DWA
from paretomtl_solvers.ema_weighting import EMAWeighting
from paretomtl_solvers.emtl import EMTL
from paretomtl_solvers.epo import EPO
from paretomtl_solvers.excess_mtl import ExcessMTL
from paretomtl_solvers.fairgrad import FairGrad
from paretomtl_solvers.famo import FAMO
from paretomtl_solvers.ferero import FERERO
from paretomtl_solvers.foreign import from_torchjd as from_torchjd
from paretomtl_solvers.fs_mtl import FSMTL
from paretomtl_solvers.gdod import GDOD
from paretomtl_solvers.geometric_mean import GeometricMean
from paretomtl_solvers.graddrop import GradDrop
from paretomtl_solvers.gradient_norm_scaling import GradientNormScaling
from paretomtl_solvers.gradnorm import GradNorm
from paretomtl_solvers.gradvac import GradVac
from paretomtl_solvers.hypervolume_ascent import HypervolumeAscent
from paretomtl_solvers.imgrad import IMGrad
from paretomtl_solvers.imtl_g import IMTLG
from paretomtl_solvers.imtl_l import IMTLL
from paretomtl_solvers.layerwise_decomposition import LayerwiseDecomposition
from paretomtl_solvers.linear import Linear
from paretomtl_solvers.marigold import MARIGOLD
from paretomtl_solvers.mgda import MGDA
from paretomtl_solvers.mgda_ub import MGDAUB
from paretomtl_solvers.moco import MoCo
from paretomtl_solvers.modo import MoDo
from paretomtl_solvers.moo_svgd import MOOSVGD
from paretomtl_solvers.multi_balance import MultiBalance
from paretomtl_solvers.nash_mtl import NashMTL
from paretomtl_solvers.not_reproduced import NOT_REPRODUCED as NOT_REPRODUCED
from paretomtl_solvers.pareto_mtl import ParetoMTL
from paretomtl_solvers.pbi import PBI
from paretomtl_solvers.pcgrad import PCGrad
from paretomtl_solvers.phn_hvi import PHNHVI
from paretomtl_solvers.pmgda import PMGDA
from paretomtl_solvers.rlw import RLW
from paretomtl_solvers.rotograd import RotoGrad
from paretomtl_solvers.sdmgrad import SDMGrad
from paretomtl_solvers.selective_groups import SelectiveGroups
from paretomtl_solvers.sequential_reptile import SequentialReptile
from paretomtl_solvers.single_step import SingleStep
from paretomtl_solvers.slaw import SLAW
from paretomtl_solvers.smooth_tchebycheff import SmoothTchebycheff
from paretomtl_solvers.tchebycheff import Tchebycheff
from paretomtl_solvers.upgrad import UPGrad
from paretomtl_solvers.uw import UW

__all__ = [
    "COSMOS",
    "CRMOGM",
    "DBMTL",
    "DWA",
    "EMTL",
    "EPO",
    "FAMO",
    "FERERO",
    "FSMTL",
    "GDOD",
    "IMTLG",
    "IMTLL",
    "MARIGOLD",
    "MGDA",
    "MGDAUB",
    "MOOSVGD",
    "PBI",
    "PHNHVI",
    "PMGDA",
    "RLW",
    "SLAW",
    "UW",
    "AlignedMTL",
    "AlphaFairLosses",
    "AlternatingGroups",
    "AugmentedTchebycheff",
    "CAGrad",
    "CoGrad",
    "ConFIG",
    "ConicGrad",
    "ContinuousPareto",
    "DRGrad",
    "DualProj",
    "EMAWeighting",
    "ExcessMTL",
    "FairGrad",
    "GeometricMean",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "GradientNormScaling",
    "HypervolumeAscent",
    "IMGrad",
    "LayerwiseDecomposition",
    "Linear",
    "MoCo",
    "MoDo",
    "MultiBalance",
    "NashMTL",
    "PCGrad",
    "ParetoMTL",
    "RotoGrad",
    "SDMGrad",
    "SelectiveGroups",
    "SequentialReptile",
    "SingleStep",
    "SmoothTchebycheff",
    "Tchebycheff",
    "UPGrad",
]
