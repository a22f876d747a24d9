"""Filesystems that are made of uploaded snapshots, on two instances that share an object store and a
key server."""
import json
import os
import signal

import pytest

from instance import wait_until
from shared_sites import kms, sites  # noqa: F401
from sites import fill, hashes, set_kms, sound

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")


def test_another_host_gets_the_files_back(sites):
    one, two = sites
    one.instance.add("projects")
    top = one.instance.mount("projects", one.folder / "mnt")
    fill(top)
    locator = one.upload("projects", "first")
    wanted = hashes(top)
    (top / "later").write_text("is not in it")

    made = two.instance.run("fs", "download", "copy", "10GiB", locator, "--object-store", "disk")
    assert "copy was made of the snapshot" in made.stdout
    copy = two.instance.mount("copy", two.folder / "mnt")
    assert hashes(copy) == wanted
    assert os.readlink(copy / "pointer") == "large"
    assert (copy / "large").stat().st_nlink == 2
    (copy / "own").write_text("of the copy")
    (copy / "folder-3" / "small-3").unlink()
    with open(copy / "large", "r+b") as file:
        file.write(b"changed")
    two.wait_until_all_is_here("copy")
    sound(two.instance, "copy")

    # It needs neither the origin nor the object store any more.
    one.instance.run("fs", "umount", "projects")
    one.instance.run("fs", "tier", "snapshot", "remove", "disk", locator, "--force")
    assert list((two.folder.parent / "disk").glob("coffer-1/packs/*")) == []
    two.instance.run("fs", "umount", "copy")
    two.instance.mount("copy", two.folder / "mnt")
    found = hashes(copy)
    for name in ("large", "folder-0/linked", "folder-3/small-3"):
        wanted.pop(name)
        found.pop(name, None)
    assert found.pop("own")
    assert found == wanted

    # And it is a filesystem as any: its snapshot makes a third one, also where it came from.
    (copy / "large").unlink()
    again = two.upload("copy", "second")
    one.instance.run("fs", "download", "third", again, "--object-store", "disk")
    third = one.instance.mount("third", one.folder / "third")
    assert hashes(third) == hashes(copy)
    one.instance.run("fs", "umount", "third")
    one.instance.run("fs", "remove", "third", "--force")


def test_a_worker_that_is_killed_and_a_restart_lose_nothing(sites):
    one, two = sites
    one.instance.add("projects")
    top = one.instance.mount("projects", one.folder / "mnt")
    fill(top)
    (top / "larger").write_bytes(os.urandom(80 << 20))
    locator = one.upload("projects", "first")
    wanted = hashes(top)

    two.instance.run("fs", "download", "copy", locator, "--object-store", "disk")
    copy = two.instance.mount("copy", two.folder / "mnt")
    with open(copy / "own", "w", encoding="ascii") as file:
        file.write("x")
        file.flush()
        os.fsync(file.fileno())
    for _ in range(3):
        killed = two.instance.worker_pid("copy")
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: two.instance.worker_pid("copy") not in (None, killed) and
                   two.instance.view("copy")["status"] == "mounted" and
                   os.path.exists(copy / "own"), "it is mounted again")
    two.instance.stop(signal.SIGKILL)
    two.instance.start()
    two.instance.wait_status("copy", "mounted")
    found = hashes(copy)
    assert found.pop("own")
    assert found == wanted
    two.wait_until_all_is_here("copy")
    sound(two.instance, "copy")


def test_what_stands_in_the_way_is_named(sites, kms):
    one, two = sites
    one.instance.add("projects")
    top = one.instance.mount("projects", one.folder / "mnt")
    (top / "file").write_text("content")
    locator = one.upload("projects", "first")
    coffer = two.instance.run

    def refused(*words):
        done = coffer("fs", "download", "copy", *words, check=False)
        assert done.returncode != 0
        return done.stderr
    assert "--object-store" in refused(locator)
    assert "other" in refused(locator, "--object-store", "other")
    assert "locator" in refused(locator[:-1], "--object-store", "disk")
    other = "coffer1-" + ("0" * 56)
    assert refused(other, "--object-store", "disk")
    kms.create_key("unrelated")
    set_kms(two.instance, kms, "unrelated")
    text = refused(locator, "--object-store", "disk")
    assert "key shared" in text and kms.address in text and "permission" in text
    assert json.loads(coffer("fs", "-J").stdout) == []
    names = os.listdir(two.folder.parent / "disk" / "coffer-1" / "references")
    assert len({name.split(".")[0] for name in names}) == 1  # that of the snapshot


def test_what_a_removed_download_holds_is_dropped_when_the_store_is_back(sites):
    one, two = sites
    disk, away = two.disk, two.disk.with_name("away")
    one.instance.add("projects")
    (one.mount("projects") / "file").write_bytes(os.urandom(100_000))
    locator = one.upload("projects", "first")

    def remove_without_the_store():
        two.download("copy", locator)
        disk.rename(away)
        two.instance.run("fs", "remove", "copy", "--force")
        away.rename(disk)
        return held()

    def held():
        return [use["id"] for use in two.uses() if use["kind"] == "download" and use["this_instance"]]
    def left():
        return two.instance.run("events").stdout.count("reference-left")
    remove_without_the_store()  # the monitor may look just now, and drop it
    assert left() == 1
    two.instance.run("fs", "tier", "clean", "disk")
    assert held() == []

    remove_without_the_store()
    assert left() == 2
    two.instance.stop()
    two.instance.start()
    wait_until(lambda: held() == [], "it is dropped")

    (use,) = remove_without_the_store()  # it has looked
    two.instance.run("fs", "tier", "dir", "remove", "disk", "--force")
    told = next(line for line in two.instance.run("events").stdout.splitlines()
                if "reference-forgotten" in line)
    assert use in told
