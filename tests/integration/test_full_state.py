"""No room below the state folder, on a really full disk: what is there is started, stopped and
removed all the same, by room that was kept back for that; new keys wait for room."""
import errno
import os

import pytest

from filesystem import Disk
from instance import ApiError, Instance

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")

MIB = 1 << 20


@pytest.fixture
def disk(folder):
    disk = Disk(folder, "small", 64 * MIB)
    yield disk
    disk.unmount()


def fill(disk):
    with open(disk.path / "filler", "wb", buffering=0) as file:
        for size in (MIB, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC
    os.sync()


def test_what_is_there_can_be_used_on_a_full_disk(build_folder, disk, tmp_path):
    with Instance(build_folder, disk.path) as instance:
        for name in ("data", "other"):
            instance.add(name, allow_no_kms=True, store=f"dir:{tmp_path}/{name}-store",
                         meta=f"lmdb:{tmp_path}/{name}-meta")
        fill(disk)
        for _ in range(30):
            instance.api("POST", "/api/v1/filesystems/data/start")
            instance.api("POST", "/api/v1/filesystems/data/stop")
        folder = instance.mount("data", tmp_path / "mnt")
        (folder / "file").write_text("content")
        instance.run("fs", "umount", "data")
        with pytest.raises(ApiError) as refused:
            instance.add("new", allow_no_kms=True, store=f"dir:{tmp_path}/new-store",
                         meta=f"lmdb:{tmp_path}/new-meta")
        assert "room" in refused.value.text or "No space" in refused.value.text
        assert [row["name"] for row in instance.api("GET", "/api/v1/filesystems")] == ["data",
                                                                                     "other"]
        instance.stop()
        instance.start()
        assert (instance.mount("data", tmp_path / "mnt") / "file").read_text() == "content"
        instance.run("fs", "umount", "data")
        instance.run("fs", "remove", "other", "--shred", "--force", check=False)
        instance.run("fs", "remove", "data", "--force")
        instance.run("audit", "verify")
        os.unlink(disk.path / "filler")
        instance.add("new", allow_no_kms=True)
        assert "other" not in [row["name"] for row in instance.api("GET", "/api/v1/filesystems")] \
            or instance.run("fs", "remove", "other", "--force").returncode == 0
