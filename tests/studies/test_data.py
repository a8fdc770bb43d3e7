"""Fetching: nothing is believed before its hash, nothing is run, and what is there is the published data."""

import hashlib
import os
import pickle
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from studies import data

CONTENT = b"the right bytes"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("PARETOMTL_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


def archive(code: str, file: str = "set.bin") -> data.Archive:
    """An archive of CONTENT, whose client is this line of Python."""
    return data.Archive(file, hashlib.sha256(CONTENT).hexdigest(), (sys.executable, "-c", code))


def writes(content: bytes, name: str = "set.bin") -> str:
    return f"open({name!r}, 'wb').write({content!r})"


# --- where archives are ---


def test_the_folder_is_the_users_unless_named(monkeypatch, tmp_path):
    monkeypatch.delenv("PARETOMTL_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data.folder() == tmp_path / ".cache" / "paretomtl"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert data.folder() == tmp_path / "xdg" / "paretomtl"
    monkeypatch.setenv("PARETOMTL_DATA", str(tmp_path / "own"))
    assert data.folder() == tmp_path / "own"


def test_what_is_there_is_not_fetched_again(folder):
    folder.mkdir()
    (folder / "set.bin").write_bytes(CONTENT)
    assert data.fetch(archive("raise SystemExit('asked')")).read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["set.bin", "set%7e.bin"])
def test_what_arrives_is_moved_into_place_whatever_the_client_calls_it(folder, name, capfd):
    path = data.fetch(archive(writes(CONTENT, name)))
    assert path == folder / "set.bin"
    assert path.read_bytes() == CONTENT
    assert [p.name for p in folder.iterdir()] == ["set.bin"]
    assert "fetching set.bin" in capfd.readouterr().err


def test_half_a_download_is_never_in_place(folder):
    half = f"{writes(CONTENT[:5])}; import os; assert os.listdir('..') == [os.path.basename(os.getcwd())]; os.abort()"
    with pytest.raises(data.Missing, match=r"could not fetch set\.bin"):
        data.fetch(archive(half))
    assert list(folder.iterdir()) == []


# --- what is refused ---


@pytest.mark.fault(91)
def test_a_wrong_archive_is_refused(folder):
    folder.mkdir()
    (folder / data.MNIST.file).write_bytes(b"something else")
    with pytest.raises(data.Missing) as caught:
        data.fetch(data.MNIST)
    found = hashlib.sha256(b"something else").hexdigest()
    for part in (str(folder / data.MNIST.file), found, data.MNIST.sha256, "delete the file"):
        assert part in str(caught.value)


@pytest.mark.fault(91)
def test_a_wrong_download_is_refused(folder):
    with pytest.raises(data.Missing, match="its SHA-256 is"):
        data.fetch(archive(writes(b"poisoned")))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import sys; print('trying', file=sys.stderr); sys.exit('no route to the registry')",
            "no route to the registry",
        ),
        ("import sys; sys.exit(3)", "exit status 3"),
    ],
)
def test_a_client_that_fails_says_what_to_do(folder, code, said):
    wanted = archive(code)
    with pytest.raises(data.Missing) as caught:
        data.fetch(wanted)
    for part in ("could not fetch set.bin", said, " ".join(wanted.command), f"in {folder}"):
        assert part in str(caught.value)
    assert list(folder.iterdir()) == []


def test_a_client_that_is_not_installed(folder):
    with pytest.raises(data.Missing, match="no-such-client"):
        data.fetch(data.Archive("set.bin", "0" * 64, ("no-such-client", "--quiet")))


@pytest.mark.parametrize(("code", "n"), [("pass", 0), (f"{writes(CONTENT)}; {writes(CONTENT, 'other')}", 2)])
def test_a_client_that_leaves_another_number_of_files(folder, code, n):
    with pytest.raises(data.Missing, match=f"left {n} files, not one"):
        data.fetch(archive(code))
    assert list(folder.iterdir()) == []


class Evil:
    """Unpickled, it calls what it was made with."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def unpickled(pickled: bytes):
    # as numpy 1 wrote it, which the real file is from
    return data._ArraysOnly(BytesIO(pickled.replace(b"numpy._core", b"numpy.core")), encoding="latin1").load()


def test_arrays_are_unpickled():
    arrays = (np.arange(6, dtype=np.float32).reshape(2, 3), np.array([1, 2]))
    assert all(map(np.array_equal, unpickled(pickle.dumps(arrays, protocol=3)), arrays))


@pytest.mark.fault(91)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("function", [os.system, os.unlink, eval, exec, np.save, np.fromfile, pickle.loads])
def test_nothing_else_is_unpickled(tmp_path, function, protocol):
    mark = tmp_path / "mark"
    mark.touch()
    arguments = {os.system: f"rm {mark}", eval: f"__import__('os').unlink({str(mark)!r})"}
    pickled = pickle.dumps(Evil(function, arguments.get(function, str(mark))), protocol=protocol)
    with pytest.raises(pickle.UnpicklingError, match="is not allowed in a data file"):
        unpickled(pickled)
    assert mark.exists()


# --- what is there ---


def idx(images: np.ndarray) -> bytes:
    """Pictures or labels as the published files hold them, unpacked: a magic number, the sizes, the bytes."""
    magic = 0x0800 + images.ndim
    return np.array([magic, *images.shape], dtype=">u4").tobytes() + images.astype(np.uint8).tobytes()


def md5(*parts: np.ndarray) -> str:
    return hashlib.md5(idx(np.concatenate(parts))).hexdigest()


def test_mnist_is_the_published_one_bit_for_bit(mnist):
    train, validate, test = (mnist[split] for split in ("train", "validate", "test"))
    assert [len(part.pictures) for part in (train, validate, test)] == [50_000, 10_000, 10_000]
    header = bytes.fromhex("00000803 0000ea60 0000001c 0000001c")
    assert idx(np.concatenate([train.pictures, validate.pictures]))[:16] == header
    assert md5(train.pictures, validate.pictures) == "6bbc9ace898e44ae57da46a324031adb"
    assert md5(train.labels, validate.labels) == "a25bea736e30d166cdddb491f175f624"
    assert md5(test.pictures) == "2646ac647ad5339dbf082846283269ea"
    assert md5(test.labels) == "27ae3e4e09519cfbb04c329615203637"
    assert (test.pictures.dtype, test.labels.dtype) == (np.uint8, np.int64)


def test_fashion_is_the_published_one_bit_for_bit():
    if not (data.folder() / data.FASHION.file).exists():
        pytest.skip(f"{data.FASHION.file} is not in {data.folder()}; the tests do not fetch it")
    sets = data.fashion()
    assert {split: images.pictures.shape for split, images in sets.items()} == {
        "train": (50_000, 28, 28),
        "validate": (10_000, 28, 28),
        "test": (10_000, 28, 28),
    }
    assert md5(sets["train"].pictures, sets["validate"].pictures).startswith("f4a8712d")
    assert np.bincount(sets["test"].labels).tolist() == [1000] * 10
