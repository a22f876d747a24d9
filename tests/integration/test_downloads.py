"""Filesystems that are made of uploaded snapshots, on two instances that share an object store and a
key server."""
import hashlib
import json
import os
import signal

import pytest

from instance import Instance, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")


def set_kms(instance, kms, key="shared"):
    instance.run("security", "kms", "set", "vault", kms.address, key, "--token", "-",
                 input=kms.coffer_token(key))


def hashes(top):
    found = {}
    for folder, _, files in os.walk(top):
        for name in files:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                found[os.path.relpath(path, top)] = os.readlink(path)
                continue
            with open(path, "rb") as file:
                found[os.path.relpath(path, top)] = hashlib.sha256(file.read()).hexdigest()
    return found


def fill(top):
    for number in range(40):
        folder = top / f"folder-{number % 7}"
        folder.mkdir(exist_ok=True)
        (folder / f"small-{number}").write_bytes(os.urandom(37 * number))
    (top / "large").write_bytes(os.urandom(9 << 20))
    (top / "holes").touch()
    with open(top / "holes", "r+b") as file:
        file.seek(5 << 20)
        file.write(b"behind a hole")
    os.link(top / "large", top / "folder-0" / "linked")
    os.symlink("large", top / "pointer")


def upload(instance, filesystem, snapshot):
    instance.run("fs", "snapshot", "add", filesystem, snapshot)
    done = instance.run("fs", "snapshot", "upload", filesystem, snapshot, "--object-store", "disk",
                        "--wait")
    return next(word for word in done.stdout.split() if word.startswith("coffer1-"))


def wait_until_all_is_here(instance, name):
    wait_until(lambda: f"downloaded filesystem={name}" in instance.events() or
               "All of the downloaded snapshot is here" in instance.events(), "all is here")


def sound(instance, name):
    checked = instance.run("fs", "check", name, "--read-data", check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.fixture(scope="module")
def shared(openbao):
    openbao.create_key("shared")
    return openbao


class Site:
    """An instance with the key server and the object store."""

    def __init__(self, build_folder, folder, kms, disk):
        folder.mkdir()
        self.folder = folder
        self.instance = Instance(build_folder, folder)
        self.kms, self.disk = kms, disk

    def __enter__(self):
        self.instance.__enter__()
        set_kms(self.instance, self.kms)
        self.instance.run("fs", "tier", "dir", "add", "disk", "--path", self.disk)
        return self

    def __exit__(self, *what):
        self.instance.__exit__(*what)


@pytest.fixture
def sites(build_folder, folder, shared):
    disk = folder / "disk"
    disk.mkdir()
    with Site(build_folder, folder / "one", shared, disk) as one:
        with Site(build_folder, folder / "two", shared, disk) as two:
            yield one, two


def test_another_host_gets_the_files_back(sites):
    one, two = sites
    one.instance.add("projects")
    top = one.instance.mount("projects", one.folder / "mnt")
    fill(top)
    locator = upload(one.instance, "projects", "first")
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
    wait_until_all_is_here(two.instance, "copy")
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
    again = upload(two.instance, "copy", "second")
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
    locator = upload(one.instance, "projects", "first")
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
    wait_until_all_is_here(two.instance, "copy")
    sound(two.instance, "copy")


def test_what_stands_in_the_way_is_named(sites, shared):
    one, two = sites
    one.instance.add("projects")
    top = one.instance.mount("projects", one.folder / "mnt")
    (top / "file").write_text("content")
    locator = upload(one.instance, "projects", "first")
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
    shared.create_key("unrelated")
    set_kms(two.instance, shared, "unrelated")
    text = refused(locator, "--object-store", "disk")
    assert "key shared" in text and shared.address in text and "permission" in text
    assert json.loads(coffer("fs", "-J").stdout) == []
    names = os.listdir(two.folder.parent / "disk" / "coffer-1" / "references")
    assert len({name.split(".")[0] for name in names}) == 1  # that of the snapshot
