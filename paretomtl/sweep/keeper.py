"""Checkpoints as files: in the front's folder, or wherever an executor puts files."""

import contextlib
from abc import abstractmethod

from paretomtl.storage import checkpoints
from paretomtl.storage.checkpoints import Encoded
from paretomtl.storage.store import Store
from paretomtl.sweep.interrupt import hold_interrupt
from paretomtl.training.checkpoint import Checkpointer


class FileCheckpointer(Checkpointer):
    """Checkpoints as sealed files; a subclass says where they go.

    Args:
        store: the front's store, for the id of the study and for warnings.
        seconds: the least time between two checkpoints.
    """

    def __init__(self, store: Store, seconds: float):
        super().__init__(seconds)
        self.store = store

    @property
    def study(self) -> str:
        """The id of the study that the checkpoints are of."""
        return self.store.id

    @abstractmethod
    def put(self, name: str, files: dict[str, bytes]) -> None:
        """Write files, in this order, and replace the earlier ones of that name.

        Raises:
            OSError: they cannot be written now.
        """

    @abstractmethod
    def get(self, file: str, most: int) -> bytes:
        """Return the bytes of a file that `put` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError, OSError: it has more than `most` bytes, or cannot be read.
        """

    def write(self, name: str, jobs: list, encoded: Encoded) -> None:
        """Pack and put a checkpoint; an interrupt waits until it is written."""
        packed = checkpoints.pack(name, self.study, jobs, encoded)
        with hold_interrupt():
            self.put(name, packed)

    def read(self, name: str, jobs: list) -> Encoded | None:
        """Get and unpack a checkpoint; return None if there is none, and with a warning if it is not whole."""
        try:
            return checkpoints.unpack(name, self.study, jobs, self.get)
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            self.warn(f"the checkpoint of {name} is not used: {self.store.relative_message(error)}")
            return None

    def warn(self, text: str) -> None:
        """Add a line to the front's log, if there is room."""
        with contextlib.suppress(OSError, ValueError):
            self.store.log("warning", text=text)


class FolderCheckpointer(FileCheckpointer):
    """Checkpoints in the front's own folder."""

    def put(self, name: str, files: dict[str, bytes]) -> None:
        """Write files to the folder `checkpoints`."""
        checkpoints.write_checkpoint(self.store, name, files)

    def get(self, file: str, most: int) -> bytes:
        """Read a file from the folder `checkpoints`; no link is followed."""
        return checkpoints.make_reader(self.store.part(checkpoints.PART))(file, most)

    def drop(self, name: str) -> None:
        """Remove a checkpoint; one that cannot be removed now is removed when the front is whole."""
        with contextlib.suppress(OSError, ValueError), hold_interrupt():
            checkpoints.drop_checkpoint(self.store, name)
