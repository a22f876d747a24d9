"""A private CA for Vault: coffer security ca-cert, with a real Vault that has a certificate of
such."""
import struct
import subprocess

import pytest

import servers
from certificates import Authority
from faulty_peers import dated, from_now
from instance import ApiError, Instance, wait_until
from key_servers import started


@pytest.fixture(scope="module")
def vault(tmp_path_factory):
    with started(lambda: servers.VaultCoreServer(tmp_path_factory.mktemp("vault"), tls=True)) as kms:
        kms.enable_transit()
        kms.create_key("one")
        yield kms


@pytest.fixture
def instance(build_folder, folder):
    with Instance(build_folder, folder) as made:
        yield made


def set_vault(instance, vault, **options):
    return instance.run("security", "kms", "set", "vault", vault.address, "one", "-",
                        input=vault.root_token, **options)


def test_a_private_ca_is_set_used_shown_and_reset(instance, vault):
    said = instance.run("security", "ca-cert", "status").stdout
    assert said.startswith("No CA certificate is set")
    refused = set_vault(instance, vault, check=False)
    assert refused.returncode == 1
    assert "no trusted connection" in refused.stderr
    assert "coffer security ca-cert set --cert-file" in refused.stderr
    failed = instance.run("security", "ca-cert", "download", check=False)
    assert failed.returncode == 1 and "no CA certificate is set" in failed.stderr

    said = instance.run("security", "ca-cert", "set", "--cert-file", vault.ca_cert).stdout
    assert said == ("Vault's certificate is checked against these CA certificates from now on.\n")
    set_vault(instance, vault)
    instance.add("data")
    text = instance.run("security", "ca-cert", "status").stdout
    assert "Subject     : CN=coffer test ca\n" in text and " until " in text
    digest = subprocess.run(["openssl", "x509", "-in", vault.ca_cert, "-noout", "-fingerprint",
                             "-sha256"], capture_output=True, text=True, check=True).stdout
    assert digest.split("=")[1].strip().replace(":", "").lower() in text
    assert instance.run("security", "ca-cert", "download").stdout == vault.ca_cert.read_text()
    copy = instance.state / "copy.pem"
    instance.run("security", "ca-cert", "download", "--path", copy)
    assert copy.read_text() == vault.ca_cert.read_text()

    instance.stop()
    instance.start()
    assert instance.api("POST", "/api/v1/filesystems/data/start")["status"] == "started"
    instance.api("POST", "/api/v1/filesystems/data/stop")
    said = instance.run("security", "ca-cert", "reset").stdout
    assert "the system's CA certificates from now on" in said and "cannot be used" in said
    assert instance.api("GET", "/api/v1/ca-cert") == {"configured": False}
    assert not (instance.state / "ca-cert.pem").exists()
    with pytest.raises(ApiError, match="no trusted connection"):
        instance.api("POST", "/api/v1/filesystems/data/start")
    said = instance.run("security", "ca-cert", "set", "--cert-file", vault.ca_cert).stdout
    assert "The Vault that is configured answers." in said
    assert instance.api("POST", "/api/v1/filesystems/data/start")["status"] == "started"
    assert "event=ca-cert-set" in instance.events() and "event=ca-cert-unset" in instance.events()


def test_several_cas_are_trusted_at_once(instance, vault, tmp_path):
    other = Authority(tmp_path / "other", "other")
    both = tmp_path / "both.pem"
    both.write_text(other.cert.read_text() + vault.ca_cert.read_text())
    instance.run("security", "ca-cert", "set", "--cert-file", both)
    set_vault(instance, vault)
    rows = instance.api("GET", "/api/v1/ca-cert")["certificates"]
    assert [row["subject"] for row in rows] == ["CN=coffer test other", "CN=coffer test ca"]
    # Not that of another: then the key server cannot be used, and the answer says so.
    said = instance.run("security", "ca-cert", "set", "--cert-file", other.cert).stdout
    assert "But Vault cannot be used at present" in said and "no trusted connection" in said


def test_what_cannot_be_a_ca_is_refused_and_changes_nothing(instance, vault, tmp_path):
    authority = Authority(tmp_path / "authority")
    good = authority.cert.read_text()
    server = authority.server()[0].read_text()
    expired = dated(authority, "gone", from_now(-9), from_now(-2),
                    "basicConstraints=CA:TRUE\n")[0].read_text()
    instance.run("security", "ca-cert", "set", "--cert-file", vault.ca_cert)
    for text, words in ((server, "certificate 1 (CN=server) is not one of a CA"),
                        (good + server, "certificate 2 (CN=server) is not one of a CA"),
                        (expired, "certificate 1 (CN=gone) has expired"),
                        (good + authority.key.read_text(), "a private key in it"),
                        (good.replace("M", "!", 3), "damaged"),
                        (good * 65, "more than 64"),
                        (good + "x" * 70000, "larger than 64 KiB"),
                        ("no certificate", "no certificate in PEM form"),
                        ("", "is empty")):
        with pytest.raises(ApiError) as refused:
            instance.api("PUT", "/api/v1/ca-cert", {"cert": text})
        assert words in refused.value.text, refused.value
        assert refused.value.status == 400
    assert instance.api("GET", "/api/v1/ca-cert")["pem"] == vault.ca_cert.read_text()
    refused = instance.run("security", "ca-cert", "set", check=False)
    assert refused.returncode == 1 and "--cert-file" in refused.stderr
    with pytest.raises(ApiError, match="coffer security ca-cert set"):
        instance.api("PUT", "/api/v1/kms", {"type": "vault", "address": vault.address,
                                            "key": "one", "token": "t", "ca_cert": good})


def first_version(address, key, ca_cert, token):
    """The file of credentials as version 1 was (docs/formats/registry.md)."""
    data = b"CCRD" + struct.pack("<HB", 1, 0)
    for text in ("vault", address, key, "", "transit", "", ca_cert, "", token):
        data += struct.pack("<H", len(text)) + text.encode()
    return data


def test_a_ca_that_version_1_stored_with_the_vault_is_moved(build_folder, folder, vault):
    instance = Instance(build_folder, folder)
    instance.state.mkdir(mode=0o700)
    credentials = instance.state / "credentials"
    credentials.write_bytes(first_version(vault.address, "one", vault.ca_cert.read_text(),
                                          vault.root_token))
    credentials.chmod(0o600)
    with instance:
        assert instance.api("GET", "/api/v1/ca-cert")["pem"] == vault.ca_cert.read_text()
        assert instance.add("data")["kms_key"] == "one"
        set_vault(instance, vault)
        instance.stop()
        instance.start()
        assert instance.add("more")["kms_key"] == "one"


def test_a_half_done_change_to_a_vault_goes_on_when_its_ca_is_set(build_folder, folder, tmp_path,
                                                                vault):
    """As a crash in the middle of a change leaves it: the new Vault is staged, and nobody trusts
    its CA any more."""
    with Instance(build_folder, tmp_path) as other:
        other.run("security", "ca-cert", "set", "--cert-file", vault.ca_cert)
        set_vault(other, vault)
        staged = (other.state / "credentials").read_bytes()
    instance = Instance(build_folder, folder)
    with instance:
        instance.run("fs", "add", "data", "--allow-no-kms")
        instance.stop()
        path = instance.state / "credentials.staged"
        path.write_bytes(staged)
        path.chmod(0o600)
        instance.start()
        refused = instance.run("security", "kms", "rewrap", "-f", check=False)
        assert refused.returncode == 1 and "no trusted connection" in refused.stderr
        assert instance.view("data")["kms_type"] == "local" and path.exists()
        instance.api("POST", "/api/v1/filesystems/data/start")
        instance.run("security", "ca-cert", "set", "--cert-file", vault.ca_cert)
        wait_until(lambda: instance.view("data")["kms_type"] == "vault", "the change is finished")
        wait_until(lambda: not path.exists(), "nothing is staged")
        wait_until(lambda: instance.api("GET", "/api/v1/kms").get("addresses") == [vault.address],
                   "the new server is in use")
        instance.api("POST", "/api/v1/filesystems/data/stop")
        instance.api("POST", "/api/v1/filesystems/data/start")
