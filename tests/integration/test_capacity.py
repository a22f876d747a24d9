"""coffer fs update --capacity: at once, mounted or not, and after a restart."""
import errno
import os

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")
MIB = 1 << 20
GIB = 1 << 30


@pytest.fixture
def mnt(instance, openbao, tmp_path):
    openbao.create_key("coffer")
    instance.api("PUT", "/api/v1/kms", {"type": "vault", "address": openbao.address,
                                        "key": "coffer", "token": openbao.coffer_token("coffer")})
    instance.add("projects", capacity=GIB)
    return instance.mount("projects", tmp_path / "mnt")


def takes(path, size):
    """Whether so much can be appended, and made durable."""
    piece = os.urandom(8 * MIB)
    try:
        with open(path, "ab", buffering=0) as file:
            for _ in range(size // len(piece)):
                file.write(piece)
            os.fsync(file.fileno())
    except OSError as error:
        assert error.errno == errno.ENOSPC
        return False
    return True


def total(mnt):
    space = os.statvfs(mnt)
    return space.f_blocks * space.f_frsize


def test_it_counts_at_once_and_is_kept(instance, mnt):
    assert takes(mnt / "first", GIB - 16 * MIB)
    assert not takes(mnt / "second", 32 * MIB)
    said = instance.run("fs", "update", "projects", "--capacity", "2GiB").stdout
    assert "was updated" in said
    assert total(mnt) == 2 * GIB
    assert takes(mnt / "second", 32 * MIB)

    # One that holds more than that keeps it, and takes nothing new.
    instance.run("fs", "update", "projects", "--capacity", "1GiB")
    assert not takes(mnt / "third", 8 * MIB)
    (mnt / "first").unlink()
    assert takes(mnt / "third", 8 * MIB)

    instance.run("fs", "umount", "projects")
    instance.run("fs", "update", "projects", "--capacity", "3GiB")
    instance.stop()
    instance.start()
    instance.mount("projects", mnt)
    assert total(mnt) == 3 * GIB
    instance.run("fs", "update", "projects", "--capacity", "unlimited")
    assert instance.view("projects")["capacity"] == 0


def test_what_cannot_be_is_refused(instance, mnt):
    small = instance.run("fs", "update", "projects", "--capacity", "1MiB", check=False)
    assert small.returncode == 1 and "at least 1 GiB" in small.stderr
    other = instance.run("fs", "update", "other", "--capacity", "1TiB", check=False)
    assert other.returncode == 1 and "other" in other.stderr
    assert total(mnt) == GIB
