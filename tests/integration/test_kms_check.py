"""`kms check` names each fault that the network, a certificate or a KMIP server can have, says what to
do, and tells the class by its exit code. Those of Vault are in test_kms_check_vault.py."""
import json
import socket
import ssl
import time

import pytest

import servers
from fake_vault import FakeVault
from faulty_peers import blackhole, dated, from_now, old_protocol, tls_server
from instance import Instance
from kmip_admin import (BYTES, DATE_TIME, DECRYPT, ENCRYPT, ENUMERATION, INTEGER, STRUCTURE, TEXT,
                        attribute, find, item)
from kmip_proxy import KmipProxy, operation, refusal, response, versions
from kms_steps import KMIP_STEPS, assert_fails, check, not_ok
from test_key_providers import (  # noqa: F401 (fixtures)
    Probe, kmip_probe, settings, token_file)

KMIP_GET_ATTRIBUTES, KMIP_QUERY, KMIP_ENCRYPT, KMIP_DECRYPT = 0x0B, 0x18, 0x1F, 0x20
# ------------------------------------------------------------------ all is well


def test_kmip_server_that_has_all_that_is_needed_passes(kmip_probe):
    steps = check(kmip_probe)
    assert [name for name in steps if name] == KMIP_STEPS
    assert not_ok(steps) == {}
    assert steps["protocol"].text == "KMIP 1.4"
    assert "PyKMIP" in steps["server"].text and "Encrypt and Decrypt" in steps["server"].text
    assert steps["key-type"].text == "AES-256" and steps["key-state"].text == "active"
    assert "TLSv1.2" in steps["tls"].text and "days" in steps["client-certificate"].text


# ------------------------------------------------------------------ the network


@pytest.fixture(params=["kmip", "vault"])
def any_probe(request, build_folder, tmp_path):
    """A probe, and what its addresses begin with."""
    if request.param == "kmip":
        return request.getfixturevalue("kmip_probe"), ""
    probe = Probe(build_folder, tmp_path, "vault",
                  settings(type("nobody", (), {"address": "https://x"}), "one", "",
                           TOKEN_FILE=token_file(tmp_path, "t")))
    return probe, "https://"


def test_an_unknown_host_is_named(any_probe):
    probe, scheme = any_probe
    steps = check(probe, ADDRESS=f"{scheme}no-such-host.invalid:5696")
    assert_fails(steps, "resolve", "unreachable", "no-such-host.invalid", "getent")
    assert steps["connect"].result == steps["key"].result == steps["decrypt"].result == "skipped"


def test_a_port_where_nobody_listens_is_named(any_probe):
    probe, scheme = any_probe
    port = servers.free_port()
    assert_fails(check(probe, ADDRESS=f"{scheme}127.0.0.1:{port}"), "connect", "unreachable",
                 "Connection refused", str(port))


def test_a_firewall_that_swallows_everything_is_named_within_the_time(any_probe):
    probe, scheme = any_probe
    with blackhole() as port:
        steps = check(probe, ADDRESS=f"{scheme}127.0.0.1:{port}")
    assert_fails(steps, "connect", "unreachable", "in time", "firewalls")


def test_a_server_that_accepts_and_is_silent_is_named_within_the_time(any_probe):
    probe, scheme = any_probe
    with socket.create_server(("127.0.0.1", 0)) as silent:
        steps = check(probe, ADDRESS=f"{scheme}127.0.0.1:{silent.getsockname()[1]}")
    assert_fails(steps, "tls", "unreachable", "no answer")


def test_a_server_that_speaks_no_tls_is_named(any_probe):
    probe, scheme = any_probe
    with FakeVault({}) as plain:
        steps = check(probe, ADDRESS=scheme + plain.address.removeprefix("http://"))
    assert_fails(steps, "tls", "tls", "wrong version number", "check the port")


@pytest.mark.parametrize("address", ["[::1]", "localhost"])
def test_a_host_without_dots_is_named_as_it_was_given(any_probe, address):
    probe, scheme = any_probe
    assert_fails(check(probe, ADDRESS=f"{scheme}{address}:1"), "connect", "unreachable",
                 f"{address}:1")


# ------------------------------------------------------------------ TLS


def test_a_ca_that_is_not_trusted_is_named(kmip_probe, pykmip):
    stranger = servers.Authority(kmip_probe.folder / "stranger")
    assert_fails(check(kmip_probe, CA_CERT=stranger.cert), "tls", "tls", "not trusted",
                 "which CA signed it", "openssl s_client")


def test_a_ca_below_a_root_is_enough(any_probe, tmp_path):
    probe, scheme = any_probe
    root = servers.Authority(tmp_path / "root")
    middle = servers.Authority(tmp_path / "middle")
    for made, kept in zip(root.issue("middle", "basicConstraints=critical,CA:TRUE\n"),
                          (middle.cert, middle.key)):
        kept.write_bytes(made.read_bytes())
    with tls_server(*middle.server()) as address:
        assert check(probe, ADDRESS=scheme + address, CA_CERT=middle.cert)["tls"].result == "ok"
        assert_fails(check(probe, ADDRESS=scheme + address, CA_CERT=root.cert), "tls", "tls",
                     "not trusted", "private CA")


def test_a_server_certificate_for_another_name_is_named(kmip_probe, pykmip):
    cert, key = pykmip.authority.issue("elsewhere", "subjectAltName=DNS:elsewhere.example\n")
    with tls_server(cert, key) as address:
        assert_fails(check(kmip_probe, ADDRESS=address), "tls", "tls", "for another name")


def test_a_server_certificate_that_expired_is_named(kmip_probe, pykmip):
    cert, key = dated(pykmip.authority, "expired", from_now(-9), from_now(-2))
    with tls_server(cert, key) as address:
        assert_fails(check(kmip_probe, ADDRESS=address), "tls", "tls", "has expired", "renew it")


def test_a_server_certificate_that_is_not_valid_yet_is_named(kmip_probe, pykmip):
    cert, key = dated(pykmip.authority, "early", from_now(2), from_now(9))
    with tls_server(cert, key) as address:
        assert_fails(check(kmip_probe, ADDRESS=address), "tls", "tls", "not valid yet", "clocks")


def test_a_server_certificate_close_to_its_end_is_a_warning(kmip_probe, pykmip):
    cert, key = dated(pykmip.authority, "ending", from_now(-90), from_now(5.01))
    with tls_server(cert, key) as address:
        step = check(kmip_probe, ADDRESS=address)["tls"]
    assert step.result == "warning" and "ends in 5 days" in step.text and "renew" in step.action


def test_a_server_with_an_old_protocol_is_named(any_probe, tmp_path):
    probe, scheme = any_probe
    authority = servers.Authority(tmp_path / "old")
    with tls_server(*authority.server(), old_protocol) as address:
        assert_fails(check(probe, ADDRESS=scheme + address, CA_CERT=authority.cert), "tls", "tls",
                     "TLS 1.2 or 1.3")


def test_a_client_certificate_of_a_ca_that_the_server_does_not_trust_is_named(kmip_probe, pykmip):
    stranger = servers.Authority(kmip_probe.folder / "stranger")
    cert, key = stranger.client("alice")
    assert_fails(check(kmip_probe, CLIENT_CERT=cert, CLIENT_KEY=key), "tls", "tls",
                 "does not accept the client certificate")


def test_a_client_certificate_that_is_refused_after_a_tls_1_3_handshake_is_named(kmip_probe, pykmip):
    def prepare(context):
        context.load_verify_locations(pykmip.ca_cert)
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    stranger = servers.Authority(kmip_probe.folder / "stranger")
    cert, key = stranger.client("alice")
    with tls_server(*pykmip.authority.server(), prepare) as address:
        assert_fails(check(kmip_probe, ADDRESS=address, CLIENT_CERT=cert, CLIENT_KEY=key), "login",
                     "login", "does not accept the client certificate")


def test_a_client_certificate_that_expired_is_named_before_the_server_is_asked(kmip_probe, pykmip):
    cert, key = dated(pykmip.authority, "past", from_now(-9), from_now(-2),
                      "extendedKeyUsage=clientAuth\n")
    assert_fails(check(kmip_probe, CLIENT_CERT=cert, CLIENT_KEY=key), "client-certificate", "tls",
                 "has expired")


@pytest.mark.parametrize("days, words", [(29.01, "29 days"), (6.01, "6 days"), (0.9, "21 hours")])
def test_a_client_certificate_close_to_its_end_is_a_warning(kmip_probe, pykmip, days, words):
    cert, key = dated(pykmip.authority, "alice", from_now(-300), from_now(days),
                      "extendedKeyUsage=clientAuth\n")
    try:
        steps = check(kmip_probe, CLIENT_CERT=cert, CLIENT_KEY=key)
    finally:
        cert.unlink()  # the others get one that is good
    assert not_ok(steps) == {"client-certificate": "warning"}
    assert words in steps["client-certificate"].text


# ------------------------------------------------------------------ KMIP: login, protocol, key


def test_a_client_certificate_without_its_usage_is_named(kmip_probe, pykmip):
    cert, key = pykmip.authority.issue("nousage", "keyUsage=digitalSignature\n")
    assert_fails(check(kmip_probe, CLIENT_CERT=cert, CLIENT_KEY=key), "login", "login",
                 "does not accept the client certificate", "extendedKeyUsage")


def test_a_server_without_a_common_version_is_named(kmip_probe, pykmip):
    def change(message):
        return versions((1, 0), (1, 1)) if operation(message) == 0x1E else None
    with KmipProxy(pykmip, change) as proxy:
        assert_fails(check(kmip_probe, ADDRESS=proxy.address), "protocol", "answer", "versions",
                     "1.2 to 2.1")


def test_what_a_kmip_server_says_of_itself_is_told_and_no_failure(kmip_probe, pykmip):
    def queried(answer):
        def change(message):
            return answer if operation(message) == KMIP_QUERY else None
        with KmipProxy(pykmip, change) as proxy:
            steps = check(kmip_probe, ADDRESS=proxy.address)
        assert steps[None] is None and steps["decrypt"].result == "ok"
        return steps["server"]
    listed = item(0x7C, STRUCTURE, [item(0x5C, ENUMERATION, KMIP_ENCRYPT),
                                    item(0x9D, TEXT, "A server \x1b[2J")])
    step = queried(response(item(0x5C, ENUMERATION, KMIP_QUERY), item(0x7F, ENUMERATION, 0), listed))
    assert step.result == "warning" and step.text.startswith("A server ?[2J, which does not list")
    assert "Get Attributes Decrypt" in step.text
    for answer in (refusal(5, "unsupported"), b"HTTP/1.1 400 Bad Request", b""):
        assert queried(answer).result == "skipped"


def test_an_answer_to_another_question_is_named(kmip_probe, pykmip):
    other = response(item(0x5C, ENUMERATION, KMIP_DECRYPT), item(0x7F, ENUMERATION, 0),
                     item(0x7C, STRUCTURE, [item(0xC2, BYTES, b"x" * 80)]))
    with KmipProxy(pykmip, lambda message: other if operation(message) == KMIP_ENCRYPT
                   else None) as proxy:
        assert_fails(check(kmip_probe, ADDRESS=proxy.address), "encrypt", "answer", "no sense")


def test_kmip_answers_without_sense_are_named(kmip_probe, pykmip):
    for answer in (b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(8), response()[:-8] + b"\xff" * 8,
                   b"\x42\x00\x7b\x01\x7f\xff\xff\xff"):
        with KmipProxy(pykmip, lambda message: answer) as proxy:
            assert_fails(check(kmip_probe, ADDRESS=proxy.address), "protocol", "answer")


def test_a_kmip_answer_that_is_cut_is_named(kmip_probe, pykmip):
    with KmipProxy(pykmip, lambda message: b"") as proxy:
        assert_fails(check(kmip_probe, ADDRESS=proxy.address), "login", "not-serving",
                     "closed the connection")


def test_a_kmip_key_that_is_missing_or_of_another_owner_is_named(kmip_probe, pykmip):
    assert_fails(check(kmip_probe, KEY="987654"), "key", "missing", "987654")
    cert, key = pykmip.client("bob")
    step = check(kmip_probe, CLIENT_CERT=cert, CLIENT_KEY=key)[None]
    assert step.name == "key" and step.kind in ("permission", "missing"), step


def test_each_state_of_a_kmip_key_is_named(kmip_probe, pykmip):
    admin = pykmip.admin()
    waiting = admin.create(activate=False)
    assert_fails(check(kmip_probe, KEY=waiting), "key-state", "unusable", "pre-active",
                 "activate it")
    for compromised, word in ((False, "deactivated"), (True, "compromised")):
        uid = admin.create()
        admin.revoke(uid, compromised)
        steps = check(kmip_probe, KEY=uid)
        assert_fails(steps, "key-state", "unusable", word)
        assert steps["key-usage"].result == "ok" and steps["encrypt"].result == "skipped"
    uid = admin.create()
    admin.revoke(uid)
    admin.destroy(uid)
    assert_fails(check(kmip_probe, KEY=uid), "key", "missing", uid, "destroyed")


@pytest.mark.parametrize("usage, shown, lacks", [
    (ENCRYPT, "0x4 (encrypt)", "decrypt"), (DECRYPT, "0x8 (decrypt)", "encrypt"),
    (0x30, "0x30 (wrap, unwrap)", "encrypt and decrypt")])
def test_a_usage_mask_that_is_wrong_is_told_in_words(kmip_probe, pykmip, usage, shown, lacks):
    uid = pykmip.admin().create(usage=usage)
    steps = check(kmip_probe, KEY=uid)
    assert_fails(steps, "key-usage", "unusable", shown, f"lacks {lacks}")


def test_a_kmip_key_whose_use_ends_by_its_dates_is_a_warning(kmip_probe, pykmip):
    day = 86400

    def state(**dates):
        listed = [attribute("State", ENUMERATION, 2),
                  attribute("Cryptographic Usage Mask", INTEGER, ENCRYPT | DECRYPT),
                  *(attribute(name.replace("_", " "), DATE_TIME, int(time.time() + days * day))
                    for name, days in dates.items())]
        answer = response(item(0x5C, ENUMERATION, KMIP_GET_ATTRIBUTES), item(0x7F, ENUMERATION, 0),
                          item(0x7C, STRUCTURE, [item(0x94, TEXT, kmip_probe.uid), *listed]))
        with KmipProxy(pykmip, lambda message: answer if operation(message) == KMIP_GET_ATTRIBUTES
                       else None) as proxy:
            steps = check(kmip_probe, ADDRESS=proxy.address)
        assert steps[None] is None and steps["decrypt"].result == "ok"
        return steps["key-state"]

    assert state().text == "active"
    step = state(Deactivation_Date=400.5)
    assert step.result == "ok" and "another 400 days" in step.text
    step = state(Deactivation_Date=400.5, Protect_Stop_Date=20.5)
    assert step.result == "warning" and "its use ends in 20 days" in step.text
    assert "--new-key-uid" in step.action


def test_a_short_kmip_key_is_a_warning(kmip_probe, pykmip):
    steps = check(kmip_probe, KEY=pykmip.admin().create(bits=128))
    assert not_ok(steps) == {"key-type": "warning"} and "128 bits" in steps["key-type"].text


def test_a_kmip_server_that_gives_back_other_bytes_is_named(kmip_probe, pykmip):
    def change(message):
        if operation(message) != KMIP_DECRYPT:
            return None
        uid = find(message, 0x94).decode()
        return response(item(0x5C, ENUMERATION, KMIP_DECRYPT), item(0x7F, ENUMERATION, 0),
                        item(0x7C, STRUCTURE, [item(0x94, TEXT, uid), item(0xC2, BYTES, b"x" * 64)]))
    with KmipProxy(pykmip, change) as proxy:
        assert_fails(check(kmip_probe, ADDRESS=proxy.address), "decrypt", "answer", "other bytes")


def test_a_kmip_server_that_denies_or_lacks_an_operation_is_named(kmip_probe, pykmip):
    for reason, kind in ((0x0C, "permission"), (0x05, "answer")):
        def change(message, reason=reason):
            return refusal(reason, "no") if operation(message) == KMIP_ENCRYPT else None
        with KmipProxy(pykmip, change) as proxy:
            assert_fails(check(kmip_probe, ADDRESS=proxy.address), "encrypt", kind)


# ------------------------------------------------------------------ the command


def run_check(instance, *words):
    done = instance.run("security", "kms", "check", *words, check=False)
    return done.returncode, done


def test_without_a_kms_the_command_says_so(build_folder, folder):
    with Instance(build_folder, folder) as instance:
        code, done = run_check(instance)
    assert code == 1 and "no KMS is configured" in done.stderr


def test_the_command_shows_each_step_for_each_address_and_what_to_do(build_folder, folder, pykmip):
    dead = f"127.0.0.1:{servers.free_port()}"
    admin = pykmip.admin()
    uid = admin.create()
    with Instance(build_folder, folder) as instance:
        instance.set_kmip(pykmip, uid)
        code, done = run_check(instance)
        assert code == 0 and done.stderr == ""
        assert done.stdout.splitlines()[0] == pykmip.address
        assert [line.split()[:2] for line in done.stdout.splitlines()[1:14]] == \
            [["ok", name] for name in KMIP_STEPS]
        assert done.stdout.splitlines()[14:16] == ["", "Filesystems"]

        warnings = instance.set_kmip(pykmip, uid, address=f"{pykmip.address},{dead}")["warnings"]
        assert [(step["address"], step["step"], step["result"]) for step in warnings] == \
            [(dead, "connect", "failed")]
        code, done = run_check(instance)
        assert code == 3 and done.stderr.startswith("error: the step 'connect' failed at " + dead)
        assert f"\n\n{dead}\n" in done.stdout and "->" in done.stdout
        code, done = run_check(instance, "--color", "enabled")
        assert "\033[32m  ok      \033[0mresolve" in done.stdout
        assert "\033[31m  failed  \033[0mconnect" in done.stdout
        code, done = run_check(instance, "--json")
        found = json.loads(done.stdout)
        assert code == 3 and found["result"] == "failed" and found["class"] == "unreachable"
        assert [step["step"] for step in found["steps"]
                if step["address"] == dead] == KMIP_STEPS
        code, done = run_check(instance, "-f", "csv", "-o", "step,result", "-F", "result=failed")
        assert done.stdout == "step,result\nconnect,failed\n"

        instance.set_kmip(pykmip, uid)
        admin.revoke(uid)
        code, done = run_check(instance)
        assert code == 9 and "deactivated" in done.stderr


def test_the_commands_exit_code_tells_the_class_of_the_first_failure(build_folder, folder, openbao):
    kms = openbao
    kms.create_key("classes")
    token = kms.coffer_token("classes")
    with Instance(build_folder, folder) as instance:
        instance.api("PUT", "/api/v1/kms", {"type": "vault", "address": kms.address,
                                            "key": "classes", "token": token})
        assert run_check(instance)[0] == 0
        kms.configure_key("classes", deletion_allowed=True)
        code, done = run_check(instance)
        assert code == 0 and "warning key-settings" in done.stdout
        kms.token({"transit/keys/classes": ["read"]}, policy="coffer-classes")
        assert run_check(instance)[0] == 7
        kms.coffer_token("classes")
        kms.delete_key("classes")
        assert run_check(instance)[0] == 8
        kms.revoke_token(token)
        code, done = run_check(instance)
        assert code == 6 and token not in done.stdout + done.stderr
        assert token not in instance.log.read_text()


def filesystem_steps(instance):
    """The class of the first failure, and what is said of the filesystems that are here."""
    found = json.loads(run_check(instance, "--json")[1].stdout)
    return found["class"], [step["result"] + " " + step["text"] + " -> " + step["action"]
                            for step in found["steps"] if step["step"] == "filesystems"]


def set_vault(instance, kms, key, token):
    instance.api("PUT", "/api/v1/kms",
                 {"type": "vault", "address": kms.address, "key": key, "token": token})


def test_a_filesystem_whose_version_is_disallowed_is_named(build_folder, folder, openbao):
    kms = openbao
    kms.create_key("versions")
    with Instance(build_folder, folder) as instance:
        set_vault(instance, kms, "versions", kms.coffer_token("versions"))
        assert filesystem_steps(instance) == (
            "", ["ok no filesystem's key was wrapped by it yet -> "])
        instance.add("old")
        kms.rotate_key("versions")
        instance.add("new")
        assert filesystem_steps(instance)[1] == [
            "ok the key of each filesystem that it wrapped opens: 2 of them -> "]
        kms.configure_key("versions", min_decryption_version=2)
        kind, (said,) = filesystem_steps(instance)
        assert kind == "unusable" and said.startswith("failed old does not open: ")
        assert "min_decryption_version" in said


def test_a_key_that_was_deleted_and_made_anew_is_recognised(build_folder, folder, openbao):
    kms = openbao
    kms.create_key("anew")
    with Instance(build_folder, folder) as instance:
        set_vault(instance, kms, "anew", kms.coffer_token("anew"))
        instance.add("one")
        instance.add("two")
        kms.delete_key("anew")
        kms.create_key("anew")
        kind, said = filesystem_steps(instance)
        assert kind == "missing" and len(said) == 2
        assert sorted(line.split()[1] for line in said) == ["one", "two"]
        assert all("another one" in line and "backup" in line for line in said)


def test_a_server_that_went_back_to_before_a_rotation_is_told(build_folder, folder, openbao):
    kms = openbao
    kms.create_key("back", exportable=True, allow_plaintext_backup=True)
    with Instance(build_folder, folder) as instance:
        set_vault(instance, kms, "back", kms.coffer_token("back"))
        instance.add("one")
        backup = kms.api("GET", "transit/backup/back")["data"]["backup"]
        kms.rotate_key("back")
        instance.run("security", "kms", "rewrap")
        kms.delete_key("back")
        kms.api("POST", "transit/restore/back", {"backup": backup})
        kind, (said, all_of_them) = filesystem_steps(instance)
        assert kind == "" and all_of_them.startswith("ok ")
        assert said.startswith("warning one opens only with what wrapped its key")
        assert "coffer security kms rewrap" in said


def test_a_filesystem_of_a_destroyed_kmip_key_is_named(build_folder, folder, pykmip):
    admin = pykmip.admin()
    first, second = admin.create(), admin.create()
    with Instance(build_folder, folder) as instance:
        instance.set_kmip(pykmip, first)
        instance.add("one")
        instance.set_kmip(pykmip, second)
        assert filesystem_steps(instance)[1][0].startswith("ok ")
        admin.revoke(first)
        kind, (said,) = filesystem_steps(instance)
        assert kind == "unusable" and "one does not open" in said and f"'{first}'" in said
        admin.destroy(first)
        assert filesystem_steps(instance)[0] == "missing"
