"""Many programs that fsync at once through one mount, more than threads serve it: none of them hinders
the others, each is told what is so, once, and what was acknowledged is there after a crash."""
import contextlib
import errno
import os
import signal
import subprocess
import threading

import pytest

import servers
from faulty_store import filesystem  # noqa: F401
from filesystem import until
from instance import Instance

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")

PROGRAMS = 64  # the mount has 8 threads
CONTENT = b"more than an inode holds" * 400


class Syncers:
    """Each makes a file of its own at once; sync() has all of them fsync at the same time."""

    def __init__(self, folder, content=b""):
        self.paths = [folder / f"file{i}" for i in range(PROGRAMS)]
        self.codes = [None] * PROGRAMS
        self.threads = []
        self.fds = [os.open(path, os.O_CREAT | os.O_WRONLY, 0o644) for path in self.paths]
        for fd in self.fds:
            os.write(fd, content)

    def _sync(self, i):
        try:
            os.fsync(self.fds[i])
            self.codes[i] = 0
        except OSError as error:
            self.codes[i] = error.errno

    def start(self):
        self.codes = [None] * PROGRAMS
        self.threads = [threading.Thread(target=self._sync, args=(i,)) for i in range(PROGRAMS)]
        for thread in self.threads:
            thread.start()

    def join(self):
        for thread in self.threads:
            thread.join()
        return self.codes

    def sync(self):
        self.start()
        return self.join()

    def close(self):
        for fd in self.fds:
            with contextlib.suppress(OSError):  # the mount may be gone
                os.close(fd)


@pytest.fixture(scope="module")
def connections():
    """Where the kernel says of each mount how many requests wait, and ends it."""
    path = "/sys/fs/fuse/connections"
    if not os.path.exists(path):
        pytest.skip(f"needs {path}")
    is_ours = not os.path.ismount(path)
    if is_ours:
        subprocess.run(["mount", "-t", "fusectl", "none", path], check=True)
    yield path
    if is_ours:
        subprocess.run(["umount", "-l", path], check=True)


@pytest.fixture
def s3(tmp_path):
    try:
        with servers.VersitygwServer(tmp_path / "versitygw") as server:
            yield server
            server.process.send_signal(signal.SIGCONT)
    except servers.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture
def instance(build_folder, folder, s3):
    with Instance(build_folder, folder) as made:
        made.api("POST", "/api/v1/object-stores", {
            "name": "bucket", "type": "s3", "hostname": "127.0.0.1", "port": s3.port,
            "protocol": "http", "bucket": "coffer", "access_key_id": s3.access_key_id,
            "secret_key": s3.secret_key})
        made.add("data", store="s3:bucket", allow_no_kms=True)
        yield made
        s3.process.send_signal(signal.SIGCONT)


class Hung:
    """All programs have written a little and sync, into a bucket whose server does not answer."""

    def __init__(self, instance, s3, folder, connections):
        self.s3 = s3
        self.instance = instance
        self.mnt = instance.mount("data", folder / "mnt")
        self.connection = f"{connections}/{os.minor(os.stat(self.mnt).st_dev)}"
        self.pid = instance.worker_pid("data")
        self.syncers = Syncers(self.mnt, CONTENT)
        s3.process.send_signal(signal.SIGSTOP)
        self.syncers.start()
        until(lambda: self.waiting() >= PROGRAMS, "all of them wait")

    def waiting(self):
        """Requests that are not answered yet; some kernels count one that is none."""
        with open(f"{self.connection}/waiting", encoding="ascii") as waiting:
            return int(waiting.read())

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def go_on(self):
        self.s3.process.send_signal(signal.SIGCONT)

    def wait_for_another_worker(self):
        def is_there():
            with contextlib.suppress(OSError):
                return self.syncers.paths[0].exists()
        until(lambda: self.instance.worker_pid("data") not in (None, self.pid), "another worker")
        until(is_there, "the mount of another worker")

    def mount_again(self):
        """The worker has ended, or is about to; programs hold the dead mount until now."""
        self.syncers.close()
        until(lambda: self.instance.worker_pid("data") != self.pid, "its end")
        subprocess.run(["umount", "-l", self.mnt], check=False, capture_output=True)
        self.instance.mount_anew("data", self.mnt)

    def assert_all_there(self, or_lost=False):
        self.syncers.close()
        for path in self.syncers.paths:
            content = path.read_bytes()
            assert content == CONTENT or (or_lost and content == b"")
        assert self.instance.run("fs", "check", "data", "--read-data").returncode == 0


@pytest.fixture
def hung(instance, s3, folder, connections):
    hung = Hung(instance, s3, folder, connections)
    try:
        yield hung
    finally:
        hung.go_on()


def test_fsyncs_that_hang_do_not_hinder_the_others(hung):
    found = []
    # The kernel knows none of these: each is asked for, of threads that fsyncs must not hold.
    others = threading.Thread(target=lambda: found.extend(
        os.path.exists(hung.mnt / f"none{i}") for i in range(20)))
    others.start()
    try:
        until(lambda: len(found) == 20, "names are looked up")
        assert 0 not in hung.syncers.codes
    finally:
        hung.go_on()
        others.join()
    assert hung.syncers.join() == [0] * PROGRAMS
    os.kill(hung.pid, signal.SIGKILL)
    hung.wait_for_another_worker()
    hung.assert_all_there()


def test_a_worker_that_stops_answers_those_that_wait(hung):
    before = hung.threads()
    os.kill(hung.pid, signal.SIGTERM)
    try:
        until(lambda: hung.threads() < before, "nobody serves the mount")
    finally:
        hung.go_on()
    assert hung.syncers.join() == [0] * PROGRAMS
    hung.mount_again()
    hung.assert_all_there()


def test_a_mount_that_the_kernel_ends_harms_no_worker_that_has_yet_to_answer(hung):
    with open(f"{hung.connection}/abort", "w", encoding="ascii") as abort:
        abort.write("1")
    # ENOTCONN: one that had not asked yet.
    assert set(hung.syncers.join()) <= {errno.ECONNABORTED, errno.ENOTCONN}
    hung.go_on()
    hung.mount_again()
    hung.assert_all_there(or_lost=True)  # no fsync answered for it


def test_a_group_that_fails_is_told_to_each_and_again_until_it_does_not(filesystem):
    content = b"so many bytes that they go into a segment" * 3000
    syncers = Syncers(filesystem.mnt, content)
    filesystem.set_faults("sync segments/ 0 * EIO")
    for _ in range(3):
        assert syncers.sync() == [errno.EIO] * PROGRAMS
    filesystem.set_faults()
    until(lambda: syncers.sync() == [0] * PROGRAMS, "a sync that succeeds")
    for fd in syncers.fds:  # what was refused meanwhile is lost, as those who wrote were told
        os.pwrite(fd, content, 0)
    assert syncers.sync() == [0] * PROGRAMS
    syncers.close()
    filesystem.kill()
    filesystem.restart()
    for path in syncers.paths:
        assert path.read_bytes() == content
    filesystem.assert_sound()


def test_what_many_programs_made_durable_survives_the_end_of_the_worker(filesystem):
    """Killed while all of them write and sync: each knows which version it was told of."""
    content = [b"%6d:%2d\n" % (i, i) * 2000 for i in range(PROGRAMS)]
    durable = [0] * PROGRAMS
    is_over = threading.Event()

    def run(i):
        fd = os.open(filesystem.mnt / f"file{i}", os.O_CREAT | os.O_WRONLY, 0o644)
        version = 0
        try:
            while not is_over.is_set():
                os.pwrite(fd, b"%8d" % (version + 1) + content[i], 0)
                os.fsync(fd)
                version += 1
                durable[i] = version
        except OSError:
            assert is_over.is_set()
        finally:
            with contextlib.suppress(OSError):
                os.close(fd)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(PROGRAMS)]
    for thread in threads:
        thread.start()
    until(lambda: min(durable) >= 3, "each has made something durable")
    is_over.set()
    filesystem.kill()
    for thread in threads:
        thread.join()
    filesystem.restart()
    for i in range(PROGRAMS):
        found = (filesystem.mnt / f"file{i}").read_bytes()
        assert found[8:] == content[i]
        assert durable[i] <= int(found[:8]) <= durable[i] + 1, i
    filesystem.assert_sound()
