"""Classifiers distilled from a teacher: both losses, what people read, and teachers that are trained once and stored.

A batch has what the student sees, what the teacher sees, the label, and whether there is a label. The objective `task`
is the cross-entropy to the labels that are present, and is read as accuracy; `teacher` is the KL divergence from the
teacher's classes to the student's, and is read as agreement, the share of decisions that are the teacher's. Both
measures are in percent.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import paretomtl as pm
from studies.conditioned_fronts import OneCycle
from studies.tabular import Parts, batches

OBJECTIVES = (pm.Objective("task", "%", "max"), pm.Objective("teacher", "%", "max"))
BINS = 15  # of confidences, for the calibration error
Batch = Sequence[Tensor]  # what the student sees, what the teacher sees, labels (N,), and which are present (N,)


def losses(
    model: nn.Module, batch: Batch, teacher: pm.distillation.Teacher, temperature: float
) -> dict[str, tuple[Tensor, float] | Tensor | None]:
    """Return the cross-entropy to the labels that are present, and the divergence from the teacher, in nats."""
    seen, known, label, present = batch
    logit = model(seen)
    return {
        "task": pm.distillation.labelled_mean(cross_entropy(logit, label, reduction="none"), present),
        "teacher": pm.distillation.categorical_kl(teacher(known), logit, temperature),
    }


class Figures(NamedTuple):
    """A classifier on a split.

    accuracy, by_class: percent of right decisions; the mean over the classes of the percent within each.
    agreement: percent of decisions that are the teacher's.
    loss: the mean cross-entropy to the labels, in nats.
    calibration: the mean distance between confidence and accuracy, in percent, over `BINS` bins of confidence.
    """

    accuracy: float
    by_class: float
    agreement: float
    loss: float
    calibration: float


def figures(
    logit: Float[Tensor, "n classes"], teacher_logit: Float[Tensor, "n classes"], label: Int[Tensor, " n"]
) -> Figures:
    """Return the figures of a classifier that gives these logits."""
    from sklearn.metrics import balanced_accuracy_score

    decided = logit.argmax(dim=1)
    right = decided == label
    return Figures(
        percent(right),
        100 * float(balanced_accuracy_score(label.numpy(), decided.numpy())),
        percent(decided == teacher_logit.argmax(dim=1)),
        float(cross_entropy(logit.double(), label)),
        calibration_error(logit.double().softmax(dim=1).amax(dim=1), right),
    )


def percent(true: Bool[Tensor, " n"]) -> float:
    """Return the percentage that is True."""
    return 100 * float(true.double().mean())


def calibration_error(confidence: Float[Tensor, " n"], right: Bool[Tensor, " n"]) -> float:
    """Return the mean over all decisions, in percent, of |accuracy - confidence| of the decision's bin."""
    place = (confidence * BINS).long().clamp(max=BINS - 1)
    excess = torch.zeros(BINS, dtype=torch.float64).index_add(0, place, right.double() - confidence.double())
    return 100 * float(excess.abs().sum()) / len(right)


def measure(model: nn.Module, batches: Iterable[Batch], teacher: pm.distillation.Teacher) -> dict[str, float]:
    """Return accuracy and agreement in percent; every label of the batches counts."""
    parts = [(model(seen), teacher(known), label) for seen, known, label, _ in batches]
    logit, teacher_logit, label = (torch.cat(part) for part in zip(*parts, strict=True))
    decided = logit.argmax(dim=1)
    return {"task": percent(decided == label), "teacher": percent(decided == teacher_logit.argmax(dim=1))}


class Course(NamedTuple):
    """A student to distil.

    parts: its data by split.
    student: builds it.
    epochs, batch: what it is trained for.
    reference: the losses that a hypervolume starts from, the second at a temperature of 1.
    """

    parts: Callable[[], Parts]
    teacher: pm.distillation.Teacher
    student: Callable[[], nn.Module]
    epochs: int
    batch: int
    reference: tuple[float, float]

    def optimizer(self, peak: float) -> OneCycle:
        """Return Adam with a one-cycle schedule for the epochs."""
        return OneCycle(peak, self.epochs * (len(self.parts()["train"][0]) // self.batch))

    def problem(self, temperature: float) -> pm.Problem:
        """Return the problem of both losses, in nats.

        Raises:
            ValueError: the temperature is not positive.
        """
        if not temperature > 0:
            raise ValueError(f"temperature={temperature!r}; give a positive number, such as 1")
        task, teacher = self.reference
        return pm.Problem(
            objectives=OBJECTIVES,
            model=self.student,
            losses=partial(losses, teacher=self.teacher, temperature=temperature),
            train=partial(batches, self.parts, "train", self.batch),
            validate=partial(batches, self.parts, "validate", self.batch),
            test=partial(batches, self.parts, "test", self.batch),
            measure=partial(measure, teacher=self.teacher),
            ref_point=[task, teacher * temperature],
        )

    @torch.no_grad()
    def figures(self, model: nn.Module | None, split: str) -> Figures:
        """Return the figures of a student on a split; of the teacher, where there is no student."""
        seen, known, label, _ = self.parts()[split]
        answer = self.teacher(known)
        return figures(answer if model is None else model(seen), answer, label)


def train(model: nn.Module, inputs: Tensor, labels: Tensor, epochs: int, peak: float, batch: int) -> nn.Module:
    """Train a classifier by cross-entropy with Adam and a one-cycle schedule; return it in eval mode."""
    generator = torch.Generator().manual_seed(0)
    per_epoch = len(labels) // batch
    optimizer, schedule = OneCycle(peak, epochs * per_epoch)(model.parameters())
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(labels), generator=generator)[: per_epoch * batch].split(batch):
            optimizer.zero_grad()
            cross_entropy(model(inputs[rows]), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def train_or_load(
    path: Path | None, build: Callable[[], nn.Module], fit: Callable[[nn.Module], nn.Module], made_by: Mapping[str, Any]
) -> nn.Module:
    """Return a trained network in eval mode: from the file if it was made in this way, else trained, and stored.

    Args:
        path: the file; None for none.
        build: makes the network, under a seed of its own.
        fit: trains it.
        made_by: what the training depends on; a file of another training is replaced.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    wanted = {"made_by": json.dumps(dict(made_by), sort_keys=True)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build()
        if path is not None and path.exists():
            with safe_open(path, "pt") as file:
                if file.metadata() == wanted:
                    model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
                    return model.eval()
        fit(model)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".tmp")
        save_file(model.state_dict(), scratch, wanted)
        scratch.replace(path)
    return model


@cache
def all_present(n: int) -> Bool[Tensor, " n"]:
    """Return n times True."""
    return torch.ones(n, dtype=torch.bool)
