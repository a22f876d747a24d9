"""The conformance suite of key providers against real servers, and what these servers alone can
show: permissions, sealed servers, versions, states of keys."""
import os
import pathlib
import subprocess

import pytest

import servers


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


def started(make):
    try:
        return make()
    except servers.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def pykmip(tmp_path_factory):
    with started(lambda: servers.PykmipServer(tmp_path_factory.mktemp("pykmip"))) as kms:
        yield kms


@pytest.fixture(scope="module")
def openbao(tmp_path_factory):
    with started(lambda: servers.OpenBaoServer(tmp_path_factory.mktemp("openbao"))) as kms:
        kms.enable_transit()
        yield kms


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
