"""Many registered filesystems: nothing is asked of the key server, kept in it or held in memory for
each of them that could be shared. How long it takes is for tests/bench/scale."""
import concurrent.futures
import os
import re

import pytest

import servers
from instance import Instance, UnixConnection
from key_servers import started

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

BATCH = 32  # keys that cofferd has unwrapped or rewrapped in one request
MEMORY_MIB = 100


@pytest.fixture
def openbao(tmp_path):
    """Its own: what it holds and is asked is counted."""
    with started(lambda: servers.OpenBaoServer(tmp_path / "bao")) as server:
        server.enable_transit()
        server.create_key("many")
        yield server


@pytest.fixture
def instance(build_folder, folder):
    with Instance(build_folder, folder) as own:
        yield own


def add_many(instance, count):
    names = [f"fs-{number:05}" for number in range(count)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(instance.add, names))
    return names


def requests(instance):
    """How many the key server was asked so far, of all kinds."""
    connection = UnixConnection(str(instance.socket), 60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return sum(int(value) for value in
               re.findall(r"^coffer_kms_requests_total\{.*\} (\d+)$", text, re.M))


def rewrap(instance, **body):
    report = instance.api("POST", "/api/v1/kms/rewrap", body, timeout=3600)
    assert report["failed"] == 0
    return {row["name"]: (row["result"], row["new_key"], row["new_version"])
            for row in report["filesystems"]}


def assert_listed(instance, names, kind, key):
    rows = instance.api("GET", "/api/v1/filesystems")
    assert [row["name"] for row in rows] == names
    assert {(row["kms_type"], row["kms_key"]) for row in rows} == {(kind, key)}


def assert_some_start(instance, names):
    for name in (names[0], names[len(names) // 2], names[-1]):
        instance.api("POST", f"/api/v1/filesystems/{name}/start")
        instance.api("POST", f"/api/v1/filesystems/{name}/stop")


def many_rewrapped(instance, openbao, pykmip, count):
    token = openbao.coffer_token("many")
    instance.api("PUT", "/api/v1/kms", {"type": "vault", "address": openbao.address,
                                        "key": "many", "token": token})
    before = openbao.live_tokens(), openbao.live_leases()
    names = add_many(instance, count)
    instance.stop()
    instance.start()
    assert_listed(instance, names, "vault", "many")

    openbao.rotate_key("many")
    asked = requests(instance)
    assert rewrap(instance) == {name: ("rewrapped", "many", 2) for name in names}
    chunks = -(-count // BATCH)
    assert requests(instance) - asked <= 3 * chunks + 5  # and what the monitor asks meanwhile
    assert (openbao.live_tokens(), openbao.live_leases()) == before
    openbao.configure_key("many", min_decryption_version=2)
    assert_some_start(instance, names)

    first, second = pykmip.admin().create(), pykmip.admin().create()
    instance.set_kmip(pykmip, first)
    assert_listed(instance, names, "kmip", first)
    assert rewrap(instance, new_key_uid=second) == {name: ("rewrapped", second, 0)
                                                    for name in names}
    assert_listed(instance, names, "kmip", second)
    assert_some_start(instance, names)
    assert instance.memory_mib("VmHWM") < MEMORY_MIB


def test_many_filesystems_are_rewrapped_in_batches(instance, openbao, pykmip):
    many_rewrapped(instance, openbao, pykmip, 70)


@pytest.mark.deep
def test_a_thousand_filesystems(instance, openbao, pykmip):
    many_rewrapped(instance, openbao, pykmip, 1000)
