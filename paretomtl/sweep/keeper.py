"""Where checkpoints go: to the front's folder, or wherever an executor puts files."""

import contextlib
from abc import abstractmethod

from paretomtl.storage import checkpoints
from paretomtl.storage.checkpoints import Encoded
from paretomtl.storage.store import Store
from paretomtl.sweep.interrupt import hold_interrupt
from paretomtl.training.checkpoint import Checkpointer


class FileCheckpointer(Checkpointer):
    """Checkpoints as files that are sealed; where they go is for a subclass to say.

    Args:
        store: of the front, for the study that they are of and for warnings.
        seconds: between two checkpoints, at least.
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
        """Write these files, in this order, in the place of those that were put under that name before.

        Raises:
            OSError: they cannot be written now.
        """

    @abstractmethod
    def get(self, file: str, most: int) -> bytes:
        """The bytes of a file that was put.

        Raises:
            FileNotFoundError: there is none of that name.
            ValueError, OSError: it has more than so many bytes, or cannot be read.
        """

    def write(self, name: str, asked: list, found: Encoded) -> None:
        """Pack and put it; an interrupt waits so long."""
        packed = checkpoints.pack(name, self.study, asked, found)
        with hold_interrupt():
            self.put(name, packed)

    def read(self, name: str, asked: list) -> Encoded | None:
        """What was put, if it is whole; else a warning."""
        try:
            return checkpoints.unpack(name, self.study, asked, self.get)
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            self.warn(f"the checkpoint of {name} is not gone on with: {self.store.within(error)}")
            return None

    def warn(self, text: str) -> None:
        """Add a line to the front's log, if there is room."""
        with contextlib.suppress(OSError, ValueError):
            self.store.log("warning", text=text)


class FolderCheckpointer(FileCheckpointer):
    """Checkpoints in the front's own folder."""

    def put(self, name: str, files: dict[str, bytes]) -> None:
        """Write them to `checkpoints`."""
        checkpoints.write(self.store, name, files)

    def get(self, file: str, most: int) -> bytes:
        """Read one from there; no link is followed."""
        return checkpoints.reader_of(self.store.part(checkpoints.PART))(file, most)

    def drop(self, name: str) -> None:
        """Remove it; what cannot be removed is once the front is whole."""
        with contextlib.suppress(OSError, ValueError), hold_interrupt():
            checkpoints.drop(self.store, name)
