"""A filesystem whose metadata was altered where it says which state this is, and where data lies:
it is refused, and its files can be salvaged."""
import errno
import os
import pathlib
import struct

import pytest

from instance import is_mounted

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/fuse") or os.geteuid() != 0,
                                reason="needs root and /dev/fuse")

PAGE = 4096
LEAF = 0x02
BIG = 0x01
COMMIT, USAGE = 3, 22


@pytest.fixture
def data(instance, pykmip, tmp_path):
    """A mounted filesystem "data"."""
    instance.set_kmip(pykmip, pykmip.admin().create())
    instance.add("data")
    return instance.mount("data", tmp_path / "mnt")


def alter_records(metadata, kinds):
    """One bit of each of these, in all leaf pages of LMDB's file, also those not in use."""
    content = bytearray(metadata.read_bytes())
    altered = set()
    for page in range(0, len(content), PAGE):
        flags, lower = struct.unpack_from("<HH", content, page + 10)
        if not flags & LEAF or not 16 <= lower <= PAGE:
            continue
        for (node,) in struct.iter_unpack("<H", content[page + 16:page + lower]):
            low, high, node_flags, key_len = struct.unpack_from("<HHHH", content, page + node)
            key = content[page + node + 8:page + node + 8 + key_len]
            end = page + node + 8 + key_len + low + (high << 16)
            if not node_flags & BIG and len(key) == 18 and key[0] == 0 and key[1] in kinds:
                content[end - 1] ^= 1
                altered.add(key[1])
    assert altered == set(kinds)
    metadata.write_bytes(content)


def test_files_are_salvaged_when_asked_for_and_never_written(instance, data, tmp_path):
    contents = {f"file{i}": os.urandom(i * 50000) for i in range(5)}
    for name, content in contents.items():
        (data / name).write_bytes(content)
    instance.run("fs", "umount", "data")
    view = instance.view("data")
    metadata = pathlib.Path(view["meta"].removeprefix("lmdb:")) / "metadata.mdb"
    superblock = pathlib.Path(view["store"].removeprefix("dir:")) / "superblock"
    alter_records(metadata, {COMMIT, USAGE})
    before = metadata.read_bytes(), superblock.read_bytes()

    refused = instance.run("fs", "mount", "data", data, check=False)
    assert refused.returncode != 0 and "--salvage" in refused.stderr
    both = instance.run("fs", "mount", "data", data, "--salvage", "--take-over", check=False)
    assert both.returncode != 0 and not is_mounted(data)

    done = instance.run("fs", "mount", "data", data, "--salvage")
    assert "read-only" in done.stdout
    for name, content in contents.items():
        assert (data / name).read_bytes() == content
    with pytest.raises(OSError) as failure:
        (data / "new").write_text("x")
    assert failure.value.errno == errno.EROFS
    view = instance.view("data")
    assert view["read_only"] and "salvage" in view["status_text"]
    assert "salvage" in instance.run("alerts").stdout
    instance.run("fs", "umount", "data")
    assert (metadata.read_bytes(), superblock.read_bytes()) == before

    again = instance.run("fs", "mount", "data", data, check=False)
    assert again.returncode != 0 and not is_mounted(data)
