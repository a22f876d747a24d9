"""Instances that share an object store and perhaps a key server, as hosts of one company do, and what
is asked of them again and again: fill a filesystem, upload it, download it elsewhere, compare.

    with Site(build_folder, folder / "one", kms, disk) as one:
        one.instance.add("projects")
        fill(one.mount("projects"))
        locator = one.upload("projects", "first")
    with Site(build_folder, folder / "two", kms, disk) as two:
        two.download("copy", locator)
        ... describe(two.mount("copy"))
"""
import json
import os
import signal

from instance import Instance, wait_until
from trees import describe, differences

STORE = "disk"


def set_kms(instance, kms, key="shared", address=None, token=None, **more):
    """A Vault, with a token that may use this key."""
    return instance.api("PUT", "/api/v1/kms", {
        "type": "vault", "address": address or kms.address, "key": key,
        "token": token or kms.coffer_token(key), **more})


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


def hashes(top):
    """What is in the files, and where the links lead, without what says when they were written."""
    return {path.removeprefix("./"): what.get("content") or what["target"]
            for path, what in describe(top).items() if "content" in what or "target" in what}


def sound(instance, name):
    checked = instance.run("fs", "check", name, "--read-data", check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


class Site:
    """An instance with an object store in a folder; without a key server if kms is None."""

    def __init__(self, build_folder, folder, kms, disk):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.instance = Instance(build_folder, folder)
        self.kms, self.disk = kms, disk

    def __enter__(self):
        self.instance.__enter__()
        try:
            self.furnish()
        except BaseException:
            self.instance.__exit__()
            raise
        return self

    def __exit__(self, *what):
        self.instance.__exit__(*what)

    def furnish(self):
        """What one types on a new host."""
        if self.kms:
            set_kms(self.instance, self.kms)
        self.instance.run("fs", "tier", "dir", "add", STORE, "--path", self.disk)

    def mount(self, name):
        return self.instance.mount(name, self.folder / f"mnt-{name}")

    def mount_anew(self, name):
        return self.instance.mount_anew(name, self.folder / f"mnt-{name}")

    def upload(self, filesystem, snapshot, *options):
        """The locator."""
        self.instance.run("fs", "snapshot", "add", filesystem, snapshot)
        done = self.instance.run("fs", "snapshot", "upload", filesystem, snapshot, "--object-store",
                                 STORE, "--wait", *options)
        return next(word for word in done.stdout.split() if word.startswith("coffer1-"))

    def download(self, name, locator, *options, check=True, **others):
        return self.instance.run("fs", "download", name, locator, "--object-store", STORE, *options,
                                 check=check, **others)

    def refuses(self, locator, *options):
        """Why it makes no filesystem of it. Nothing is left of the attempt."""
        before = self.names()
        uses = {use["id"] for use in self.uses()}
        done = self.download("refused", locator, *options, check=False)
        assert done.returncode != 0, done.stdout
        # What was downloaded before may end meanwhile, and its use too.
        assert self.names() == before and {use["id"] for use in self.uses()} <= uses
        return done.stderr

    def opens(self, name, locator, wanted, *options, **others):
        """Made of it, mounted, and all is in it as wanted: what describe() gave of the origin."""
        self.download(name, locator, *options, **others)
        assert differences(wanted, describe(self.mount(name))) == []

    def verify(self, locator, *options):
        return self.instance.run("fs", "snapshot", "verify", locator, "--object-store", STORE,
                                 *options, check=False)

    def names(self):
        return [row["name"] for row in self.instance.api("GET", "/api/v1/filesystems")]

    def uses(self):
        return json.loads(self.instance.run("fs", "tier", "ops", STORE, "-J").stdout)

    def listed(self):
        """The uploaded snapshots, the oldest first."""
        rows = json.loads(self.instance.run("fs", "tier", "snapshot", "list", STORE, "-J").stdout)
        return sorted(rows, key=lambda row: row["created"])

    def wait_until_all_is_here(self, name):
        def is_here():
            rows = json.loads(self.instance.run("events", "--num-results", "0", "-J").stdout)
            return any(row["type"] == "downloaded" and row["filesystem"] == name for row in rows)
        wait_until(is_here, f"all of {name} is here")

    def wrapped(self, name):
        """The key that wraps it, and its version."""
        view = self.instance.view(name)
        return view["kms_key"], view["kms_key_version"]


class Origin:
    """A filesystem that was uploaded: where, and what is in it."""

    def __init__(self, site, name, **parameters):
        self.site = site
        site.instance.add(name, **parameters)
        top = site.mount(name)
        fill(top)
        self.wanted = describe(top)
        self.locator = site.upload(name, "first")


def end_as_a_host(site, *names):
    """All of it at once."""
    workers = [site.instance.worker_pid(name) for name in names]
    site.instance.stop(signal.SIGKILL)
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: not os.path.exists(f"/proc/{pid}"), "the worker is gone")


def ring_in_store(site, name):
    return ring_of(site.instance, name)


def ring_of(instance, name):
    return instance.state / "filesystems" / instance.view(name)["uuid"] / "store" / "keyring"


def lose_ring(site, name, in_store=None):
    site.instance.run("fs", "umount", name)
    forget_ring(site.instance, name, in_store)


def forget_ring(instance, name, in_store=None):
    """Of a stopped filesystem: in the registry every copy of it is overwritten, in the store too, or
    that one is deleted."""
    path = ring_of(instance, name)
    instance.stop()
    ring = path.read_bytes()
    (database,) = [file for file in (instance.state / "registry").iterdir()
                   if ring in file.read_bytes()]
    with open(database, "r+b") as file:
        content = file.read()
        file.seek(0)
        file.write(content.replace(ring, bytes(len(ring))))
    if in_store is None:
        path.unlink()
    else:
        path.write_bytes(in_store)
    instance.start()


def shared_places(tmp_path_factory):
    """A folder for sites, with an empty object store in it, that workers may enter."""
    folder = tmp_path_factory.mktemp("sites")
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)
    (folder / STORE).mkdir()
    return folder
