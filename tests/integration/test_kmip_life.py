"""The whole life of keys with a KMIP server that speaks 2.0 and nothing else, and wants a user name
and password besides the certificate; and what it is to wrap with AES-GCM."""
import json
import os
import pathlib

import pytest

import servers
from instance import Instance
from kmip_proxy import KmipProxy
from key_material import CBC, GCM, read_ring
from test_key_providers import Probe, run_conformance, settings

needs_mounts = pytest.mark.skipif(not os.path.exists("/dev/fuse") or os.geteuid() != 0,
                                  reason="needs root and /dev/fuse")
DECRYPT = 0x20
USER, PASSWORD = "storage admin", "correct horse battery"


@pytest.fixture(scope="module")
def kms(tmp_path_factory):
    try:
        server = servers.NarrowPykmipServer(tmp_path_factory.mktemp("pykmip"), only="2.0",
                                            username=USER, password=PASSWORD)
    except servers.Unavailable as reason:
        pytest.skip(str(reason))
    with server:
        yield server


@pytest.fixture
def password_file(tmp_path):
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    return path


def login_settings(kms, folder, **more):
    cert, key = kms.client()
    password = folder / "password-alone"
    password.write_text(PASSWORD)
    admin = kms.admin()
    return settings(kms, admin.create(), admin.create(), CA_CERT=kms.ca_cert, CLIENT_CERT=cert,
                    CLIENT_KEY=key, USERNAME=USER, PASSWORD_FILE=password, **more)


@pytest.fixture
def probe(build_folder, kms, tmp_path):
    return Probe(build_folder, tmp_path, "kmip", login_settings(kms, tmp_path))


def test_a_2_0_server_with_a_login_keeps_every_promise_with_gcm(build_folder, kms, tmp_path):
    run_conformance(build_folder, "kmip", login_settings(kms, tmp_path, CIPHER_MODE="gcm"))


@pytest.mark.deep
@pytest.mark.parametrize("version", ["1.2", "1.3", "1.4", "2.0"])
def test_a_server_of_one_version_alone_keeps_every_promise(build_folder, tmp_path, version):
    with servers.NarrowPykmipServer(tmp_path / "kms", only=version) as server:
        cert, key = server.client()
        admin = server.admin()
        run_conformance(build_folder, "kmip",
                        settings(server, admin.create(), admin.create(), CA_CERT=server.ca_cert,
                                 CLIENT_CERT=cert, CLIENT_KEY=key))


def test_the_server_says_that_it_speaks_2_0_and_both_are_accepted(probe):
    assert probe("verify") == "OK AES-256, active, version 0, from 0, KMIP 2.0"
    said = probe("check")
    assert "\nok|login||the client certificate and the user name are accepted|" in said
    assert "\nok|protocol||KMIP 2.0|" in said
    assert "failed" not in said and "warning" not in said


def test_each_state_of_a_key_is_told_in_2_0(probe, kms):
    admin = kms.admin()
    waiting = admin.create(activate=False)
    assert probe("verify", KEY=waiting).startswith("EKEYREVOKED: ")
    assert "|key-state|unusable|the key is pre-active" in probe("check", KEY=waiting)
    revoked = admin.create()
    admin.revoke(revoked)
    assert probe("verify", KEY=revoked).startswith("EKEYREVOKED: ")
    narrow = admin.create(usage=4)
    assert "lacks decrypt" in probe("check", KEY=narrow)
    assert probe("verify", KEY="99999").startswith("ENOENT: ")


def test_a_wrong_login_is_told_with_what_to_do(probe, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("open sesame")
    for changes in ({"PASSWORD_FILE": wrong}, {"USERNAME": "somebody"}):
        said = probe("verify", **changes)
        assert said.startswith("EACCES: ") and "with this password" in said
        assert "sesame" not in said
        said = probe("check", **changes)
        assert "\nfailed|login|login|" in said and "sesame" not in said
    empty = tmp_path / "empty"
    empty.write_text("")
    said = probe("verify", USERNAME="", PASSWORD_FILE=empty)
    assert said.startswith("EACCES: ") and "--username" in said
    assert probe("verify", USERNAME="").startswith("EINVAL: ")
    long = tmp_path / "long"
    long.write_text("p" * 1025)
    said = probe("verify", PASSWORD_FILE=long)
    assert said.startswith("EINVAL: ") and "1024" in said


# What an administrator does


class Admin:
    def __init__(self, instance, kms, password_file):
        self.instance, self.kms, self.password_file = instance, kms, password_file

    def set(self, uid, *more, login=None, address=None, **options):
        cert, key = self.kms.client()
        login = ["--password-file", self.password_file] if login is None else login
        return self.instance.run(
            "security", "kms", "set", "kmip", address or self.kms.address, uid, "--client-cert", cert,
            "--client-key", key, "--ca-cert", self.kms.ca_cert, "--username", USER, *login, *more,
            **options)

    def shown(self):
        return self.instance.api("GET", "/api/v1/kms")

    def modes(self, name):
        """Of the wrapped keys of a filesystem, with their UIDs."""
        view = self.instance.view(name)
        ring = self.instance.state / "filesystems" / view["uuid"] / "store" / "keyring"
        found = [(wrapping["mode"], wrapping["key"])
                 for _, wrapping in read_ring(ring.read_bytes())]
        assert view["kms_cipher_mode"] == {CBC: "cbc", GCM: "gcm"}[found[-1][0]]
        return found


@pytest.fixture
def instance(build_folder, tmp_path):
    with Instance(build_folder, tmp_path) as own:
        yield own


@pytest.fixture
def admin(instance, kms, password_file):
    return Admin(instance, kms, password_file)


def remount(instance, name, folder):
    instance.run("fs", "umount", name)
    return instance.mount(name, folder)


@needs_mounts
def test_the_whole_life_of_a_filesystem(instance, admin, kms, tmp_path):
    first, second = kms.admin().create(), kms.admin().create()
    admin.set(first)
    assert admin.shown()["username"] == USER and admin.shown()["cipher_mode"] == "cbc"
    assert admin.shown()["server"] == "KMIP 2.0"
    text = instance.run("security", "kms").stdout
    assert f"User name   : {USER}\n" in text and "Cipher mode : cbc\n" in text
    instance.add("data")
    assert admin.modes("data") == [(CBC, first)]
    folder = instance.mount("data", tmp_path / "mnt")
    (folder / "file").write_text("content")

    done = admin.set(first, "--cipher-mode", "gcm")
    assert "The key of 1 filesystem was wrapped anew by it." in done.stdout
    assert "Cipher mode : gcm\n" in instance.run("security", "kms").stdout
    assert admin.modes("data") == [(GCM, first)]
    assert "wrapped anew" not in admin.set(first, "--cipher-mode", "gcm").stdout
    instance.stop()
    instance.start()
    assert (remount(instance, "data", folder) / "file").read_text() == "content"

    instance.run("security", "kms", "rewrap", "--new-key-uid", second)
    assert admin.modes("data") == [(GCM, second)]
    assert admin.shown()["cipher_mode"] == "gcm" and admin.shown()["username"] == USER
    kms.admin().revoke(first)
    assert (remount(instance, "data", folder) / "file").read_text() == "content"
    assert instance.run("security", "kms", "check").returncode == 0

    assert "1 filesystem was" in admin.set(second).stdout
    assert admin.modes("data") == [(CBC, second)]
    assert (remount(instance, "data", folder) / "file").read_text() == "content"


@needs_mounts
def test_a_filesystem_with_a_key_of_its_own_follows_the_mode_when_it_is_rewrapped(
        instance, admin, kms):
    shared, own = kms.admin().create(), kms.admin().create()
    admin.set(shared)
    instance.add("data", kms_key=own)
    admin.set(shared, "--cipher-mode", "gcm")
    assert admin.modes("data") == [(CBC, own)]
    report = json.loads(instance.run("fs", "kms-rewrap", "data", "-J").stdout)
    assert report["filesystems"][0]["result"] == "rewrapped"
    assert admin.modes("data") == [(GCM, own)]


@needs_mounts
def test_the_password_comes_from_anywhere_and_stays_among_the_credentials(
        instance, admin, kms, tmp_path):
    uid = kms.admin().create()
    admin.set(uid, "-", login=[], input=PASSWORD + "\n")
    instance.environment["COFFER_KMS_PASSWORD"] = PASSWORD
    admin.set(uid, login=[])
    instance.environment["COFFER_KMS_PASSWORD"] = "open sesame"
    refused = admin.set(uid, login=[], check=False)
    assert refused.returncode == 1 and "with this password" in refused.stderr
    assert admin.shown()["reachable"]
    instance.add("data")
    said = [instance.run("security", "kms", "-J").stdout, instance.run("events").stdout,
            instance.run("status", "-J").stdout, refused.stdout + refused.stderr]
    assert not any(PASSWORD in text or "sesame" in text for text in said)
    holders = {path.name for path in pathlib.Path(tmp_path).rglob("*")
               if path.is_file() and PASSWORD.encode() in path.read_bytes()}
    assert holders == {"credentials", "password"}  # that one is the test's


@needs_mounts
def test_filesystems_that_start_one_after_the_other_are_unwrapped_on_one_connection(
        instance, admin, kms):
    names = [f"fs{i}" for i in range(6)]
    with KmipProxy(kms, lambda _: None) as proxy:
        admin.set(kms.admin().create(), address=proxy.address)
        for name in names:
            instance.add(name)
        before = len(proxy.connections)
        for name in names:
            instance.api("POST", f"/api/v1/filesystems/{name}/start")
            instance.wait_status(name, "started")
        unwrapping = [asked for asked in proxy.connections[before:] if DECRYPT in asked]
        assert sum(asked.count(DECRYPT) for asked in proxy.connections) >= 2 * len(names)
        assert len(unwrapping) < len(names)
