"""One filesystem served by a worker of the test's own, without cofferd: its folders, its mount, and
ways to end it. Needs root and /dev/fuse.

    filesystem = Filesystem(build_folder, folder)
    filesystem.start()
    filesystem.mount()
    filesystem.kill()      # as kill -9 does
    filesystem.restart()   # started and mounted again
    filesystem.close()
"""
import contextlib
import ctypes
import errno
import fcntl
import os
import pathlib
import struct
import subprocess
import time
import uuid as uuids

import pytest

import worker_client
from worker_client import Worker

EVENT_CORRUPTION, EVENT_WRITE_LOST, EVENT_FULL, EVENT_ROOM_AGAIN, EVENT_READ_ONLY = range(5)

EXT4_IOC_SHUTDOWN = 0x8004587D
EXT4_GOING_NOLOGFLUSH = 2


def until(condition, what="that", seconds=60):
    """The first true value of condition()."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not happen in {seconds} s"
        time.sleep(0.01)
    return value


def is_dead(path):
    """A mount whose worker is gone."""
    try:
        os.stat(path)
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return False


def drop_caches():
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")


class Filesystem:
    """meta and store are folders; scheme is the store's: "dir" or "fault+dir"."""

    def __init__(self, build_folder, folder, scheme="dir", meta=None, store=None):
        self.program = pathlib.Path(build_folder) / "src" / "programs" / "coffer-fsd"
        self.folder = pathlib.Path(folder)
        self.mnt = self.folder / "mnt"
        self.meta = pathlib.Path(meta or self.folder / "meta")
        self.store = pathlib.Path(store or self.folder / "store")
        self.scheme = scheme
        for path in (self.meta, self.store, self.mnt):
            path.mkdir(exist_ok=True)
        self.uuid = uuids.uuid4()
        self.worker = None

    def start(self, **options):
        (self.folder / "worker.sock").unlink(missing_ok=True)
        self.worker = Worker(self.program, self.folder)
        self.worker.uuid = self.uuid
        code, text = self.worker.start(f"lmdb:{self.meta}", f"{self.scheme}:{self.store}",
                                       **options)
        assert code == 0, text

    def mount(self):
        code, text = self.worker.mount(self.mnt)
        assert code == 0, text

    def kill(self):
        """The worker only; whoever uses the mount gets errors."""
        self.worker.process.kill()
        self.worker.wait()

    def stop(self):
        """With a last commit, as cofferd does it."""
        assert self.worker.order(worker_client.STOP) == (0, "")
        code = self.worker.wait()
        assert code == 0, code

    def restart(self, **options):
        self.unmount_dead()
        self.start(flags=0, **options)
        self.mount()

    def unmount_dead(self):
        while os.path.ismount(self.mnt) or is_dead(self.mnt):
            worker_client.unmount(self.mnt, lazy=True)

    def close(self):
        if self.worker and self.worker.process.poll() is None:
            self.kill()
        self.unmount_dead()

    def check(self, read_data=True):
        """The sentences of faults that a check found."""
        self.worker.connection.settimeout(600)
        answer, body = self.worker.ask(worker_client.CHECK, b"\1" if read_data else b"\0")
        assert answer == worker_client.CHECK_REPLY, body
        faults, _ = struct.unpack_from("<QB", body)
        report = body[11:].decode().splitlines()
        assert (faults == 0) == (not report)
        return report

    def assert_sound(self):
        assert self.check() == []

    def events(self, kind):
        """The sentences of one kind that the worker told so far."""
        self.worker.status()  # what it sends meanwhile is kept
        return [body[3:].decode() for message, body in self.worker.unasked
                if message == worker_client.EVENT and body[0] == kind]

    def set_faults(self, *rules):
        """Of the fault layer, in a store "fault+dir"; without any, nothing fails any more."""
        path = self.store / "~fault"
        new = self.store / "~fault.new"
        new.write_text("".join(f"{rule}\n" for rule in rules), encoding="ascii")
        os.chmod(new, 0o644)
        os.replace(new, path)


class Disk:
    """A small disk of its own: kind "tmpfs", or "ext4" on a loop device, which can lose its
    power."""

    def __init__(self, folder, name, size, kind="tmpfs"):
        self.path = pathlib.Path(folder) / name
        self.path.mkdir()
        self.kind = kind
        self.image = pathlib.Path(folder) / f"{name}.img"
        self.size = size
        if kind == "ext4":
            if not os.path.exists("/dev/loop-control"):
                pytest.skip("an ext4 of the test's own needs loop devices")
            with open(self.image, "wb") as file:
                file.truncate(size)
            subprocess.run(["mkfs.ext4", "-q", "-m", "0", self.image], check=True)
        self.mount()

    def mount(self):
        if self.kind == "ext4":
            words = ["-o", "loop", self.image]
        else:
            words = ["-t", "tmpfs", "-o", f"size={self.size}", "none"]
        subprocess.run(["mount", *words, self.path], check=True)

    def lose_power(self):
        """What the kernel had not written to the disk is gone, its journal included. The disk is
        mounted again afterwards; nobody may use it meanwhile."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("<I", EXT4_GOING_NOLOGFLUSH))
        finally:
            os.close(fd)

    def unmount(self):
        """Another mount namespace that was made meanwhile may have it still: mounted again, it would
        be the one that lost its power."""
        subprocess.run(["umount", self.path], check=True)
        until(lambda: self.kind != "ext4" or not self.has_loop_device(), "the loop device is free")

    def has_loop_device(self):
        return subprocess.run(["losetup", "-j", self.image], check=True, stdout=subprocess.PIPE).stdout

    def free(self):
        space = os.statvfs(self.path)
        return space.f_bavail * space.f_frsize

    def close(self):
        with contextlib.suppress(subprocess.CalledProcessError):
            subprocess.run(["umount", "-l", self.path], check=True, stderr=subprocess.DEVNULL)
        self.image.unlink(missing_ok=True)
