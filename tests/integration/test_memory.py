"""Where keys are in the memory of coffer's processes, and that nobody gets at it: no core dump, and
no other process of the same user. (Root reads all memory; so do these tests.)"""
import base64
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid as uuids

import pytest

import servers
from instance import Instance, wait_until
from key_material import all_keys, open_blob, read_ring, unwrap_kmip, unwrap_vault

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/fuse") or os.geteuid() != 0,
                                reason="needs root and /dev/fuse")
MAPPING_MAX = 1 << 30  # larger ones are databases, which are files and searched as such


@pytest.fixture
def folder():
    """Where other users may go, too."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="coffer-memory-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


# Where keys are


class Kmip:
    def __init__(self, folder):
        self.server = servers.PykmipServer(folder)

    def set(self, instance):
        instance.set_kmip(self.server, self.server.admin().create())

    def unwrap(self, wrapping):
        return unwrap_kmip(self.server.admin(), wrapping)


class OpenBao:
    """With TLS, as everybody should have it."""

    def __init__(self, folder):
        self.server = servers.OpenBaoServer(folder, mode="raft", tls=True)

    def set(self, instance):
        self.server.enable_transit()
        self.server.create_key("master")
        instance.api("PUT", "/api/v1/ca-cert", {"cert": self.server.ca_cert.read_text()})
        instance.api("PUT", "/api/v1/kms", {
            "type": "vault", "address": self.server.address, "key": "master",
            "token": self.server.coffer_token("master")})

    def unwrap(self, wrapping):
        return unwrap_vault(self.server, wrapping)


@pytest.fixture(params=[Kmip, OpenBao])
def kms(request, tmp_path):
    try:
        made = request.param(tmp_path / "kms")
    except servers.Unavailable as reason:
        pytest.skip(str(reason))
    with made.server:
        yield made


def mappings(pid):
    """(start, end, flags of VmFlags) of what can be read."""
    heading = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S)")
    start = end = 0
    is_readable = False
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        found = heading.match(line)
        if found:
            start, end = int(found[1], 16), int(found[2], 16)
            is_readable = found[3] == "r" and not line.endswith(("[vvar]", "[vsyscall]",
                                                                 "[vvar_vclock]"))
        elif line.startswith("VmFlags:") and is_readable and end - start < MAPPING_MAX:
            yield start, end, set(line.split()[1:])


def find(pid, secret):
    """The flags of each mapping in which it is."""
    found = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for start, end, flags in mappings(pid):
            memory.seek(start)
            try:
                data = memory.read(end - start)
            except OSError:
                continue  # unmapped meanwhile, or a device
            if secret in data:
                found.append(flags)
    return found


def forms(key):
    yield key
    yield key.hex().encode()
    for shift in range(3):
        yield base64.b64encode(bytes(shift) + key)[4 if shift else 0:-4]


def keys_of(instance, kms):
    row = instance.view("data")
    store, meta = (pathlib.Path(row[kind].partition(":")[2]) for kind in ("store", "meta"))
    (generation, wrapping), = read_ring((store / "keyring").read_bytes())
    fs_key = open_blob(kms.unwrap(wrapping), uuids.UUID(row["uuid"]), generation)
    return all_keys(fs_key, store, meta)


def test_keys_are_in_locked_memory_and_cofferd_keeps_none(build_folder, folder, kms):
    with Instance(build_folder, folder) as instance:
        kms.set(instance)
        instance.add("data")
        mnt = instance.mount("data", folder / "mnt")
        (mnt / "file").write_bytes(random.randbytes(3 << 20))
        instance.run("fs", "umount", "data")
        instance.mount("data", mnt)
        assert len((mnt / "file").read_bytes()) == 3 << 20
        keys = keys_of(instance, kms)
        worker = instance.worker_pid("data")
        # That it is there shows that it would be found elsewhere.
        assert find(worker, keys["filesystem key"]) != []
        # OpenSSL has copies of those that encrypt and authenticate just now: all others are only here.
        for name in ("filesystem key", "metadata", "data", "superblock", "superblock mac", "ring",
                     "ring names", "check value", "chunk key"):
            for form in forms(keys[name]):
                for flags in find(worker, form):
                    assert {"lo", "dd"} <= flags, name
        # A moment after it unwrapped the key cofferd has forgotten it.
        for name, key in keys.items():
            for form in forms(key):
                assert find(instance.process.pid, form) == [], name


# That nobody gets at it


@pytest.fixture
def instance(build_folder, folder, monkeypatch):
    """One whose processes are in a folder in which everybody may leave a core dump."""
    cores = folder / "cores"
    cores.mkdir()
    cores.chmod(0o777)
    monkeypatch.chdir(cores)
    with Instance(build_folder, folder) as own:
        own.add("data", allow_no_kms=True)
        own.mount("data", folder / "mnt")
        yield own


def status_of(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_dumps_are_forbidden_and_would_be_empty(instance):
    for pid in (instance.worker_pid("data"), instance.process.pid):
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        (line,) = [line for line in limits.splitlines() if "core file" in line]
        assert line.split()[4:6] == ["0", "0"]
        assert int(pathlib.Path(f"/proc/{pid}/coredump_filter").read_text(), 16) == 0
        assert int(status_of(pid)["VmLck"].split()[0]) > 0


def allow_core(pid):
    """Takes the limit away, so that it is not what forbids the dump. Some hosts do not let even
    root do that; then the limit is tried."""
    subprocess.run(["prlimit", "--pid", str(pid), "--core=unlimited:unlimited"], check=False,
                   stderr=subprocess.DEVNULL)


def test_no_core_is_left_where_an_ordinary_process_leaves_one(instance, folder):
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text()
    if pattern.startswith(("|", "/")):
        pytest.skip("this host's core dumps go elsewhere")
    cores = folder / "cores"
    worker = instance.worker_pid("data")
    user = status_of(worker)["Uid"].split()[0]

    # An ordinary process of that user leaves one here.
    subprocess.run(["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "sh", "-c",
                    "ulimit -c unlimited; kill -SEGV $$"], cwd=cores, check=False)
    left = list(cores.iterdir())
    assert len(left) == 1
    left[0].unlink()

    assert os.readlink(f"/proc/{worker}/cwd") == str(cores)
    allow_core(worker)
    os.kill(worker, signal.SIGSEGV)
    wait_until(lambda: instance.worker_pid("data") not in (None, worker), "another worker")
    assert "signal 11" in instance.events()
    assert list(cores.iterdir()) == []

    allow_core(instance.process.pid)
    instance.stop(signal.SIGSEGV)
    assert list(cores.iterdir()) == []
    instance.start()
    instance.wait_status("data", "mounted")


LOOK = """
import ctypes, os, sys
pid = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
none = ctypes.c_void_p(0)

class Range(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p), ("length", ctypes.c_size_t)]

def traced():
    return libc.ptrace(0x4206, pid, none, none) == 0  # PTRACE_SEIZE

def read_remotely():
    start = int(open(f"/proc/{pid}/maps").readline().split("-")[0], 16)
    room = ctypes.create_string_buffer(16)
    here, there = Range(ctypes.addressof(room), 16), Range(start, 16)
    return libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) == 16

def read_file(name):
    with open(f"/proc/{pid}/{name}", "rb") as file:
        return True

def allowed(way, *arguments):
    try:
        return way(*arguments)
    except OSError:
        return False

print(allowed(traced), allowed(read_remotely), *[allowed(read_file, name)
      for name in ("mem", "maps", "environ", "stack", "auxv")],
      allowed(lambda: bool(os.listdir(f"/proc/{pid}/fd"))))
"""


def look_as(user, pid):
    """What a process of this user may do with that one."""
    done = subprocess.run(["setpriv", "--reuid", user, "--regid", user, "--clear-groups",
                           sys.executable, "-c", LOOK, str(pid)], capture_output=True, text=True,
                          check=True, timeout=60)
    return [word == "True" for word in done.stdout.split()]


def test_another_process_of_the_same_user_sees_nothing_of_a_worker(instance):
    worker = instance.worker_pid("data")
    user = status_of(worker)["Uid"].split()[0]
    with subprocess.Popen(["setpriv", "--reuid", user, "--regid", user, "--clear-groups",
                           "sleep", "1000"]) as ordinary:
        try:
            wait_until(lambda: status_of(ordinary.pid)["Name"] == "sleep", "it runs")
            could = look_as(user, ordinary.pid)
        finally:
            ordinary.kill()
    assert could[2:5] == [True, True, True]  # the rest is forbidden by some hosts
    assert look_as(user, worker) == [False] * len(could)
