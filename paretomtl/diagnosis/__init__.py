"""Diagnosis: what tasks do to one another while they are trained, by estimators that stand alone."""

from paretomtl.diagnosis.affinity import affinity, mean_affinity
from paretomtl.diagnosis.bridging import AdaptationGap, adaptation_gap
from paretomtl.diagnosis.coherence import Coherence, coherence
from paretomtl.diagnosis.conflict import Conflict, conflict
from paretomtl.diagnosis.curvature import hessian_top
from paretomtl.diagnosis.factors import FactorPair, factor_curve, factors_at_matched_loss
from paretomtl.diagnosis.fisher import fisher_trace
from paretomtl.diagnosis.groups import Grouping, group_tasks
from paretomtl.diagnosis.learning_curves import LearningCurve, fit_learning_curve
from paretomtl.diagnosis.matched_loss import GapCurve, gap_at_matched_loss
from paretomtl.diagnosis.noise import NoiseScale, noise_scale
from paretomtl.diagnosis.recorders import (
    AffinityRecorder,
    ConflictRecorder,
    CurvatureRecorder,
    FisherRecorder,
    LossRecorder,
    NoiseRecorder,
)
from paretomtl.diagnosis.transfer import Correlation, Estimate, Transfer, correlate, measure_transfer

__all__ = [
    "AdaptationGap",
    "AffinityRecorder",
    "Coherence",
    "Conflict",
    "ConflictRecorder",
    "Correlation",
    "CurvatureRecorder",
    "Estimate",
    "FactorPair",
    "FisherRecorder",
    "GapCurve",
    "Grouping",
    "LearningCurve",
    "LossRecorder",
    "NoiseRecorder",
    "NoiseScale",
    "Transfer",
    "adaptation_gap",
    "affinity",
    "coherence",
    "conflict",
    "correlate",
    "factor_curve",
    "factors_at_matched_loss",
    "fisher_trace",
    "fit_learning_curve",
    "gap_at_matched_loss",
    "group_tasks",
    "hessian_top",
    "mean_affinity",
    "measure_transfer",
    "noise_scale",
]
