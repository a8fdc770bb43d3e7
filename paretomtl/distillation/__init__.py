"""Distillation terms, each a loss of its own: an objective, or a part of one.

A term compares what a teacher says with what a student says. Teachers are stopped: no term sends a gradient to its
teacher argument. Terms are means over all that they are given; `reduction="none"` keeps the single values, for
`labelled_mean` where labels are missing. A frozen network is made a `Teacher`, which is asked once a batch, however
many points of a front are trained on it.
"""

from paretomtl.distillation.chain import both_logit, check_chain
from paretomtl.distillation.divergences import bernoulli_kl, categorical_kl, policy_kl
from paretomtl.distillation.ensembles import average_bernoulli, average_categorical
from paretomtl.distillation.labels import distribution_matching, fill_labels, imply, labelled_mean
from paretomtl.distillation.matching import Adaptors, feature_distance, logit_matching
from paretomtl.distillation.ranking import Platt, calibrated, corrected, fit_platt, rank_chain, sample_quadruplets
from paretomtl.distillation.teacher import Teacher

__all__ = [
    "Adaptors",
    "Platt",
    "Teacher",
    "average_bernoulli",
    "average_categorical",
    "bernoulli_kl",
    "both_logit",
    "calibrated",
    "categorical_kl",
    "check_chain",
    "corrected",
    "distribution_matching",
    "feature_distance",
    "fill_labels",
    "fit_platt",
    "imply",
    "labelled_mean",
    "logit_matching",
    "policy_kl",
    "rank_chain",
    "sample_quadruplets",
]
