"""Reading: what it changes, and how much the next upload of a snapshot has to move for that."""
import os
import signal
import subprocess

import pytest

from instance import Instance, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")
SMALL, SMALL_SIZE = 300, 1500  # in their inodes
LARGE, LARGE_SIZE = 8, 1 << 20


def moved(instance, snapshot):
    """Bytes, by the upload of a snapshot that is taken now."""
    instance.run("fs", "snapshot", "add", "home", snapshot)
    instance.run("fs", "snapshot", "upload", "home", snapshot, "--allow-no-kms", "--wait")
    return instance.api("GET", "/api/v1/tasks")[-1]["moved"]


def mount(instance, mnt, *options):
    """Anew: the kernel then keeps nothing of what is in the files."""
    if os.path.ismount(mnt):
        instance.run("fs", "umount", "home")
    words = [instance.programs / "mount.coffer", "home", mnt,
             *(["-o", ",".join(options)] if options else [])]
    subprocess.run(words, env=instance.environment, check=True)


def write(mnt):
    for number in range(SMALL):
        (mnt / f"small-{number}").write_bytes(os.urandom(SMALL_SIZE))
    for number in range(LARGE):
        (mnt / f"large-{number}").write_bytes(os.urandom(LARGE_SIZE))


def read(mnt):
    """The times of access that this leaves."""
    for path in mnt.iterdir():
        path.read_bytes()
    return {path.name: path.stat().st_atime_ns for path in mnt.iterdir()}


def test_what_was_read_moves_its_records_once_and_with_noatime_nothing(build_folder, folder):
    mnt = folder / "mnt"
    mnt.mkdir()
    (folder / "disk").mkdir()
    with Instance(build_folder, folder) as instance:
        instance.add("home", allow_no_kms=True)
        instance.run("fs", "tier", "dir", "add", "disk", "--path", folder / "disk")
        mount(instance, mnt)
        write(mnt)
        everything = moved(instance, "written")
        assert everything > SMALL * SMALL_SIZE + LARGE * LARGE_SIZE
        nothing = moved(instance, "again")
        assert nothing < 16 << 10

        mount(instance, mnt, "noatime")
        before = {path.name: path.stat().st_atime_ns for path in mnt.iterdir()}
        assert read(mnt) == before
        assert moved(instance, "noatime") < 16 << 10

        # What comes back after a crash has the options that it had.
        killed = instance.worker_pid("home")
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: instance.worker_pid("home") not in (None, killed) and
                   instance.view("home")["status"] == "mounted", "it is mounted again")
        assert read(mnt) == before

        mount(instance, mnt)
        after = read(mnt)
        assert all(after[name] > before[name] for name in before)
        records = moved(instance, "read")
        assert SMALL * SMALL_SIZE < records < 2 * SMALL * SMALL_SIZE  # and no data of the large ones
        mount(instance, mnt)
        assert read(mnt) == after
        assert moved(instance, "read again") < 16 << 10
