"""Downloads in disasters: adopted by another host before all of it is there; out of an object store
that may only be read."""
import contextlib
import os
import signal
import subprocess

import pytest

from sites import Origin, Site, fill, sound
from trees import describe, differences

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")


@pytest.fixture
def disk(folder, openbao):
    """An object store."""
    openbao.create_key("shared")
    path = folder / "disk"
    path.mkdir()
    return path


def test_it_is_told_where_the_rest_of_it_is(build_folder, folder, openbao, disk):
    with Site(build_folder, folder / "one", openbao, disk) as one:
        origin = Origin(one, "projects")
        meta, store = folder / "meta", folder / "store"
        one.download("copy", origin.locator, "--meta", f"lmdb:{meta}", "--store", f"dir:{store}")
        one.instance.run("fs", "umount", "projects")
        one.instance.stop(signal.SIGKILL)

        with Site(build_folder, folder / "two", openbao, disk) as two:
            two.instance.run("fs", "adopt", f"lmdb:{meta}", f"dir:{store}", "--name", "copy")
            refused = two.instance.run("fs", "mount", "copy", two.folder, check=False)
            assert refused.returncode == 1
            assert "not all of it is here" in refused.stderr
            assert "coffer fs update NAME --object-store STORE" in refused.stderr
            missing = two.instance.run("fs", "update", "copy", "--object-store", "none",
                                       check=False)
            assert missing.returncode == 1 and "none" in missing.stderr
            told = two.instance.run("fs", "update", "copy", "--object-store", "disk")
            assert "copy was updated" in told.stdout
            needed = two.instance.run("fs", "tier", "dir", "remove", "disk", check=False)
            assert needed.returncode == 1
            assert "copy was downloaded from the object store disk" in needed.stderr
            assert differences(origin.wanted, describe(two.mount("copy"))) == []
            two.wait_until_all_is_here("copy")
            sound(two.instance, "copy")
            two.instance.run("fs", "tier", "dir", "remove", "disk")


def test_one_that_needs_nothing_takes_the_name_of_a_store_and_forgets_it(build_folder, folder,
                                                                         openbao, disk):
    with Site(build_folder, folder / "one", openbao, disk) as one:
        one.instance.add("projects")
        one.instance.run("fs", "update", "projects", "--object-store", "disk")
        fill(one.mount("projects"))
        one.wait_until_all_is_here("projects")
        one.instance.run("fs", "tier", "dir", "remove", "disk")
        one.instance.run("fs", "umount", "projects")
        one.mount("projects")
        refused = one.instance.run("fs", "update", "projects", "--object-store", "disk",
                                   check=False)
        assert refused.returncode == 1
        one.instance.run("fs", "tier", "dir", "add", "disk", "--path", disk)
        refused = one.instance.run("fs", "update", "projects", "--object-store", "disk",
                                   check=False)
        assert "all of it is here" in refused.stderr
        one.instance.run("fs", "tier", "dir", "remove", "disk")
        sound(one.instance, "projects")


@contextlib.contextmanager
def read_only(disk, place):
    """The folder once more, where nothing can be written, not even by root."""
    place.mkdir()
    subprocess.run(["mount", "--bind", disk, place], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_an_object_store_that_may_only_be_read_is_enough(build_folder, folder, openbao, disk):
    with Site(build_folder, folder / "one", openbao, disk) as one:
        origin = Origin(one, "projects")
    with read_only(disk, folder / "replica") as replica, \
            Site(build_folder, folder / "two", openbao, disk) as two:
        tried = two.instance.run("fs", "tier", "dir", "add", "replica", "--path", replica,
                                 check=False)
        assert tried.returncode == 1
        two.instance.run("fs", "tier", "dir", "add", "replica", "--path", replica,
                         "--skip-verification")
        words = ["fs", "download", "copy", origin.locator, "--object-store", "replica"]
        refused = two.instance.run(*words, check=False)
        assert refused.returncode == 1 and "--read-only-store" in refused.stderr
        made = two.instance.run(*words, "--read-only-store")
        assert "nobody may remove" in made.stdout
        assert differences(origin.wanted, describe(two.mount("copy"))) == []
        two.wait_until_all_is_here("copy")
        sound(two.instance, "copy")
