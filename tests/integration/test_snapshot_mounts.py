"""Snapshots that are mounted by themselves, beside the filesystem and each other."""
import os
import signal
import subprocess

import pytest

from instance import ApiError, Instance, is_mounted, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")


class Home:
    def __init__(self, instance, tmp_path):
        self.instance, self.tmp_path = instance, tmp_path
        instance.add("home", allow_no_kms=True)
        self.mnt = instance.mount("home", tmp_path / "mnt")

    def take(self, name):
        self.instance.run("fs", "snapshot", "add", "home", name, "--access-point", name)

    def folder(self, name):
        path = self.tmp_path / name
        path.mkdir(exist_ok=True)
        return path

    def mount_snapshot(self, name, folder=None, **options):
        path = folder or self.folder(f"of-{name}")
        self.instance.run("fs", "mount", "home", path, "--snapshot", name, **options)
        return path

    def fails(self, *words):
        done = self.instance.run(*words, check=False)
        assert done.returncode == 1, done
        return done.stderr

    def mounted(self):
        rows = self.instance.api("GET", "/api/v1/filesystems/home/snapshots")
        return {row["name"]: row["mounted_at"] for row in rows if row["mounted_at"]}


@pytest.fixture
def home(build_folder, tmp_path):
    with Instance(build_folder, tmp_path) as instance:
        home = Home(instance, tmp_path)
        try:
            yield home
        finally:
            for path in tmp_path.glob("of-*"):
                subprocess.run(["umount", "-l", path], check=False, capture_output=True)


def make_two(home):
    """Two snapshots of different content, both mounted."""
    (home.mnt / "folder").mkdir()
    (home.mnt / "folder" / "file").write_text("first")
    (home.mnt / "gone").write_text("soon")
    home.take("first")
    (home.mnt / "folder" / "file").write_text("second")
    (home.mnt / "gone").unlink()
    home.take("second")
    (home.mnt / "folder" / "file").write_text("now")
    return home.mount_snapshot("first"), home.mount_snapshot("second")


def assert_two(first, second):
    assert (first / "folder" / "file").read_text() == "first"
    assert (second / "folder" / "file").read_text() == "second"
    assert sorted(os.listdir(first)) == ["folder", "gone"]
    assert os.listdir(second) == ["folder"]


def test_several_are_seen_beside_the_filesystem_and_nothing_in_them_changes(home):
    first, second = make_two(home)
    assert_two(first, second)
    assert (home.mnt / "folder" / "file").read_text() == "now"
    assert not (first / ".snapshots").exists()
    for change in (lambda: (first / "new").write_text(""), lambda: (first / "gone").unlink(),
                   lambda: os.utime(first), lambda: os.setxattr(first / "gone", "user.a", b"b")):
        with pytest.raises(OSError) as refused:
            change()
        assert refused.value.strerror == "Read-only file system"
    # What is written into the filesystem does not show.
    (home.mnt / "folder" / "file").write_text("later")
    (home.mnt / "more").write_text("more")
    subprocess.run(["sync"], check=True)
    assert_two(first, second)
    assert home.mounted() == {"first": str(first), "second": str(second)}
    table = open("/proc/self/mounts", encoding="utf-8").read().splitlines()
    (line,) = [line for line in table if line.split()[1] == str(first)]
    assert line.startswith("home ") and " ro," in line
    run = subprocess.run(["diff", "-r", first, home.mnt / ".snapshots" / "first"],
                         capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")
    assert os.stat(first).st_ino == os.stat(home.mnt / ".snapshots" / "first").st_ino

    home.instance.run("fs", "umount", str(first))
    assert home.mounted() == {"second": str(second)}
    home.instance.run("fs", "umount", "home", "--snapshot", "second")
    assert home.mounted() == {} and not is_mounted(second)
    assert (home.mnt / "more").read_text() == "more"
    assert home.instance.view("home")["status"] == "mounted"


def test_one_that_is_mounted_is_neither_removed_nor_mounted_twice(home):
    first, _ = make_two(home)
    said = home.fails("fs", "snapshot", "remove", "home", "first", "--force")
    assert f"the snapshot is mounted at {first}; unmount it first" in said
    said = home.fails("fs", "mount", "home", home.folder("of-again"), "--snapshot", "first")
    assert f"already mounted at {first}" in said
    assert not is_mounted(home.folder("of-again"))
    said = home.fails("fs", "mount", "home", home.folder("of-again"), "--snapshot", "third")
    assert "has no snapshot 'third'" in said
    assert not is_mounted(home.folder("of-again"))
    said = home.fails("fs", "umount", "home", "--snapshot", "third")
    assert "not mounted" in said
    home.instance.run("fs", "snapshot", "update", "home", "first", "--new-name", "renamed")
    assert (first / "folder" / "file").read_text() == "first"
    home.instance.run("fs", "umount", "home", "--snapshot", "renamed")
    home.instance.run("fs", "snapshot", "remove", "home", "renamed", "--force")


def test_the_filesystem_stops_with_its_last_mount(home):
    first, second = make_two(home)
    said = home.fails("fs", "umount", "home")
    assert "home is unmounted, but goes on: a snapshot of home is mounted at" in said
    home.instance.wait_status("home", "started")  # itself it is unmounted
    assert_two(first, second)
    # It is mounted again by the same worker, and unmounted by whom it may be.
    pid = home.instance.worker_pid("home")
    home.instance.mount("home", home.mnt)
    assert home.instance.worker_pid("home") == pid
    (home.mnt / "last").write_text("words")
    subprocess.run(["umount", home.mnt], check=True)
    home.instance.wait_status("home", "started")
    assert_two(first, second)
    subprocess.run(["umount", first], check=True)
    home.instance.run("fs", "umount", str(second))
    home.instance.wait_status("home", "stopped")
    assert home.instance.worker_pid("home") is None

    # Of one that is not mounted: it is started for the snapshot.
    second = home.mount_snapshot("second")
    assert home.instance.view("home")["status"] == "started"
    assert (second / "folder" / "file").read_text() == "second"
    home.instance.run("fs", "umount", "home", "--snapshot", "second")
    home.instance.wait_status("home", "stopped")
    home.instance.mount("home", home.mnt)
    assert (home.mnt / "last").read_text() == "words"
    assert home.instance.api("POST", "/api/v1/filesystems/home/check", {"read_data": True}) == {
        "faults": 0, "report": []}


def test_they_come_back_after_the_end_of_the_worker_and_of_cofferd(home):
    first, second = make_two(home)
    home.instance.stop()
    assert_two(first, second)  # nobody but the worker is needed
    home.instance.start()
    home.instance.wait_status("home", "mounted")
    assert home.mounted() == {"first": str(first), "second": str(second)}

    pid = home.instance.worker_pid("home")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: home.instance.worker_pid("home") not in (None, pid), "there is another one")
    home.instance.wait_status("home", "mounted")
    wait_until(lambda: is_alive(first) and is_alive(second), "they are mounted again")
    assert_two(first, second)

    # What is unmounted while cofferd is away does not come back.
    home.instance.stop()
    subprocess.run(["umount", first], check=True)
    subprocess.run(["umount", home.mnt], check=True)
    home.instance.start()
    home.instance.wait_status("home", "started")
    wait_until(lambda: home.mounted() == {"second": str(second)}, "cofferd knows")
    pid = home.instance.worker_pid("home")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: home.instance.worker_pid("home") not in (None, pid), "there is another one")
    wait_until(lambda: is_alive(second), "it is mounted again")
    assert not is_mounted(first) and not is_mounted(home.mnt)
    home.instance.run("fs", "umount", str(second))


def is_alive(folder):
    try:
        return is_mounted(folder) and os.statvfs(folder) is not None
    except OSError:
        return False


def test_mount_8_mounts_one(home):
    make_two(home)
    home.instance.run("fs", "umount", "home", "--snapshot", "first")
    helper = home.instance.programs / "mount.coffer"
    path = home.folder("of-helper")
    subprocess.run([helper, "home", path, "-o", f"rw,snapshot=first,state_dir={home.instance.state}"],
                   check=True)
    assert (path / "folder" / "file").read_text() == "first"
    with pytest.raises(OSError):
        (path / "new").write_text("")


def test_a_policy_keeps_its_hands_off_one_that_is_mounted(home):
    policy = ("fs", "protection", "snapshot-policy")
    home.instance.run(*policy, "add", "p", "--daily", "0:00", "--daily-retention", "1")
    home.instance.run(*policy, "attach", "p", "home")

    def names():
        return [row["name"] for row in home.instance.api("GET",
                                                         "/api/v1/filesystems/home/snapshots")
                if row["status"] == "ready"]
    home.instance.run(*policy, "run-once", "p")
    (old,) = wait_until(names, "it is taken")
    home.mount_snapshot(old)
    home.instance.run(*policy, "run-once", "p")
    wait_until(lambda: len(names()) == 2 and old in names(), "another is taken")
    home.instance.run("fs", "umount", "home", "--snapshot", old)
    home.instance.run(*policy, "run-once", "p")
    wait_until(lambda: len(names()) == 1 and old not in names(), "both are gone")


def test_there_is_an_end_to_how_many(home):
    for i in range(17):
        home.take(f"s{i}")
    for i in range(16):
        home.mount_snapshot(f"s{i}")
    said = home.fails("fs", "mount", "home", home.folder("of-s16"), "--snapshot", "s16")
    assert "16 snapshots of a filesystem can be mounted" in said
    assert len(home.mounted()) == 16
    with pytest.raises(ApiError):
        home.instance.api("POST", "/api/v1/filesystems/home/stop")
