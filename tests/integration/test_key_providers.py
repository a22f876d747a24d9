"""The conformance suite of key providers against real servers, and what these servers alone can
show: permissions, sealed servers, versions, states of keys."""
import os
import pathlib
import socket
import ssl
import struct
import subprocess
import threading

import pytest

import servers
from key_servers import started


def settings(kms, key, other_key, **files):
    dead = f"127.0.0.1:{servers.free_port()}"
    scheme = kms.address.split("//")[0] + "//" if "//" in kms.address else ""
    values = {"ADDRESS": kms.address, "KEY": key, "OTHER_KEY": other_key,
              "DEAD_ADDRESS": scheme + dead, **files}
    return {f"COFFER_TEST_KMS_{name}": str(value) for name, value in values.items() if value}


def run_conformance(build_folder, kind, environment):
    program = build_folder / "tests" / "conformance" / "key_provider_conformance"
    done = subprocess.run([program, kind], env={**os.environ, **environment}, timeout=300,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def token_file(folder, token):
    path = pathlib.Path(folder) / "token"
    path.write_text(token)
    return path


@pytest.fixture(scope="module")
def vault(tmp_path_factory):
    with started(lambda: servers.VaultCoreServer(tmp_path_factory.mktemp("vault"), tls=True)) as kms:
        kms.enable_transit()
        yield kms


def vault_token(kms):
    """May use two keys, and read any: so that a missing one is told as missing."""
    names = ("one", "two")
    rules = {f"transit/{what}/{name}": ["update"]
             for name in names for what in ("encrypt", "decrypt", "rewrap")}
    return kms.token({"transit/keys/+": ["read"], **rules})


def vault_settings(kms):
    kms.create_key("one")
    kms.create_key("two")
    return settings(kms, "one", "two", CA_CERT=kms.ca_cert,
                    TOKEN_FILE=token_file(kms.folder, vault_token(kms)))


def test_kmip_keeps_every_promise_of_a_key_provider(build_folder, pykmip):
    admin = pykmip.admin()
    cert, key = pykmip.client()
    run_conformance(build_folder, "kmip",
                    settings(pykmip, admin.create(), admin.create(), CA_CERT=pykmip.ca_cert,
                             CLIENT_CERT=cert, CLIENT_KEY=key))


def test_openbao_keeps_every_promise_of_a_key_provider(build_folder, openbao):
    run_conformance(build_folder, "vault", vault_settings(openbao))


def test_vault_over_tls_keeps_every_promise_of_a_key_provider(build_folder, vault):
    run_conformance(build_folder, "vault", vault_settings(vault))


class Probe:
    """Runs tests/support/kms_probe with one configuration."""

    def __init__(self, build_folder, folder, kind, environment):
        self.program = build_folder / "tests" / "support" / "kms_probe"
        self.folder = folder
        self.kind = kind
        self.environment = environment

    def __call__(self, action, *names, **changes):
        """The line that it prints: "OK ..." or "ECODE: sentence"."""
        changed = {f"COFFER_TEST_KMS_{name}": str(value) for name, value in changes.items()}
        done = subprocess.run([self.program, self.kind, action,
                               *(self.folder / name for name in names)],
                              env={**os.environ, **self.environment, **changed},
                              capture_output=True, text=True, timeout=120)
        assert "but the error says" not in done.stdout
        assert done.stderr == ""
        return done.stdout.strip()


@pytest.fixture
def kmip_probe(build_folder, pykmip, tmp_path):
    cert, key = pykmip.client()
    uid = pykmip.admin().create()
    probe = Probe(build_folder, tmp_path, "kmip",
                  settings(pykmip, uid, "", CA_CERT=pykmip.ca_cert, CLIENT_CERT=cert,
                           CLIENT_KEY=key))
    probe.uid = uid
    return probe


@pytest.fixture(params=["openbao", "vault"])
def vault_probe(request, build_folder, tmp_path):
    kms = request.getfixturevalue(request.param)
    key = tmp_path.name.replace("[", "-").replace("]", "")
    kms.create_key(key)
    token = kms.coffer_token(key)
    probe = Probe(build_folder, tmp_path, "vault",
                  settings(kms, key, "", CA_CERT=kms.ca_cert,
                           TOKEN_FILE=token_file(tmp_path, token)))
    probe.kms, probe.key, probe.token = kms, key, token
    return probe


def test_vault_says_what_the_key_is(vault_probe):
    assert vault_probe("verify").startswith(
        "OK aes256-gcm96, active, version 1, from 1, Vault API, version ")


def test_vault_rewraps_to_the_newest_version_and_the_old_one_still_opens(vault_probe):
    assert vault_probe("wrap", "a") == "OK version 1"
    vault_probe.kms.rotate_key(vault_probe.key)
    assert vault_probe("rewrap", "a", "b") == "OK version 2"
    assert vault_probe("unwrap", "a", "b") == "OK 2"


def test_vault_names_a_version_that_was_disallowed(vault_probe):
    assert vault_probe("wrap", "a") == "OK version 1"
    vault_probe.kms.rotate_key(vault_probe.key)
    vault_probe.kms.configure_key(vault_probe.key, min_decryption_version=2)
    assert vault_probe("wrap", "b") == "OK version 2"
    for names in (["a"], ["b", "a"]):
        said = vault_probe("unwrap", *names)
        assert said.startswith("EKEYREVOKED: ")
        assert "min_decryption_version" in said


def test_vault_never_makes_a_key_that_is_missing(vault_probe):
    kms, key = vault_probe.kms, vault_probe.key
    assert vault_probe("wrap", "a") == "OK version 1"
    # A policy as administrators write it, under which encrypt would create the key.
    generous = kms.token({"transit/+/" + key: ["create", "read", "update"]}, policy="generous")
    token = token_file(vault_probe.folder, generous)
    kms.delete_key(key)
    said = vault_probe("wrap", "b", TOKEN_FILE=token)
    assert said.startswith("ENOENT: ") and f"no key '{key}'" in said
    assert kms.read_key(key) is None
    assert vault_probe("unwrap", "a", TOKEN_FILE=token).startswith("ENOENT: ")
    assert vault_probe("rewrap", "a", "b", TOKEN_FILE=token).startswith("ENOENT: ")
    # Made anew under the same name it is another key.
    kms.create_key(key)
    assert vault_probe("unwrap", "a", TOKEN_FILE=token).startswith("EBADMSG: ")


@pytest.mark.parametrize("rules, missing", [
    ({"encrypt": ["update"], "decrypt": ["update"]}, "transit/keys/"),
    ({"keys": ["read"], "decrypt": ["update"]}, "transit/encrypt/"),
    ({"keys": ["read"], "encrypt": ["update"]}, "transit/decrypt/"),
])
def test_vault_names_the_permission_that_is_missing(vault_probe, rules, missing):
    token = vault_probe.kms.token({f"transit/{what}/{vault_probe.key}": allowed
                                   for what, allowed in rules.items()}, policy="partial")
    said = vault_probe("verify", TOKEN_FILE=token_file(vault_probe.folder, token))
    assert said.startswith("EACCES: ")
    assert f"'{missing}{vault_probe.key}'" in said


def test_vault_tells_a_token_that_is_not_accepted_from_one_that_may_not(vault_probe):
    vault_probe.kms.revoke_token(vault_probe.token)
    said = vault_probe("verify")
    assert said.startswith("EACCES: ") and "does not accept the token" in said
    assert vault_probe.token not in said


def test_vault_refuses_a_key_that_cannot_wrap(vault_probe):
    vault_probe.kms.create_key("signing", type="ed25519")
    vault_probe.kms.create_key("derived", derived=True)
    token = token_file(vault_probe.folder, vault_probe.kms.root_token)
    assert vault_probe("verify", KEY="signing", TOKEN_FILE=token).startswith(
        "EINVAL: the key 'signing': a key of type ed25519")
    assert vault_probe("verify", KEY="derived", TOKEN_FILE=token).startswith(
        "EINVAL: the key 'derived': a derived key")


def test_vault_uses_another_path_and_says_if_nothing_is_there(vault_probe):
    kms = vault_probe.kms
    kms.enable_transit("engines/keys")
    kms.create_key("deep", path="engines/keys")
    token = token_file(vault_probe.folder, kms.root_token)
    assert vault_probe("wrap", "a", KEY="deep", MOUNT_PATH="engines/keys",
                       TOKEN_FILE=token) == "OK version 1"
    # The blob names its path: the configured one does not matter.
    assert vault_probe("unwrap", "a", TOKEN_FILE=token) == "OK 1"
    said = vault_probe("verify", MOUNT_PATH="nowhere", TOKEN_FILE=token)
    assert said.startswith("ENOENT: ") and "no transit engine" in said


def test_openbao_uses_a_namespace(build_folder, openbao, tmp_path):
    openbao.api("POST", "sys/namespaces/team", {})
    openbao.api("POST", "sys/mounts/transit", {"type": "transit"}, namespace="team")
    openbao.api("POST", "transit/keys/inner", {}, namespace="team")
    probe = Probe(build_folder, tmp_path, "vault",
                  settings(openbao, "inner", "", NAMESPACE="team",
                           TOKEN_FILE=token_file(tmp_path, openbao.root_token)))
    assert probe("wrap", "a") == "OK version 1"
    assert probe("unwrap", "a", NAMESPACE="") == "OK 1"
    assert probe("verify", NAMESPACE="").startswith("ENOENT: ")


def test_vault_that_is_sealed_says_so_at_once(build_folder, tmp_path):
    with started(lambda: servers.VaultCoreServer(tmp_path / "kms")) as kms:
        kms.enable_transit()
        kms.create_key("one")
        probe = Probe(build_folder, tmp_path, "vault",
                      settings(kms, "one", "", TOKEN_FILE=token_file(tmp_path, kms.root_token)))
        assert probe("wrap", "a") == "OK version 1"
        kms.seal()
        said = probe("unwrap", "a")
        assert said.startswith("EAGAIN: ") and "is sealed: unseal it" in said
        kms.unseal()
        assert probe("unwrap", "a") == "OK 1"
        kms.stop()
        assert probe("unwrap", "a").startswith("EAGAIN: ")
        kms.start()
        assert probe("unwrap", "a") == "OK 1"


def test_vault_keys_survive_a_restart_of_openbao(build_folder, tmp_path):
    with started(lambda: servers.OpenBaoServer(tmp_path / "kms", mode="raft", tls=True)) as kms:
        kms.enable_transit()
        kms.create_key("one")
        probe = Probe(build_folder, tmp_path, "vault",
                      settings(kms, "one", "", CA_CERT=kms.ca_cert,
                               TOKEN_FILE=token_file(tmp_path, kms.root_token)))
        assert probe("wrap", "a") == "OK version 1"
        kms.kill()
        kms.start()
        assert probe("unwrap", "a") == "OK 1"


def test_vault_with_a_certificate_that_is_not_trusted_gets_no_token(build_folder, vault, tmp_path):
    probe = Probe(build_folder, tmp_path, "vault",
                  settings(vault, "one", "", TOKEN_FILE=token_file(tmp_path, vault.root_token)))
    said = probe("verify")
    assert said.startswith("EACCES: ") and "certificate" in said


@pytest.mark.parametrize("address, words", [
    ("http://vault.example.com:8200", "in clear"),
    ("http://127.0.0.1.example.com", "in clear"),
    ("http://127.0.0.1@example.com", "not the URL"),
    ("ftp://127.0.0.1", "not the URL"),
    ("https://", "names no host"),
    ("https://vault:8200/v1?x=y", "not the URL"),
    ("", "missing"),
])
def test_vault_addresses_that_will_not_do_are_refused(build_folder, tmp_path, address, words):
    probe = Probe(build_folder, tmp_path, "vault",
                  {"COFFER_TEST_KMS_ADDRESS": address, "COFFER_TEST_KMS_KEY": "k",
                   "COFFER_TEST_KMS_TOKEN_FILE": str(token_file(tmp_path, "t"))})
    said = probe("verify")
    assert said.startswith("EINVAL: ") and words in said


def test_kmip_says_what_the_key_is(kmip_probe):
    assert kmip_probe("verify") == "OK AES-256, active, version 0, from 0, KMIP 1.4"


def test_kmip_names_a_key_that_is_not_active(kmip_probe, pykmip):
    admin = pykmip.admin()
    assert kmip_probe("wrap", "a") == "OK version 0"
    waiting = admin.create(activate=False)
    said = kmip_probe("verify", KEY=waiting)
    assert said.startswith("EKEYREVOKED: ") and "pre-active" in said
    admin.revoke(kmip_probe.uid)
    for action in (["verify"], ["unwrap", "a"], ["rewrap", "a", "b"]):
        said = kmip_probe(*action)
        assert said.startswith("EKEYREVOKED: ") and f"'{kmip_probe.uid}'" in said
    admin.destroy(kmip_probe.uid)
    assert kmip_probe("unwrap", "a").startswith("ENOENT: ")


def test_kmip_does_not_give_a_key_to_another_owner(kmip_probe, pykmip):
    assert kmip_probe("wrap", "a") == "OK version 0"
    cert, key = pykmip.client("bob")
    said = kmip_probe("unwrap", "a", CLIENT_CERT=cert, CLIENT_KEY=key)
    assert said.startswith(("EACCES: ", "ENOENT: ")) and f"'{kmip_probe.uid}'" in said


def test_kmip_refuses_a_key_that_may_not_decrypt(kmip_probe, pykmip):
    uid = pykmip.admin().create(usage=4)
    said = kmip_probe("verify", KEY=uid)
    assert said.startswith("EINVAL: ") and "usage mask" in said


def test_kmip_rewraps_with_another_key(kmip_probe, pykmip):
    assert kmip_probe("wrap", "a") == "OK version 0"
    new = pykmip.admin().create()
    assert kmip_probe("rewrap", "a", "b", KEY=new) == "OK version 0"
    pykmip.admin().revoke(kmip_probe.uid)
    assert kmip_probe("unwrap", "b") == "OK 1"
    assert kmip_probe("unwrap", "a").startswith("EKEYREVOKED: ")


def write_gcm_blob(path, uid, data, iv, tag):
    """As struct wrapped_key is in memory, which is what kms_probe reads."""
    path.write_bytes(struct.pack("=16s512s256s256s256sII16sB16sBH1024s", b"kmip", b"", b"", b"",
                                 uid.encode(), 0, 2, iv, len(iv), tag, len(tag), len(data), data))


def test_kmip_unwraps_what_was_wrapped_with_gcm(kmip_probe, pykmip):
    iv = os.urandom(12)
    data, tag = pykmip.admin().encrypt_gcm(kmip_probe.uid, b"a key that a test has wrapped...", iv)
    write_gcm_blob(kmip_probe.folder / "a", kmip_probe.uid, data, iv, tag)
    assert kmip_probe("unwrap", "a") == "OK 1"
    altered = bytes([data[0] ^ 1]) + data[1:]
    write_gcm_blob(kmip_probe.folder / "b", kmip_probe.uid, altered, iv, tag)
    assert kmip_probe("unwrap", "b").startswith("EBADMSG: ")


def test_kmip_certificates_that_will_not_do_are_named(kmip_probe, pykmip):
    authority = pykmip.authority
    alice_cert, alice_key = pykmip.client()
    no_usage_cert, no_usage_key = authority.issue("nousage", "keyUsage=digitalSignature\n")
    said = kmip_probe("verify", CLIENT_CERT=no_usage_cert, CLIENT_KEY=no_usage_key)
    assert said.startswith("EACCES: ") and "does not accept the client certificate" in said
    _, other_key = pykmip.client("bob")
    said = kmip_probe("verify", CLIENT_CERT=alice_cert, CLIENT_KEY=other_key)
    assert said.startswith("EINVAL: ") and "does not belong to" in said
    said = kmip_probe("verify", CLIENT_CERT=alice_key)
    assert said.startswith("EINVAL: ") and "client certificate" in said
    stranger = servers.Authority(kmip_probe.folder / "stranger")
    cert, key = stranger.client("alice")
    assert kmip_probe("verify", CLIENT_CERT=cert, CLIENT_KEY=key).startswith("EACCES: ")
    said = kmip_probe("verify", CA_CERT=stranger.cert)
    assert said.startswith("EACCES: ") and "not trusted" in said


def test_kmip_checks_the_name_in_the_server_certificate(kmip_probe, pykmip):
    assert kmip_probe("verify", ADDRESS=f"localhost:{pykmip.port}").startswith("OK ")
    cert, key = pykmip.authority.issue("elsewhere", "subjectAltName=DNS:elsewhere.example\n")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            with listener.accept()[0] as connection, pytest.raises(ssl.SSLError):
                context.wrap_socket(connection, server_side=True).recv(1)
        thread = threading.Thread(target=serve)
        thread.start()
        said = kmip_probe("verify", ADDRESS=f"127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert said.startswith("EACCES: ") and "for another name" in said


def test_kmip_server_that_accepts_and_is_silent_ends_in_time(kmip_probe):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = kmip_probe("verify", ADDRESS=f"127.0.0.1:{silent.getsockname()[1]}")
    assert said.startswith("EAGAIN: ") and "no answer" in said


@pytest.mark.parametrize("address", ["", "host:", "host:0", "host:99999", "[::1", "a@b:1", "h:1x"])
def test_kmip_addresses_that_will_not_do_are_refused(kmip_probe, address):
    assert kmip_probe("verify", ADDRESS=address).startswith("EINVAL: ")


def test_keys_survive_a_restart_of_the_kmip_server(build_folder, tmp_path):
    with started(lambda: servers.PykmipServer(tmp_path / "kms")) as kms:
        cert, key = kms.client()
        probe = Probe(build_folder, tmp_path, "kmip",
                      settings(kms, kms.admin().create(), "", CA_CERT=kms.ca_cert,
                               CLIENT_CERT=cert, CLIENT_KEY=key))
        assert probe("wrap", "a") == "OK version 0"
        kms.stop()
        assert probe("unwrap", "a").startswith("EAGAIN: ")
        kms.start()
        assert probe("unwrap", "a") == "OK 1"
