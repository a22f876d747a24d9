"""What must not be found: the whole life of a filesystem, and then a search of everything that
coffer wrote, said or passed on for its keys, its credentials, and what is in the filesystem."""
import errno
import os
import pathlib
import random
import shutil
import signal
import stat
import string
import subprocess
import uuid as uuids

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import servers
from instance import wait_until
from key_material import (all_keys, open_blob, opens_first_block, read_ring, unwrap_kmip,
                          unwrap_vault)
from needles import Needles
from watched import ProcessWatch, WatchedInstance, files_in

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/fuse") or os.geteuid() != 0,
                                reason="needs root and /dev/fuse")
dice = random.SystemRandom()


def word():
    """A name that is nobody else's, and can be part of a path."""
    return "".join(dice.choices(string.ascii_letters + string.digits, k=32))


class Kmip:
    def __init__(self, folder):
        self.server = servers.PykmipServer(folder / "kms")
        self.password = word()
        self.credentials = ["client key of alice in base64", "password"]  # PEM, as it is

    def prepare(self, needles):
        for who in ("alice", "bob"):
            private = load_pem_private_key(self.server.client(who)[1].read_bytes(), None)
            needles.add_key(f"client key of {who}",
                            private.private_numbers().private_value.to_bytes(32, "big"))
        needles.add_key("password", self.password.encode())
        self.keys = [self.server.admin().create() for _ in range(2)]

    def set(self, instance, key=None, who="alice", **options):
        cert, private = self.server.client(who)
        return instance.run("security", "kms", "set", "kmip", self.server.address,
                            key or self.keys[0], "--client-cert", cert, "--client-key", private,
                            "--ca-cert", self.server.ca_cert, "--username", who, "-",
                            input=self.password, **options)

    def set_wrongly(self, instance):
        """Every way that is refused."""
        for options in ({"key": "no-such-key"}, {"who": "bob"}):
            assert self.set(instance, check=False, **options).returncode != 0

    def set_again(self, instance):
        self.set(instance, key=self.keys[1])

    def unwrap(self, wrapping):
        return unwrap_kmip(self.server.admin(), wrapping)


class OpenBao:
    def __init__(self, folder):
        self.folder = folder
        self.server = servers.OpenBaoServer(folder / "kms", mode="raft")
        self.credentials = ["second token"]

    def prepare(self, needles):
        self.server.enable_transit()
        self.server.create_key("master")
        self.tokens = {"first token": self.server.coffer_token("master"),
                       "second token": self.server.coffer_token("master"),
                       "token of nobody": f"s.{word()}"}
        for name, token in self.tokens.items():
            needles.add_key(name, token.encode())

    def set(self, instance, key="master", token="first token", **options):
        path = self.folder / "token-of-the-test"
        path.write_text(self.tokens[token])
        return instance.run("security", "kms", "set", "vault", self.server.address, key,
                            "--token-file", path, **options)

    def set_wrongly(self, instance):
        for options in ({"key": "no-such-key"}, {"token": "token of nobody"}):
            assert self.set(instance, check=False, **options).returncode != 0

    def set_again(self, instance):
        self.set(instance, token="second token")

    def unwrap(self, wrapping):
        return unwrap_vault(self.server, wrapping)


class OpenBaoRole(OpenBao):
    """Logged in to as an AppRole."""

    def __init__(self, folder):
        super().__init__(folder)
        self.credentials = ["second secret ID"]

    def prepare(self, needles):
        self.server.enable_transit()
        self.server.create_key("master")
        self.role_id, first = self.server.coffer_approle("master", token_type="service")
        _, second = self.server.coffer_approle("master", token_type="service")
        self.secrets = {"first secret ID": first, "second secret ID": second,
                        "secret ID of nobody": word()}
        for name, secret in self.secrets.items():
            needles.add_key(name, secret.encode())

    def set(self, instance, key="master", secret="first secret ID", **options):
        return instance.run("security", "kms", "set", "vault", self.server.address, key,
                            "--role-id", self.role_id, "-", input=self.secrets[secret], **options)

    def set_wrongly(self, instance):
        for options in ({"key": "no-such-key"}, {"secret": "secret ID of nobody"}):
            assert self.set(instance, check=False, **options).returncode != 0

    def set_again(self, instance):
        self.set(instance, secret="second secret ID")


@pytest.fixture(params=[Kmip, OpenBao, OpenBaoRole])
def kms(request, tmp_path):
    try:
        made = request.param(tmp_path)
    except servers.Unavailable as reason:
        pytest.skip(str(reason))
    with made.server:
        yield made


def rewrite(path, content):
    """In place: owner and mode stay."""
    with open(path, "r+b") as file:
        file.write(content)


class Life:
    """A filesystem, its content, and what it lives through."""

    def __init__(self, instance, kms, needles, mnt):
        self.instance = instance
        self.kms = kms
        self.needles = needles
        self.mnt = mnt
        self.content = {}

    def name(self, what):
        name = word()
        self.needles.add(f"name of {what}", name.encode())
        return name

    def file(self, folder, size, what):
        content = dice.randbytes(size)
        self.needles.add(f"content of {what}", content)
        path = folder / self.name(what)
        with open(path, "wb") as file:
            file.write(content)
            os.fsync(file.fileno())
        self.content[path] = content
        return path

    def place(self, kind):
        return pathlib.Path(self.instance.view("data")[kind].partition(":")[2])

    def fill(self):
        folder = self.mnt / self.name("a folder")
        folder.mkdir()
        self.file(folder, 100, "a small file")
        self.file(folder, 2000, "a file in its inode")
        self.big = self.file(folder, 1_500_000, "a big file")
        moved = self.file(folder, 30_000, "a file that is renamed")
        other = folder / self.name("a file after its renaming")
        moved.rename(other)
        self.content[other] = self.content.pop(moved)
        attribute = f"user.{self.name('an attribute')}"
        for what, size in (("a small value", 50), ("a large value", 20_000)):
            value = dice.randbytes(size)
            self.needles.add(f"attribute: {what}", value)
            os.setxattr(other, attribute, value)
        os.symlink(f"/{self.name('a target')}/x", folder / self.name("a link"))
        gone = self.file(folder, 5000, "a file that is removed")
        gone.unlink()
        del self.content[gone]
        with open(self.big, "r+b") as file:
            os.pwrite(file.fileno(), self.content[self.big][:16], 100_000)
        self.content[self.big] = self.big.read_bytes()

    def look(self):
        for path, content in self.content.items():
            assert path.read_bytes() == content

    def remount(self):
        self.instance.run("fs", "umount", "data")
        self.instance.mount("data", self.mnt)

    def be_refused(self):
        """Commands that fail."""
        self.kms.set_wrongly(self.instance)
        for words in (("fs", "add", "data"), ("fs", "add", "x/y"), ("fs", "mount", "data", "/none"),
                      ("fs", "mount", "none", self.mnt), ("fs", "umount", "none"),
                      ("fs", "remove", "data"), ("fs", "add", "new", "5x"), ("nonsense",)):
            assert self.instance.run(*words, check=False).returncode != 0
        with pytest.raises(OSError) as failure:
            with open(self.mnt / self.name("a file without room"), "wb") as file:
                os.posix_fallocate(file.fileno(), 0, 2 << 30)
        assert failure.value.errno == errno.ENOSPC

    def be_damaged(self):
        """All blocks are altered, one is read, and they are put right again."""
        self.instance.run("fs", "umount", "data")
        segments = {path: path.read_bytes()
                    for path in (self.place("store") / "segments").iterdir()}
        for path, content in segments.items():
            altered = bytearray(content)
            for at in range(1000, len(content), 1000):
                altered[at] ^= 1
            rewrite(path, altered)
        self.instance.mount("data", self.mnt)
        with pytest.raises(OSError) as failure:
            self.big.read_bytes()
        assert failure.value.errno == errno.EIO
        self.instance.run("fs", "umount", "data")
        for path, content in segments.items():
            rewrite(path, content)
        self.instance.mount("data", self.mnt)

    def lose_worker(self):
        pid = self.instance.worker_pid("data")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.instance.worker_pid("data") not in (None, pid), "another worker")
        self.instance.wait_status("data", "mounted")

    def wait_for_kms(self):
        pid = self.instance.worker_pid("data")
        self.instance.stop(signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        self.kms.server.stop()
        self.instance.start()
        self.instance.wait_status("data", "waiting-for-kms")
        self.kms.server.start()
        self.instance.wait_status("data", "mounted", limit_s=120)

    def be_listed(self):
        for words in (("fs",), ("fs", "-f", "json"), ("security", "kms"),
                      ("security", "kms", "check"), ("status",), ("alerts",),
                      ("events", "--num-results", "0"), ("audit", "-v", "--num-results", "0"),
                      ("audit", "verify")):
            self.instance.run(*words)
        for path in ("status", "kms", "filesystems", "filesystems/data", "alerts", "alerts/types",
                     "events?limit=500", "audit?limit=500", "audit/verify"):
            self.instance.api("GET", f"/api/v1/{path}")
        self.instance.api("POST", "/api/v1/filesystems/data/check", {"read_data": True})

    def add_keys(self):
        """The keys, by way of the key server, and what derives from them now."""
        store = self.place("store")
        for generation, wrapping in read_ring((store / "keyring").read_bytes()):
            uuid = uuids.UUID(self.instance.view("data")["uuid"])
            fs_key = open_blob(self.kms.unwrap(wrapping), uuid, generation)
            keys = all_keys(fs_key, store, self.place("meta"))
            for name, key in keys.items():
                self.needles.add_key(name, key)
            # They are the right ones.
            assert any(name.startswith("incarnation ") for name in keys)
            superblock = (store / "superblock").read_bytes()
            assert any(opens_first_block(keys[f"segment {path.name}"], superblock, path.read_bytes())
                       for path in (store / "segments").iterdir())


def search(needles, places):
    """{name of what was found: the places}."""
    found = {}
    for place, data in places:
        for name in needles.find(data):
            found.setdefault(name, []).append(place)
    return found


def places_of(instance):
    yield from instance.outputs()
    yield "cofferd's and the workers' log", instance.log.read_bytes()
    yield from files_in(instance.state)
    yield from files_in(instance.folder / "tmp")


def test_nothing_of_a_filesystems_life_tells_its_keys_its_content_or_its_credentials(
        build_folder, tmp_path, kms):
    needles = Needles()
    kms.prepare(needles)
    folder = tmp_path / "instance"
    (folder / "tmp").mkdir(parents=True)
    with WatchedInstance(build_folder, folder, TMPDIR=str(folder / "tmp")) as instance:
        kms.set(instance)
        instance.run("fs", "add", "data", "1GiB")
        life = Life(instance, kms, needles, instance.mount("data", tmp_path / "mnt"))
        life.fill()
        life.add_keys()
        life.remount()
        life.be_refused()
        life.lose_worker()
        life.wait_for_kms()
        life.be_damaged()
        kms.set_again(instance)
        instance.stop()
        instance.start()
        life.fill()
        life.remount()
        life.look()
        life.be_listed()
        life.add_keys()
        for event in ("worker-died", "waiting-for-kms", "corruption"):
            assert f"event={event}" in instance.events()
        alive = search(needles, places_of(instance))
        instance.run("fs", "umount", "data")
        stopped = search(needles, places_of(instance))
        credentials = instance.state / "credentials"
        allowed = {name: [str(credentials)] for name in kms.credentials}
        assert alive == allowed
        assert stopped == allowed
        assert stat.S_IMODE(credentials.stat().st_mode) == 0o600
        assert instance.strange_files() == set()
        assert any(b"coffer-fsd" in arguments for arguments in instance.watch.arguments)


# That the search finds what is there


FORMS = {
    "raw": lambda key: b"\1" * 13 + key + b"\2",
    "a piece of 16 bytes": lambda key: b"\1" * 1001 + key[7:23] + b"\2" * 50,
    "hex": lambda key: b'{"key":"' + key.hex().encode() + b'"}',
    "upper-case hex": lambda key: b"key=" + key.hex().upper().encode(),
    **{f"base64 behind {shift} bytes": lambda key, shift=shift:
       b"x" + subprocess.run(["base64", "-w0"], input=bytes(shift) + key + b"more",
                             capture_output=True, check=True).stdout for shift in range(3)},
}


@pytest.mark.parametrize("form", FORMS)
def test_the_search_finds_a_key_in_every_form(tmp_path, form):
    needles = Needles()
    for number in range(50):
        needles.add_key(f"other {number}", dice.randbytes(32))
    key = dice.randbytes(32)
    needles.add_key("the key", key)
    before = dice.randbytes(100_003)
    path = tmp_path / "somewhere" / "deep"
    path.parent.mkdir()
    path.write_bytes(before + FORMS[form](key) + before)
    (found, places), = search(needles, files_in(tmp_path)).items()
    assert found.startswith("the key") and places == [str(path)]
    path.write_bytes(before + FORMS[form](dice.randbytes(32)) + before)
    assert search(needles, files_in(tmp_path)) == {}


def test_the_search_finds_names_targets_and_what_processes_were_given(tmp_path):
    needles = Needles()
    words = {what: word() for what in ("name", "target", "variable")}
    for what, text in words.items():
        needles.add(what, text.encode())
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / f"x{words['name']}").mkdir()
    os.symlink(f"/x/{words['target']}", tmp_path / "files" / "link")
    assert set(search(needles, files_in(tmp_path / "files"))) == {"name", "target"}

    # A program in a watched folder, and one that it starts.
    programs = tmp_path / "programs"
    programs.mkdir()
    shutil.copy(shutil.which("dash"), programs / "shell")
    other = tmp_path / "other"
    other.write_text("")
    with subprocess.Popen([programs / "shell", "-c", "exec 5<$0; sleep 1000; :", other],
                          env={"X": words["variable"], "PATH": os.environ["PATH"]}) as process:
        watch = ProcessWatch(programs)
        child = None
        try:
            children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
            wait_until(children.read_text, "the shell has a child")
            child = int(children.read_text())
            arguments = pathlib.Path(f"/proc/{child}/cmdline")
            wait_until(lambda: b"sleep\0001000" in arguments.read_bytes(), "the child is sleep")
            watch.look()
        finally:
            process.kill()
            if child:
                os.kill(child, signal.SIGKILL)
    assert any(b"sleep\0001000" in arguments for arguments in watch.arguments)
    assert str(other) in watch.files
    found = search(needles, (("an environment", data) for data in watch.environments))
    assert found == {"variable": ["an environment"] * len(watch.environments)}
