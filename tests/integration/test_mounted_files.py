"""Files on a mounted filesystem: their content, names, attributes, and what open ones outlive."""
import errno
import fcntl
import mmap
import os
import pathlib
import random
import shutil
import signal
import sys
import time

import pytest

from home import (GROUP, KEEP_SIZE, OTHER, PUNCH_HOLE, USER, as_user, fallocate, make_varied_tree,
                  python, run, start_python, wait_all)
from instance import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")
COARSE = 5  # CLOCK_REALTIME_COARSE


# Content


def test_a_file_with_data_behind_four_gigabytes(home):
    folder = home.folder("huge")
    marks = {0: b"begin", (4 << 30) - 3: b"across", (5 << 30) + 12345: b"behind",
             (1 << 40) + 1: b"far"}
    with open(folder / "sparse", "w+b") as file:
        for offset, mark in marks.items():
            os.pwrite(file.fileno(), mark, offset)
        os.fsync(file.fileno())
    home.remount()
    with open(folder / "sparse", "rb") as file:
        assert os.fstat(file.fileno()).st_size == (1 << 40) + 4
        assert os.fstat(file.fileno()).st_blocks * 512 < 1 << 20
        for offset, mark in marks.items():
            assert os.pread(file.fileno(), len(mark), offset) == mark
        assert os.pread(file.fileno(), 4096, 3 << 30) == bytes(4096)
    os.truncate(folder / "sparse", (4 << 30) + 1)
    with open(folder / "sparse", "rb") as file:
        assert os.pread(file.fileno(), 100, (4 << 30) - 3) == b"acro"
    os.truncate(folder / "sparse", 6 << 30)
    with open(folder / "sparse", "rb") as file:
        assert os.pread(file.fileno(), 6, (5 << 30) + 12345) == bytes(6)
    os.truncate(folder / "sparse", 5)
    home.keep(folder)


def test_what_is_written_through_a_shared_mapping_is_in_the_file(home):
    folder = home.folder("mmap")
    size = 3 << 20
    whole = bytearray(random.Random(3).randbytes(size))
    (folder / "file").write_bytes(whole)
    with open(folder / "file", "r+b") as file, mmap.mmap(file.fileno(), size) as mapped:
        for offset in range(0, size - 4096, 65521):
            mapped[offset:offset + 3] = whole[offset:offset + 3] = b"abc"
        mapped.flush()
        assert os.pread(file.fileno(), 3, 65521) == b"abc"
        # And the other way round: what is written shows in the mapping.
        os.pwrite(file.fileno(), b"written", 1 << 20)
        whole[1 << 20:(1 << 20) + 7] = b"written"
        assert mapped[1 << 20:(1 << 20) + 7] == b"written"
        # Not flushed by hand: it goes to the file with the last unmapping.
        mapped[100:104] = whole[100:104] = b"last"
    home.remount()
    assert (folder / "file").read_bytes() == whole
    home.keep(folder)


def data_ranges(path):
    """[(start, end)] of what is not a hole."""
    found = []
    with open(path, "rb") as file:
        at, size = 0, os.fstat(file.fileno()).st_size
        while at < size:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError as error:
                assert error.errno == errno.ENXIO
                break
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            assert at > start
            found.append((start, at))
    return found


def test_holes_are_holes_and_can_be_punched(home):
    folder = home.folder("holes")
    content = random.Random(4).randbytes(8 << 20)
    with open(folder / "file", "w+b") as file:
        file.truncate(64 << 20)
        os.pwrite(file.fileno(), content, 16 << 20)
        os.fsync(file.fileno())
        assert data_ranges(folder / "file") == [(16 << 20, 24 << 20)]
        stored = os.fstat(file.fileno()).st_blocks * 512
        assert 8 << 20 <= stored < 9 << 20
        fallocate(file, PUNCH_HOLE | KEEP_SIZE, 18 << 20, 2 << 20)
        fallocate(file, PUNCH_HOLE | KEEP_SIZE, (21 << 20) + 5, 3)
        os.fsync(file.fileno())
        with pytest.raises(OSError) as failure:
            fallocate(file, PUNCH_HOLE, 0, 10)
        assert failure.value.errno == errno.EOPNOTSUPP
    wanted = bytearray(content)
    wanted[2 << 20:4 << 20] = bytes(2 << 20)
    wanted[(5 << 20) + 5:(5 << 20) + 8] = bytes(3)
    home.remount()
    with open(folder / "file", "rb") as file:
        assert os.pread(file.fileno(), 8 << 20, 16 << 20) == wanted
        assert os.fstat(file.fileno()).st_size == 64 << 20
        assert os.fstat(file.fileno()).st_blocks * 512 <= stored - (2 << 20)
    ranges = data_ranges(folder / "file")
    assert ranges[0] == (16 << 20, 18 << 20) and ranges[1][0] == 20 << 20
    assert ranges[-1][1] == 24 << 20
    # A copy that keeps holes is as small.
    run("cp", "--sparse=auto", folder / "file", folder / "copy")
    assert (folder / "copy").read_bytes() == (folder / "file").read_bytes()
    assert (folder / "copy").stat().st_blocks * 512 < 8 << 20
    home.keep(folder)


def test_space_can_be_allocated_ahead(home):
    folder = home.folder("allocated")
    with open(folder / "file", "w+b") as file:
        file.write(b"content")
        file.flush()
        fallocate(file, 0, 0, 100_000)
        assert os.fstat(file.fileno()).st_size == 100_000
        assert os.pread(file.fileno(), 10, 0) == b"content\0\0\0"
        fallocate(file, KEEP_SIZE, 0, 1_000_000)
        assert os.fstat(file.fileno()).st_size == 100_000
    home.keep(folder)


APPEND = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
for number in range(int(sys.argv[3])):
    line = f"{sys.argv[2]} {number} ".encode()
    line += b"." * (99 - len(line)) + b"\\n"
    assert os.write(fd, line) == 100
"""


def test_lines_that_several_processes_append_are_all_there_and_whole(home):
    folder = home.folder("append")
    (folder / "log").touch()
    wait_all([start_python(APPEND, folder / "log", who, 2000) for who in range(4)])
    home.remount()
    lines = (folder / "log").read_bytes().split(b"\n")
    assert lines.pop() == b"" and all(len(line) == 99 for line in lines)
    seen = [tuple(map(int, line.split()[:2])) for line in lines]
    assert sorted(seen) == [(who, number) for who in range(4) for number in range(2000)]
    for who in range(4):
        own = [number for writer, number in seen if writer == who]
        assert own == sorted(own)
    home.keep(folder)


def test_writes_of_all_sizes_at_all_places_give_what_they_give_elsewhere(home, tmp_path):
    """The same changes here and on another filesystem, through two descriptors."""
    folder = home.folder("random")
    dice = random.Random(5)
    with open(folder / "file", "w+b", buffering=0) as ours, \
            open(folder / "file", "r+b", buffering=0) as second, \
            open(tmp_path / "file", "w+b", buffering=0) as theirs:
        for _ in range(1500):
            offset = dice.randrange(5 << 20)
            length = min(int(dice.paretovariate(0.5)), 300_000)
            action = dice.randrange(10)
            if action < 6:
                data = dice.randbytes(length)
                os.pwrite(dice.choice((ours, second)).fileno(), data, offset)
                os.pwrite(theirs.fileno(), data, offset)
            elif action == 6:
                os.ftruncate(ours.fileno(), offset)
                os.ftruncate(theirs.fileno(), offset)
            elif action == 7:
                for file in (ours, theirs):
                    fallocate(file, PUNCH_HOLE | KEEP_SIZE, offset, length)
            elif action == 8:
                os.fsync(ours.fileno())
            else:
                assert os.pread(second.fileno(), length, offset) \
                    == os.pread(theirs.fileno(), length, offset)
    assert (folder / "file").read_bytes() == (tmp_path / "file").read_bytes()
    home.remount()
    assert (folder / "file").read_bytes() == (tmp_path / "file").read_bytes()
    home.keep(folder)


# Names and attributes


def test_hard_and_symbolic_links(home):
    folder = home.folder("links")
    (folder / "first").write_text("content")
    for number in range(300):
        os.link(folder / "first", folder / f"name-{number}")
    assert os.stat(folder / "first").st_nlink == 301
    os.unlink(folder / "first")
    with open(folder / "name-7", "a") as file:
        file.write(" and more")
    long = "x" * 4000
    os.symlink(long, folder / "long")
    os.symlink("name-7", folder / "short")
    os.symlink("nowhere", folder / "dangling")
    os.symlink(".", folder / "loop")
    home.remount()
    assert os.stat(folder / "name-0").st_nlink == 300
    assert len({os.stat(folder / f"name-{number}").st_ino for number in range(300)}) == 1
    assert (folder / "name-299").read_text() == "content and more"
    assert os.readlink(folder / "long") == long
    assert (folder / "loop" / "loop" / "short").read_text() == "content and more"
    assert not (folder / "dangling").exists() and os.lstat(folder / "dangling").st_size == 7
    with pytest.raises(OSError) as failure:
        os.link(folder, folder / "folder")
    assert failure.value.errno == errno.EPERM
    home.keep(folder)


def test_names_may_be_of_any_bytes_and_255_of_them(home):
    folder = home.folder("names")
    names = [b"a" * 255, "ä".encode() * 127, b"\xff\xfe\x01", b"new\nline", b" ", b"...", b"-rf",
             b"\\", "日本語".encode()]
    base = os.fsencode(folder)
    for name in names:
        pathlib.Path(os.fsdecode(base + b"/" + name)).write_bytes(name)
    with pytest.raises(OSError) as failure:
        os.mkdir(base + b"/" + b"a" * 256)
    assert failure.value.errno == errno.ENAMETOOLONG
    home.remount()
    assert sorted(os.listdir(base)) == sorted(names)
    for name in names:
        with open(base + b"/" + name, "rb") as file:
            assert file.read() == name
    home.keep(folder)


def test_users_may_do_what_the_permissions_say(home):
    folder = home.folder("users")
    private, shared, common = folder / "private", folder / "shared", folder / "common"
    for path, mode, owner, group in ((private, 0o700, USER, USER), (shared, 0o2770, 0, GROUP),
                                     (common, 0o1777, 0, 0)):
        path.mkdir()
        os.chown(path, owner, group)
        path.chmod(mode)
    as_user(USER, "sh", "-c", f"echo mine > {private}/file && chmod 640 {private}/file")
    assert as_user(OTHER, "cat", private / "file", check=False).returncode != 0
    as_user(USER, "sh", "-c", f"umask 007 && echo ours > {shared}/file", groups=(GROUP,))
    assert (shared / "file").stat().st_gid == GROUP
    as_user(OTHER, "sh", "-c", f"echo too >> {shared}/file", groups=(GROUP,))
    assert as_user(OTHER, "cat", shared / "file", check=False).returncode != 0
    assert (shared / "file").read_text() == "ours\ntoo\n"
    # In a sticky directory only the owner takes a name away.
    as_user(USER, "touch", common / "file")
    os.chmod(common / "file", 0o666)
    assert as_user(OTHER, "rm", "-f", common / "file", check=False).returncode != 0
    assert as_user(OTHER, "mv", common / "file", common / "other", check=False).returncode != 0
    assert as_user(OTHER, "chmod", "600", common / "file", check=False).returncode != 0
    assert as_user(USER, "chown", OTHER, common / "file", check=False).returncode != 0
    as_user(OTHER, "sh", "-c", f"echo allowed > {common}/file")
    # A program with the set-user-id bit runs as its owner.
    shutil.copy(shutil.which("id"), common / "id")
    os.chown(common / "id", OTHER, OTHER)
    os.chmod(common / "id", 0o4755)
    home.remount()
    assert as_user(OTHER, "cat", private / "file", check=False).returncode != 0
    assert as_user(USER, "cat", private / "file").stdout == "mine\n"
    assert (common / "file").stat().st_uid == USER
    assert f"euid={OTHER}" in as_user(USER, common / "id").stdout
    home.keep(folder)


def test_times_are_kept_to_the_nanosecond(home):
    folder = home.folder("times")
    file = folder / "file"
    cases = [(1234567890123456789, 987654321987654321), (1, 999999999), (-1, -2),
             (2**32 * 10**9 + 7, 2**33 * 10**9 + 3)]
    for number, times in enumerate(cases):
        file = folder / f"file{number}"
        file.write_text("content")
        os.utime(file, ns=times)
    os.symlink("file0", folder / "link")
    os.utime(folder / "link", ns=(5, 6), follow_symlinks=False)
    home.remount()
    for number, times in enumerate(cases):
        st = os.stat(folder / f"file{number}")
        assert (st.st_atime_ns, st.st_mtime_ns) == times
    st = os.lstat(folder / "link")
    assert (st.st_atime_ns, st.st_mtime_ns) == (5, 6)
    home.keep(folder)


def test_times_are_after_a_restart_what_they_were_before(home):
    """However the content was changed: what the kernel had in its cache is what is stored."""
    folder = home.folder("stamps")

    def buffered(path):
        path.write_bytes(b"x" * 100)
        with open(path, "r+b") as file:
            file.write(b"y")

    def direct(path):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
        with mmap.mmap(-1, 4096) as page:
            os.write(fd, page)
        os.close(fd)

    def mapped(path):
        path.write_bytes(b"x" * 4096)
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 4096) as page:
            page[7] = 1

    def truncated(path):
        path.write_bytes(b"x" * 4096)
        os.truncate(path, 10)

    def allocated(path):
        with open(path, "wb") as file:
            fallocate(file, 0, 0, 10_000)

    def replaced(path):
        path.with_suffix(".new").write_bytes(b"x")
        os.rename(path.with_suffix(".new"), path)

    ways = (buffered, direct, mapped, truncated, allocated, replaced)
    for way in ways:
        for number in range(50):
            way(folder / f"{way.__name__}-{number}")

    def times():
        return {name: (os.stat(folder / name).st_mtime_ns, os.stat(folder / name).st_ctime_ns)
                for name in os.listdir(folder)}

    before = times()
    home.remount()
    assert {name: (before[name], after) for name, after in times().items()
            if before[name] != after} == {}


def test_changes_change_the_times_that_posix_names(home):
    folder = home.folder("clock")
    file = folder / "file"
    file.write_text("content")
    os.symlink("x", folder / "link")

    def changed(path, action):
        """Which of its times the action made new."""
        os.utime(path, ns=(10**18, 10**18), follow_symlinks=False)
        before = os.lstat(path)
        # The next tick of the clock from which times are taken.
        wait_until(lambda: time.clock_gettime_ns(COARSE) > before.st_ctime_ns, "a tick")
        action()
        after = os.lstat(path)
        return "".join(letter for letter in "amc"
                       if getattr(before, f"st_{letter}time_ns")
                       != getattr(after, f"st_{letter}time_ns"))

    def write():
        with open(file, "r+b") as opened:
            opened.write(b"more")

    (folder / "sub").mkdir()
    assert changed(file, write) == "mc"
    assert changed(file, lambda: os.truncate(file, 3)) == "mc"
    assert changed(file, lambda: os.chmod(file, 0o600)) == "c"
    assert changed(file, lambda: os.chown(file, USER, USER)) == "c"
    assert changed(file, lambda: os.setxattr(file, "user.a", b"b")) == "c"
    assert changed(file, lambda: os.link(file, folder / "linked")) == "c"
    assert changed(file, lambda: os.unlink(folder / "linked")) == "c"
    assert "m" not in changed(file, file.read_bytes)
    assert changed(folder / "sub", lambda: (folder / "sub" / "new").touch()) == "mc"
    assert changed(folder / "sub", lambda: os.unlink(folder / "sub" / "new")) == "mc"
    assert changed(file, lambda: os.utime(file, ns=(1, 10**18))) == "ac"


def test_files_are_stamped_in_the_order_in_which_they_are_changed(home):
    """Whether the kernel stamps them, or the worker: what is made later is not older."""
    folder = home.folder("order")
    for number in range(200):
        made, written = folder / f"made-{number}", folder / f"written-{number}"
        written.touch()
        made.touch()
        with open(written, "w") as file:
            file.write("later")
        assert written.stat().st_mtime_ns >= made.stat().st_mtime_ns
    home.keep(folder)


def test_extended_attributes_of_every_namespace(home):
    folder = home.folder("xattrs")
    file = folder / "file"
    file.write_text("")
    file.chmod(0o666)
    values = {"user.small": b"v", "user.empty": b"", "user.big": random.Random(6).randbytes(40000),
              "trusted.secret": b"for root", "security.label": b"label"}
    for name, value in values.items():
        os.setxattr(file, name, value)
    os.setxattr(folder, "user.folder", b"too")
    os.symlink("file", folder / "link")
    os.setxattr(folder / "link", "trusted.link", b"on the link", follow_symlinks=False)
    for number in range(150):
        os.setxattr(file, f"user.{number:03d}", bytes([number]))
    home.remount()
    assert {name: os.getxattr(file, name) for name in values} == values
    assert set(os.listxattr(file)) == set(values) | {f"user.{n:03d}" for n in range(150)}
    assert os.getxattr(folder / "link", "trusted.link", follow_symlinks=False) == b"on the link"
    assert os.getxattr(folder, "user.folder") == b"too"
    seen = as_user(USER, sys.executable, "-c", "import os, sys\n"
                   "print(len([n for n in os.listxattr(sys.argv[1]) if n[:5] == 'user.']),\n"
                   "      len([n for n in os.listxattr(sys.argv[1]) if n[:8] == 'trusted.']))",
                   file).stdout.split()
    assert seen == ["153", "0"]
    refused = as_user(USER, sys.executable, "-c",
                      "import os, sys; os.setxattr(sys.argv[1], 'trusted.x', b'')", file,
                      check=False)
    assert refused.returncode != 0
    for number in range(150):
        os.removexattr(file, f"user.{number:03d}")
    assert set(os.listxattr(file)) == set(values)
    home.keep(folder)


def test_a_rename_replaces_a_file_that_is_open(home):
    folder = home.folder("rename")
    (folder / "old").write_text("old content")
    with open(folder / "old") as held:
        for number in range(50):
            (folder / "new").write_text(f"content {number}")
            os.rename(folder / "new", folder / "old")
            assert (folder / "old").read_text() == f"content {number}"
        assert held.read() == "old content"
        assert os.fstat(held.fileno()).st_nlink == 0
    # Trees move with all that is in them, but not into themselves.
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "file").write_text("moved along")
    with pytest.raises(OSError) as failure:
        os.rename(folder / "a", folder / "a" / "b" / "c")
    assert failure.value.errno == errno.EINVAL
    os.rename(folder / "a", folder / "z")
    os.rename(folder / "z" / "b", folder / "b")
    assert (folder / "b" / "file").read_text() == "moved along"
    assert os.stat(folder / "z").st_nlink == 2
    assert os.path.samefile(folder / "b" / "..", folder)
    home.keep(folder)


# Open files


def test_unlinked_open_files_live_and_leave_nothing(home):
    folder = home.folder("unlinked")
    before = home.instance.view("home")["used"]
    content = random.Random(7).randbytes(4 << 20)
    held = []
    for number in range(20):
        file = open(folder / f"file{number}", "w+b", buffering=0)
        os.unlink(folder / f"file{number}")
        file.write(content)
        held.append(file)
    os.fsync(held[0].fileno())
    home.check()
    for file in held:
        assert os.fstat(file.fileno()).st_nlink == 0
        assert os.pread(file.fileno(), len(content), 0) == content
        file.close()
    wait_until(lambda: home.instance.view("home")["used"] <= before + 1024, "the space is free")
    assert os.listdir(folder) == []


def mounts_on(folder):
    """More than one lie on top of each other."""
    lines = pathlib.Path("/proc/self/mounts").read_text().splitlines()
    return sum(line.split()[1] == str(folder) for line in lines)


def test_unlinked_open_files_are_gone_when_their_worker_dies(home):
    folder = home.folder("died")
    before = os.statvfs(home.mnt)
    held = []
    for number in range(20):
        file = open(folder / f"file{number}", "w+b", buffering=0)
        file.write(random.Random(number).randbytes(1 << 20))
        os.fsync(file.fileno())
        os.unlink(folder / f"file{number}")
        held.append(file)
    with open(folder / "stays", "w") as file:
        file.write("x")
        file.flush()
        os.fsync(file.fileno())
    pid = home.instance.worker_pid("home")
    os.kill(pid, signal.SIGKILL)
    for file in held:
        try:
            file.close()
        except OSError:
            pass  # its filesystem is gone
    wait_until(lambda: home.instance.worker_pid("home") not in (None, pid), "another worker")
    home.instance.wait_status("home", "mounted")
    assert mounts_on(home.mnt) == 1
    assert os.listdir(folder) == ["stays"]
    home.check()
    after = os.statvfs(home.mnt)
    assert after.f_files - after.f_ffree == before.f_files - before.f_ffree + 1
    home.keep(folder)


def test_locks_hold_between_processes(home):
    folder = home.folder("locks")
    path = folder / "lock"
    path.write_text("0" * 100)
    try_lock = ("import fcntl, sys\n"
                "file = open(sys.argv[1], 'r+')\n"
                "try:\n"
                "    {}\n"
                "except BlockingIOError:\n"
                "    sys.exit(7)\n")
    flock = try_lock.format("fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)")
    ranged = try_lock.format("fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, "
                             "int(sys.argv[2]))")
    with open(path, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert python(flock, path, check=False).returncode == 7
        fcntl.flock(file, fcntl.LOCK_UN)
        python(flock, path)
        fcntl.lockf(file, fcntl.LOCK_EX, 10, 20)
        assert python(ranged, path, 25, check=False).returncode == 7
        python(ranged, path, 30)
        python(ranged, path, 10)
    python(ranged, path, 25)
    # A counter that is read and written under the lock loses no step.
    (folder / "counter").write_text("0")
    count = ("import fcntl, sys\n"
             "for _ in range(200):\n"
             "    with open(sys.argv[1], 'r+') as file:\n"
             "        fcntl.lockf(file, fcntl.LOCK_EX)\n"
             "        value = int(file.read())\n"
             "        file.seek(0)\n"
             "        file.write(str(value + 1))\n"
             "        file.flush()\n")
    wait_all([start_python(count, folder / "counter") for _ in range(3)])
    assert (folder / "counter").read_text() == "600"
    home.keep(folder)


# The whole


def test_after_all_of_this_everything_is_there_and_sound(home):
    folder = home.folder("last")
    make_varied_tree(folder)
    home.keep(folder)
    home.look_at_all()
