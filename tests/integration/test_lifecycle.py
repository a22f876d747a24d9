"""The life of filesystems with a real KMIP server and real mounts: cofferd and workers that go and
come back, a key server that is away, what is lost or forged in one of two places."""
import hashlib
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import threading

import pytest

import servers
from instance import ApiError, Instance, is_mounted, wait_until

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/fuse") or os.geteuid() != 0,
                                reason="needs root and /dev/fuse")


@pytest.fixture(scope="module")
def kms(pykmip):
    return pykmip


@pytest.fixture(scope="module")
def key(kms):
    return kms.admin().create()


@pytest.fixture
def data(instance, kms, key, tmp_path):
    """A mounted filesystem "data"."""
    instance.set_kmip(kms, key)
    instance.add("data")
    return instance.mount("data", tmp_path / "mnt")


def remount(instance, tmp_path):
    instance.mount("data", tmp_path / "mnt")


def unmount(instance):
    instance.run("fs", "umount", "data")
    assert instance.view("data")["status"] == "stopped"


def store_of(instance):
    return pathlib.Path(instance.view("data")["store"].removeprefix("dir:"))


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def write_synced(path, content):
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


# The key server's configuration


def test_a_set_that_does_not_work_changes_nothing(instance, kms, key):
    with pytest.raises(ApiError) as failure:
        instance.set_kmip(kms, "no-such-uid")
    assert "no-such-uid" in failure.value.text
    assert instance.api("GET", "/api/v1/kms") == {"configured": False}
    instance.set_kmip(kms, key)
    with pytest.raises(ApiError):
        instance.set_kmip(kms, key, address=f"127.0.0.1:{servers.free_port()}")
    assert instance.api("GET", "/api/v1/kms")["addresses"] == [kms.address]


def test_credentials_are_in_one_file_for_its_owner_only(instance, kms, key):
    instance.set_kmip(kms, key)
    instance.add("data")
    secret = kms.client()[1].read_bytes().splitlines()[1]
    holders = [path for path in instance.state.rglob("*")
               if path.is_file() and secret in path.read_bytes()]
    assert holders == [instance.state / "credentials"]
    assert stat.S_IMODE(holders[0].stat().st_mode) == 0o600
    assert secret not in instance.log.read_bytes()
    instance.stop()
    instance.start()
    assert instance.api("GET", "/api/v1/kms")["key"] == key


def test_a_set_under_which_a_filesystem_would_not_open_is_refused_with_the_list(
        instance, tmp_path):
    with servers.PykmipServer(tmp_path / "former") as former:
        instance.set_kmip(former, former.admin().create())
        instance.add("data")
    with servers.PykmipServer(tmp_path / "other") as other:
        with pytest.raises(ApiError) as failure:
            instance.set_kmip(other, other.admin().create())
    assert failure.value.code == "EBUSY"
    assert "nothing was changed" in failure.value.text and "data" in failure.value.text
    assert instance.api("GET", "/api/v1/kms")["addresses"] == [former.address]
    assert not (instance.state / "credentials.staged").exists()


def test_another_key_of_the_same_server_may_be_set(instance, kms, key):
    instance.set_kmip(kms, key)
    instance.add("data")
    second = kms.admin().create()
    assert instance.set_kmip(kms, second)["key"] == second
    assert instance.view("data")["kms_key"] == key
    assert instance.add("newer")["kms_key"] == second


# Coming back


def test_a_cofferd_that_ends_while_a_worker_comes_back_is_continued(instance, data):
    for _ in range(4):
        worker = instance.worker_pid("data")
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: instance.worker_pid("data") not in (None, worker), "another worker")
        instance.stop(signal.SIGKILL)  # it may have mounted it, or not
        instance.start()
        instance.wait_status("data", "mounted")
        write_synced(data / "file", b"content")


def test_a_restart_of_cofferd_disturbs_no_io(instance, data):
    stop = threading.Event()
    faults = []
    rounds = []

    def work():
        number = 0
        while not stop.is_set():
            try:
                write_synced(data / f"file{number % 10}", str(number).encode())
                if (data / f"file{number % 10}").read_bytes() != str(number).encode():
                    faults.append(f"round {number}: other content")
            except OSError as error:
                faults.append(f"round {number}: {error}")
            number += 1
        rounds.append(number)

    pid = instance.worker_pid("data")
    worker = threading.Thread(target=work)
    worker.start()
    try:
        for how in (signal.SIGTERM, signal.SIGKILL):
            instance.stop(how)
            instance.start()
            instance.wait_status("data", "mounted")
    finally:
        stop.set()
        worker.join()
    assert faults == []
    assert rounds[0] > 0
    assert instance.worker_pid("data") == pid


def test_a_worker_that_dies_ends_its_mount_is_reported_and_comes_back(instance, data):
    write_synced(data / "kept", b"synced before")
    pid = instance.worker_pid("data")
    with open(data / "kept", "rb") as open_file:
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(OSError):  # at once, not hanging
            os.pread(open_file.fileno(), 1, 0)
            os.listdir(data)
            raise OSError  # it came back before we looked
    wait_until(lambda: instance.worker_pid("data") not in (None, pid), "another worker")
    instance.wait_status("data", "mounted")
    assert (data / "kept").read_bytes() == b"synced before"
    assert "event=worker-died" in instance.events()


def test_an_unmount_by_hand_stops_the_filesystem(instance, data):
    subprocess.run(["umount", data], check=True)
    instance.wait_status("data", "stopped")
    instance.stop()
    instance.start()
    assert instance.view("data")["status"] == "stopped"
    assert not is_mounted(data)


def crash_host(instance, data):
    """What a restart of the host leaves: no process, no mount."""
    pid = instance.worker_pid("data")
    instance.stop(signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: subprocess.run(["umount", "-l", data], check=False,
                                      capture_output=True).returncode == 0, "the mount is gone")


def test_a_mounted_filesystem_comes_back_after_a_restart_of_the_host(instance, data):
    write_synced(data / "kept", b"before the crash")
    crash_host(instance, data)
    instance.start()
    instance.wait_status("data", "mounted")
    assert is_mounted(data)
    assert (data / "kept").read_bytes() == b"before the crash"


def test_a_filesystem_waits_for_its_key_server_and_comes_up_with_it(instance, data, kms):
    write_synced(data / "kept", b"before")
    crash_host(instance, data)
    kms.stop()
    try:
        instance.start()
        row = instance.wait_status("data", "waiting-for-kms")
        assert kms.address in row["status_text"]
        alerts = [alert["type"] for alert in instance.api("GET", "/api/v1/status")["alerts"]]
        assert "waiting-for-kms" in alerts
        listed = instance.run("fs").stdout
        assert "waiting" in listed.lower()
    finally:
        kms.start()
    instance.wait_status("data", "mounted", limit_s=120)
    assert (data / "kept").read_bytes() == b"before"


def test_io_goes_on_while_the_key_server_is_away(instance, data, kms):
    kms.stop()
    try:
        write_synced(data / "file", b"written meanwhile")
        assert (data / "file").read_bytes() == b"written meanwhile"
        with pytest.raises(ApiError):
            instance.add("other")
        assert [row["name"] for row in instance.api("GET", "/api/v1/filesystems")] == ["data"]
    finally:
        kms.start()


# What is lost, damaged or forged in one of two places


def test_a_ring_damaged_in_the_store_is_repaired(instance, data, tmp_path):
    write_synced(data / "kept", b"content")
    ring = store_of(instance) / "keyring"
    unmount(instance)
    before = ring.read_bytes()
    flip(ring)
    remount(instance, tmp_path)
    assert ring.read_bytes() == before
    assert (data / "kept").read_bytes() == b"content"


def test_a_superblock_damaged_or_lost_in_the_store_is_repaired(instance, data, tmp_path):
    superblock = store_of(instance) / "superblock"
    for damage in (flip, pathlib.Path.unlink):
        write_synced(data / "kept", b"content")
        unmount(instance)
        damage(superblock)
        remount(instance, tmp_path)
        assert superblock.exists()
        assert (data / "kept").read_bytes() == b"content"
    assert "event=superblock-repaired" in instance.events()


def lose_registry(instance):
    row = instance.view("data")
    instance.stop()
    shutil.rmtree(instance.state / "registry")
    instance.start()
    assert instance.api("GET", "/api/v1/filesystems") == []
    return row


def test_a_filesystem_whose_registry_was_lost_is_adopted(instance, data, tmp_path):
    content = os.urandom(300_000)
    write_synced(data / "kept", content)
    unmount(instance)
    row = lose_registry(instance)
    adopted = instance.api("POST", "/api/v1/filesystems/adopt",
                           {"name": "data", "meta": row["meta"], "store": row["store"]})
    assert adopted["uuid"] == row["uuid"]
    remount(instance, tmp_path)
    assert not instance.view("data")["read_only"]
    assert hashlib.sha256((data / "kept").read_bytes()).digest() == \
        hashlib.sha256(content).digest()
    write_synced(data / "more", b"writable")


def test_a_filesystem_is_adopted_although_its_stores_superblock_is_lost(instance, data, tmp_path):
    write_synced(data / "kept", b"content")
    unmount(instance)
    (store_of(instance) / "superblock").unlink()
    row = lose_registry(instance)
    instance.api("POST", "/api/v1/filesystems/adopt",
                 {"name": "data", "meta": row["meta"], "store": row["store"]})
    remount(instance, tmp_path)
    assert (data / "kept").read_bytes() == b"content"


def test_the_ring_of_another_filesystem_is_not_believed(instance, data, tmp_path):
    """Whoever may use the master key can make a ring that unwraps; it is not this filesystem's."""
    instance.add("other")
    other = pathlib.Path(instance.view("other")["store"].removeprefix("dir:"))
    store = store_of(instance)
    unmount(instance)
    own = (store / "keyring").read_bytes()
    shutil.copyfile(other / "keyring", store / "keyring")
    row = instance.view("data")
    remount(instance, tmp_path)
    assert (store / "keyring").read_bytes() == own
    unmount(instance)

    shutil.copyfile(other / "keyring", store / "keyring")
    lose_registry(instance)
    with pytest.raises(ApiError) as failure:
        instance.api("POST", "/api/v1/filesystems/adopt",
                     {"name": "data", "meta": row["meta"], "store": row["store"]})
    assert failure.value.code == "EBADMSG"


class Trap:
    """Listens where a ring says that a key server is, and counts who comes."""

    def __init__(self, address):
        host, port = address.split(":")
        self.listener = socket.create_server((host, int(port)))
        self.listener.settimeout(0.2)
        self.visitors = 0
        self.is_over = False
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()

    def _listen(self):
        while not self.is_over:
            try:
                connection, _ = self.listener.accept()
            except TimeoutError:
                continue
            self.visitors += 1
            connection.close()

    def close(self):
        self.is_over = True
        self.thread.join()
        self.listener.close()


def test_the_address_that_a_ring_names_is_never_contacted(build_folder, tmp_path):
    """The server moved; where the ring says it was, somebody else listens now."""
    first = servers.PykmipServer(tmp_path / "kms")
    with first:
        uid = first.admin().create()
        with Instance(build_folder, tmp_path) as instance:
            instance.set_kmip(first, uid)
            instance.add("data")
            old_address = first.address
            first.stop()
            first.port = servers.free_port()
            first.address = f"127.0.0.1:{first.port}"
            config = first.folder / "server.conf"
            config.write_text(config.read_text().replace(
                f"port={old_address.split(':')[1]}", f"port={first.port}"))
            first.start()
            trap = Trap(old_address)
            try:
                instance.set_kmip(first, uid)
                visitors = trap.visitors  # the old configuration is no ring
                instance.api("POST", "/api/v1/filesystems/data/start", {})
                assert instance.view("data")["status"] == "started"
                row = instance.view("data")
                instance.api("POST", "/api/v1/filesystems/data/stop")
                lose_registry(instance)
                instance.api("POST", "/api/v1/filesystems/adopt",
                             {"name": "data", "meta": row["meta"], "store": row["store"]})
                instance.api("POST", "/api/v1/filesystems/data/start", {})
                assert trap.visitors == visitors
            finally:
                trap.close()


# The life of an instance


def test_one_cofferd_for_each_state_folder(instance):
    done = subprocess.run([instance.programs / "cofferd", "--state-dir", instance.state,
                           "--foreground"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "already runs" in done.stderr


def test_a_filesystem_that_is_mounted_is_not_removed(instance, data):
    with pytest.raises(ApiError) as failure:
        instance.api("DELETE", "/api/v1/filesystems/data")
    assert failure.value.code == "EBUSY"
    unmount(instance)
    store = store_of(instance)
    instance.api("DELETE", "/api/v1/filesystems/data")
    assert instance.api("GET", "/api/v1/filesystems") == []
    assert not store.exists()


def test_a_slow_key_server_holds_nobody_up(instance, kms, key):
    """A server that accepts and says nothing: set waits for it, status answers meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        failures = []

        def set_it():
            try:
                instance.set_kmip(kms, key, address=address)
            except ApiError as error:
                failures.append(error)

        setting = threading.Thread(target=set_it)
        setting.start()
        connection, _ = silent.accept()
        try:
            assert instance.api("GET", "/api/v1/status", timeout=30)["kms"] == {"configured": False}
            assert setting.is_alive()
        finally:
            connection.close()
            silent.close()
        setting.join()
        assert len(failures) == 1
