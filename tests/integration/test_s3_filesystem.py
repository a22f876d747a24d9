"""Filesystems whose data is in a bucket of a real S3 server: mounted, killed, without the server for a
while, with altered objects, adopted, and removed. Their workers are sandboxed and reach the server."""
import errno
import os
import signal
import subprocess
import time

import pytest

import servers
from instance import ApiError, Instance, wait_until

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/fuse") or os.geteuid() != 0,
                                reason="needs root and /dev/fuse")
SECRET_PART = b"secret-of-the-root"


def started(make):
    try:
        return make()
    except servers.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def openbao(tmp_path_factory):
    with started(lambda: servers.OpenBaoServer(tmp_path_factory.mktemp("openbao"))) as kms:
        kms.enable_transit()
        kms.create_key("coffer")
        yield kms


@pytest.fixture
def s3(tmp_path):
    with started(lambda: servers.VersitygwServer(tmp_path / "versitygw", tls=True)) as server:
        yield server


@pytest.fixture
def instance(build_folder, folder, openbao, s3):  # s3: which ends after it
    with Instance(build_folder, folder) as made:
        made.api("PUT", "/api/v1/kms", {"type": "vault", "address": openbao.address,
                                        "key": "coffer", "token": openbao.root_token})
        yield made


@pytest.fixture
def mnt(folder):
    path = folder / "mnt"
    path.mkdir()
    return path


def add_store(instance, s3):
    # By name: the worker resolves it inside of its sandbox.
    return instance.api("POST", "/api/v1/object-stores", {
        "name": "bucket", "type": "s3", "hostname": "localhost", "port": s3.port,
        "bucket": "coffer", "access_key_id": s3.access_key_id, "secret_key": s3.secret_key,
        "ca_cert": s3.ca_cert.read_text(), "prefix": "host1"})


def add(instance, s3):
    add_store(instance, s3)
    return instance.add("data", store="s3:bucket")


def write_durably(path, content):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)


def check(instance):
    assert instance.run("fs", "check", "data", "--read-data").returncode == 0


def test_data_is_written_to_the_bucket_and_read_from_it(instance, s3, mnt):
    view = add(instance, s3)
    assert view["store"] == f"s3:bucket/{view['uuid']}"
    top = f"host1/{view['uuid']}/"
    assert s3.keys() == [top + "keyring", top + "superblock"]
    instance.mount("data", mnt)
    big = os.urandom(20 << 20)
    write_durably(mnt / "big", big)
    for i in range(20):
        write_durably(mnt / f"small-{i}", b"%d" % i * 5000)
    pid = instance.worker_pid("data")
    for part in ("cmdline", "environ"):
        with open(f"/proc/{pid}/{part}", "rb") as file:
            assert SECRET_PART not in file.read()
    instance.run("fs", "umount", "data")
    segments = [key for key in s3.keys() if key.startswith(top + "segments/")]
    assert len(segments) >= 3
    assert all(os.path.getsize(s3.data / "coffer" / key) <= 9 << 20 for key in segments)
    instance.mount("data", mnt)
    assert (mnt / "big").read_bytes() == big
    assert (mnt / "small-7").read_bytes() == b"7" * 5000
    check(instance)
    instance.run("fs", "umount", "data")
    with pytest.raises(ApiError) as used:
        instance.api("DELETE", "/api/v1/object-stores/bucket")
    assert used.value.status == 409 and "holds the data of filesystem data" in used.value.text
    for change in ({"prefix": "elsewhere"}, {"bucket": "other"}):
        with pytest.raises(ApiError) as used:
            instance.api("PATCH", "/api/v1/object-stores/bucket", change)
        assert used.value.status == 409, change
    instance.api("PATCH", "/api/v1/object-stores/bucket", {"hostname": "127.0.0.1"})
    instance.run("fs", "remove", "data", "--force")
    assert s3.keys() == []
    instance.api("DELETE", "/api/v1/object-stores/bucket")


def test_what_was_made_durable_survives_the_end_of_the_worker(instance, s3, mnt):
    add(instance, s3)
    instance.mount("data", mnt)
    for i in range(5):
        write_durably(mnt / f"f{i}", b"%d" % i * 70000)
    os.kill(instance.worker_pid("data"), signal.SIGKILL)

    def is_back():
        try:
            return os.path.exists(mnt / "f0")
        except OSError:
            return False
    wait_until(is_back, "the filesystem is mounted again")
    for i in range(5):
        assert (mnt / f"f{i}").read_bytes() == b"%d" % i * 70000
    check(instance)


def test_a_server_that_goes_away_loses_nothing_that_was_acknowledged(instance, s3, mnt):
    add(instance, s3)
    instance.mount("data", mnt)
    write_durably(mnt / "before", b"before" * 5000)
    s3.stop()
    with pytest.raises(OSError) as failed:
        write_durably(mnt / "during", b"during" * 5000)
    assert failed.value.errno in (errno.EIO, errno.ECONNREFUSED)
    s3.start()

    def works():
        try:
            write_durably(mnt / "after", b"after" * 5000)
            return True
        except OSError:
            return False
    wait_until(works, "the filesystem takes changes again")
    instance.run("fs", "umount", "data")
    instance.mount("data", mnt)
    assert (mnt / "before").read_bytes() == b"before" * 5000
    assert (mnt / "after").read_bytes() == b"after" * 5000
    check(instance)


@pytest.mark.deep
def test_a_server_that_is_away_at_the_start_is_told_and_waited_for(instance, s3, mnt):
    add(instance, s3)
    s3.stop()
    refused = instance.run("fs", "mount", "data", mnt, check=False)
    assert refused.returncode == 1 and "cannot reach https://localhost" in refused.stderr
    s3.start()
    instance.mount("data", mnt)
    write_durably(mnt / "a", b"a")


def test_an_altered_object_gives_eio_and_nothing_else_suffers(instance, s3, mnt):
    view = add(instance, s3)
    instance.mount("data", mnt)
    write_durably(mnt / "a", b"a" * 300000)
    instance.run("fs", "umount", "data")
    (segment,) = [key for key in s3.keys() if "/segments/" in key]
    path = s3.data / "coffer" / segment
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    with open(path, "r+b") as file:
        file.write(content)
    instance.mount("data", mnt)
    with pytest.raises(OSError) as altered:
        (mnt / "a").read_bytes()
    assert altered.value.errno == errno.EIO
    write_durably(mnt / "b", b"b" * 300000)
    assert (mnt / "b").read_bytes() == b"b" * 300000
    assert view["name"] == "data"


def requests_of(instance):
    view = instance.view("data")
    return view["cache_hits"], view["cache_misses"]


def forget_files(mnt):
    """So that the kernel asks the worker again."""
    for path in mnt.iterdir():
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def test_what_was_read_is_kept_on_a_local_disk(instance, s3, mnt, tmp_path):
    add_store(instance, s3)
    (tmp_path / "cache").mkdir()
    for wrong, part in (({"cache": 1 << 20}, "at least 16 MiB"),
                        ({"cache": 1 << 30, "store": None}, "whose store is a bucket"),
                        ({"cache_folder": "cache"}, "not an absolute path"),
                        ({"cache_folder": str(tmp_path / "none")}, "cannot make a file")):
        with pytest.raises(ApiError) as refused:
            instance.api("POST", "/api/v1/filesystems", {
                "name": "data", **{key: value for key, value in {"store": "s3:bucket", **wrong}.items()
                                   if value is not None}})
        assert part in refused.value.text, wrong
    instance.run("fs", "add", "data", "--store", "s3:bucket", "--cache", "64MiB",
                 "--cache-folder", tmp_path / "cache")
    instance.mount("data", mnt)
    content = os.urandom(4 << 20)
    write_durably(mnt / "a", content)
    instance.run("fs", "umount", "data")
    instance.mount("data", mnt)
    assert (mnt / "a").read_bytes() == content
    hits, misses = requests_of(instance)
    assert misses >= 16 and instance.view("data")["cache_used"] >= 4 << 20
    assert os.listdir(tmp_path / "cache") == []  # it has no name

    s3.stop()  # what is cached needs no server
    forget_files(mnt)
    assert (mnt / "a").read_bytes() == content
    assert requests_of(instance)[0] > hits and requests_of(instance)[1] == misses
    s3.start()

    instance.run("fs", "update", "data", "--cache", "16MiB")
    assert instance.view("data")["cache"] == 16 << 20
    shown = instance.run("fs", "-o", "name,cache,cacheUsed", "--format", "csv").stdout
    assert "data" in shown
    check(instance)
    instance.run("fs", "update", "data", "--cache", "0")
    assert instance.view("data")["cache_used"] == 0
    forget_files(mnt)
    assert (mnt / "a").read_bytes() == content
    assert instance.view("data")["cache_used"] == 0
    os.kill(instance.worker_pid("data"), signal.SIGKILL)

    def is_back():
        try:
            return (mnt / "a").read_bytes() == content
        except OSError:
            return False
    wait_until(is_back, "the filesystem is mounted again")
    assert instance.view("data")["cache"] == 0
    refused = instance.run("fs", "update", "data", "--cache", "1MiB", check=False)
    assert refused.returncode == 1 and "at least 16 MiB" in refused.stderr


def test_a_full_disk_turns_the_cache_off_and_nothing_else(instance, s3, mnt, tmp_path):
    add_store(instance, s3)
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32M", "coffer-cache", small], check=True)
    try:
        instance.run("fs", "add", "data", "--store", "s3:bucket", "--cache", "1GiB",
                     "--cache-folder", small)
        instance.mount("data", mnt)
        content = os.urandom(4 << 20)
        write_durably(mnt / "a", content)
        instance.run("fs", "umount", "data")
        instance.mount("data", mnt)
        assert (mnt / "a").read_bytes() == content
        assert instance.view("data")["cache_used"] >= 4 << 20
        (small / "other").write_bytes(bytes(27 << 20))
        forget_files(mnt)
        assert (mnt / "a").read_bytes() == content

        def events():
            return [event["text"] for event in instance.api("GET", "/api/v1/events")
                    if event["type"] == "cache-off"]
        wait_until(events, "it is told")
        assert "its disk is nearly full" in events()[0]
        assert instance.view("data")["cache_used"] == 0
        (small / "other").unlink()
        instance.run("fs", "update", "data", "--cache", "16MiB")
        forget_files(mnt)
        assert (mnt / "a").read_bytes() == content
        assert instance.view("data")["cache_used"] > 0
        check(instance)
        instance.run("fs", "umount", "data")
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_the_limits_of_an_object_store_hold_for_the_data_of_a_filesystem(instance, s3, mnt):
    add_store(instance, s3)
    instance.run("fs", "tier", "s3", "update", "bucket", "--upload-bandwidth", "4MiB",
                 "--max-concurrent", "1")
    instance.add("data", store="s3:bucket")
    instance.mount("data", mnt)
    begun = time.monotonic()
    write_durably(mnt / "a", os.urandom(12 << 20))
    assert time.monotonic() - begun > 2  # whatever the machine: 11 MiB of it had to wait
    check(instance)


def test_the_key_ring_in_the_bucket_is_rewritten_and_repaired(instance, s3, openbao, mnt):
    view = add(instance, s3)
    ring = s3.data / "coffer" / "host1" / view["uuid"] / "keyring"
    before = ring.read_bytes()
    openbao.rotate_key("coffer")
    instance.run("security", "kms", "rewrap", "--force")
    assert ring.read_bytes() != before
    ring.unlink()
    instance.mount("data", mnt)
    assert ring.read_bytes() != before
    check(instance)


def test_a_filesystem_is_adopted_from_bucket_and_metadata(instance, s3, openbao, mnt, build_folder,
                                                         tmp_path):
    view = add(instance, s3)
    instance.mount("data", mnt)
    write_durably(mnt / "a", b"a" * 100000)
    instance.run("fs", "umount", "data")
    instance.stop()
    os.chmod(tmp_path, 0o755)
    (tmp_path / "other").mkdir()
    meta = tmp_path / "meta"
    subprocess.run(["cp", "-a", view["meta"].removeprefix("lmdb:"), meta], check=True)
    with Instance(build_folder, tmp_path / "other") as other:
        other.api("PUT", "/api/v1/kms", {"type": "vault", "address": openbao.address,
                                         "key": "coffer", "token": openbao.root_token})
        lost = other.run("fs", "adopt", f"lmdb:{meta}", view["store"], check=False)
        assert lost.returncode == 1 and "there is no object store bucket" in lost.stderr
        add_store(other, s3)
        other.run("fs", "adopt", f"lmdb:{meta}", view["store"], "--name", "back")
        assert other.view("back")["uuid"] == view["uuid"]


def test_places_that_cannot_be_are_refused(instance, s3, folder):
    add_store(instance, s3)
    instance.api("POST", "/api/v1/object-stores",
                 {"name": "disk", "type": "dir", "path": str(folder)})
    for store, part in (("s3:none", "there is no object store none"), ("s3:", "of the form s3:NAME"),
                        ("s3:bucket/a", "of the form s3:NAME"), ("s3:disk", "is a folder")):
        with pytest.raises(ApiError) as refused:
            instance.add("data", store=store)
        assert part in refused.value.text, store
    assert s3.keys() == []


def test_shredding_empties_the_bucket_of_keys_first(instance, s3):
    add(instance, s3)
    instance.run("fs", "remove", "data", "--shred", "--force")
    assert s3.keys() == []
