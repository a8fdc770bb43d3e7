"""A frozen network whose outputs are targets."""

import copy
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map

REMEMBERED = 4  # inputs, so that several calls in one step are all remembered


class Answer(NamedTuple):
    """What a teacher said, and to which inputs.

    Attributes:
        tensors: the inputs' tensors, each with its version.
        others: what else is in the inputs.
        structure: the structure of the inputs.
        output: what it said.
    """

    tensors: list[tuple[weakref.ref, int]]
    others: list[Any]
    structure: TreeSpec
    output: Any

    def is_of(self, tensors: Sequence[Tensor], others: Sequence[Any], structure: TreeSpec) -> bool:
        """Whether this is the answer to these very inputs, unchanged since."""
        return (
            self.structure == structure
            and len(self.tensors) == len(tensors)
            and all(
                ref() is x and number == _version(x) for (ref, number), x in zip(self.tensors, tensors, strict=True)
            )
            and all(a is b for a, b in zip(self.others, others, strict=True))
        )


# outside the teachers, so that neither a copy that travels to a worker nor a study's fingerprint has them
_answers: "weakref.WeakKeyDictionary[Teacher, deque[Answer]]" = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Teacher:
    """A frozen copy of a network, evaluated without gradients, and once a batch.

    It remembers its last outputs: when the losses of many points, preferences or seeds are computed on one batch, be it
    in a fleet or in a front model, the network runs once. It is no part of the student, so it is neither trained nor
    stored with it; the study's fingerprint has its weights. Its copy moves to the device of its inputs.

    Args:
        model: the network, in eval mode; later training of it does not change the teacher.

    Raises:
        TypeError: `model` is no module.
        ValueError: it, or a part of it, is in train mode.
    """

    model: nn.Module

    def __post_init__(self):
        if not isinstance(self.model, nn.Module):
            raise TypeError(f"model is {type(self.model).__name__}; give a module, for several one Teacher each")
        training = next((name for name, part in self.model.named_modules() if part.training), None)
        if training is not None:
            part = f", and so is its part {training!r}" if training else ""
            raise ValueError(
                f"model {type(self.model).__name__} is in train mode{part}: dropout and batch statistics would give "
                "other targets at each call; call model.eval() first"
            )
        object.__setattr__(self, "model", copy.deepcopy(self.model).requires_grad_(False))

    def __call__(self, *inputs: Any) -> Any:
        """Return the outputs for these inputs, without gradients."""
        leaves, structure = tree_flatten(inputs)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        others = [leaf for leaf in leaves if not isinstance(leaf, Tensor)]
        answers = _answers.setdefault(self, deque(maxlen=REMEMBERED))
        for answer in answers:
            if answer.is_of(tensors, others, structure):
                return answer.output
        if tensors:
            self.model.to(tensors[0].device)
        with torch.no_grad():
            output = tree_map(lambda x: x.detach() if isinstance(x, Tensor) else x, self.model(*inputs))
        answers.append(Answer([(weakref.ref(x), _version(x)) for x in tensors], others, structure, output))
        return output


def _version(x: Tensor) -> int:
    """Return the number of changes in place; tensors made in inference mode do not count them."""
    return 0 if x.is_inference() else x._version
