"""`kms check` names each fault that a Vault or OpenBao can have: server, token, policy, namespace,
engine, key, answers."""
import pytest

import servers
from fake_vault import FakeVault
from faulty_peers import raw_server
from instance import Instance
from kms_steps import VAULT_STEPS, assert_fails, check, not_ok
from key_servers import started
from test_key_providers import (  # noqa: F401 (fixtures)
    Probe, settings, token_file, vault, vault_probe)


def test_vault_that_has_all_that_is_needed_passes(vault_probe):
    steps = check(vault_probe)
    assert [name for name in steps if name] == VAULT_STEPS
    # The token is one that the test's policy made, of the default life: it is renewable.
    assert not_ok(steps) == {}
    assert "version" in steps["server"].text
    assert steps["permission-read"].text == f"read on transit/keys/{vault_probe.key}"


def test_the_check_changes_nothing_in_vault(vault_probe):
    kms, key = vault_probe.kms, vault_probe.key
    before = kms.read_key(key), sorted(kms.api("LIST", "transit/keys")["data"]["keys"])
    check(vault_probe)
    assert (kms.read_key(key), sorted(kms.api("LIST", "transit/keys")["data"]["keys"])) == before


def test_a_ca_of_a_vault_that_is_not_trusted_is_named(build_folder, vault, tmp_path):
    probe = Probe(build_folder, tmp_path, "vault",
                  settings(vault, "one", "", TOKEN_FILE=token_file(tmp_path, vault.root_token)))
    assert_fails(check(probe), "tls", "tls", "not trusted")


# ------------------------------------------------------------------ Vault: server, login


def fake_health(**changes):
    return (200, {"initialized": True, "sealed": False, "standby": False, "version": "1.9.0",
                  **changes})


HEALTH = "GET sys/health?standbyok=true&perfstandbyok=true&sealedcode=200&uninitcode=200"
LOOKUP = "GET auth/token/lookup-self"
CAPABILITIES = "POST sys/capabilities-self"
POLICY_DENIES = (403, {"errors": ["1 error occurred:\n\t* permission denied\n\n"]})


def fake_probe(build_folder, tmp_path, fake, **more):
    return Probe(build_folder, tmp_path, "vault",
                 settings(fake, "one", "", TOKEN_FILE=token_file(tmp_path, "hvs.x"), **more))


def check_fake(build_folder, tmp_path, answers):
    with FakeVault(answers) as fake:
        return check(fake_probe(build_folder, tmp_path, fake))


def test_a_sealed_server_is_named(build_folder, tmp_path):
    with started(lambda: servers.VaultCoreServer(tmp_path / "kms")) as kms:
        probe = Probe(build_folder, tmp_path, "vault",
                      settings(kms, "one", "", TOKEN_FILE=token_file(tmp_path, kms.root_token)))
        kms.seal()
        steps = check(probe)
    assert_fails(steps, "server", "not-serving", "sealed", "vault operator unseal")
    assert steps["login"].result == "skipped"


def test_a_server_that_is_not_initialised_is_named(build_folder, tmp_path):
    class Uninitialised(servers.OpenBaoServer):
        def after_start(self):
            self.root_token = "none"
    with started(lambda: Uninitialised(tmp_path / "kms", mode="raft")) as kms:
        probe = Probe(build_folder, tmp_path, "vault",
                      settings(kms, "one", "", TOKEN_FILE=token_file(tmp_path, "s.none")))
        assert_fails(check(probe), "server", "not-serving", "not initialised",
                     "vault operator init")


def test_a_leader_and_its_standby_both_pass_and_are_told_apart(build_folder, tmp_path):
    with started(lambda: servers.OpenBaoServer(tmp_path / "one", mode="raft")) as leader, \
            started(lambda: servers.OpenBaoStandby(tmp_path / "two", leader)) as standby:
        leader.enable_transit()
        leader.create_key("shared")
        token = leader.coffer_token("shared")
        probe = Probe(build_folder, tmp_path, "vault",
                      settings(leader, "shared", "", TOKEN_FILE=token_file(tmp_path, token)))
        for kms, words in ((leader, "active"), (standby, "a standby")):
            def is_replicated(kms=kms):
                try:
                    return kms.api("GET", "transit/keys/shared", token=token)
                except servers.VaultError:
                    return False
            servers.wait_until(is_replicated, "key, policy and token are on both nodes")
            steps = check(probe, ADDRESS=kms.address)
            assert not_ok(steps) == {} and words in steps["server"].text
            assert steps["rewrap"].result == "ok"


def test_a_standby_of_an_older_version_is_told(build_folder, tmp_path):
    steps = check_fake(build_folder, tmp_path, {HEALTH: fake_health(standby=True)})
    assert steps["server"].result == "ok" and "standby" in steps["server"].text


@pytest.mark.parametrize("answer, kind", [
    ((200, "{]"), "answer"),
    ((200, ""), "answer"),
    ((200, "<html>It works!</html>"), "answer"),
    ((200, {"initialized": "yes", "sealed": False}), "answer"),
    ((200, "x" * (2 << 20)), "answer"),
    ((404, "not found"), "missing"),
    ((301, "", {"Location": "/elsewhere"}), "answer"),
])
def test_an_answer_that_is_not_of_a_vault_is_named(build_folder, tmp_path, answer, kind):
    steps = check_fake(build_folder, tmp_path, {HEALTH: answer})
    assert_fails(steps, "server", "answer", "look")


def test_an_answer_that_is_cut_is_named(build_folder, tmp_path):
    with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"initialized\":") as address:
        fake = type("cut", (), {"address": f"http://{address}"})
        assert_fails(check(fake_probe(build_folder, tmp_path, fake)), "server", "not-serving")


def test_an_answer_that_comes_byte_by_byte_ends_in_time(build_folder, tmp_path):
    with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b" " * 500,
                    pause_s=0.5) as address:
        fake = type("slow", (), {"address": f"http://{address}"})
        assert_fails(check(fake_probe(build_folder, tmp_path, fake)), "server", "not-serving",
                     "no answer")


def test_a_token_that_is_wrong_or_revoked_is_named(vault_probe):
    wrong = token_file(vault_probe.folder, "s.abcdefghijklmnopqrstuvwx")
    assert_fails(check(vault_probe, TOKEN_FILE=wrong), "login", "login", "does not accept the token",
                 "coffer security kms set")
    vault_probe.kms.revoke_token(vault_probe.token)
    wrong.write_text(vault_probe.token)
    steps = check(vault_probe)
    step = assert_fails(steps, "login", "login", "does not accept the token")
    assert vault_probe.token not in step.text + step.action
    assert steps["permission-read"].result == steps["key"].result == "skipped"


def test_a_token_that_expired_is_named(vault_probe):
    kms = vault_probe.kms
    token = kms.coffer_token(vault_probe.key, ttl="1s")

    def is_over():
        try:
            kms.api("GET", "auth/token/lookup-self", token=token)
        except servers.VaultError:
            return True
        return False
    servers.wait_until(is_over, "the token expires")
    assert_fails(check(vault_probe, TOKEN_FILE=token_file(vault_probe.folder, token)), "login",
                 "login", "expired")


@pytest.mark.parametrize("answer", [
    (400, {"errors": ["missing client token"]}),
    (403, {"errors": ["permission denied"]}),
    (403, {"errors": ["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}),
])
def test_a_token_that_other_versions_do_not_accept_is_named(build_folder, tmp_path, answer):
    steps = check_fake(build_folder, tmp_path, {HEALTH: fake_health(), LOOKUP: answer})
    assert_fails(steps, "login", "login", "token")


def test_a_token_with_limited_uses_fails_and_its_uses_are_spared(vault_probe):
    kms = vault_probe.kms
    token = kms.coffer_token(vault_probe.key, num_uses=5)
    steps = check(vault_probe, TOKEN_FILE=token_file(vault_probe.folder, token))
    assert_fails(steps, "token", "login", "more requests only", "-use-limit")
    assert steps["key"].result == "skipped"
    assert kms.api("POST", "auth/token/lookup", {"token": token})["data"]["num_uses"] >= 3


def test_a_token_whose_life_ends_for_good_is_a_warning(vault_probe):
    kms = vault_probe.kms
    fixed = token_file(vault_probe.folder, kms.coffer_token(vault_probe.key, renewable=False,
                                                            ttl="36h"))
    step = check(vault_probe, TOKEN_FILE=fixed)["token"]
    assert step.result == "warning" and "ends for good" in step.text and "renewable" in step.action
    fixed.write_text(kms.coffer_token(vault_probe.key, explicit_max_ttl="90h", ttl="36h"))
    step = check(vault_probe, TOKEN_FILE=fixed)["token"]
    assert step.result == "warning" and "explicit_max_ttl" in step.text
    fixed.write_text(kms.coffer_token(vault_probe.key, period="72h"))
    step = check(vault_probe, TOKEN_FILE=fixed)["token"]
    assert step.result == "ok" and "renewable" in step.text


def test_a_token_that_nobody_renewed_in_time_is_a_warning(build_folder, tmp_path):
    token = {"ttl": 100, "creation_ttl": 2764800, "renewable": True, "policies": ["default"]}
    step = check_fake(build_folder, tmp_path,
                      {HEALTH: fake_health(), LOOKUP: (200, {"data": token})})["token"]
    assert step.result == "warning" and "less than a quarter" in step.text


def token_of_role(probe, **role):
    kms = probe.kms
    kms.coffer_token(probe.key)  # its policy
    kms.api("POST", "auth/token/roles/coffer",
            {"period": "768h", "allowed_policies": f"coffer-{probe.key}", **role})
    answer = kms.api("POST", "auth/token/create/coffer", {"policies": [f"coffer-{probe.key}"]})
    return token_file(probe.folder, answer["auth"]["client_token"])


def test_a_token_of_a_role_with_a_period_passes(vault_probe):
    steps = check(vault_probe, TOKEN_FILE=token_of_role(vault_probe, orphan=True))
    assert not_ok(steps) == {} and "renewable" in steps["token"].text


def test_a_token_that_ends_with_another_is_a_warning(vault_probe):
    steps = check(vault_probe, TOKEN_FILE=token_of_role(vault_probe, orphan=False))
    assert not_ok(steps) == {"token": "warning"}
    assert "ends with the token of the login that made it" in steps["token"].text
    assert "orphan=true" in steps["token"].action


def test_a_root_token_is_a_warning(vault_probe):
    token = token_file(vault_probe.folder, vault_probe.kms.root_token)
    steps = check(vault_probe, TOKEN_FILE=token)
    assert not_ok(steps) == {"token": "warning", "permission-excess": "warning"}
    assert "root token" in steps["token"].text


# ------------------------------------------------------------------ Vault: roles


def role_settings(probe, secret_id=None, **parameters):
    """How to log in as an AppRole, for check()."""
    role_id, good = probe.kms.coffer_approle(probe.key, **parameters)
    path = probe.folder / "secret-id"
    path.write_text(secret_id or good)
    return {"ROLE_ID": role_id, "SECRET_ID_FILE": path, "TOKEN_FILE": ""}


def test_an_approle_passes(vault_probe):
    steps = check(vault_probe, **role_settings(vault_probe, token_ttl="1h"))
    assert not_ok(steps) == {} and "another one is got" in steps["token"].text


def test_a_secret_id_that_is_wrong_is_named(vault_probe):
    wrong = role_settings(vault_probe, "00000000-1111-2222-3333-444444444444")
    step = assert_fails(check(vault_probe, **wrong), "login", "login", "refuses the login",
                        "secret ID, which may have expired", "coffer security kms set")
    assert "00000000-1111" not in step.text + step.action


def test_a_role_whose_tokens_have_limited_uses_is_named(vault_probe):
    steps = check(vault_probe, **role_settings(vault_probe, token_num_uses=9))
    assert_fails(steps, "login", "login", "token_num_uses")


def test_a_role_of_another_auth_path_is_named(vault_probe):
    steps = check(vault_probe, AUTH_PATH="elsewhere", **role_settings(vault_probe))
    assert_fails(steps, "login", "login", "auth/elsewhere/login")


def test_a_role_whose_policy_lacks_a_right_is_named(vault_probe):
    role = role_settings(vault_probe)
    key = vault_probe.key
    vault_probe.kms.token({f"transit/keys/{key}": ["read"]}, policy=f"coffer-{key}")
    assert_fails(check(vault_probe, **role), "permission-encrypt", "permission",
                 f"lacks update on transit/encrypt/{key}")


def test_a_token_of_a_login_that_is_not_accepted_any_more_is_replaced(build_folder, tmp_path):
    secret_id = tmp_path / "secret-id"
    secret_id.write_text("s")
    auths = [{"client_token": token, "lease_duration": 1200, "renewable": True}
             for token in ("s.first", "s.second")]
    refused, passed = (403, {"errors": ["permission denied"]}), good_answers()[LOOKUP]
    with FakeVault({**good_answers(), LOOKUP: [refused, passed],
                    "POST auth/approle/login": [(200, {"auth": auth}) for auth in auths]}) as fake:
        probe = Probe(build_folder, tmp_path, "vault",
                      settings(fake, "one", "", ROLE_ID="r", SECRET_ID_FILE=secret_id))
        assert not_ok(check(probe)) == {}
        assert len(fake.asked("auth/approle/login")) == 2
        fake.answers[LOOKUP] = [refused]
        fake.answers["POST auth/approle/login"] = [(200, {"auth": auths[0]})]
        assert_fails(check(probe), "login", "login", "does not accept the token")


# ------------------------------------------------------------------ Vault: permissions


RULES = {"keys": "read", "encrypt": "update", "decrypt": "update", "rewrap": "update"}


@pytest.mark.parametrize("lacking, step", [
    ("keys", "permission-read"), ("encrypt", "permission-encrypt"),
    ("decrypt", "permission-decrypt"), ("rewrap", "permission-rewrap")])
def test_each_right_that_the_policy_lacks_is_named(vault_probe, lacking, step):
    path = f"transit/{lacking}/{vault_probe.key}"
    rules = {f"transit/{what}/{vault_probe.key}": [right] for what, right in RULES.items()
             if what != lacking}
    token = token_file(vault_probe.folder, vault_probe.kms.token(rules, policy="partial"))
    steps = check(vault_probe, TOKEN_FILE=token)
    failed = assert_fails(steps, step, "permission", f"lacks {RULES[lacking]} on {path}")
    assert f'path "{path}"' in failed.action and f'"{RULES[lacking]}"' in failed.action
    assert not_ok(steps) == {step: "failed"}


def test_a_policy_without_default_is_tried_instead(vault_probe):
    key = vault_probe.key
    token = token_file(vault_probe.folder,
                       vault_probe.kms.coffer_token(key, no_default_policy=True))
    steps = check(vault_probe, TOKEN_FILE=token)
    assert not_ok(steps) == {"login": "warning"}
    assert "lookup-self" in steps["login"].action
    assert steps["permission-read"].result == "skipped" and steps["rewrap"].result == "ok"
    token.write_text(vault_probe.kms.token({f"transit/keys/{key}": ["read"]}, policy="bare",
                                           no_default_policy=True))
    assert_fails(check(vault_probe, TOKEN_FILE=token), "encrypt", "permission",
                 f"transit/encrypt/{key}")


def test_a_token_that_may_not_renew_itself_is_a_warning(vault_probe):
    key = vault_probe.key
    rules = {f"transit/{what}/{key}": [right] for what, right in RULES.items()}
    rules.update({"auth/token/lookup-self": ["read"], "sys/capabilities-self": ["update"]})
    token = token_file(vault_probe.folder,
                       vault_probe.kms.token(rules, policy="fading", no_default_policy=True))
    steps = check(vault_probe, TOKEN_FILE=token)
    assert not_ok(steps) == {"permission-renew": "warning"}
    assert "auth/token/renew-self" in steps["permission-renew"].text


def test_the_seeds_own_policy_is_accepted_with_a_warning(vault_probe):
    key = vault_probe.key
    token = token_file(vault_probe.folder, vault_probe.kms.token(
        {f"transit/+/{key}": ["read", "create", "update"],
         f"transit/keys/{key}": ["read"]}, policy="seed"))
    steps = check(vault_probe, TOKEN_FILE=token)
    assert not_ok(steps) == {"permission-excess": "warning"}
    assert f"create (makes the key anew if it is missing) on transit/encrypt/{key}" in \
        steps["permission-excess"].text


def test_a_policy_that_could_delete_the_key_is_a_warning(vault_probe):
    key = vault_probe.key
    rules = {f"transit/{what}/{key}": [right] for what, right in RULES.items()}
    rules[f"transit/keys/{key}"] = ["read", "delete"]
    rules[f"transit/keys/{key}/config"] = ["update"]
    token = token_file(vault_probe.folder, vault_probe.kms.token(rules, policy="risky"))
    step = check(vault_probe, TOKEN_FILE=token)["permission-excess"]
    assert step.result == "warning"
    assert "delete (destroys the key)" in step.text and f"transit/keys/{key}/config" in step.text


# ------------------------------------------------------------------ Vault: namespace, mount, key


def test_a_namespace_that_is_wrong_is_named(build_folder, openbao, tmp_path):
    openbao.create_key("spaced")
    probe = Probe(build_folder, tmp_path, "vault",
                  settings(openbao, "spaced", "", NAMESPACE="nowhere",
                           TOKEN_FILE=token_file(tmp_path, openbao.coffer_token("spaced"))))
    assert_fails(check(probe), "login", "missing", "no namespace 'nowhere'", "--namespace")


def test_a_namespace_and_a_path_that_are_right_pass(build_folder, openbao, tmp_path):
    openbao.api("POST", "sys/namespaces/crew", {})
    openbao.api("POST", "sys/mounts/engines/keys", {"type": "transit"}, namespace="crew")
    openbao.api("POST", "engines/keys/keys/inner", {}, namespace="crew")
    text = "".join(f'path "engines/keys/{what}/inner" {{ capabilities = ["{right}"] }}\n'
                   for what, right in RULES.items())
    openbao.api("PUT", "sys/policies/acl/inner", {"policy": text}, namespace="crew")
    answer = openbao.api("POST", "auth/token/create",
                         {"policies": ["inner"], "period": "24h", "no_parent": True},
                         namespace="crew")
    probe = Probe(build_folder, tmp_path, "vault",
                  settings(openbao, "inner", "", NAMESPACE="crew", MOUNT_PATH="engines/keys",
                           TOKEN_FILE=token_file(tmp_path, answer["auth"]["client_token"])))
    steps = check(probe)
    assert not_ok(steps) == {} and steps["rewrap"].result == "ok"
    steps = check(probe, NAMESPACE="")
    assert steps[None].name in ("login", "key") and steps[None].kind in ("login", "permission")


def test_a_mount_that_is_wrong_is_named(vault_probe):
    kms, key = vault_probe.kms, vault_probe.key
    steps = check(vault_probe, MOUNT_PATH="nowhere")
    assert_fails(steps, "permission-read", "permission", f"read on nowhere/keys/{key}")
    token = token_file(vault_probe.folder, kms.token(
        {f"nowhere/{what}/{key}": [right] for what, right in RULES.items()}, policy="lost"))
    assert_fails(check(vault_probe, MOUNT_PATH="nowhere", TOKEN_FILE=token), "key", "missing",
                 "no transit engine", "vault secrets list")


def test_a_key_that_is_missing_is_named_and_not_made(vault_probe):
    kms, key = vault_probe.kms, vault_probe.key
    token = token_file(vault_probe.folder, kms.token(
        {f"transit/+/{key}": ["create", "read", "update"]}, policy="generous"))
    kms.delete_key(key)
    steps = check(vault_probe, TOKEN_FILE=token)
    assert_fails(steps, "key", "missing", f"no key '{key}'", "backup")
    assert steps["encrypt"].result == "skipped"
    assert kms.read_key(key) is None


def test_a_key_of_a_wrong_kind_is_named(vault_probe):
    kms = vault_probe.kms
    token = token_file(vault_probe.folder, kms.root_token)
    for name, settings_, words in (("signing", {"type": "ed25519"}, "ed25519"),
                                   ("asymmetric", {"type": "rsa-2048"}, "rsa-2048"),
                                   ("derived", {"derived": True}, "derived")):
        kms.create_key(name, **settings_)
        steps = check(vault_probe, KEY=name, TOKEN_FILE=token)
        assert_fails(steps, "key-type", "unusable", words, "aes256-gcm96")
        assert steps["encrypt"].result == "skipped"


def test_a_key_that_may_be_deleted_or_leave_the_server_is_a_warning(vault_probe):
    kms = vault_probe.kms
    key = vault_probe.key
    kms.configure_key(key, deletion_allowed=True)
    steps = check(vault_probe)
    assert not_ok(steps) == {"key-settings": "warning"}
    assert "deletion_allowed=false" in steps["key-settings"].action
    kms.configure_key(key, deletion_allowed=False, exportable=True, allow_plaintext_backup=True)
    steps = check(vault_probe)
    assert "exportable, allow_plaintext_backup" in steps["key-settings"].text


# ------------------------------------------------------------------ Vault: answers that are wrong


def good_answers():
    """A fake that passes up to the trial."""
    paths = [f"transit/{what}/one" for what in ("keys", "encrypt", "decrypt", "rewrap")]
    rights = {paths[0]: ["read"], "transit/keys/one/config": ["deny"],
              "auth/token/renew-self": ["update"], **{path: ["update"] for path in paths[1:]}}
    key = {"type": "aes256-gcm96", "latest_version": 1, "min_decryption_version": 1,
           "supports_encryption": True, "supports_decryption": True}
    return {HEALTH: fake_health(),
            LOOKUP: (200, {"data": {"ttl": 100, "renewable": True, "policies": ["default"]}}),
            CAPABILITIES: (200, rights),  # without "data", as the oldest answer
            "GET transit/keys/one": (200, {"data": key}),
            "POST transit/encrypt/one": lambda body: (
                200, {"data": {"ciphertext": "vault:v1:" + body["plaintext"]}}),
            "POST transit/decrypt/one": lambda body: (
                200, {"data": {"plaintext": body["ciphertext"].removeprefix("vault:v1:")}}),
            "POST transit/rewrap/one": lambda body: (
                200, {"data": {"ciphertext": body["ciphertext"]}})}


def test_the_fake_passes_so_that_each_change_of_it_is_what_fails(build_folder, tmp_path):
    assert not_ok(check_fake(build_folder, tmp_path, good_answers())) == {}


@pytest.mark.parametrize("question, answer, step, kind, words", [
    (LOOKUP, (200, {"data": {"ttl": "long"}}), "login", "answer", "no sense"),
    (LOOKUP, (200, "{"), "login", "answer", "no sense"),
    (LOOKUP, (429, {"errors": ["rate limit quota exceeded"]}), "login", "not-serving", "rate limit"),
    ("GET transit/keys/one", (200, {"data": {"type": 7}}), "key-type", "answer", "no sense"),
    ("GET transit/keys/one", (200, {"data": {"type": "aes256-gcm96", "latest_version": 1,
                                             "min_decryption_version": 1, "soft_deleted": True}}),
     "key-type", "unusable", "soft_deleted"),
    ("POST transit/encrypt/one", (200, {"data": {}}), "encrypt", "answer", "no sense"),
    ("POST transit/encrypt/one", (503, {"errors": ["node is not active"]}), "encrypt",
     "not-serving", "503"),
    ("POST transit/decrypt/one", (200, {"data": {"plaintext": "b3RoZXI="}}), "decrypt", "answer",
     "other bytes"),
    ("POST transit/decrypt/one", (500, {"errors": ["cipher: message authentication failed"]}),
     "decrypt", "answer", "altered"),
    ("POST transit/decrypt/one", POLICY_DENIES, "decrypt", "permission", "transit/decrypt/one"),
    ("POST transit/rewrap/one", POLICY_DENIES, "rewrap", "permission", "transit/rewrap/one"),
    ("POST transit/rewrap/one", (200, {"data": {"ciphertext": "vault:v1:b3RoZXI="}}), "rewrap",
     "answer", "other bytes"),
])
def test_a_fault_of_a_later_step_is_named(build_folder, tmp_path, question, answer, step, kind,
                                         words):
    steps = check_fake(build_folder, tmp_path, {**good_answers(), question: answer})
    assert_fails(steps, step, kind, words)


# ------------------------------------------------------------------ the command


def test_the_command_trusts_the_ca_that_was_set(build_folder, folder, vault):
    vault.create_key("trusted")
    token = token_file(folder, vault.coffer_token("trusted"))
    with Instance(build_folder, folder) as instance:
        instance.run("security", "ca-cert", "set", "--cert-file", vault.ca_cert)
        instance.run("security", "kms", "set", "vault", vault.address, "trusted", "--token-file",
                     token)
        done = instance.run("security", "kms", "check")
        assert "TLSv1.3, the server's certificate is good for" in done.stdout
