"""An object store in a folder where a disk is mounted, and not mounted: nothing is written into what
the disk leaves behind, nothing is taken for lost, and what waits goes on when it is back."""
import subprocess

import pytest

from instance import wait_until
from sites import STORE, Site, fill


@pytest.fixture
def site(build_folder, folder, openbao):
    """Its object store is a disk that is mounted."""
    openbao.create_key("shared")
    (folder / "disk").mkdir()
    place = folder / "nas"
    place.mkdir()
    mount(folder)
    try:
        with Site(build_folder, folder, openbao, place) as made:
            made.instance.add("projects")
            fill(made.mount("projects"))
            yield made
    finally:
        subprocess.run(["umount", "-l", place], check=False)


def mount(folder):
    subprocess.run(["mount", "--bind", folder / "disk", folder / "nas"], check=True)


def unmount(folder):
    """A process that used the store may not quite have ended."""
    wait_until(lambda: subprocess.run(["umount", folder / "nas"], check=False,
                                      capture_output=True).returncode == 0, "it is unmounted")


def waiting_upload(site):
    rows = site.instance.api("GET", "/api/v1/tasks")
    return next((row for row in rows if "mount its disk there" in row["text"]), None)


def test_nothing_is_written_where_the_disk_is_not(site, folder):
    locator = site.upload("projects", "first")
    site.instance.run("fs", "snapshot", "add", "projects", "second")
    unmount(folder)

    for words in (["fs", "tier", "snapshot", "list", STORE], ["fs", "tier", "check", STORE],
                  ["fs", "tier", "clean", STORE], ["fs", "tier", "ops", STORE],
                  ["fs", "tier", "snapshot", "remove", STORE, locator, "--force"],
                  ["fs", "tier", "dir", "update", STORE, "--site", "remote"]):
        refused = site.instance.run(*words, check=False)
        assert refused.returncode == 1 and "mount its disk there" in refused.stderr, words
    refused = site.download("refused", locator, check=False)
    assert refused.returncode == 1 and "mount its disk there" in refused.stderr
    assert site.names() == ["projects"]
    site.instance.run("fs", "snapshot", "upload", "projects", "second", "--object-store", STORE)
    waiting = wait_until(lambda: waiting_upload(site), "the upload waits")
    assert list((folder / "nas").iterdir()) == []

    mount(folder)
    site.instance.run("task", "resume", waiting["id"])
    site.instance.run("task", "wait", waiting["id"])
    assert [row["snapshot"] for row in site.listed()] == ["first", "second"]
    assert site.verify(locator).returncode == 0


def test_who_gives_the_folder_anew_says_that_it_is_the_store(site, folder):
    locator = site.upload("projects", "first")
    (folder / "nas" / "coffer-place").unlink()  # as in a copy that was made without it
    assert "lacks its file coffer-place" in site.verify(locator).stderr
    site.instance.run("fs", "tier", "dir", "update", STORE, "--path", folder / "nas")
    assert site.verify(locator).returncode == 0
    mark = (folder / "nas" / "coffer-place").read_text()
    # Another instance finds the same.
    site.instance.run("fs", "tier", "dir", "add", "again", "--path", folder / "nas")
    assert (folder / "nas" / "coffer-place").read_text() == mark


def test_a_filesystem_is_not_written_where_its_disk_is_not(site, folder):
    store, mnt = folder / "nas" / "data", folder / "mnt-own"
    store.mkdir()
    mnt.mkdir()
    coffer = site.instance.run
    coffer("fs", "add", "own", "--store", f"dir:{store}")
    site.mount("own")
    (mnt / "file").write_bytes(bytes(100_000))
    coffer("fs", "umount", "own")
    unmount(folder)
    missing = coffer("fs", "mount", "own", mnt, check=False)
    assert missing.returncode == 1 and str(store) in missing.stderr

    store.mkdir()  # as somebody does who only looks at the sentence
    empty = coffer("fs", "mount", "own", mnt, check=False)
    assert empty.returncode == 1 and "mount its disk there" in empty.stderr
    assert not list(store.iterdir())
    rewrapped = coffer("fs", "kms-rewrap", "own", check=False)
    assert rewrapped.returncode == 1 and "mount its disk there" in rewrapped.stderr
    assert not list(store.iterdir())

    mount(folder)
    coffer("fs", "mount", "own", mnt)
    assert (mnt / "file").read_bytes() == bytes(100_000)
    assert coffer("fs", "check", "own", "--read-data").returncode == 0
