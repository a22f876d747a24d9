"""Snapshots of a mounted filesystem, as people and programs use them."""
import errno
import mmap
import os
import pathlib
import re
import subprocess
import sys
import threading

import pytest

from home import make_varied_tree, run
from instance import ApiError, wait_until
from trees import age, describe, differences

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")
SNAPSHOTS = "/api/v1/filesystems/home/snapshots"


def snapshots(home):
    return {row["name"]: row for row in home.instance.api("GET", SNAPSHOTS)}


def take(home, name):
    """Its folder."""
    home.instance.run("fs", "snapshot", "add", "home", name, "--access-point", name)
    return home.mnt / ".snapshots" / name


def take_by_worker(home, name):
    """Nobody but the worker has the kernel write back, which the command begins with."""
    home.instance.api("POST", SNAPSHOTS, {"name": name, "access_point": name})
    return home.mnt / ".snapshots" / name


def wait_removed(home):
    wait_until(lambda: all(row["status"] == "ready" for row in snapshots(home).values()),
               "what was removed is gone")


def is_there(path):
    """False also as long as the mount's worker is gone."""
    try:
        return path.exists()
    except OSError:
        return False


def error_of(function, *arguments):
    with pytest.raises(OSError) as caught:
        function(*arguments)
    return caught.value.errno


def test_a_snapshot_is_what_was_there_for_every_tool(home):
    folder = home.folder("tree")
    make_varied_tree(folder)
    age(folder)
    before = describe(folder)
    shown = take(home, "first") / "tree"
    assert differences(before, describe(shown)) == []
    run("diff", "-r", folder / "folder-1", shown / "folder-1")

    for path in sorted(folder.glob("folder-*")):
        run("sh", "-c", f"find {path} -type f | head -3 | xargs rm -f")
    (folder / "sparse").write_bytes(b"overwritten")
    (folder / "new").write_bytes(b"new")
    (folder / "fifo").rename(folder / "folder-1" / "moved")
    assert differences(before, describe(shown)) == []
    assert not (shown / "new").exists()

    target = home.mnt / "copies"
    target.mkdir()
    run("cp", "-a", shown, target / "cp")
    run("rsync", "-aHX", f"{shown}/", target / "rsync")
    run("cp", shown / "sparse", folder / "sparse")  # back over what it was
    assert (folder / "sparse").stat().st_size == 50 << 20
    for copy in ("cp", "rsync"):
        assert differences(before, describe(target / copy)) == []

    home.remount()
    assert differences(before, describe(shown)) == []
    assert os.listdir(home.mnt / ".snapshots") == ["first"]
    assert ".snapshots" not in os.listdir(home.mnt)
    assert os.stat(shown / "sparse").st_ino >> 48 not in (0, 0xffff)
    home.check()


def test_nothing_in_a_snapshot_can_be_changed(home):
    folder = home.folder("fixed")
    (folder / "file").write_bytes(b"fixed")
    shown = take(home, "fixed") / "fixed"
    for function, arguments in ((open, (shown / "file", "r+b")), (open, (shown / "other", "xb")),
                                (os.truncate, (shown / "file", 0)), (os.mkdir, (shown / "new",)),
                                (os.unlink, (shown / "file",)), (os.chmod, (shown / "file", 0)),
                                (os.utime, (shown / "file",)), (os.rmdir, (shown,)),
                                (os.rename, (shown / "file", shown / "moved")),
                                (os.rename, (shown / "file", folder / "moved")),
                                (os.setxattr, (shown / "file", "user.a", b"b")),
                                (os.mkdir, (home.mnt / ".snapshots" / "mine",))):
        assert error_of(function, *arguments) == errno.EROFS, (function, arguments)
    assert error_of(os.link, shown / "file", folder / "link") == errno.EXDEV
    assert error_of(os.mkdir, home.mnt / ".snapshots") == errno.EEXIST
    assert (shown / "file").read_bytes() == b"fixed"


WRITER = """
import os, sys
files = [open(f"{sys.argv[1]}/log-{number}", "ab", buffering=0) for number in range(4)]
number = 0
while True:
    for file in files:
        file.write(b"%015d\\n" % number)
    number += 1
    print(number, flush=True)
"""


def test_a_snapshot_holds_every_write_that_had_returned(home):
    """Written without fsync, by a program that goes on while it is taken. Of what it writes
    meanwhile the kernel hands over some pages before others."""
    folder = home.folder("writing")
    with subprocess.Popen([sys.executable, "-c", WRITER, folder], stdout=subprocess.PIPE,
                          text=True) as writer:
        try:
            done = [0]

            def follow():
                for line in writer.stdout:
                    done[0] = int(line)

            follower = threading.Thread(target=follow)
            follower.start()
            for number in range(5):
                wait_until(lambda least=done[0] + 50: done[0] > least, "it goes on")
                returned = done[0]
                shown = take_by_worker(home, f"writing-{number}") / "writing"
                for log in shown.glob("log-*"):
                    lines = log.read_bytes()[:returned * 16].splitlines()
                    assert lines == [b"%015d" % number for number in range(returned)]
        finally:
            writer.kill()
            follower.join()
    for number in range(5):
        home.instance.run("fs", "snapshot", "remove", "home", f"writing-{number}")


def test_what_a_mapping_changed_is_in_it(home):
    folder = home.folder("mapped")
    (folder / "file").write_bytes(bytes(1 << 20))
    with open(folder / "file", "r+b") as file, mmap.mmap(file.fileno(), 1 << 20) as mapped:
        mapped[5000:5004] = b"here"
        shown = take_by_worker(home, "mapped") / "mapped"
        mapped[5000:5004] = b"gone"
    content = (shown / "file").read_bytes()
    assert content[5000:5004] == b"here" and content.count(0) == (1 << 20) - 4


def test_the_list_and_names(home):
    instance = home.instance
    instance.run("fs", "snapshot", "add", "home", "a name, with ' and ü")
    rows = snapshots(home)
    row = rows["a name, with ' and ü"]
    assert row["access_point"].startswith("@GMT_") and row["status"] == "ready"
    listed = instance.run("fs", "snapshot", "--filesystem", "home", "--format", "csv",
                          "-o", "name,access_point", "--no-header").stdout
    assert f"{row['access_point']}" in listed and "ü" in listed
    assert instance.run("fs", "snapshot", "--name", "none", "-J").stdout.strip() == "[]"
    complete = ("__complete", "fs", "snapshot", "remove")
    assert instance.run(*complete, "").stdout.split() == ["home"]
    assert "fixed" in instance.run(*complete, "home", "f").stdout.split()

    with pytest.raises(ApiError) as refused:
        instance.api("POST", SNAPSHOTS, {"name": "a name, with ' and ü"})
    assert refused.value.status == 409
    for body in ({"name": "a/b"}, {"name": ""}, {"name": "x", "access_point": ".."},
                 {"name": "x" * 300}):
        with pytest.raises(ApiError) as refused:
            instance.api("POST", SNAPSHOTS, body)
        assert refused.value.status == 400, body

    place = home.mnt / ".snapshots"
    assert not (place / "elsewhere").exists()
    os.listdir(place)
    instance.run("fs", "snapshot", "update", "home", "a name, with ' and ü", "--new-name",
                 "plain", "--access-point", "elsewhere")
    assert (place / "elsewhere").is_dir() and not (place / row["access_point"]).exists()
    assert "elsewhere" in os.listdir(place)
    failed = instance.run("fs", "snapshot", "update", "home", "none", "--new-name", "x",
                          check=False)
    assert failed.returncode == 1 and "no snapshot of that name" in failed.stderr
    failed = instance.run("fs", "snapshot", "update", "home", "plain", check=False)
    assert failed.returncode == 1 and "--new-name" in failed.stderr
    instance.run("fs", "snapshot", "remove", "home", "plain", "--force")
    assert not (place / "elsewhere").exists() and "elsewhere" not in os.listdir(place)
    for kind in ("snapshot-added", "snapshot-removed"):
        assert f"event={kind}" in instance.events()
    assert "a name" not in instance.events()


def test_room_comes_back_and_who_looks_is_told(home):
    folder = home.folder("room")
    (folder / "large").write_bytes(os.urandom(16 << 20))
    shown = take(home, "room") / "room"
    used = home.instance.view("home")["used"]
    (folder / "large").unlink()
    wait_until(lambda: not list(folder.iterdir()), "it is gone")
    assert home.instance.view("home")["used"] >= used - (1 << 20)
    with open(shown / "large", "rb") as file:
        assert len(file.read(4096)) == 4096
        home.instance.run("fs", "snapshot", "remove", "home", "room")
        assert error_of(os.listdir, shown) in (errno.ENOENT, errno.ESTALE)
        wait_removed(home)
        assert error_of(os.pread, file.fileno(), 1 << 20, 8 << 20) == errno.ESTALE
    wait_until(lambda: home.instance.view("home")["used"] < used - (15 << 20), "the room is free")
    home.check()


def test_a_stopped_filesystem_lists_its_snapshots_and_takes_none(home):
    before = snapshots(home)
    home.instance.run("fs", "umount", "home")
    assert snapshots(home) == before
    listed = home.instance.run("fs", "snapshot", "--filesystem", "home", "-J").stdout
    assert '"first"' in listed
    with pytest.raises(ApiError) as refused:
        home.instance.api("POST", SNAPSHOTS, {"name": "stopped"})
    assert refused.value.status == 409 and "mount it first" in refused.value.text
    home.instance.mount("home", home.mnt)


def test_snapshots_outlive_a_worker_that_is_killed(home):
    folder = home.folder("killed")
    (folder / "file").write_bytes(b"before")
    shown = take(home, "killed") / "killed"
    (folder / "file").write_bytes(b"after")
    os.kill(home.instance.worker_pid("home"), 9)
    wait_until(lambda: is_there(shown / "file"), "it comes back")
    assert (shown / "file").read_bytes() == b"before"
    home.instance.wait_status("home", "mounted")
    home.check()


def test_the_guide_works_as_it_stands(home):
    text = (pathlib.Path(__file__).parents[2] / "docs" / "snapshots.md").read_text()
    block = "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S))
    (home.mnt / "report").write_bytes(b"of monday")
    programs = home.instance.programs
    block = block.replace("/srv/projects", str(home.mnt)).replace("projects", "home")
    run("bash", "-ec", block,
        env={**home.instance.environment, "PATH": f"{programs}:{os.environ['PATH']}"})
    assert (home.mnt / "report.monday").read_bytes() == b"of monday"
    assert "before-the-move" in snapshots(home) and "monday" not in snapshots(home)


def test_at_the_end_everything_is_sound(home):
    for name in snapshots(home):
        home.instance.api("DELETE", SNAPSHOTS, {"name": name})
    wait_removed(home)
    assert snapshots(home) == {}
    assert os.listdir(home.mnt / ".snapshots") == []
    home.look_at_all()
