"""A store that fails on command (src/store/layers/fault.h) under a mounted filesystem: every failure
is told, no fsync claims what is not so, and nothing else suffers."""
import errno
import os

import pytest

from faulty_store import filesystem  # noqa: F401
from filesystem import EVENT_CORRUPTION, EVENT_WRITE_LOST, drop_caches, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")

MIB = 1 << 20


def content(number, size=3 * MIB):
    """Bytes that say which they are, at each place."""
    return b"".join((b"%7d:%7d\n" % (number, i)) * 256 for i in range(size // 4096))


def sync(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write(path, data):
    with open(path, "wb", buffering=0) as file:
        assert file.write(data) == len(data)


def write_synced(path, data):
    write(path, data)
    sync(path)


def code_of(action, *arguments):
    """The errno of what it raises, or 0."""
    try:
        action(*arguments)
    except OSError as error:
        return error.errno
    return 0


def assert_durable(filesystem, files):
    """They are there after a crash, and the filesystem is sound."""
    filesystem.kill()
    filesystem.set_faults()
    filesystem.restart()
    for name, data in files.items():
        assert (filesystem.mnt / name).read_bytes() == data, name
    filesystem.assert_sound()


# Writes


def open_code(path, flags, data):
    """Of the first of write, fsync and close that fails."""
    fd = os.open(path, flags)
    code = 0
    try:
        code = code_of(os.pwrite, fd, data, 0) or code_of(os.fsync, fd)
    finally:
        code = code or code_of(os.close, fd)
    return code


@pytest.mark.parametrize("rule", ["write segments/ 0 1 EIO", "write-torn segments/ 0 1 EIO"])
@pytest.mark.parametrize("flags", [0, os.O_DIRECT, os.O_SYNC], ids=["cached", "direct", "sync"])
def test_a_failed_write_is_told_and_the_rest_lives(filesystem, rule, flags):
    before, after = content(1), content(2)
    write_synced(filesystem.mnt / "file", before)
    write_synced(filesystem.mnt / "other", before)
    filesystem.set_faults(rule)
    assert open_code(filesystem.mnt / "file", os.O_WRONLY | flags, after[:MIB // 2]) == errno.EIO
    filesystem.set_faults()
    write_synced(filesystem.mnt / "new", after)
    assert open_code(filesystem.mnt / "file", os.O_WRONLY | flags, after) == 0
    assert_durable(filesystem, {"file": after, "other": before, "new": after})


def test_what_a_later_fsync_answers_for_is_what_can_be_read(filesystem):
    """The kernel tells about a lost page once, and goes on showing it."""
    before, lost = content(1), content(2)
    path = filesystem.mnt / "file"
    write_synced(path, before)
    filesystem.set_faults("write segments/ 0 * EIO")
    fd = os.open(path, os.O_RDWR)
    try:
        os.pwrite(fd, lost, 0)
        assert code_of(os.fsync, fd) == errno.EIO
        filesystem.set_faults()
        if code_of(os.fsync, fd) != 0:
            assert code_of(os.fsync, fd) == 0
        shown = os.pread(fd, len(lost), 0)
    finally:
        os.close(fd)
    assert_durable(filesystem, {"file": shown})


def test_lost_pages_are_not_shown_to_who_opens_the_file_later(filesystem):
    before, lost = content(1), content(2)
    path = filesystem.mnt / "file"
    write_synced(path, before)
    filesystem.set_faults("write segments/ 0 * EIO")
    assert open_code(path, os.O_WRONLY, lost) == errno.EIO
    filesystem.set_faults()
    until(lambda: path.read_bytes() == before, "the lost pages are forgotten")
    sync(path)
    assert_durable(filesystem, {"file": before})


# Syncs


@pytest.mark.parametrize("kind", ["sync", "sync-lose"])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_what_a_failed_sync_lost_is_written_again(filesystem, kind, times):
    data = {f"file{i}": content(i) for i in range(5)}
    filesystem.set_faults(f"{kind} segments/ 0 {times} EIO")
    for name, text in data.items():
        write(filesystem.mnt / name, text)
    codes = [code_of(sync, filesystem.mnt / name) for name in data]
    safe = {name: text for (name, text), code in zip(data.items(), codes) if code == 0}
    assert safe, codes
    for name, text in data.items():
        assert (filesystem.mnt / name).read_bytes() == text
    assert filesystem.events(EVENT_WRITE_LOST)
    assert_durable(filesystem, safe)
    assert filesystem.events(EVENT_CORRUPTION) == []


@pytest.mark.parametrize("kind", ["sync", "sync-lose"])
def test_syncs_that_fail_for_long_fail_each_fsync_and_lose_nothing(filesystem, kind):
    old, data = content(1), content(2)
    write_synced(filesystem.mnt / "old", old)
    filesystem.set_faults(f"{kind} segments/ 0 * EIO")
    write(filesystem.mnt / "file", data)
    for _ in range(4):
        assert code_of(sync, filesystem.mnt / "file") == errno.EIO
    drop_caches()
    assert (filesystem.mnt / "old").read_bytes() == old
    filesystem.set_faults()
    # The next attempt is made by the committer or by the fsync.
    until(lambda: code_of(sync, filesystem.mnt / "file") == 0, "a sync that succeeds")
    drop_caches()
    assert (filesystem.mnt / "file").read_bytes() == data
    write_synced(filesystem.mnt / "later", data)
    assert_durable(filesystem, {"old": old, "file": data, "later": data})


@pytest.mark.parametrize("kind", ["sync", "sync-lose"])
def test_no_fsync_that_succeeded_between_failures_was_wrong(filesystem, kind):
    """Each third sync of a segment fails."""
    safe = {}
    for i in range(30):
        if i % 3 == 0:
            filesystem.set_faults(f"{kind} segments/ 1 1 EIO")
        write(filesystem.mnt / f"file{i % 7}", content(i, 299_008))
        safe.pop(f"file{i % 7}", None)
        if code_of(sync, filesystem.mnt / f"file{i % 7}") == 0:
            safe[f"file{i % 7}"] = content(i, 299_008)
    assert safe
    assert_durable(filesystem, safe)


# Reads


@pytest.mark.parametrize("rule", ["read segments/ 0 * EIO", "read-flip segments/ 0 * 0",
                                  "read-short segments/ 0 * 0", "open segments/ 0 * EIO"])
def test_a_read_that_fails_is_an_error_and_never_other_bytes(filesystem, rule):
    data = content(1)
    write_synced(filesystem.mnt / "file", data)
    filesystem.kill()
    filesystem.restart()
    filesystem.set_faults(rule)
    with open(filesystem.mnt / "file", "rb", buffering=0) as file:
        for offset in range(0, len(data), MIB // 2):
            assert code_of(os.pread, file.fileno(), 4096, offset) == errno.EIO
        filesystem.set_faults()
        for offset in range(0, len(data), 65536):
            assert os.pread(file.fileno(), 65536, offset) == data[offset:offset + 65536]
    is_altered = rule.startswith(("read-flip", "read-short"))
    assert bool(filesystem.events(EVENT_CORRUPTION)) == is_altered
    assert (filesystem.worker.status()["corruptions"] > 0) == is_altered
    assert_durable(filesystem, {"file": data})


# What happens beside the data


@pytest.mark.parametrize("rule", ["create segments/ 0 * EIO", "replace superblock 0 * EIO",
                                  "remove segments/ 0 * EIO", "list * 0 * EIO", "put * 0 * EIO",
                                  "seal segments/ 0 * EIO", "space * 0 * EIO"])
def test_other_failures_lose_nothing_and_pass(filesystem, rule):
    """Enough is written to need more than one segment, and ids of new ones."""
    old = content(1)
    write_synced(filesystem.mnt / "old", old)
    filesystem.set_faults(rule)
    data = {}
    for i in range(12):
        name = f"file{i % 5}"
        data.pop(name, None)
        if code_of(write_synced, filesystem.mnt / name, content(i, 7 * MIB)) == 0:
            data[name] = content(i, 7 * MIB)
    code = code_of(os.statvfs, filesystem.mnt)
    assert code in (0, errno.EIO)
    filesystem.set_faults()
    until(lambda: code_of(write_synced, filesystem.mnt / "new", old) == 0, "a write that succeeds")
    assert_durable(filesystem, {"old": old, "new": old, **data})
