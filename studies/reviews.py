"""Clothing reviews: the stars of a text, by a network of 1,000 words that learns from labels and from a larger network.

The data are 22,634 different texts of women's clothing reviews, each with 1 to 5 stars; those without a text are left
out. 4,000 validate and 4,000 test. The teacher sees all words and pairs of neighbours that five training texts have
(some 26,000), as the mean of 128 numbers each, and has a hidden layer of 256. The student sees which of the 1,000 words
that most training texts have are in a text, through four numbers: 4,029 parameters, a thousandth of the teacher's.

paretomtl run studies/reviews.toml
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache, partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

import paretomtl as pm
from studies import data
from studies.distilled import Course, all_present, train, train_or_load
from studies.tabular import Parts, divide

STARS = 5
LEAST = 5  # training texts that must have a word or pair that the teacher knows
WORDS, UNITS, EPOCHS, BATCH = 1_000, 4, 8, 256  # of the student
TEACHER = {"numbers": 128, "hidden": 256, "dropout": 0.5, "peak": 5e-3}
TEMPERATURE = 1.0
TOKEN = re.compile(r"[a-z0-9']+|[!?]")

Size = Literal["demo", "full"]


class Texts(NamedTuple):
    """How many texts to read, None for all; how many of them validate, and test; and the teacher's epochs."""

    read: int | None
    held_out: int
    epochs: int


SIZES: dict[str, Texts] = {"demo": Texts(5_000, 1_000, 12), "full": Texts(None, 4_000, 4)}


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, and its exclamation and question marks."""
    return TOKEN.findall(text.lower())


def with_pairs(words: Sequence[str]) -> list[str]:
    """Return words and pairs of neighbours."""
    return [*words, *(f"{a} {b}" for a, b in pairwise(words))]


def frequent(texts: Iterable[Sequence[str]], least: int, most: int | None = None) -> dict[str, int]:
    """Number the terms that so many texts have, the most frequent first; equally frequent ones by the alphabet."""
    counts = Counter(term for terms in texts for term in set(terms))
    ranked = sorted((-n, term) for term, n in counts.items() if n >= least)
    return {term: place for place, (_, term) in enumerate(ranked[:most])}


def numbered(texts: Sequence[Sequence[str]], vocabulary: dict[str, int]) -> Tensor:
    """Return the numbers of the different terms of each text, from 1, each row filled up with 0."""
    rows = [sorted({vocabulary[term] + 1 for term in terms if term in vocabulary}) for terms in texts]
    table = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for place, row in enumerate(rows):
        table[place, : len(row)] = torch.tensor(row)
    return table


def presence(texts: Sequence[Sequence[str]], vocabulary: dict[str, int]) -> Tensor:
    """Return, a text and a word, 1 where the text has the word and 0 elsewhere."""
    table = torch.zeros(len(texts), len(vocabulary) + 1, dtype=torch.uint8)
    return table.scatter_(1, numbered(texts, vocabulary), 1)[:, 1:].contiguous()


class Reviews(NamedTuple):
    """The splits, and the number of terms that the teacher knows."""

    parts: Parts
    terms: int


@cache
def reviews_of(size: Size) -> Reviews:
    """Read the reviews; what the networks know of words comes from the training texts alone."""
    columns = data.clothing()
    stars = {text: rating for text, rating in zip(columns["Review Text"], columns["Rating"], strict=True) if text}
    texts = [words_of(text) for text in islice(stars, SIZES[size].read)]
    label = torch.tensor([*stars.values()][: len(texts)]) - 1
    pairs = [with_pairs(words) for words in texts]
    rows = divide(len(texts), SIZES[size].held_out, SIZES[size].held_out)
    terms = frequent((pairs[k] for k in rows["train"]), LEAST)
    seen = presence(texts, frequent((texts[k] for k in rows["train"]), LEAST, WORDS))
    known = numbered(pairs, terms)
    parts = {split: (seen[k], known[k], label[k], all_present(len(k))) for split, k in rows.items()}
    return Reviews(parts, len(terms))


def parts_of(size: Size) -> Parts:
    """Return the splits."""
    return reviews_of(size).parts


class WordsAndPairs(nn.Module):
    """The teacher: a mean of learnt numbers of terms, and a hidden layer."""

    def __init__(self, terms: int):
        super().__init__()
        numbers, hidden, dropout = TEACHER["numbers"], TEACHER["hidden"], TEACHER["dropout"]
        self.terms = nn.EmbeddingBag(terms + 1, numbers, mode="mean", padding_idx=0)
        self.head = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(numbers, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, STARS)
        )

    def forward(self, known: Tensor) -> Tensor:
        """Numbers of terms (N, L) to logits (N, 5)."""
        return self.head(self.terms(known))


class FewWords(nn.Module):
    """The student: few numbers of the words that are present."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Linear(WORDS, UNITS), nn.Linear(UNITS, STARS)

    def forward(self, seen: Tensor) -> Tensor:
        """Presence of words (N, 1000) to logits (N, 5)."""
        return self.head(self.words(seen.float()))


def teacher_of(size: Size, folder: str | Path | None) -> pm.distillation.Teacher:
    """Return the teacher, from the folder if it is in it."""
    parts, terms = reviews_of(size)
    _, known, label, _ = parts["train"]
    model = train_or_load(
        None if folder is None else Path(folder) / f"reviews-{size}.safetensors",
        partial(WordsAndPairs, terms),
        partial(train, inputs=known, labels=label, epochs=SIZES[size].epochs, peak=TEACHER["peak"], batch=BATCH),
        {**TEACHER, **SIZES[size]._asdict(), "terms": terms},
    )
    return pm.distillation.Teacher(model)


def course(size: Size, folder: str | Path | None = None) -> Course:
    """Return the student's data and teacher."""
    if size not in SIZES:
        raise ValueError(f"size={size!r} is not one of {', '.join(SIZES)}")
    return Course(partial(parts_of, size), teacher_of(size, folder), FewWords, EPOCHS, BATCH, (1.2, 0.5))


def reviews(size: Size = "demo", temperature: float = TEMPERATURE, folder: str | Path | None = None) -> pm.Problem:
    """Return the problem.

    Args:
        size: "demo", 5,000 texts, or "full", all.
        temperature: the temperature of both networks in the teacher's loss.
        folder: where the teacher is stored; by default nowhere, and it is trained anew.
    """
    return course(size, folder).problem(temperature)
