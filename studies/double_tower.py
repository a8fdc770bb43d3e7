"""DMTL: a teacher that models a click and what follows it, distilled into a double tower, all in one joint stage.

The teacher is a mixture of experts with a gate for each task (MMoE) on the joined features of user and item. Its towers
give the logits of a click and of a long read given a click; the probability of both is the product. The student is a
double tower: one vector for a user, one for an item, and their inner product is the logit of a click with a long read.
So items can be retrieved by inner product, which the teacher does not allow.

Three losses: the cross-entropy of clicks; that of long reads, over all impressions, by the product, so that nothing is
trained on clicked items alone and there is no loss on the second factor; and the divergence of the student from the
stopped teacher. Products of probabilities are sums of log-sigmoids; nothing is clipped.

An interpretation: teacher and student share the embeddings of users, items and their categories. The description of
the method leaves it open. Without it the third loss would have no parameter in common with the others, and nothing to
trade.

The model takes any fields: see `Catalogue`, whose tables are the features of all users and items. A batch is indices
into them, and labels: (user (N,), item (N,), click (N,), long read (N,)).
"""

from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, embedding

from paretomtl.distillation import bernoulli_kl, both_logit

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
OBJECTIVES = ("click", "long read", "distillation")
LONG = 100_000  # rows of a table from which sparse gradients cost less time, at batches of some thousands


class Catalogue(NamedTuple):
    """The features of all users and of all items, by row; the row is also the identity, with an embedding of its own.

    user_kinds, item_kinds: a category in each field, counted from 0; any number of fields, none too.
    user_numbers, item_numbers: standardised numbers, or 0 and 1 for what one may have several of; any number, none too.
    history: the items that a user has read before the log begins, padded with -1. Nobody's may be empty.
    """

    user_kinds: Int[Tensor, "U fields_u"]
    user_numbers: Float[Tensor, "U numbers_u"]
    item_kinds: Int[Tensor, "I fields_i"]
    item_numbers: Float[Tensor, "I numbers_i"]
    history: Int[Tensor, "U L"]

    @property
    def users(self) -> int:
        """The number of users."""
        return len(self.user_kinds)

    @property
    def items(self) -> int:
        """The number of items."""
        return len(self.item_kinds)


def check_catalogue(catalogue: Catalogue) -> None:
    """Raise if tables differ in length, a category is negative, or a history is empty or names no item."""
    for side, kinds, numbers in (
        ("user", catalogue.user_kinds, catalogue.user_numbers),
        ("item", catalogue.item_kinds, catalogue.item_numbers),
    ):
        if len(kinds) != len(numbers):
            raise ValueError(
                f"{side}_kinds has {len(kinds)} rows, {side}_numbers {len(numbers)}; "
                f"give one row for each {side} in both"
            )
        if kinds.numel() and int(kinds.min()) < 0:
            raise ValueError(
                f"{side}_kinds holds {int(kinds.min())}; count categories from 0, with one more for those unknown"
            )
        if not bool(numbers.isfinite().all()):
            raise ValueError(f"{side}_numbers is not finite; fill what is missing, and add a column that says so")
    _check_history(catalogue)


def _check_history(catalogue: Catalogue) -> None:
    history = catalogue.history
    if len(history) != catalogue.users:
        raise ValueError(f"history has {len(history)} rows, and there are {catalogue.users} users; give one row a user")
    if history.numel() and (int(history.min()) < -1 or int(history.max()) >= catalogue.items):
        raise ValueError(
            f"history holds items from {int(history.min())} to {int(history.max())}; they are numbered from 0 to "
            f"{catalogue.items - 1}, and -1 fills up a row"
        )
    empty = (history < 0).all(dim=1).nonzero()[:, 0].tolist()
    if empty:
        raise ValueError(
            f"history of user {empty[0]} is empty, and of {len(empty) - 1} others: the mean of no items is no vector; "
            "leave these users out, or give them the items that most people read"
        )


class Logits(NamedTuple):
    """Logits of the click, of a long read given a click, and the student's of both, each (N,)."""

    click: Tensor
    read: Tensor
    student: Tensor

    @property
    def teacher(self) -> Tensor:
        """The teacher's logit of a click with a long read."""
        return both_logit(self.click, self.read)


class Widths(NamedTuple):
    """Widths of the parts: identities' and categories' embeddings, hidden layers, the number of experts."""

    identity: int = 16
    kind: int = 4
    hidden: int = 32
    experts: int = 4
    vector: int = 16


class Features(nn.Module):
    """Embeddings of both sides, which teacher and student share; the tables of the catalogue are not parameters.

    Tables of identities with `LONG` rows or more have sparse gradients: train them with `LazyAdam`.
    """

    def __init__(self, catalogue: Catalogue, widths: Widths):
        super().__init__()
        check_catalogue(catalogue)
        for name, table in catalogue._asdict().items():
            self.register_buffer(name, table, persistent=False)
        self.user = _embedding(catalogue.users, widths.identity)
        self.item = _embedding(catalogue.items, widths.identity)
        self.kinds = nn.ModuleDict(
            {
                side: nn.ModuleList(_embedding(int(field.max()) + 1, widths.kind) for field in kinds.unbind(1))
                for side, kinds in (("user", catalogue.user_kinds), ("item", catalogue.item_kinds))
            }
        )
        fields_u, fields_i = catalogue.user_kinds.shape[1], catalogue.item_kinds.shape[1]
        self.user_width = 2 * widths.identity + fields_u * widths.kind + catalogue.user_numbers.shape[1]
        self.item_width = widths.identity + fields_i * widths.kind + catalogue.item_numbers.shape[1]

    def embed_users(self, users: Tensor) -> Tensor:
        """Embed users (N,) as (N, user_width): identity, mean of the items in the history, categories, numbers."""
        return torch.cat(
            [
                self.user(users),
                self._mean_history(users),
                *self._embed_kinds("user", self.get_buffer("user_kinds")[users]),
                self.get_buffer("user_numbers")[users],
            ],
            dim=1,
        )

    def embed_items(self, items: Tensor) -> Tensor:
        """Embed items (N,) as (N, item_width): identity, categories, numbers."""
        return torch.cat(
            [
                self.item(items),
                *self._embed_kinds("item", self.get_buffer("item_kinds")[items]),
                self.get_buffer("item_numbers")[items],
            ],
            dim=1,
        )

    def _embed_kinds(self, side: Literal["user", "item"], kinds: Tensor) -> list[Tensor]:
        return [table(field) for table, field in zip(self.kinds[side], kinds.unbind(1), strict=True)]  # type: ignore[arg-type]

    def _mean_history(self, users: Tensor) -> Tensor:
        history = self.get_buffer("history")[users]
        is_item = (history >= 0).unsqueeze(2)
        vectors = embedding(history.clamp(min=0), self.item.weight, sparse=self.item.sparse)
        return (vectors * is_item).sum(dim=1) / is_item.sum(dim=1)


class MixtureOfExperts(nn.Module):
    """Experts on joined features, and for each task a gate over them and a tower that ends in one logit."""

    def __init__(self, inputs: int, widths: Widths):
        super().__init__()
        self.experts = nn.Linear(inputs, widths.experts * widths.hidden)
        self.gates = nn.ModuleList(nn.Linear(inputs, widths.experts) for _ in range(2))
        self.towers = nn.ModuleList(_layers(widths.hidden, widths.hidden, 1) for _ in range(2))

    def forward(self, joined: Tensor) -> tuple[Tensor, Tensor]:
        """Joined features (N, inputs) to the logits (N,) of a click and of a long read given a click."""
        experts = self.experts(joined).relu().unflatten(1, (len(self.gates[0].bias), -1))  # type: ignore[arg-type]
        click, read = (
            tower((gate(joined).softmax(dim=1).unsqueeze(2) * experts).sum(dim=1))[:, 0]
            for gate, tower in zip(self.gates, self.towers, strict=True)
        )
        return click, read


class DoubleTower(nn.Module):
    """A tower for users and one for items: vectors whose inner product, and a constant, is a logit."""

    def __init__(self, catalogue: Catalogue, widths: Widths | None = None):
        super().__init__()
        widths = widths or Widths()
        self.features = Features(catalogue, widths)
        self.user_tower = _layers(self.features.user_width, widths.hidden, widths.vector)
        self.item_tower = _layers(self.features.item_width, widths.hidden, widths.vector)
        self.constant = nn.Parameter(torch.zeros(()))

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits (N,) of users (N,) with items (N,)."""
        return self._score(self.features.embed_users(users), self.features.embed_items(items))

    def _score(self, user_features: Tensor, item_features: Tensor) -> Tensor:
        return (self.user_tower(user_features) * self.item_tower(item_features)).sum(dim=1) + self.constant

    @torch.no_grad()
    def user_vectors(self) -> Tensor:
        """Return the vectors of all users."""
        return self.user_tower(self.features.embed_users(torch.arange(self.features.user.num_embeddings)))

    @torch.no_grad()
    def item_vectors(self) -> Tensor:
        """Return the vectors of all items."""
        return self.item_tower(self.features.embed_items(torch.arange(self.features.item.num_embeddings)))


class DMTL(DoubleTower):
    """The double tower with its teacher: one forward pass gives the logits of both."""

    def __init__(self, catalogue: Catalogue, widths: Widths | None = None):
        super().__init__(catalogue, widths)
        self.teacher = MixtureOfExperts(self.features.user_width + self.features.item_width, widths or Widths())

    def forward(self, users: Tensor, items: Tensor) -> Logits:  # type: ignore[override]
        """Logits of users (N,) with items (N,)."""
        user_features, item_features = self.features.embed_users(users), self.features.embed_items(items)
        click, read = self.teacher(torch.cat([user_features, item_features], dim=1))
        return Logits(click, read, self._score(user_features, item_features))


def losses(model: DMTL, batch: Batch) -> dict[str, Tensor]:
    """Return the cross-entropies of click and of long read, and the student's divergence from the teacher, in nats."""
    users, items, clicks, reads = batch
    logits = model(users, items)
    return {
        "click": binary_cross_entropy_with_logits(logits.click, clicks),
        "long read": binary_cross_entropy_with_logits(logits.teacher, clicks * reads),
        "distillation": bernoulli_kl(logits.teacher, logits.student),
    }


class LazyAdam(torch.optim.Adam):
    """Adam, and for a table whose gradient is sparse, Adam on the rows of the batch alone; the others stay."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take a step."""
        tables = [(p, group) for group in self.param_groups for p in group["params"] if _has_sparse_gradient(p)]
        for p, group in tables:
            self._step_rows(p, group)
            p.grad = None  # so that Adam passes it by
        return super().step(closure)

    def _step_rows(self, p: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if not state:
            state.update(step=torch.tensor(0.0), exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
        state["step"] += 1
        gradient = p.grad.coalesce()  # type: ignore[union-attr]
        rows, values = gradient.indices()[0], gradient.values()
        (first, second), t = group["betas"], float(state["step"])
        mean = state["exp_avg"][rows].lerp(values, 1 - first)
        square = state["exp_avg_sq"][rows].lerp(values.square(), 1 - second)
        state["exp_avg"][rows], state["exp_avg_sq"][rows] = mean, square
        scale = (square / (1 - second**t)).sqrt() + group["eps"]
        p[rows] -= group["lr"] / (1 - first**t) * mean / scale


def _has_sparse_gradient(p: Tensor) -> bool:
    return p.grad is not None and p.grad.is_sparse


def _embedding(rows: int, width: int) -> nn.Embedding:
    table = nn.Embedding(rows, width, sparse=rows >= LONG)
    nn.init.normal_(table.weight, std=width**-0.5)
    return table


def _layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
