"""Filesystems with a key of their own in the key server, besides the configured one."""
import json
import os

import pytest

import servers
from instance import ApiError, Instance

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/fuse") or os.geteuid() != 0,
                                reason="needs root and /dev/fuse")


def run_server(make):
    try:
        return make()
    except servers.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def pykmip(tmp_path_factory):
    with run_server(lambda: servers.PykmipServer(tmp_path_factory.mktemp("pykmip"))) as server:
        yield server


@pytest.fixture(scope="module")
def openbao(tmp_path_factory):
    with run_server(lambda: servers.OpenBaoServer(tmp_path_factory.mktemp("bao"))) as server:
        server.enable_transit()
        yield server


@pytest.fixture
def instance(build_folder, tmp_path):
    with Instance(build_folder, tmp_path) as own:
        yield own


NUMBERS = iter(range(1000))


@pytest.fixture
def keys(openbao, instance):
    """The configured key and another one, which the token may use too."""
    names = [f"key-{next(NUMBERS)}" for _ in range(2)]
    for name in names:
        openbao.create_key(name)
    instance.api("PUT", "/api/v1/kms", {"type": "vault", "address": openbao.address,
                                        "key": names[0], "token": openbao.coffer_token("+")})
    return names


def wrapped(instance, name="data"):
    view = instance.view(name)
    return view["kms_key"], view["kms_key_version"], view["own_kms_key"]


def results(instance, *words):
    report = instance.run("security", "kms", "rewrap", *words, "-J", check=False)
    return {row["name"]: row["result"] for row in json.loads(report.stdout)["filesystems"]}


def mount_and_write(instance, tmp_path, name="data"):
    folder = instance.mount(name, tmp_path / name)
    (folder / "file").write_text("content")


def assert_opens(instance, tmp_path, name="data"):
    if instance.view(name)["mounted_at"]:
        instance.run("fs", "umount", name)
    folder = instance.mount(name, tmp_path / name)
    assert (folder / "file").read_text() == "content"


def test_a_filesystem_with_a_key_of_its_own(instance, openbao, keys, tmp_path):
    shared, own = keys
    text = instance.run("fs", "add", "data", "--kms-key-identifier", own).stdout
    assert f"wrapped by the vault key {own}, version 1" in text
    instance.add("other")
    assert wrapped(instance) == (own, 1, True)
    assert wrapped(instance, "other") == (shared, 1, False)
    mount_and_write(instance, tmp_path)
    instance.stop()
    instance.start()
    assert_opens(instance, tmp_path)

    for key in keys:
        openbao.rotate_key(key)
    assert results(instance) == {"other": "rewrapped"}
    assert wrapped(instance) == (own, 1, True)
    assert results(instance, "--all", "--dry-run") == {"data": "planned", "other": "unchanged"}
    assert results(instance, "--all") == {"data": "rewrapped", "other": "unchanged"}
    assert wrapped(instance) == (own, 2, True)
    openbao.rotate_key(own)
    instance.run("fs", "kms-rewrap", "data")
    assert wrapped(instance) == (own, 3, True)
    assert_opens(instance, tmp_path)


def test_update_to_a_key_of_its_own_and_back(instance, keys, tmp_path):
    shared, own = keys
    instance.add("data")
    mount_and_write(instance, tmp_path)  # it goes on running
    instance.run("fs", "update", "data", "--kms-key-identifier", own)
    assert wrapped(instance) == (own, 1, True)
    assert_opens(instance, tmp_path)
    instance.run("fs", "update", "data", "--use-cluster-kms-key-identifier")
    assert wrapped(instance) == (shared, 1, False)
    assert_opens(instance, tmp_path)


def test_what_cannot_wrap_changes_nothing(instance, keys, tmp_path):
    shared, _ = keys
    instance.add("data")
    mount_and_write(instance, tmp_path)
    for words in (["--kms-key-identifier", "missing"], ["--kms-key-identifier", "../x"],
                  ["--kms-namespace", "ns"], [],
                  ["--kms-key-identifier", "a", "--use-cluster-kms-key-identifier"]):
        refused = instance.run("fs", "update", "data", *words, check=False)
        assert refused.returncode == 1 and refused.stderr, words
        assert wrapped(instance) == (shared, 1, False)
    refused = instance.run("fs", "add", "new", "--kms-key-identifier", "missing", check=False)
    assert refused.returncode == 1 and "missing" in refused.stderr
    assert [view["name"] for view in instance.api("GET", "/api/v1/filesystems")] == ["data"]
    assert_opens(instance, tmp_path)


def test_another_kms_does_not_take_a_filesystem_from_its_own_key(
        instance, keys, pykmip, tmp_path):
    shared, own = keys
    instance.run("fs", "add", "data", "--kms-key-identifier", own)
    mount_and_write(instance, tmp_path)
    uid = pykmip.admin().create()
    with pytest.raises(ApiError) as refused:
        instance.set_kmip(pykmip, uid)
    assert "--use-cluster-kms-key-identifier" in str(refused.value)
    assert wrapped(instance) == (own, 1, True)
    instance.run("fs", "update", "data", "--use-cluster-kms-key-identifier")
    instance.set_kmip(pykmip, uid)
    other = pykmip.admin().create()
    instance.run("fs", "update", "data", "--kms-key-identifier", other)
    assert wrapped(instance) == (other, 0, True)
    assert_opens(instance, tmp_path)
    refused = instance.run("fs", "update", "data", "--kms-key-identifier", other,
                           "--kms-namespace", "ns", check=False)
    assert "only a vault has namespaces" in refused.stderr


def test_a_downgrade_ends_it(instance, openbao, keys, tmp_path):
    shared, own = keys
    instance.run("fs", "add", "data", "--kms-key-identifier", own)
    mount_and_write(instance, tmp_path)
    instance.run("security", "kms", "unset", "--allow-downgrade", "-f")
    assert instance.view("data")["kms_type"] == "local"
    instance.api("PUT", "/api/v1/kms", {"type": "vault", "address": openbao.address, "key": shared,
                                        "token": openbao.coffer_token("+")})
    assert wrapped(instance) == (shared, 1, False)
    assert_opens(instance, tmp_path)
