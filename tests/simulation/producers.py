"""Producers and operators: what they do in a landing zone, and what is right afterwards."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.simulation.schedule import HOUR, Schedule
from tests.simulation.storage import Volume

Files = Mapping[str, bytes]

_SHORT = 1.5
"""Most seconds between two steps of a producer that is not slow."""
_CARELESS_UNTIL = 2 * HOUR
"""Until then a careless producer overwrites: what follows has to end before all is at rest."""


def csv(ids: list[int], column: str = "id") -> bytes:
    """A data file."""
    return f"{column},value\n".encode() + b"".join(b"%d,1\n" % one for one in ids)


@dataclass(frozen=True)
class Layout:
    """How batches lie in the landing zone.

    Attributes:
        marker: The pattern.
        names_files: The marker names its files, with their hashes.
        own_folder: The batch has a folder of its own.
    """

    marker: str
    names_files: bool = False
    own_folder: bool = True

    def key(self, day: str) -> str:
        """The marker of a day."""
        return self.marker.replace("{date}", day)

    def data(self, day: str, number: int) -> str:
        """A data file of a day."""
        return f"date={day}/part-{number}.csv" if self.own_folder else f"{day}.{number}.csv"


LAYOUTS = (
    Layout("date={date}/_SUCCESS"),
    Layout("{date}.ready", own_folder=False),
    Layout("date={date}/SHA256SUMS", names_files=True),
)


@dataclass
class Batch:
    """One marker: what its producer does, and what it has left.

    Attributes:
        careless: Draws when data are written again without the marker; ``None``: never.
        is_punctual: Whether the last correction comes just when somebody looks.
        snapshots: Contents that were complete at some time.
        standing: What has to be current in the end; ``None`` where that is not certain.
        is_broken: Whether its marker cannot be read, for good; then nothing is certain.
        is_clean: Whether the marker was never there while its data were not complete.
        is_crowded: Whether anything was written after the marker, in the same step of the clock.
    """

    day: str
    number: int
    layout: Layout
    volume: Volume
    schedule: Schedule
    careless: random.Random | None = None
    is_punctual: bool = False
    snapshots: list[Files] = field(default_factory=list)
    standing: Files | None = None
    is_clean: bool = True
    versions: int = 0
    completed_at: float = 0.0
    is_broken: bool = False
    is_crowded: bool = False
    marker_at: float = 0.0
    done: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        """The marker's."""
        return self.layout.key(self.day)

    @property
    def folder(self) -> str:
        """The folder of the batch; the landing zone where several share it."""
        return self.key.rpartition("/")[0]

    def hear(self, key: str) -> None:
        """Something was written or removed in the landing zone."""
        if self.day not in key:
            return
        now = self.volume.now()
        self.is_crowded = self.is_crowded or (now == self.marker_at and key in self.volume.files)
        if key == self.key and key in self.volume.files:
            self.marker_at = now

    def _pause(self, longest: float = _SHORT) -> None:
        random = self.schedule.random
        if random.random() < 0.5:
            self.schedule.after_operations(random.randint(1, 12), longest)
        else:
            self.schedule.wait(random.choice([0.0, 0.0005, random.uniform(0, longest)]))

    def _rest(self) -> None:
        random = self.schedule.random
        draw = random.random()
        if draw < 0.5:
            self.schedule.after_operations(random.randint(1, 60), 2 * HOUR)
        elif draw < 0.65:
            self.schedule.after_listing(2 * HOUR)
        else:
            self.schedule.wait(10 ** random.uniform(-2, 3.7))

    def _note(self, did: str, what: str = "") -> None:
        self.schedule.note(did, what or self.key)

    def _write(self, key: str, data: bytes, mtime: float | None = None) -> None:
        self._note("writes", key)
        if self.volume.flavour.objects or self.schedule.random.random() < 0.4:
            self.volume.replace(key, data)
        else:
            self._write_in_place(key, data)
        if mtime is not None and not self.volume.flavour.objects and key in self.volume.files:
            self.volume.utime(key, mtime)

    def _write_in_place(self, key: str, data: bytes) -> None:
        is_marker = key == self.key  # it is small: one write
        half = 0 if is_marker else data.rfind(b"\n", 0, len(data) - 1) + 1
        node = self.volume.open(key)
        for piece in filter(None, (data[:half], data[half:])):
            self._pause()
            self.volume.append(node, piece, key)

    def _new_content(self, column: str = "id") -> dict[str, bytes]:
        """Data that nobody has written before; as many bytes as the others."""
        self.versions += 1
        first = 100_000 + self.number * 10_000 + self.versions * 100
        return {
            self.layout.data(self.day, n): csv([first + 10 * n, first + 10 * n + 1], column)
            for n in range(2)
        }

    def _marker(self, files: Files) -> bytes:
        if not self.layout.names_files:
            return b""
        lines = [
            f"{hashlib.sha256(data).hexdigest()}  {key.rpartition('/')[2]}\n"
            for key, data in files.items()
        ]
        return "".join(lines).encode()

    def _write_data(self, files: Files, mtime: float | None = None) -> None:
        for key, data in files.items():
            self._write(key, data, mtime)
            self._pause()

    def _write_marker(self, files: Files, mtime: float | None = None) -> None:
        self._write(self.key, self._marker(files), mtime)

    def _complete(self, files: Files) -> None:
        self._note("COMPLETE", self.key)
        self.snapshots.append(dict(files))
        self.standing = dict(files)
        self.completed_at = self.schedule.now

    def _remove(self, *keys: str) -> None:
        for key in keys:
            self._note("removes", key)
            self.volume.remove(key)
            self._pause()

    def deliver(self) -> None:
        """Data first, then the marker; where there is one, it goes first."""
        files = self._new_content()
        self._remove(self.key)
        self._write_data(files)
        self._write_marker(files)
        self._complete(files)

    def correct(self) -> None:
        """Write the data again under the marker that stands, then the marker."""
        self.is_clean = self.is_clean and self.standing is None
        files = self._new_content()
        self._write_data(files)
        self._write_marker(files)
        self._complete(files)

    def restore(self) -> None:
        """``rm -rf``, then ``cp -a`` of a template: the same sizes, times, perhaps inodes."""
        files = self._new_content()
        self._remove(self.key, *self._data_there())
        if self.layout.own_folder and not self.volume.flavour.objects:
            self.volume.remove_folder(self.folder)
        self._pause()
        old: float | None = self.volume.now() // 86400 * 86400 - 7 * 86400
        if self.volume.flavour.ctime_is_mtime and not self.layout.own_folder:
            old = None  # nothing would show that there is a new marker
        self._write_data(files, old)
        self._write_marker(files, old)
        self._complete(files)

    def go_back(self) -> None:
        """Deliver what was there before once more."""
        if not self.snapshots:
            return self.deliver()
        files = self.snapshots[0]
        self._remove(self.key)
        self._write_data(files)
        self._write_marker(files)
        return self._complete(files)

    def marker_first(self) -> None:
        """As ``rsync`` does, whose list is sorted."""
        files = self._new_content()
        self._remove(self.key, *self._data_there())
        self.is_clean = self.is_clean and self.layout.names_files
        self._write_marker(files)
        self._pause()
        self._write_data(files)
        self._complete(files)

    def rename(self) -> None:
        """Prepare a folder elsewhere, and rename it into place."""
        if not self.layout.own_folder or self.volume.flavour.objects:
            return self.deliver()
        files = self._new_content()
        if self.volume.flavour.ctime_is_mtime:
            self.schedule.wait(self.volume.flavour.tick)
        hidden = f".prepared-{self.number}"
        for key, data in [*files.items(), (self.key, self._marker(files))]:
            self.volume.replace(f"{hidden}/{key.rpartition('/')[2]}", data)
            self._pause()
        self._rest()
        self._remove(self.key, *self._data_there())
        self.volume.remove_folder(self.folder)
        self._note("renames", self.folder)
        self.volume.rename_folder(hidden, self.folder)
        return self._complete(files)

    def twice(self) -> None:
        """Two deliveries within a moment."""
        for _ in range(2):
            files = self._new_content()
            self._remove_at_once(self.key)
            for key, data in [*files.items(), (self.key, self._marker(files))]:
                self.volume.replace(key, data)
            self._complete(files)
            self.schedule.wait(self.schedule.random.choice([0.0, 0.001, 0.3]))
            self._pause(0.5)

    def _remove_at_once(self, key: str) -> None:
        self.volume.remove(key)

    def overwrite(self) -> None:
        """Write other data under the marker that stands: which of them count, nobody can know."""
        self.is_clean, self.standing = False, None
        write = self.volume.replace if self.volume.flavour.objects else self._write_in_place
        for key, data in self._new_content().items():
            write(key, data)
            self._pause()

    def touch(self) -> None:
        """Another mtime; nothing else."""
        if self.key in self.volume.files:
            if self.volume.flavour.objects:
                self.volume.replace(self.key, self.volume.files[self.key].data)
            else:
                self.volume.utime(self.key, self.volume.now())

    def chmod(self) -> None:
        """Other permissions, everywhere."""
        for key in (self.folder, self.key, *self._data_there()):
            self.volume.chmod(key)

    def spoil(self) -> None:
        """Deliver what cannot be accepted."""
        files = self._new_content("ix")
        self._remove(self.key)
        self._write_data(files)
        self._write_marker(files)
        self.standing = None

    def withdraw(self) -> None:
        """Remove the marker, then the rest."""
        self._remove(self.key, *self._data_there())
        self.standing = None

    def hide(self) -> None:
        """An operator's slip: nobody may read the batch for a while."""
        what = self.folder or self.key
        self._note("hides", what)
        self.volume.hidden.add(what)
        if self.schedule.random.random() < 0.5:
            self.volume.chmod(what)
        self._rest()
        self.volume.hidden.discard(what)
        self._note("shows", what)
        if self.schedule.random.random() < 0.5:
            self.volume.chmod(what)
        if what == self.key:
            self.touch()  # as the rejection asks

    def _data_there(self) -> list[str]:
        names = [self.layout.data(self.day, n) for n in range(2)]
        return [key for key in names if key in self.volume.files]

    def live(self) -> None:
        """Everything that a producer does, drawn at random."""
        random = self.schedule.random
        self._rest()
        first: list[Callable[[], None]] = [self.deliver, self.marker_first, self.rename, self.twice]
        later = [*first, self.correct, self.correct, self.restore, self.restore, self.go_back]
        later += [self.touch, self.chmod, self.spoil, self.withdraw, self.hide]
        for step in [random.choice(first), *random.choices(later, k=random.randint(0, 3))]:
            self._note("PRODUCER", step.__name__)
            self.done.append(step.__name__)
            step()
            self._rest()
            self._be_careless()
        if self.standing is None and random.random() < 0.7:
            self._note("PRODUCER", "deliver")
            self.done.append("deliver")
            self.deliver()
        if self.is_punctual and self.standing is not None:
            self._be_punctual()

    def _be_punctual(self) -> None:
        """Correct just when somebody has begun to list what is there."""
        self.schedule.after_listing(2 * HOUR)
        self._note("PRODUCER", "correct")
        self.done.append("correct")
        self.correct()

    def _be_careless(self) -> None:
        """Overwrite just when a worker has read the data and is about to say that they count."""
        while self._is_careless():
            self.schedule.after_staging(HOUR / 4)
            self._note("PRODUCER", "overwrite")
            self.done.append("overwrite")
            self.overwrite()

    def _is_careless(self) -> bool:
        if self.careless is None or self.schedule.now > _CARELESS_UNTIL:
            return False
        return self.key in self.volume.files and self.careless.random() < 0.6
