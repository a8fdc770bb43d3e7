"""Papers whose method cannot be reproduced here: why, and what is near."""

from typing import NamedTuple


class NotReproduced(NamedTuple):
    """A paper without a method of its name: the reason, and the nearest that there is."""

    name: str
    paper: str
    why: str
    nearest: str


NOT_REPRODUCED = (
    NotReproduced(
        "Nakamura et al.",
        "arXiv 2204.06698, 2022",
        "no released code is known, and the factor that favours tasks which diverge could not be verified",
        "`ps.MGDA` for the descent, `ps.DWA` for weights by how the losses fall",
    ),
    NotReproduced(
        "MT-CRL",
        "Hu et al., NeurIPS 2022",
        "a network with modules and gates of its own rather than a method for any model",
        "a front model, such as `pm.Inputs` or `pm.FiLM`",
    ),
    NotReproduced(
        "MoKD",
        "2025",
        "withdrawn by its author in August 2025",
        "its setting, the loss of the task and that of a teacher as objectives: `python -m studies.student_teacher`",
    ),
)
