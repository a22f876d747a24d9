"""Recovery copies of filesystem keys: made only where cofferd allows it, opened by nobody but who has
the private key, and enough to open a filesystem when the key server is lost for ever."""
import base64
import os
import shutil
import subprocess

import pytest

import servers
from instance import ApiError, Instance, wait_until
from key_servers import started

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/fuse") or os.geteuid() != 0,
                                reason="needs root and /dev/fuse")


@pytest.fixture
def instance(build_folder, tmp_path):
    with Instance(build_folder, tmp_path, options=["--allow-key-export"]) as own:
        yield own


@pytest.fixture
def openbao(tmp_path):
    """Its own: it is stopped, and loses its key."""
    with started(lambda: servers.OpenBaoServer(tmp_path / "bao")) as server:
        server.enable_transit()
        server.create_key("key")
        yield server


def openssl(*words, **options):
    return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, **options)


class Custodian:
    """A certificate, and its private key."""

    def __init__(self, folder, name="custodian", algorithm="rsa:2048", *options):
        self.key = folder / f"{name}.key"
        self.certificate = folder / f"{name}.pem"
        openssl("req", "-x509", "-newkey", algorithm, *options, "-nodes", "-days", "30", "-subj",
                f"/CN={name}", "-keyout", self.key, "-out", self.certificate)

    def decrypt(self, copy):
        return openssl("cms", "-decrypt", "-inform", "PEM", "-binary", "-in", copy, "-inkey",
                       self.key).stdout


def set_vault(instance, vault):
    return instance.api("PUT", "/api/v1/kms", {
        "type": "vault", "address": vault.address, "key": "key",
        "token": vault.coffer_token("key")})


def fill(instance, tmp_path, name="data"):
    folder = instance.mount(name, tmp_path / name)
    (folder / "file").write_text("content")
    instance.run("fs", "umount", name)


def assert_opens(instance, tmp_path, name="data"):
    folder = instance.mount(name, tmp_path / name)
    assert (folder / "file").read_text() == "content"


def export(instance, tmp_path, custodian, name="data"):
    copy = tmp_path / f"{name}.copy"
    instance.run("fs", "key", "export", name, "--recipient-cert", custodian.certificate,
                 "--output-file", copy)
    return copy


def entries(instance, operation):
    return [(row["filesystem"], row["result"]) for row in instance.api("GET", "/api/v1/audit")
            if row["operation"] == operation]


def test_without_the_setting_of_cofferd_nothing_is_exported(build_folder, tmp_path):
    custodian = Custodian(tmp_path)
    with Instance(build_folder, tmp_path) as instance:
        instance.add("data", allow_no_kms=True)
        refused = instance.run("fs", "key", "export", "data", "--recipient-cert",
                               custodian.certificate, check=False)
        assert refused.returncode == 1 and not refused.stdout
        assert "--allow-key-export" in refused.stderr
        assert entries(instance, "export") == [("data", "EPERM")]


@pytest.mark.parametrize("algorithm", [("rsa:2048",), ("ec", "-pkeyopt",
                                                       "ec_paramgen_curve:prime256v1")])
def test_a_filesystem_opens_with_its_copy_when_the_kms_is_lost(
        instance, openbao, tmp_path, algorithm):
    custodian = Custodian(tmp_path, "custodian", *algorithm)
    set_vault(instance, openbao)
    instance.add("data")
    fill(instance, tmp_path)
    copy = export(instance, tmp_path, custodian)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert entries(instance, "export") == [("data", "ok")]
    assert "CN=custodian" in instance.run("audit", "-J").stdout

    openbao.stop()  # for ever
    assert instance.run("fs", "mount", "data", tmp_path / "data", check=False).returncode != 0
    words = ["fs", "key", "import", "data", copy, "--recipient-key", custodian.key]
    refused = instance.run(*words, check=False)
    assert refused.returncode == 1 and "--allow-no-kms" in refused.stderr
    done = instance.run(*words, "--allow-no-kms")
    assert done.stdout.startswith(
        "The keys of filesystem data were imported. Its key is wrapped by a local")
    assert "Warning" not in done.stderr  # nothing is lacking: why it did not start before is over
    assert_opens(instance, tmp_path)
    assert entries(instance, "import") == [("data", "EAGAIN"), ("data", "ok")]
    assert instance.view("data")["kms_type"] == "local"


def test_a_new_kms_wraps_what_a_copy_opens(instance, openbao, tmp_path):
    custodian = Custodian(tmp_path)
    set_vault(instance, openbao)
    instance.add("data")
    fill(instance, tmp_path)
    copy = export(instance, tmp_path, custodian)
    openbao.delete_key("key")
    openbao.create_key("key")  # the same name, and lost all the same
    assert instance.run("fs", "mount", "data", tmp_path / "data", check=False).returncode != 0
    instance.run("fs", "key", "import", "data", copy, "--recipient-key", custodian.key)
    assert instance.view("data")["kms_type"] == "vault"
    assert_opens(instance, tmp_path)
    instance.run("fs", "umount", "data")
    instance.stop()
    instance.start()
    assert_opens(instance, tmp_path)


def test_what_another_tool_decrypted_is_piped_in(instance, tmp_path):
    custodian = Custodian(tmp_path)
    instance.add("data", allow_no_kms=True)
    fill(instance, tmp_path)
    copy = export(instance, tmp_path, custodian)
    keys = custodian.decrypt(copy)
    assert keys[:4] == b"CFKX"
    shutil.rmtree(instance.state / "local-keys")
    done = subprocess.run(
        [instance.programs / "coffer", "fs", "key", "import", "data", "-", "--allow-no-kms"],
        input=keys, capture_output=True, env=instance.environment)
    assert done.returncode == 0, done.stderr
    assert_opens(instance, tmp_path)


def test_each_recipient_opens_it_alone_and_nobody_else_does(instance, tmp_path):
    custodians = [Custodian(tmp_path, name) for name in ("one", "two", "stranger")]
    (tmp_path / "both.pem").write_text("".join(
        custodian.certificate.read_text() for custodian in custodians[:2]))
    instance.add("data", allow_no_kms=True)
    copy = tmp_path / "copy"
    copy.write_text(instance.run("fs", "key", "export", "data", "--recipient-cert",
                                 tmp_path / "both.pem").stdout)
    assert custodians[0].decrypt(copy) == custodians[1].decrypt(copy)
    refused = instance.run("fs", "key", "import", "data", copy, "--recipient-key",
                           custodians[2].key, check=False)
    assert refused.returncode == 1 and "another certificate" in refused.stderr


def test_a_copy_of_another_filesystem_and_an_altered_one_change_nothing(instance, tmp_path):
    custodian = Custodian(tmp_path)
    for name in ("data", "other"):
        instance.add(name, allow_no_kms=True)
    fill(instance, tmp_path)
    other = export(instance, tmp_path, custodian, "other")
    refused = instance.run("fs", "key", "import", "data", other, "--recipient-key", custodian.key,
                           "--allow-no-kms", check=False)
    assert refused.returncode == 1 and "of another filesystem" in refused.stderr

    keys = bytearray(custodian.decrypt(export(instance, tmp_path, custodian)))
    for at in (0, 4, 10, 22, 26, 42, len(keys) - 50, len(keys) - 1):
        altered = bytes(keys[:at]) + bytes([keys[at] ^ 1]) + bytes(keys[at + 1:])
        with pytest.raises(ApiError):
            instance.api("POST", "/api/v1/filesystems/data/key/import", {
                "keys": base64.b64encode(altered).decode(), "allow_no_kms": True})
    assert_opens(instance, tmp_path)


def test_what_is_no_certificate_for_it_is_refused_with_a_reason(instance, tmp_path):
    instance.add("data", allow_no_kms=True)
    old = Custodian(tmp_path, "old")
    openssl("x509", "-in", old.certificate, "-signkey", old.key, "-days", "-1", "-out",
            tmp_path / "expired.pem")
    for file, words in ((tmp_path / "expired.pem", "is not valid now"),
                        (old.key, "there is no recipient's certificate")):
        refused = instance.run("fs", "key", "export", "data", "--recipient-cert", file, check=False)
        assert refused.returncode == 1 and words in refused.stderr, refused.stderr
    openssl("req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=signer", "-keyout",
            tmp_path / "s.key", "-out", tmp_path / "s.pem")
    refused = instance.run("fs", "key", "export", "data", "--recipient-cert", tmp_path / "s.pem",
                           check=False)
    assert refused.returncode == 1 and "nothing can be encrypted" in refused.stderr


def test_no_key_gets_into_a_log_or_a_file(instance, tmp_path):
    custodian = Custodian(tmp_path)
    instance.add("data", allow_no_kms=True)
    copy = export(instance, tmp_path, custodian)
    key = custodian.decrypt(copy)[26 + 20 + 28:][:32]
    instance.run("fs", "key", "import", "data", copy, "--recipient-key", custodian.key,
                 "--allow-no-kms")
    instance.stop()
    needles = [key, base64.b64encode(key)[:40], key.hex().encode()]
    for folder, _, files in os.walk(tmp_path):
        for file in files:
            path = os.path.join(folder, file)
            if os.path.isfile(path):
                with open(path, "rb") as opened:
                    text = opened.read()
                assert not any(needle in text for needle in needles), path
    instance.start()


def lose_registry(instance, name="data"):
    """Store and metadata stay where they are."""
    view = instance.view(name)
    instance.stop()
    shutil.rmtree(instance.state / "registry")
    instance.start()
    return view


def test_a_filesystem_whose_registry_and_kms_are_lost_is_adopted_with_its_copy(
        instance, openbao, tmp_path):
    custodian = Custodian(tmp_path)
    set_vault(instance, openbao)
    instance.add("data")
    fill(instance, tmp_path)
    copy = export(instance, tmp_path, custodian)
    view = lose_registry(instance)
    openbao.delete_key("key")
    openbao.create_key("key")  # another one
    places = ["fs", "adopt", view["meta"], view["store"], "--name", "back"]
    assert instance.run(*places, check=False).returncode == 1
    refused = instance.run(*places, "--recipient-key", custodian.key, check=False)
    assert "give that with --recovery-copy" in refused.stderr
    refused = instance.run(*places, "--recovery-copy", copy, check=False)
    assert "--recipient-key" in refused.stderr
    text = instance.run(*places, "--recovery-copy", copy, "--recipient-key", custodian.key).stdout
    assert f"Filesystem back was adopted, uuid {view['uuid']}." in text and "vault" in text
    assert_opens(instance, tmp_path, "back")
    assert entries(instance, "adopt")[-1] == ("back", "ok")
    instance.run("fs", "umount", "back")
    instance.stop()
    instance.start()
    assert_opens(instance, tmp_path, "back")


def test_the_copy_of_a_downloaded_filesystem_has_the_keys_that_it_came_with(
        instance, openbao, tmp_path):
    custodian = Custodian(tmp_path)
    content = os.urandom(1 << 20)
    disk = tmp_path / "disk"
    disk.mkdir()
    set_vault(instance, openbao)
    instance.run("fs", "tier", "dir", "add", "disk", "--path", disk)
    instance.add("origin")
    (instance.mount("origin", tmp_path / "origin") / "file").write_bytes(content)
    instance.run("fs", "snapshot", "add", "origin", "first")
    done = instance.run("fs", "snapshot", "upload", "origin", "first", "--wait")
    locator = next(word for word in done.stdout.split() if word.startswith("coffer1-"))
    instance.run("fs", "download", "data", locator, "--object-store", "disk")
    (instance.mount("data", tmp_path / "data") / "own").write_text("of the copy")
    wait_until(lambda: any(event["type"] == "downloaded" and event["filesystem"] == "data"
                           for event in instance.api("GET", "/api/v1/events")), "all is here")
    instance.run("fs", "umount", "data")
    copy = export(instance, tmp_path, custodian)

    openbao.delete_key("key")
    openbao.create_key("key")  # another one
    instance.run("fs", "key", "import", "data", copy, "--recipient-key", custodian.key)
    folder = instance.mount("data", tmp_path / "data")
    assert (folder / "file").read_bytes() == content
    assert (folder / "own").read_text() == "of the copy"
