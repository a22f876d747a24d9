"""coffer-fsd by itself: its orders, its mount, its locks. Needs root for mount(2)."""
import errno
import fcntl
import mmap
import os
import pathlib
import signal
import socket
import stat
import struct
import subprocess
import sys

import pytest

import worker_client
from filesystem import Filesystem, is_dead, until
from worker_client import Worker

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")
USER = 12345


@pytest.fixture
def unmounted(folder, build_folder):
    filesystem = Filesystem(build_folder, folder)
    filesystem.start()
    yield filesystem
    filesystem.close()


@pytest.fixture
def filesystem(unmounted):
    unmounted.mount()
    return unmounted


def as_user(action):
    """Runs action in a child without privileges; returns its exit code."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            os.setgroups([])
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)
            code = action() or 0
        except OSError as error:
            code = error.errno
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_an_unmount_ends_the_worker_cleanly_and_is_told(filesystem):
    worker_client.unmount(filesystem.mnt)
    message, request, body = filesystem.worker.receive()
    assert (message, request) == (worker_client.UNMOUNTED, 0)
    assert struct.unpack_from("<i", body) == (0,)
    assert filesystem.worker.receive() is None
    assert filesystem.worker.wait() == 0


def test_the_status_says_what_is_so(unmounted):
    status = unmounted.worker.status()
    assert status["started"] and not status["mounted"] and not status["read_only"]
    assert status["uuid"] == unmounted.worker.uuid
    assert status["generations"] == [1]
    assert status["pid"] == unmounted.worker.process.pid
    unmounted.mount()
    status = unmounted.worker.status()
    assert status["mounted"] and status["mountpoint"] == str(unmounted.mnt)
    assert status["total"] > 0 and status["files"] >= 1


def test_the_mount_survives_the_loss_of_the_connection(filesystem):
    worker = filesystem.worker
    with open(filesystem.mnt / "file", "w") as file:
        file.write("before")
        worker.disconnect()
        file.write("after")
    assert (filesystem.mnt / "file").read_text() == "beforeafter"
    worker.connect()
    assert worker.status()["mounted"]


def test_no_second_start_and_no_second_connection(filesystem):
    worker = filesystem.worker
    code, text = worker.start(f"lmdb:{filesystem.folder}/meta", f"dir:{filesystem.folder}/store")
    assert code == -errno.EALREADY, text
    second = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    second.settimeout(30)
    second.connect(worker.path)
    assert second.recv(100) == b""
    assert worker.status()["mounted"]


def test_another_user_may_not_connect(unmounted):
    worker = unmounted.worker
    os.chmod(worker.path, 0o777)
    worker.disconnect()

    def connect():
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client.settimeout(30)
        client.connect(worker.path)
        return 0 if client.recv(100) == b"" else 1

    assert as_user(connect) == 0
    worker.connect()
    assert worker.status()["started"]


@pytest.mark.parametrize("packet", [b"\x01", b"\x02\x03\0\0\1\0\0\0", b"\x01\x03\1\0\1\0\0\0",
                                    b"\x01\xff\0\0\0\0\0\0"])
def test_what_cannot_be_answered_ends_the_connection_and_nothing_else(filesystem, packet):
    worker = filesystem.worker
    worker.connection.send(packet)
    assert worker.receive() is None
    worker.connect()
    assert worker.status()["mounted"]


@pytest.mark.parametrize("message, body, code, said", [
    (0xff, b"", errno.ENOSYS, "unknown: the filesystem's worker is of another version"),
    (worker_client.DONE, b"\0" * 6, errno.ENOSYS, "unknown"),
    (worker_client.CHECK, b"\7", errno.EBADMSG, "a CHECK message is malformed"),
    (worker_client.STOP, b"more than there was", errno.EBADMSG, "a STOP message is malformed"),
])
def test_an_order_that_is_not_understood_is_answered_and_nothing_ends(filesystem, message, body,
                                                                      code, said):
    worker = filesystem.worker
    got = worker.order(message, body)
    assert got[0] == -code and said in got[1]
    assert worker.status()["mounted"]  # on the same connection
    with open("/dev/null", "rb") as null:  # a descriptor that nobody expects goes
        assert worker.order(0xff, b"", null.fileno())[0] == -errno.ENOSYS
        assert worker.order(worker_client.STATUS, b"", null.fileno())[0] == -errno.EBADMSG
    assert "/dev/null" not in opened_by(worker.process.pid)[3:]
    (filesystem.mnt / "still").write_text("here")


def opened_by(pid):
    folder = pathlib.Path(f"/proc/{pid}/fd")
    return [os.readlink(folder / name) for name in sorted(os.listdir(folder), key=int)]


def test_only_a_fuse_device_can_be_mounted_and_only_once(filesystem):
    worker = filesystem.worker
    with open("/dev/null", "rb") as null:
        body = worker_client.text("/x") + b"\0"  # times of access are kept
        assert worker.order(worker_client.MOUNT, body, null.fileno())[0] == -errno.EBUSY
        worker_client.unmount(filesystem.mnt, lazy=True)
    assert worker.wait() == 0
    filesystem.start(flags=0)
    with open("/dev/null", "rb") as null:
        assert filesystem.worker.order(worker_client.MOUNT, body, null.fileno())[0] \
            == -errno.EINVAL


def test_a_worker_without_keys_ends_with_its_connection(tmp_path, build_folder):
    worker = Worker(build_folder / "src" / "programs" / "coffer-fsd", tmp_path)
    worker.disconnect()
    assert worker.wait() == 0


def test_a_start_that_fails_says_why_and_ends_the_worker(tmp_path, build_folder):
    worker = Worker(build_folder / "src" / "programs" / "coffer-fsd", tmp_path)
    code, text = worker.start("nonsense:/x", f"dir:{tmp_path}/none", flags=0)
    assert code < 0 and text
    assert worker.receive() is None
    assert worker.wait() == 1


def stop_by_order(worker):
    assert worker.order(worker_client.STOP) == (0, "")


def stop_by_signal(worker):
    worker.process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("stop", [stop_by_order, stop_by_signal])
def test_a_stop_keeps_what_was_written_to_files_that_are_still_open(filesystem, stop):
    file = open(filesystem.mnt / "open", "wb")
    file.write(b"x" * 3000000)
    file.flush()
    stop(filesystem.worker)
    assert filesystem.worker.wait() == 0
    with pytest.raises(OSError) as failure:
        os.stat(filesystem.mnt)
    assert failure.value.errno == errno.ENOTCONN
    worker_client.unmount(filesystem.mnt, lazy=True)
    try:
        file.close()
    except OSError:
        pass
    filesystem.start(flags=0)
    filesystem.mount()
    assert (filesystem.mnt / "open").read_bytes() == b"x" * 3000000


def test_a_killed_worker_ends_its_mount_at_once(filesystem):
    filesystem.worker.process.kill()
    filesystem.worker.wait()
    until(lambda: is_dead(filesystem.mnt))


def test_a_check_answers_while_files_are_used(filesystem):
    (filesystem.mnt / "file").write_bytes(b"x" * 100000)
    answer, body = filesystem.worker.ask(worker_client.CHECK, b"\1")
    assert answer == worker_client.CHECK_REPLY
    assert struct.unpack_from("<QB", body) == (0, 0)


def test_the_capacity_can_be_changed(unmounted):
    assert unmounted.worker.order(worker_client.SET_CAPACITY, struct.pack("<Q", 1 << 24))[0] == 0
    assert unmounted.worker.status()["capacity"] == 1 << 24


def test_the_worker_is_locked_in(filesystem):
    pid = filesystem.worker.process.pid
    fields = dict(line.split(":\t", 1) for line in
                  pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    assert fields["CapPrm"].strip("0\n") == ""
    assert fields["CapEff"].strip("0\n") == ""
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"
    assert fields["Uid"].split()[0] != "0"
    # Without the right to be dumped its memory belongs to root alone.
    assert os.stat(f"/proc/{pid}/mem").st_uid == 0
    limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
    assert [line.split()[4] for line in limits.splitlines() if "core file" in line] == ["0"]
    for secret_place in ("cmdline", "environ"):
        assert b"kkkkkkkk" not in pathlib.Path(f"/proc/{pid}/{secret_place}").read_bytes()


def test_files_and_directories_do_what_they_do_elsewhere(filesystem):
    mnt = filesystem.mnt
    (mnt / "a" / "b").mkdir(parents=True)
    (mnt / "a" / "file").write_text("hello")
    os.link(mnt / "a" / "file", mnt / "hard")
    os.symlink("a/file", mnt / "soft")
    assert (mnt / "soft").read_text() == "hello"
    assert os.readlink(mnt / "soft") == "a/file"
    assert os.stat(mnt / "hard").st_nlink == 2
    os.rename(mnt / "hard", mnt / "a" / "b" / "moved")
    assert os.stat(mnt / "a" / "file").st_nlink == 2
    with pytest.raises(FileNotFoundError):
        os.stat(mnt / "hard")
    with pytest.raises(OSError) as failure:
        os.rmdir(mnt / "a")
    assert failure.value.errno == errno.ENOTEMPTY
    os.utime(mnt / "a" / "file", ns=(1234567890123456789, 987654321987654321))
    assert os.stat(mnt / "a" / "file").st_mtime_ns == 987654321987654321
    os.mkfifo(mnt / "fifo", 0o640)
    os.mknod(mnt / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert stat.S_ISFIFO(os.stat(mnt / "fifo").st_mode)
    (mnt / "null").write_text("gone")
    os.chmod(mnt / "a" / "file", 0o4711)
    os.chown(mnt / "a" / "file", 5, 6)
    st = os.stat(mnt / "a" / "file")
    assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (5, 6, 0o711)
    assert sorted(os.listdir(mnt / "a")) == ["b", "file"]


def test_an_unlinked_open_file_lives_until_it_is_closed(filesystem):
    with open(filesystem.mnt / "gone", "w+b") as file:
        os.unlink(filesystem.mnt / "gone")
        file.write(b"still here")
        file.flush()
        os.fsync(file.fileno())
        assert os.pread(file.fileno(), 100, 0) == b"still here"
        assert os.fstat(file.fileno()).st_nlink == 0
    assert os.listdir(filesystem.mnt) == []


def test_ten_thousand_names_are_listed_once_each(filesystem):
    names = {f"name-{i:05d}-{'x' * (i % 200)}" for i in range(10000)}
    for name in names:
        os.close(os.open(filesystem.mnt / name, os.O_CREAT | os.O_WRONLY))
    listed = os.listdir(filesystem.mnt)
    assert len(listed) == len(names) and set(listed) == names
    assert {entry.name for entry in os.scandir(filesystem.mnt) if entry.stat().st_size == 0} \
        == names


def rename_with_flags(old, new, flags):
    if worker_client.libc.renameat2(-100, str(old).encode(), -100, str(new).encode(), flags):
        return worker_client.ctypes.get_errno()
    return 0


def test_rename_exchanges_and_refuses_to_replace(filesystem):
    one, two = filesystem.mnt / "one", filesystem.mnt / "two"
    one.write_text("1")
    two.write_text("2")
    assert rename_with_flags(one, two, 1) == errno.EEXIST
    assert rename_with_flags(one, two, 2) == 0
    assert (one.read_text(), two.read_text()) == ("2", "1")
    os.rename(one, two)
    assert two.read_text() == "2" and not one.exists()


def test_extended_attributes(filesystem):
    file = filesystem.mnt / "file"
    file.write_text("")
    os.setxattr(file, "user.a", b"value", os.XATTR_CREATE)
    with pytest.raises(FileExistsError):
        os.setxattr(file, "user.a", b"other", os.XATTR_CREATE)
    os.setxattr(file, "user.big", b"y" * 40000)
    assert os.getxattr(file, "user.a") == b"value"
    assert os.getxattr(file, "user.big") == b"y" * 40000
    assert sorted(os.listxattr(file)) == ["user.a", "user.big"]
    os.removexattr(file, "user.a")
    with pytest.raises(OSError) as failure:
        os.getxattr(file, "user.a")
    assert failure.value.errno == errno.ENODATA
    with pytest.raises(OSError) as failure:
        os.setxattr(file, "system.posix_acl_access", b"\2\0\0\0")
    assert failure.value.errno == errno.EOPNOTSUPP


def test_mapped_and_sparse_files(filesystem):
    with open(filesystem.mnt / "map", "w+b") as file:
        file.truncate(1 << 20)
        with mmap.mmap(file.fileno(), 1 << 20) as mapped:
            mapped[500000:500005] = b"hello"
            mapped.flush()
        assert os.pread(file.fileno(), 5, 500000) == b"hello"
        os.pwrite(file.fileno(), b"end", 5 << 30)
        assert os.fstat(file.fileno()).st_size == (5 << 30) + 3
        assert os.pread(file.fileno(), 10, 4 << 30) == b"\0" * 10


def test_writing_and_giving_away_take_the_set_user_id_bits(filesystem):
    path = filesystem.mnt / "program"

    def reset():
        path.write_text("x" * 10)
        os.chown(path, USER, USER)
        os.chmod(path, 0o6775)

    def bits():
        return stat.S_IMODE(os.stat(path).st_mode) & 0o6000

    def write():
        with open(path, "r+") as file:
            file.write("y")

    def truncate():
        os.truncate(path, 3)

    def open_truncated():
        open(path, "w").close()

    for action in (write, truncate, open_truncated):
        reset()
        assert bits() == 0o6000
        assert as_user(action) == 0
        assert bits() == 0, action.__name__
    reset()
    os.chown(path, 0, 0)
    assert bits() == 0
    # And so it stays when the kernel asks again.
    reset()
    assert as_user(write) == 0
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("2")
    assert bits() == 0


def test_a_set_group_id_directory_passes_its_group_on(filesystem):
    folder = filesystem.mnt / "team"
    folder.mkdir()
    os.chown(folder, 0, USER)
    os.chmod(folder, 0o2777)

    def make():
        (folder / "file").write_text("")
        (folder / "sub").mkdir()
        os.symlink("x", folder / "link")

    (folder / "mine").write_text("")
    assert as_user(make) in (0, 1)
    for name in ("file", "sub", "link"):
        assert os.lstat(folder / name).st_gid == USER
    assert os.stat(folder / "mine").st_gid == USER
    assert os.stat(folder / "sub").st_mode & stat.S_ISGID


def test_the_kernel_checks_permissions(filesystem):
    (filesystem.mnt / "private").write_text("secret")
    os.chmod(filesystem.mnt / "private", 0o600)
    assert as_user(lambda: open(filesystem.mnt / "private").close()) == errno.EACCES
    assert as_user(lambda: (filesystem.mnt / "new").write_text("") and 0) == errno.EACCES


def test_locks_work(filesystem):
    with open(filesystem.mnt / "lock", "w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        other = subprocess.run(
            [sys.executable, "-c", "import fcntl, sys\n"
             "fcntl.lockf(open(sys.argv[1], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)",
             str(filesystem.mnt / "lock")], stderr=subprocess.DEVNULL, check=False)
        assert other.returncode != 0


def test_temporary_files_without_a_name(filesystem):
    try:
        fd = os.open(filesystem.mnt, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError as error:
        # libfuse before 3.17 cannot
        assert error.errno == errno.EOPNOTSUPP
        pytest.skip("this libfuse has no O_TMPFILE")
    os.write(fd, b"content")
    # With a folder given Python calls linkat, which follows; its link() does not.
    links = os.open("/proc/self/fd", os.O_RDONLY)
    os.link(str(fd), filesystem.mnt / "named", src_dir_fd=links, follow_symlinks=True)
    os.close(links)
    os.close(fd)
    assert (filesystem.mnt / "named").read_bytes() == b"content"
