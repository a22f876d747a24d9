"""The filesystem "home" of a module of tests: mounted through all of them, it fills up with what
they leave, and the last one looks at all of it again after a restart. A real KMIP server wraps its
key, through a proxy that counts. conftest.py has the fixture for all modules.
"""
import contextlib
import ctypes
import os
import pathlib
import random
import shutil
import stat
import subprocess
import sys
import tempfile

import pytest

import servers
from instance import Instance
from kmip_proxy import KmipProxy
from trees import describe, differences

USER, OTHER, GROUP = 12345, 12346, 12400
CAPACITY = 20 << 30  # less than the disk has: others use that, too
KEEP_SIZE, PUNCH_HOLE = 1, 2
libc = ctypes.CDLL(None, use_errno=True)


class Home:
    """The mounted filesystem "home", and what tests left in it."""

    def __init__(self, instance, proxy, mnt):
        self.instance = instance
        self.proxy = proxy
        self.mnt = mnt
        self.kept = {}

    def folder(self, name):
        path = self.mnt / name
        path.mkdir()
        return path

    def remount(self):
        """Unmounted and mounted again: another worker, nothing cached."""
        before = self.instance.worker_pid("home")
        self.instance.run("fs", "umount", "home")
        self.instance.mount("home", self.mnt)
        assert self.instance.worker_pid("home") not in (None, before)

    def keep(self, folder):
        """What is in the folder now must be in it for ever."""
        self.kept[folder] = describe(folder)

    def check(self):
        answer = self.instance.api("POST", "/api/v1/filesystems/home/check", {"read_data": True},
                                   timeout=600)
        assert answer == {"faults": 0, "report": []}

    def worker_memory(self):
        status = pathlib.Path(f"/proc/{self.instance.worker_pid('home')}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1]) << 10

    def look_at_all(self):
        """That everything is as it was left, and sound, also after a restart."""
        self.check()
        self.remount()
        for folder, wanted in self.kept.items():
            assert differences(wanted, describe(folder)) == [], folder.name
        self.check()
        self.instance.stop()
        self.instance.start()
        self.instance.wait_status("home", "mounted")
        for kind in ("corruption", "write-lost", "start-failed", "commit-failed"):
            assert f"event={kind}" not in self.instance.events()


@contextlib.contextmanager
def mounted_home(build_folder, folder):
    # Other users may enter this one, which those of pytest they may not.
    open_folder = pathlib.Path(tempfile.mkdtemp(prefix="coffer-home-"))
    open_folder.chmod(0o755)
    try:
        with servers.PykmipServer(folder / "kms") as kms, \
                KmipProxy(kms, lambda request: None) as proxy, \
                Instance(build_folder, open_folder) as instance:
            instance.set_kmip(kms, kms.admin().create(), address=proxy.address)
            instance.add("home", capacity=CAPACITY)
            yield Home(instance, proxy, instance.mount("home", open_folder / "mnt"))
    finally:
        shutil.rmtree(open_folder)


@pytest.fixture(scope="module")
def home(build_folder, tmp_path_factory):
    try:
        with mounted_home(build_folder, tmp_path_factory.mktemp("home")) as made:
            yield made
    except servers.Unavailable as reason:
        pytest.skip(str(reason))


def run(*command, check=True, **options):
    """A program of the system; its output is in the failure."""
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
                          check=False, **options)
    if check:
        assert done.returncode == 0, f"{command}: {done.stdout[-4000:]}"
    return done


def python(code, *arguments, **options):
    return run(sys.executable, "-c", code, *arguments, **options)


def start_python(code, *arguments):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)])


def wait_all(processes):
    assert [process.wait(600) for process in processes] == [0] * len(processes)


def as_user(uid, *command, groups=(), check=True):
    groups = ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
    return run("setpriv", "--reuid", uid, "--regid", uid, *groups, *command, check=check)


def fallocate(file, mode, offset, length):
    if libc.fallocate(file.fileno(), mode, ctypes.c_long(offset), ctypes.c_long(length)):
        raise OSError(ctypes.get_errno(), "fallocate")


def make_varied_tree(folder):
    """Every kind of file, attribute and time."""
    dice = random.Random(8)
    for number in range(40):
        place = folder / f"folder-{number % 7}" / f"deeper-{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"file-{number}"
        path.write_bytes(dice.randbytes(int(dice.paretovariate(0.3)) % 500_000))
        os.chown(path, number * 100, number * 1000)
        path.chmod(0o400 + number)
        os.setxattr(path, f"user.number{number}", str(number).encode())
        os.utime(path, ns=(number * 10**18 // 7, number * 10**18 // 9))
    with open(folder / "sparse", "wb") as file:
        file.truncate(50 << 20)
        os.pwrite(file.fileno(), b"in the middle", 20 << 20)
    os.link(folder / "sparse", folder / "folder-1" / "again")
    os.symlink("../sparse", folder / "folder-2" / "link")
    os.lchown(folder / "folder-2" / "link", USER, GROUP)
    os.mkfifo(folder / "fifo", 0o620)
    os.mknod(folder / "device", stat.S_IFCHR | 0o600, os.makedev(1, 7))
    os.setxattr(folder / "folder-3", "trusted.note", b"on a folder")
    for path in sorted(folder.glob("folder-*"), reverse=True):
        os.utime(path, ns=(10**9, 10**9 + 1))
