"""No room: by capacity, and on really full disks under the store, the metadata and both. The writer
is told, nothing acknowledged is lost, and it goes on when there is room."""
import contextlib
import errno
import hashlib
import os
import random

import pytest

from filesystem import Disk, Filesystem, drop_caches, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")

MIB = 1 << 20


class Files:
    """Files of one size in a folder, with an attribute, and what an fsync acknowledged of them."""

    def __init__(self, folder, size, note_size=8):
        self.folder = folder
        self.size = size
        self.note_size = note_size
        self.acknowledged = {}  # name: hash
        self.count = 0
        folder.mkdir()

    def add(self):
        """Writes another one; it is remembered when it is durable, else removed."""
        path = self.folder / f"file{self.count}"
        self.count += 1
        content = random.randbytes(self.size)
        note = random.randbytes(self.note_size)
        try:
            with open(path, "wb", buffering=0) as file:
                assert file.write(content) == self.size
                os.setxattr(path, "user.note", note)
                os.fsync(file.fileno())
        except OSError:
            path.unlink(missing_ok=True)
            raise
        self.acknowledged[path.name] = hashlib.sha256(content + note).digest()

    def fill(self):
        """Until there is no room."""
        while True:
            try:
                self.add()
            except OSError as error:
                assert error.errno == errno.ENOSPC
                return
            assert self.count * (self.size + self.note_size) < 1 << 30, "it never became full"

    def is_refused(self):
        try:
            self.add()
        except OSError as error:
            assert error.errno == errno.ENOSPC
            return True
        return False

    def has_room(self):
        return not self.is_refused()

    def verify(self):
        drop_caches()
        for name, wanted in self.acknowledged.items():
            path = self.folder / name
            content = path.read_bytes() + os.getxattr(path, "user.note")
            assert hashlib.sha256(content).digest() == wanted, name

    def remove_every_second(self):
        for name in list(self.acknowledged)[::2]:
            os.unlink(self.folder / name)
            del self.acknowledged[name]


def live_with_a_full_disk(filesystem, files):
    files.fill()
    assert len(files.acknowledged) > 10
    for _ in range(5):
        files.is_refused()
    files.verify()
    filesystem.kill()
    filesystem.restart()
    files.verify()
    files.fill()
    files.remove_every_second()
    until(files.has_room, "room after files were removed", 60)
    for _ in range(len(files.acknowledged) // 4):
        until(files.has_room, "room after files were removed", 60)
    files.verify()
    filesystem.assert_sound()
    filesystem.stop()
    filesystem.restart()
    files.verify()
    filesystem.assert_sound()


def test_a_capacity_that_is_used_up(build_folder, folder):
    filesystem = Filesystem(build_folder, folder)
    try:
        filesystem.start(capacity=40 * MIB)
        filesystem.mount()
        files = Files(filesystem.mnt / "files", MIB)
        files.fill()
        space = os.statvfs(filesystem.mnt)
        assert space.f_blocks * space.f_frsize == 40 * MIB
        assert space.f_bavail * space.f_frsize < MIB
        assert files.is_refused()
        files.verify()
        filesystem.kill()
        filesystem.restart(capacity=40 * MIB)
        files.verify()
        assert files.is_refused()
        files.remove_every_second()
        for _ in range(15):
            files.add()
        files.verify()
        filesystem.assert_sound()
    finally:
        filesystem.close()


# where, on what, its size, the size of files and of their attributes
PLACES = [("store", "tmpfs", 150 * MIB, MIB, 8), ("store", "ext4", 150 * MIB, 300_000, 8),
          ("meta", "tmpfs", 40 * MIB, 300, 10_000), ("meta", "ext4", 40 * MIB, 300, 30_000),
          ("both", "tmpfs", 150 * MIB, 300_000, 3000), ("both", "ext4", 150 * MIB, MIB, 8)]


@pytest.mark.parametrize("place,kind,size,file_size,note_size", PLACES,
                         ids=[f"{place}-{kind}" for place, kind, *_ in PLACES])
def test_a_disk_that_is_full(build_folder, folder, place, kind, size, file_size, note_size):
    disk = Disk(folder, "disk", size, kind)
    where = {name: disk.path / name for name in ("meta", "store") if place in (name, "both")}
    filesystem = Filesystem(build_folder, folder, **where)
    try:
        filesystem.start()
        filesystem.mount()
        files = Files(filesystem.mnt / "files", file_size, note_size)
        live_with_a_full_disk(filesystem, files)
    finally:
        filesystem.close()
        disk.close()


def test_small_files_leave_room_to_move_blocks_together(build_folder, folder):
    """Where metadata and store share a disk: removed files give room back although small ones have
    taken what was left, and no segment is of no use."""
    disk = Disk(folder, "disk", 100 * MIB)
    filesystem = Filesystem(build_folder, folder, meta=disk.path / "meta", store=disk.path / "store")
    try:
        filesystem.start()
        filesystem.mount()
        files = Files(filesystem.mnt / "files", 300_000)
        files.fill()
        small = Files(filesystem.mnt / "small", 1500)
        small.fill()
        files.remove_every_second()
        for _ in range(len(files.acknowledged) // 2):
            until(files.has_room, "room after files were removed", 60)
        files.verify()
        small.verify()
        filesystem.assert_sound()
    finally:
        filesystem.close()
        disk.close()


@pytest.mark.parametrize("place,kind,size,file_size,note_size", [
    pytest.param("store", "tmpfs", 80 * MIB, MIB, 8, id="store"),
    pytest.param(*PLACES[2], id="meta"),
    pytest.param(*PLACES[5], id="both", marks=pytest.mark.deep)])
def test_a_snapshot_on_a_full_disk(build_folder, folder, place, kind, size, file_size, note_size):
    """What it holds stays although there is no room, and removing it makes room."""
    disk = Disk(folder, "disk", size, kind)
    where = {name: disk.path / name for name in ("meta", "store") if place in (name, "both")}
    filesystem = Filesystem(build_folder, folder, **where)
    try:
        filesystem.start()
        filesystem.mount()
        held = Files(filesystem.mnt / "held", file_size, note_size)
        while disk.free() > size // 2:
            held.add()
        assert filesystem.worker.take_snapshot("half") == 0
        files = Files(filesystem.mnt / "files", file_size, note_size)
        files.fill()
        assert filesystem.worker.take_snapshot("full") in (0, -errno.ENOSPC)
        with contextlib.suppress(OSError):  # to keep it for the snapshot may take more than there is
            for name in list(held.acknowledged):
                os.unlink(held.folder / name)
        files.verify()
        held.folder = filesystem.mnt / ".snapshots" / "half" / "held"
        held.verify()
        filesystem.assert_sound()
        filesystem.kill()
        filesystem.restart()
        held.verify()
        for name in ("half", "full"):
            assert filesystem.worker.remove_snapshot(name)[0] in (0, -errno.ENOENT)
        until(lambda: not filesystem.worker.has_snapshots(), "the snapshots are gone")
        for path in (filesystem.mnt / "held").iterdir():
            path.unlink()
        until(files.has_room, "room after the snapshots were removed", 60)
        files.verify()
        filesystem.assert_sound()
    finally:
        filesystem.close()
        disk.close()


def overwrite(build_folder, folder, total):
    """Random pieces of one file, which is a quarter of the disk."""
    piece = 65536
    pieces = 100 * MIB // piece
    versions = [0] * pieces
    disk = Disk(folder, "disk", 400 * MIB)
    filesystem = Filesystem(build_folder, folder, store=disk.path / "store")

    def content(index):
        return b"%8d%8d" % (index, versions[index]) * (piece // 16)

    try:
        filesystem.start()
        filesystem.mount()
        with open(filesystem.mnt / "file", "w+b", buffering=0) as file:
            for index in range(pieces):
                file.write(content(index))
            for number in range(total // piece):
                index = random.randrange(pieces)
                versions[index] += 1
                os.pwrite(file.fileno(), content(index), index * piece)
                if number % 500 == 0:
                    os.fsync(file.fileno())
            os.fsync(file.fileno())
        filesystem.kill()
        filesystem.restart()
        with open(filesystem.mnt / "file", "rb") as file:
            for index in range(pieces):
                assert file.read(piece) == content(index), index
        filesystem.assert_sound()
    finally:
        filesystem.close()
        disk.close()


def test_overwrites_do_not_fill_a_disk(build_folder, folder):
    overwrite(build_folder, folder, 2048 * MIB)


@pytest.mark.deep
def test_overwrites_for_long_do_not_fill_a_disk(build_folder, folder):
    overwrite(build_folder, folder, 20480 * MIB)
