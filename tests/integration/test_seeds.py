"""The manuals of WEKA that coffer follows, word for word: their example commands, their guide to
setting Vault up, their certificate for KMIP. On real servers, under the names and ports that the
manuals use, on a host that trusts the servers' CA."""
import http.server
import os
import re
import ssl
import threading
import urllib.error
import urllib.request

import pytest

import private_host
import servers
from certificates import Authority
from instance import Instance
from key_servers import started
from shell import Shell

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/fuse") or os.geteuid() != 0,
                                reason="needs root and /dev/fuse")

VAULT = "https://vault-dns:8200"
TOKEN = "s.nRucA9Gtb3yNVmLUK221234"
UID = "b2f81234-c0f6-4d63-b5b3-84a82e231234"
NEW_UID = "0d3c5d1e-7a43-4a8f-9b5e-2f6a1c771234"
POLICY = """
path "transit/+/weka-key" {
  capabilities = ["read", "create", "update"]
}
path "transit/keys/weka-key" {
  capabilities = ["read"]
}
"""


@pytest.fixture
def authority(folder):
    return Authority(folder / "authority", server_names=["vault-dns", "amer.smartkey.io"])


@pytest.fixture
def host(folder, authority):
    """This host is vault-dns and amer.smartkey.io, and trusts the authority alone."""
    servers.install_programs()
    try:
        with private_host.private_host(folder, authority.server_names, authority.cert):
            yield
    except private_host.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture
def instance(build_folder, folder, host):
    with Instance(build_folder, folder) as made:
        yield made


def vault_core(folder, port, authority):
    return started(lambda: servers.VaultCoreServer(folder / "vault").at(port, authority))


def openbao(folder, port, authority):
    return started(lambda: servers.OpenBaoServer(folder / "bao", mode="raft").at(port, authority))


@pytest.fixture
def shell(instance, folder):
    return Shell(instance, folder, VAULT_ADDR=VAULT)


# ------------------------------------------------------------------ the example commands


class TokenOfTheManual(http.server.BaseHTTPRequestHandler):
    """Vault gives tokens, and takes none from outside that looks like one of its own: who comes with
    the manual's is passed on with a real one."""

    protocol_version = "HTTP/1.1"
    vault = None
    token = None

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        given = self.headers.get("X-Vault-Token", "")
        headers = {"X-Vault-Token": self.token if given == TOKEN else given}
        request = urllib.request.Request(self.vault.address + self.path, body or None, headers,
                                         method=self.command)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = answer

    def log_message(self, *_):
        pass


@pytest.fixture
def vault_of_the_manual(host, folder, authority):
    with vault_core(folder, 8201, authority) as vault:
        vault.enable_transit()
        vault.create_key("weka-key")
        TokenOfTheManual.vault, TokenOfTheManual.token = vault, vault.coffer_token("weka-key")
        front = http.server.ThreadingHTTPServer(("127.0.0.1", 8200), TokenOfTheManual)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.server())
        front.socket = context.wrap_socket(front.socket, server_side=True)
        threading.Thread(target=front.serve_forever, daemon=True).start()
        yield vault
        front.shutdown()
        front.server_close()


@pytest.fixture
def kmip_of_the_manual(host, folder, authority, shell):
    """Its key has the manual's identifier; the client's files are where the manual has them."""
    kms = started(lambda: servers.PykmipServer(folder / "kmip").at(5696, authority))
    with kms:
        uids = [kms.admin().create(), kms.admin().create()]
        kms.stop()
        for uid, name in zip(uids, (UID, NEW_UID)):
            kms.rename_key(uid, name)
        kms.start()
        cert, key = kms.client()
        (shell.folder / "smartkey_cert.pem").write_text(cert.read_text())
        (shell.folder / "smartkey_key.pem").write_text(key.read_text())
        yield kms


@pytest.mark.parametrize("name", ["coffer", "weka"])
def test_the_example_commands_work_word_for_word(name, shell, instance, vault_of_the_manual,
                                                 kmip_of_the_manual):
    shell(f"{name} security kms set vault https://vault-dns:8200 weka-key "
          "--token s.nRucA9Gtb3yNVmLUK221234")
    shown = shell(f"{name} security kms")
    assert "Using an external Vault by HashiCorp configured with:\n" in shown
    assert re.search("^URL +: https://vault-dns:8200$", shown, re.M)
    assert re.search("^Key name +: weka-key$", shown, re.M)
    assert re.search("^Auth method +: Token$", shown, re.M)
    assert TOKEN not in shown
    shell(f"{name} fs add data 1GiB")

    vault_of_the_manual.rotate_key("weka-key")
    shell(f"{name} security kms rewrap")
    assert instance.view("data")["kms_key_version"] == 2
    assert "--new-key-uid is for KMIP only" in shell.fails(
        f"{name} security kms rewrap --new-key-uid {UID}")

    assert "data" in shell.fails(f"{name} security kms unset")
    shell(f"{name} security kms unset --allow-downgrade")
    assert instance.view("data")["kms_type"] == "local"
    assert "KMS is not configured." in shell(f"{name} security kms")

    shell(f"{name} security kms set kmip amer.smartkey.io:5696 {UID} "
          "--client-cert smartkey_cert.pem --client-key smartkey_key.pem")
    assert (instance.view("data")["kms_type"], instance.view("data")["kms_key"]) == ("kmip", UID)
    shown = shell(f"{name} security kms")
    assert re.search("^Address +: amer.smartkey.io:5696$", shown, re.M)
    assert re.search(f"^Key UID +: {UID}$", shown, re.M)
    assert "--new-key-uid" in shell.fails(f"{name} security kms rewrap")
    shell(f"{name} security kms rewrap --new-key-uid {NEW_UID}")
    assert instance.view("data")["kms_key"] == NEW_UID
    shell(f"{name} fs remove data")
    shell(f"{name} security kms unset")


# ------------------------------------------------------------------ the guide to Vault


@pytest.mark.parametrize("make", [vault_core, openbao])
def test_the_set_up_guide_works_step_by_step(make, shell, instance, folder, authority, tmp_path):
    with make(folder, 8200, authority) as vault:
        shell.environment["VAULT_TOKEN"] = vault.root_token
        assert shell("vault secrets enable transit") == \
            "Success! Enabled the transit secrets engine at: transit/\n"
        # Newer servers print the key in place of the manual's "Success!".
        shell("vault write -f transit/keys/weka-key")
        assert vault.read_key("weka-key")["latest_version"] == 1
        (shell.folder / "weka_policy.hcl").write_text(POLICY)
        shell("vault policy write weka weka_policy.hcl")
        assert re.search("^token/ +token ", shell("vault auth list"), re.M)
        # The one step that no server takes: the method is always there, and never twice.
        assert re.search("already in use at token/|token credential backend cannot be instantiated",
                         shell.fails("vault auth enable token"))
        shell('vault write auth/token/roles/weka allowed_policies="weka" period="768h"')
        made = shell("vault token create -role=weka")
        assert re.search("^token_duration +768h$", made, re.M)
        assert re.search("^token_renewable +true$", made, re.M)
        assert re.search('^token_policies +.*"weka"', made, re.M)
        token = re.search(r"^token +(\S+)$", made, re.M).group(1)

        said = shell(f"coffer security kms set vault https://vault-dns:8200 weka-key --token {token} "
                     "2>&1")
        assert re.search("^warning: .*: permission-excess: .*create", said, re.M), said
        assert re.search("^warning: .*: token: .*ends with the token of the login", said, re.M), said
        warned = shell("coffer security kms check")
        assert re.search("^ +warning +permission-excess .*create", warned, re.M), warned
        assert not re.search("^ +failed ", warned, re.M), warned
        assert re.search("^Token +: .*renewed by itself", shell("coffer security kms"), re.M)
        shell("coffer fs add data")
        (instance.mount("data", tmp_path / "mount") / "file").write_text("content")

        shell("vault write -f transit/keys/weka-key/rotate")
        shell("coffer security kms rewrap")
        assert instance.view("data")["kms_key_version"] == 2
        shell("coffer fs umount data")
        assert (instance.mount("data", tmp_path / "mount") / "file").read_text() == "content"


def test_the_token_that_the_guide_prints_could_not_use_the_key(shell, folder, authority):
    """The manual's own output shows a token with the policy default alone."""
    with vault_core(folder, 8200, authority) as vault:
        vault.enable_transit()
        vault.create_key("weka-key")
        token = vault.api("POST", "auth/token/create", {"policies": ["default"]})
        said = shell.fails("coffer security kms set vault https://vault-dns:8200 weka-key --token "
                           + token["auth"]["client_token"])
        assert "the token may not use 'transit/keys/weka-key'" in said
        assert "grant it in the token's policy" in said


# ------------------------------------------------------------------ the certificate for KMIP


def test_the_certificate_of_the_manual_works_with_a_server_that_admits_it(
        shell, instance, folder, authority):
    kms = started(lambda: servers.PykmipServer(folder / "kmip").at(5696, authority))
    shell("openssl req -x509 -newkey rsa:4096 -keyout client-key.pem -out client-cert.pem "
          "-days 365 -nodes -subj '/CN=f283c99b-f173-4371-babc-572961161234'")
    cert, key = shell.folder / "client-cert.pem", shell.folder / "client-key.pem"
    with kms:
        set_kms = ("coffer security kms set kmip amer.smartkey.io:5696 1 "
                   f"--client-cert {cert} --client-key {key}")
        refused = shell.fails(set_kms)
        assert "client certificate" in refused, refused
        kms.stop()
        kms.admits(cert)
        kms.start()
        owner = servers.KmipAdmin("127.0.0.1", 5696, kms.ca_cert, cert, key)
        assert owner.create() == "1"
        shell(set_kms)
        assert "failed" not in shell("coffer security kms check")
        shell("coffer fs add data")
        assert instance.view("data")["kms_key"] == "1"
        assert re.search("^Auth method +: Client certificate$", shell("coffer security kms"), re.M)
