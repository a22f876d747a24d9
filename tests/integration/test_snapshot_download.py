"""Uploaded snapshots that become snapshots of a filesystem of the same origin: of the one that
uploaded them, and of one that was downloaded."""
import json
import os
import signal

import pytest

from instance import wait_until
from shared_sites import kms, sites  # noqa: F401
from sites import STORE, fill, hashes, sound

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")


def begin(site, filesystem, locator, *options):
    done = site.instance.run("fs", "snapshot", "download", filesystem, locator, "--object-store",
                             STORE, *options, "-J")
    return json.loads(done.stdout)


def wait(site, task):
    site.instance.run("task", "wait", str(task["id"]))
    return json.loads(site.instance.run("task", "show", str(task["id"]), "-J").stdout)


def bring(site, filesystem, locator, *options):
    return wait(site, begin(site, filesystem, locator, *options))


def names(site, filesystem):
    rows = json.loads(site.instance.run("fs", "snapshot", "--filesystem", filesystem, "-J").stdout)
    return [row["name"] for row in rows]


def shown(site, filesystem, top, name):
    """What is in the files of a snapshot."""
    rows = json.loads(site.instance.run("fs", "snapshot", "--filesystem", filesystem, "-J").stdout)
    found = next(row for row in rows if row["name"] == name)
    return hashes(top / ".snapshots" / found["access_point"])


def test_a_snapshot_that_was_removed_comes_back(sites):
    one, _ = sites
    run = one.instance.run
    one.instance.add("projects")
    top = one.mount("projects")
    fill(top)
    locator = one.upload("projects", "first")
    wanted = hashes(top)
    again = run("fs", "snapshot", "download", "projects", locator, check=False)
    assert again.returncode != 0 and "--name" in again.stderr
    (top / "large").unlink()
    (top / "folder-1" / "small-1").write_text("changed")
    (top / "later").write_text("is not in it")
    now = hashes(top)
    run("fs", "snapshot", "remove", "projects", "first", "--force")

    done = run("fs", "snapshot", "download", "projects", locator, "--name", "back", "--wait")
    assert "snapshot " in done.stdout
    assert names(one, "projects") == ["back"]
    assert shown(one, "projects", top, "back") == wanted
    assert hashes(top) == now
    assert bring(one, "projects", locator)["moved"] == 0  # all of it is here
    assert shown(one, "projects", top, "first") == wanted
    sound(one.instance, "projects")
    changed = run("fs", "snapshot", "diff", "projects", "back").stdout
    assert "later" in changed and "small-1" in changed and "small-2" not in changed

    (top / "later").unlink()
    run("fs", "snapshot", "remove", "projects", "first", "--force")
    again = run("fs", "snapshot", "upload", "projects", "back", "--object-store", STORE, "--wait")
    assert "coffer1-" in again.stdout
    run("fs", "umount", "projects")
    run("fs", "restore", "projects", "back")
    top = one.mount("projects")
    assert hashes(top) == wanted
    run("fs", "snapshot", "remove", "projects", "back", "--force")
    assert hashes(top) == wanted
    sound(one.instance, "projects")


def test_a_download_gets_later_snapshots_of_its_origin(sites):
    one, two = sites
    one.instance.add("projects")
    top = one.mount("projects")
    fill(top)
    first = one.upload("projects", "first")
    two.download("copy", first)
    copy = two.mount("copy")
    (copy / "own").write_text("of the copy")
    early = begin(two, "copy", first, "--name", "early")  # which waits until all is here
    two.wait_until_all_is_here("copy")
    assert wait(two, early)["moved"] == 0
    (top / "new").write_bytes(os.urandom(2 << 20))
    (top / "folder-2" / "small-2").unlink()
    second = one.upload("projects", "second")
    wanted = hashes(top)

    task = bring(two, "copy", second)
    assert task["kind"] == "import" and task["state"] == "done"
    assert 2 << 20 <= task["moved"] < 3 << 20
    assert shown(two, "copy", copy, "second") == wanted
    assert (copy / "own").read_text() == "of the copy"
    sound(two.instance, "copy")
    two.instance.run("fs", "umount", "copy")
    copy = two.mount("copy")
    assert shown(two, "copy", copy, "second") == wanted
    # It needs nothing of the object store.
    two.instance.run("fs", "tier", "snapshot", "remove", STORE, second, "--force")
    assert shown(two, "copy", copy, "second") == wanted


def test_it_goes_on_after_its_worker_and_cofferd_were_killed(sites):
    one, two = sites
    one.instance.add("projects")
    top = one.mount("projects")
    fill(top)
    first = one.upload("projects", "first")
    two.download("copy", first)
    copy = two.mount("copy")
    two.wait_until_all_is_here("copy")
    (top / "larger").write_bytes(os.urandom(100 << 20))
    second = one.upload("projects", "second")
    wanted, own = hashes(top), hashes(copy)

    task = begin(two, "copy", second)
    killed = two.instance.worker_pid("copy")
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: two.instance.worker_pid("copy") not in (None, killed) and
               two.instance.view("copy")["status"] == "mounted", "it is mounted again")
    assert hashes(copy) == own
    two.instance.stop(signal.SIGKILL)
    two.instance.start()
    two.instance.wait_status("copy", "mounted")
    assert wait(two, task)["state"] == "done"
    assert shown(two, "copy", copy, "second") == wanted
    assert hashes(copy) == own
    sound(two.instance, "copy")


def test_one_that_is_aborted_leaves_nothing(sites):
    one, two = sites
    one.instance.add("projects")
    top = one.mount("projects")
    fill(top)
    first = one.upload("projects", "first")
    two.download("copy", first)
    copy = two.mount("copy")
    two.wait_until_all_is_here("copy")
    (top / "larger").write_bytes(os.urandom(40 << 20))
    second = one.upload("projects", "second")

    task = begin(two, "copy", second)
    two.instance.run("task", "abort", str(task["id"]), check=False)
    two.instance.run("task", "wait", str(task["id"]), check=False)
    state = json.loads(two.instance.run("task", "show", str(task["id"]), "-J").stdout)["state"]
    assert names(two, "copy") == (["second"] if state == "done" else [])
    if state == "done":
        two.instance.run("fs", "snapshot", "remove", "copy", "second", "--force")
    assert bring(two, "copy", second)["state"] == "done"
    assert shown(two, "copy", copy, "second") == hashes(top)

    # One that could not be taken away, as nothing was mounted, is not in the way of the next.
    (top / "larger").write_bytes(os.urandom(40 << 20))
    third = one.upload("projects", "third")
    task = begin(two, "copy", third)
    two.instance.run("fs", "umount", "copy")
    two.instance.run("task", "abort", str(task["id"]), "--leave", check=False)
    two.instance.run("task", "wait", str(task["id"]), check=False)
    copy = two.mount("copy")
    assert bring(two, "copy", third, "--name", "other")["state"] == "done"
    assert shown(two, "copy", copy, "other") == hashes(top)
    sound(two.instance, "copy")


def test_what_stands_in_the_way_is_named(sites):
    one, _ = sites
    one.instance.add("projects")
    one.instance.add("other")
    (one.mount("projects") / "file").write_text("content")
    (one.mount("other") / "file").write_text("content")
    locator = one.upload("projects", "first")

    def refused(*words):
        done = one.instance.run("fs", "snapshot", "download", *words, check=False)
        assert done.returncode != 0
        return done.stderr
    assert "coffer fs download" in refused("other", locator)
    assert "there is no" in refused("projects", locator, "--object-store", "none")
    assert "locator" in refused("projects", locator[:-1])
    assert refused("projects", "coffer1-" + "0" * 56)
    assert "--name" in refused("projects", locator)
    assert "1 to 255" in refused("projects", locator, "--name", "a/b")
    one.instance.run("fs", "umount", "projects")
    assert "mount it first" in refused("projects", locator, "--name", "b")
    assert names(one, "other") == []
