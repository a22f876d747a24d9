"""How coffer logs in to Vault and OpenBao: given tokens, AppRole with batch and service tokens,
Kubernetes; what keeps a login alive, and what ends it. Nothing here waits for a time to pass, only
for what a server or coffer then says."""
import json
import os
import subprocess

import pytest

import servers
from certificates import Authority
from fake_kubernetes import FakeKubernetes
from fake_vault import FakeVault
from instance import ApiError, Instance
from servers import wait_until
from test_key_providers import (Probe, run_conformance, settings, token_file,  # noqa: F401
                                vault)
from test_vault_versions import CIPHERTEXT, KEY, PLAINTEXT


class Session:
    """A kms_probe that keeps its login between actions."""

    def __init__(self, probe):
        self.probe = probe
        self.process = subprocess.Popen([probe.program, probe.kind, "session"],
                                        env={**os.environ, **probe.environment}, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, action, *names):
        self.process.stdin.write(" ".join([action, *(str(self.probe.folder / name)
                                                     for name in names)]) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        assert self.process.wait(60) == 0
        self.process.stdout.close()


class Place:
    """A key on one server, and probes of coffer that use it."""

    def __init__(self, build_folder, folder, kms):
        self.build_folder, self.folder, self.kms = build_folder, folder, kms
        self.key = folder.name.replace("[", "-").replace("]", "")
        self.policy = f"coffer-{self.key}"
        kms.create_key(self.key)

    def probe(self, **more):
        return Probe(self.build_folder, self.folder, "vault",
                     settings(self.kms, self.key, "", CA_CERT=self.kms.ca_cert, **more))

    def approle(self, **parameters):
        role_id, secret_id = self.kms.coffer_approle(self.key, **parameters)
        return {"ROLE_ID": role_id, "SECRET_ID_FILE": self.secret_file(secret_id)}

    def secret_file(self, text):
        path = self.folder / f"secret-id-{text[:4]}"
        path.write_text(text)
        return path

    def with_token(self, **parameters):
        token = self.kms.coffer_token(self.key, **parameters)
        return {"TOKEN_FILE": token_file(self.folder, token)}

    def tokens(self):
        """Those that coffer's logins and ours made for this key, batch tokens not counted."""
        return self.kms.live_tokens(policies=sorted([self.policy, "default"]))


def outlive(place, session, ttl):
    """Unwraps "a" until another token, which nobody renews, has ended."""
    witness = place.kms.api("POST", "auth/token/create", {"ttl": ttl})["auth"]["client_token"]

    def has_ended():
        assert session("unwrap", "a") == "OK 1"
        try:
            place.kms.api("GET", "auth/token/lookup-self", token=witness)
        except servers.VaultError:
            return True
        return False
    wait_until(has_ended, "the other token ends")


@pytest.fixture(params=["openbao", "vault"])
def place(request, build_folder, tmp_path):
    return Place(build_folder, tmp_path, request.getfixturevalue(request.param))


@pytest.mark.parametrize("kind", ["batch", "service"])
def test_approle_logs_in_by_itself_and_leaves_no_token_behind(place, kind):
    login = place.approle(token_type=kind, token_ttl="20m")
    before = place.tokens()
    with Session(place.probe(**login)) as session:
        assert session("verify").startswith("OK aes256-gcm96")
        for number in range(5):
            assert session("wrap", f"blob-{number}") == "OK version 1"
        assert session("unwrap", *(f"blob-{number}" for number in range(5))) == "OK 5"
        assert session("login") == "OK known, ends, kept, life 1200,"
        # One login for all of it.
        assert place.tokens() - before == (1 if kind == "service" else 0)
    assert place.tokens() == before


def test_approle_logs_in_again_when_its_token_is_not_accepted(place):
    login = place.approle(token_type="service")
    with Session(place.probe(**login)) as session:
        assert session("wrap", "a") == "OK version 1"
        for accessor in place.kms.api("LIST", "auth/token/accessors")["data"]["keys"]:
            data = place.kms.api("POST", "auth/token/lookup-accessor", {"accessor": accessor})
            if data["data"]["policies"] == sorted([place.policy, "default"]) and \
                    data["data"]["path"] == "auth/approle/login":
                place.kms.api("POST", "auth/token/revoke-accessor", {"accessor": accessor})
        assert session("unwrap", "a") == "OK 1"
        assert session("verify").startswith("OK ")


@pytest.mark.parametrize("kind", ["batch", "service"])
def test_approle_outlives_the_life_of_its_tokens(place, kind):
    """A life of two seconds, and for service tokens four in all: several logins long."""
    login = place.approle(token_type=kind, token_ttl="2s",
                          **({"token_max_ttl": "4s"} if kind == "service" else {}))
    before = place.tokens()
    with Session(place.probe(**login)) as session:
        assert session("wrap", "a") == "OK version 1"
        outlive(place, session, ttl="8s")
        assert place.tokens() - before <= 1
    wait_until(lambda: place.tokens() <= before, "no token is left")


def test_approle_that_is_refused_says_what_to_check(place):
    login = place.approle()
    for change, words in (({"ROLE_ID": "no-such-role"}, "check "),
                          ({"SECRET_ID_FILE": place.secret_file("no-such-secret")},
                           "secret ID, which may have expired"),
                          ({"AUTH_PATH": "elsewhere"}, "'vault auth list'")):
        said = place.probe(**{**login, **change})("verify")
        assert said.startswith(f"EACCES: {place.kms.address} refuses the login at 'auth/"), said
        assert words in said
        assert "no-such-secret" not in said


def test_approle_keeps_every_promise_of_a_key_provider(build_folder, openbao, tmp_path):
    for name in ("one", "two"):
        openbao.create_key(name)
    openbao.token({f"transit/{what}/+": [right] for what, right in
                   (("keys", "read"), ("encrypt", "update"), ("decrypt", "update"),
                    ("rewrap", "update"))}, policy="both")
    role_id, secret_id = openbao.approle("both", ["both"], token_type="batch")
    run_conformance(build_folder, "vault",
                    settings(openbao, "one", "two", ROLE_ID=role_id,
                             SECRET_ID_FILE=token_file(tmp_path, secret_id)))


def test_approle_at_another_path(place):
    login = place.approle(path="teams/storage")
    assert place.probe(**login)("verify").startswith("EACCES: ")
    assert place.probe(**login, AUTH_PATH="teams/storage/")("verify").startswith("OK ")


def test_a_login_over_tls_that_is_not_trusted_is_not_called_refused(build_folder, vault, tmp_path):
    probe = Probe(build_folder, tmp_path, "vault",
                  settings(vault, "one", "", ROLE_ID="r",
                           SECRET_ID_FILE=token_file(tmp_path, "s")))
    said = probe("verify")
    assert said.startswith("EACCES: no trusted connection to ") and "ca-cert set" in said


def test_approle_with_limited_tokens_is_refused(place):
    login = place.approle(token_num_uses=7)
    said = place.probe(**login)("verify")
    assert said.startswith("EACCES: ") and "token_num_uses" in said


def test_approle_in_a_namespace(build_folder, openbao, tmp_path):
    kms = openbao
    kms.api("POST", "sys/namespaces/crew", {})
    kms.api("POST", "sys/mounts/transit", {"type": "transit"}, namespace="crew")
    kms.api("POST", "transit/keys/inner", {}, namespace="crew")
    kms.api("PUT", "sys/policies/acl/inner", {"policy":
            'path "transit/+/inner" { capabilities = ["read", "update"] }'}, namespace="crew")
    role_id, secret_id = kms.approle("inner", ["inner"], namespace="crew")
    probe = Probe(build_folder, tmp_path, "vault",
                  settings(kms, "inner", "", ROLE_ID=role_id,
                           SECRET_ID_FILE=token_file(tmp_path, secret_id), NAMESPACE="crew"))
    assert probe("verify").startswith("OK ")
    assert probe("wrap", "a") == "OK version 1"
    assert probe("unwrap", "a") == "OK 1"
    assert probe("verify", NAMESPACE="").startswith(f"EACCES: {kms.address} refuses the login")
    said = probe("verify", NAMESPACE="nobody")
    assert said.startswith(("ENOENT: ", "EACCES: ")) and "nobody" in said


def test_a_periodic_token_is_renewed_for_as_long_as_it_is_used(place):
    login = place.with_token(period="2s", renewable=True)
    with Session(place.probe(**login)) as session:
        assert session("wrap", "a") == "OK version 1"
        assert session("login") == "OK known, ends, kept, life 2,"
        outlive(place, session, ttl="6s")


def test_a_token_is_not_renewed_if_that_is_left_to_the_administrator(place):
    login = place.with_token(period="2s", renewable=True)
    with Session(place.probe(**login, NO_TOKEN_RENEWAL="1")) as session:
        assert session("verify").startswith("OK ")
        assert session("login") == ("OK known, ends, not kept, life 2, renewing the token is left "
                                    "to the administrator")
        said = []

        def has_ended():
            said.append(session("verify"))
            return not said[-1].startswith("OK ")
        wait_until(has_ended, "the token ends")
        assert said[-1].startswith("EACCES: ") and "does not accept the token" in said[-1]


def test_what_is_known_of_a_token_is_told(place):
    for parameters, told in (
            ({"ttl": "1h", "renewable": False},
             "OK known, ends, not kept, life 3600, the token cannot be renewed"),
            ({"ttl": "1h", "type": "batch"},
             "OK known, ends, not kept, life 3600, the token cannot be renewed"),
            ({"ttl": "2h", "renewable": True}, "OK known, ends, kept, life 7200,"),
            # It may not look at itself: it works all the same.
            ({"ttl": "2h", "no_default_policy": True}, "OK unknown, endless, not kept, life 0,")):
        with Session(place.probe(**place.with_token(**parameters))) as session:
            assert session("verify").startswith("OK ")
            assert session("login") == told
    with Session(place.probe(TOKEN_FILE=token_file(place.folder, place.kms.root_token))) as session:
        assert session("verify").startswith("OK ")
        assert session("login") == "OK known, endless, kept, life 0,"


def test_a_token_whose_whole_life_is_limited_is_told_to_end(place):
    login = place.with_token(ttl="2s", explicit_max_ttl="6s", renewable=True)
    with Session(place.probe(**login)) as session:
        def tells():
            assert session("verify").startswith("OK ")
            return "not kept" in session("login")
        wait_until(tells, "its end is told")
        assert "reaches the end of the life" in session("login")


@pytest.mark.parametrize("uses", [1, 2, 100])
def test_a_token_with_a_limited_number_of_uses_is_refused(place, uses):
    said = place.probe(**place.with_token(num_uses=uses))("verify")
    assert said.startswith("EACCES: ") and "limited number of times" in said


def test_a_given_token_is_never_revoked(place):
    login = place.with_token(ttl="1h")
    with Session(place.probe(**login)) as session:
        assert session("verify").startswith("OK ")
    assert place.probe(**login)("verify").startswith("OK ")


@pytest.mark.parametrize("more, words", [
    ({}, "needs a login"),
    ({"ROLE_ID": "r"}, "needed both"),
    ({"SECRET_ID": "s"}, "needed both"),
    ({"ROLE_ID": "r", "SECRET_ID": "s", "TOKEN": "t"}, "in one way"),
    ({"KUBERNETES_ROLE": "r", "TOKEN": "t"}, "in one way"),
    ({"TOKEN": "t", "AUTH_PATH": "p"}, "needs no path"),
    ({"ROLE_ID": "r", "SECRET_ID": "s", "AUTH_PATH": "../p"}, "not a path"),
    ({"ROLE_ID": "r", "SECRET_ID": "s t"}, "white space"),
    ({"ROLE_ID": "r", "SECRET_ID": "s", "NO_TOKEN_RENEWAL": "1"}, "for a token only"),
])
def test_logins_that_will_not_do_are_refused(build_folder, tmp_path, more, words):
    values = dict(more)
    for name in ("TOKEN", "SECRET_ID"):
        if name in values:
            path = tmp_path / name
            path.write_text(values.pop(name))
            values[f"{name}_FILE"] = path
    probe = Probe(build_folder, tmp_path, "vault",
                  {"COFFER_TEST_KMS_ADDRESS": "https://vault:8200", "COFFER_TEST_KMS_KEY": "k",
                   **{f"COFFER_TEST_KMS_{name}": str(value) for name, value in values.items()}})
    said = probe("verify")
    assert said.startswith("EINVAL: ") and words in said, said


def auth(token="s.first", **more):
    return (200, {"auth": {"client_token": token, "lease_duration": 1200, "renewable": False,
                           "token_type": "batch", **more}})


@pytest.fixture
def kubernetes(build_folder, tmp_path):
    jwt = tmp_path / "jwt"
    jwt.write_text("header.payload.signature\n")
    answers = {"GET transit/keys/one": KEY, "POST transit/encrypt/one": CIPHERTEXT,
               "POST transit/decrypt/one": PLAINTEXT, "POST auth/kubernetes/login": auth()}
    with FakeVault(answers) as fake:
        probe = Probe(build_folder, tmp_path, "vault",
                      settings(fake, "one", "", KUBERNETES_ROLE="coffer", KUBERNETES_TOKEN=jwt))
        probe.fake, probe.jwt = fake, jwt
        yield probe


def test_kubernetes_logs_in_with_the_token_of_the_service_account(kubernetes):
    assert kubernetes("wrap", "a") == "OK version 1"
    (_, _, headers, body), = kubernetes.fake.asked("auth/kubernetes/login")
    assert body == {"role": "coffer", "jwt": "header.payload.signature"}
    assert "X-Vault-Token" not in headers
    assert kubernetes.fake.asked("transit/encrypt/one")[0][2]["X-Vault-Token"] == "s.first"


def test_kubernetes_reads_the_token_anew_for_each_login(kubernetes):
    refused = (403, {"errors": ["permission denied"]})
    kubernetes.fake.answers["POST auth/kubernetes/login"] = [auth(), auth("s.second")]
    kubernetes.fake.answers["POST transit/decrypt/one"] = [refused, PLAINTEXT]
    with Session(kubernetes) as session:
        assert session("wrap", "a") == "OK version 1"
        kubernetes.jwt.write_text("header.new.signature")
        assert session("unwrap", "a") == "OK 1"
    bodies = [body["jwt"] for _, _, _, body in kubernetes.fake.asked("auth/kubernetes/login")]
    assert bodies == ["header.payload.signature", "header.new.signature"]
    tokens = [headers["X-Vault-Token"]
              for _, _, headers, _ in kubernetes.fake.asked("transit/decrypt/one")]
    assert tokens == ["s.first", "s.second"]


@pytest.fixture
def cluster(build_folder, openbao, tmp_path):
    """A real OpenBao that asks a fake of Kubernetes whose a token is; a pod of the service account
    "coffer"."""
    with FakeKubernetes() as fake:
        place = Place(build_folder, tmp_path, openbao)
        openbao.coffer_token(place.key)  # writes the policy
        openbao.enable_auth("kubernetes", "clusters/one")
        openbao.api("POST", "auth/clusters/one/config", {
            "kubernetes_host": fake.address, "token_reviewer_jwt": fake.token("reviewer"),
            "disable_local_ca_jwt": True,
            "kubernetes_ca_cert": Authority(tmp_path / "ca").cert.read_text()})
        openbao.api("POST", "auth/clusters/one/role/storage", {
            "bound_service_account_names": ["coffer"],
            "bound_service_account_namespaces": ["storage"],
            "token_policies": [place.policy], "token_ttl": "1h"})
        place.fake, place.jwt = fake, tmp_path / "jwt"
        place.jwt.write_text(fake.token("coffer", "storage"))
        yield place


def test_kubernetes_logs_in_to_a_real_openbao(cluster):
    login = {"KUBERNETES_ROLE": "storage", "KUBERNETES_TOKEN": cluster.jwt,
             "AUTH_PATH": "clusters/one"}
    before = cluster.tokens()
    with Session(cluster.probe(**login)) as session:
        assert session("verify").startswith("OK ")
        assert session("wrap", "a") == "OK version 1"
        assert session("login") == "OK known, ends, kept, life 3600,"
        assert cluster.tokens() == before + 1
    assert cluster.tokens() == before
    # Kubernetes replaced the token.
    cluster.fake.withdraw(cluster.jwt.read_text())
    said = cluster.probe(**login)("verify")
    assert said.startswith(f"EACCES: {cluster.kms.address} refuses the login at "
                           "'auth/clusters/one/login'") and "service account" in said
    cluster.jwt.write_text(cluster.fake.token("coffer", "storage"))
    assert cluster.probe(**login)("unwrap", "a") == "OK 1"
    for change in ({"KUBERNETES_ROLE": "nobody"}, {"AUTH_PATH": "clusters/two"}):
        assert " refuses the login at " in cluster.probe(**{**login, **change})("verify")
    cluster.jwt.write_text(cluster.fake.token("coffer", "elsewhere"))
    said = cluster.probe(**login)("verify")
    assert said.startswith("EACCES: ") and "namespace not authorized" in said


def test_kubernetes_that_is_refused_or_has_no_token_says_so(kubernetes):
    kubernetes.fake.answers["POST auth/kubernetes/login"] = [
        (403, {"errors": ["service account name not authorized"]})]
    said = kubernetes("verify")
    assert said.startswith(f"EACCES: {kubernetes.fake.address} refuses the login at")
    assert "service account name not authorized" in said and "signature" not in said
    kubernetes.jwt.unlink()
    said = kubernetes("verify")
    assert said.startswith("EACCES: ") and str(kubernetes.jwt) in said


def test_a_token_that_is_refused_again_after_a_login_is_not_asked_for_ever(kubernetes):
    refused = (403, {"errors": ["permission denied"]})
    kubernetes.fake.answers["GET transit/keys/one"] = [refused]
    kubernetes.fake.answers["POST auth/kubernetes/login"] = [
        auth("s.first", token_type="service"), auth("s.second", token_type="service")]
    assert kubernetes("verify").startswith("EACCES: ")
    assert len(kubernetes.fake.asked("auth/kubernetes/login")) == 2
    assert len(kubernetes.fake.asked("transit/keys/one")) == 2
    # Whatever the reason, no token stays behind.
    revoked = [headers["X-Vault-Token"]
               for _, _, headers, _ in kubernetes.fake.asked("auth/token/revoke-self")]
    assert revoked == ["s.first", "s.second"]


def test_many_at_once_log_in_once_or_fail_together(kubernetes):
    with Session(kubernetes) as session:
        assert session("herd") == "16 of 16"
        assert len(kubernetes.fake.asked("auth/kubernetes/login")) == 1
    kubernetes.fake.answers["POST auth/kubernetes/login"] = [(403, {"errors": ["no"]})]
    with Session(kubernetes) as session:
        assert session("herd").startswith(f"0 of 16 {kubernetes.fake.address} refuses the login")
        # Nor is it asked again soon: Vault would lock the role out.
        assert "it is asked again in " in session("verify")
        assert len(kubernetes.fake.asked("auth/kubernetes/login")) == 2
    kubernetes.fake.answers["POST auth/kubernetes/login"] = [auth(lease_duration=1)]
    with Session(kubernetes) as session:
        for _ in range(20):
            assert session("herd") == "16 of 16"


def test_a_login_goes_on_to_where_a_standby_sends_it_and_asks_again_what_may_pass(kubernetes):
    with FakeVault({"POST auth/kubernetes/login": [(503, {"errors": ["no leader"]}), auth()]}) \
            as active:
        location = f"{active.address}/v1/auth/kubernetes/login"
        kubernetes.fake.answers["POST auth/kubernetes/login"] = [
            (429, {"errors": ["rate limit quota exceeded"]}, {"Retry-After": "1"}),
            (307, "", {"Location": location})]
        assert kubernetes("wrap", "a") == "OK version 1"
        assert [body["role"] for _, _, _, body in active.asked("auth/kubernetes/login")] == \
            ["coffer", "coffer"]


def test_a_login_at_a_sealed_vault_says_that(kubernetes):
    kubernetes.fake.answers["POST auth/kubernetes/login"] = [(503, {"errors": ["Vault is sealed"]})]
    said = kubernetes("verify")
    assert said == f"EAGAIN: {kubernetes.fake.address} is sealed: unseal it"
    assert len(kubernetes.fake.asked("auth/kubernetes/login")) == 1


def test_a_login_is_sent_nowhere_else(kubernetes):
    with FakeVault({}) as other:
        kubernetes.fake.answers["POST auth/kubernetes/login"] = [
            (307, "", {"Location": f"{other.address}/v1/auth/other/login"})]
        assert kubernetes("verify").startswith("EPROTO: ")
        kubernetes.fake.answers["POST auth/kubernetes/login"] = [
            (302, "", {"Location": f"{other.address}/v1/auth/kubernetes/login"})]
        assert kubernetes("verify").startswith("EPROTO: ")
        assert other.requests == []


def test_what_vault_1_1_leaves_out_of_a_login_is_no_fault(kubernetes):
    kubernetes.fake.answers["POST auth/kubernetes/login"] = [
        (200, {"auth": {"client_token": "s.old", "lease_duration": 60, "renewable": True}})]
    with Session(kubernetes) as session:
        assert session("wrap", "a") == "OK version 1"
        assert session("login") == "OK known, ends, kept, life 60,"
    assert len(kubernetes.fake.asked("auth/token/revoke-self")) == 1


@pytest.mark.parametrize("answer", [
    (200, "{}"), (200, {"auth": None}), (200, {"auth": {}}),
    (200, {"auth": {"client_token": "s.x", "lease_duration": -1}}),
    (200, {"auth": {"client_token": "s.x", "lease_duration": 10 ** 17}}),
    (200, {"auth": {"client_token": "s x", "lease_duration": 10}}),
    (200, {"auth": {"client_token": "x" * 2000, "lease_duration": 10}}),
])
def test_a_login_whose_answer_makes_no_sense_is_eproto(kubernetes, answer):
    kubernetes.fake.answers["POST auth/kubernetes/login"] = [answer]
    said = kubernetes("verify")
    assert said.startswith("EPROTO: ") and "s.x" not in said and "s x" not in said


def test_a_service_token_of_a_login_is_revoked_and_one_that_fails_to_renew_is_replaced(kubernetes):
    service = {"token_type": "service", "renewable": True, "lease_duration": 1}
    kubernetes.fake.answers["POST auth/kubernetes/login"] = [auth(**service),
                                                             auth("s.second", lease_duration=900)]
    kubernetes.fake.answers["POST auth/token/renew-self"] = [
        (400, {"errors": ["lease is not renewable"]})]
    kubernetes.fake.answers["POST auth/token/revoke-self"] = [(204, "")]
    with Session(kubernetes) as session:
        assert session("wrap", "a") == "OK version 1"

        def was_replaced():
            assert session("unwrap", "a") == "OK 1"
            return len(kubernetes.fake.asked("auth/kubernetes/login")) == 2
        wait_until(was_replaced, "the second login")
    revoked = [headers["X-Vault-Token"]
               for _, _, headers, _ in kubernetes.fake.asked("auth/token/revoke-self")]
    assert revoked == ["s.first"]
    assert json.dumps(kubernetes.fake.requests).count("s.second") > 0


# ------------------------------------------------------------------ in cofferd

@pytest.fixture
def instance(build_folder, folder):
    with Instance(build_folder, folder) as made:
        yield made


def vault_set(instance, kms, key, *words, **options):
    """The kms set command of an administrator."""
    return instance.run("security", "kms", "set", "vault", kms.address, key, *words, **options)


@pytest.fixture
def plain(build_folder, openbao, tmp_path):
    return Place(build_folder, tmp_path, openbao)


def test_cofferd_keeps_one_login_for_all_that_it_does(plain, instance):
    before = plain.tokens()
    login = plain.approle(token_type="service", token_ttl="1h")
    secret = login["SECRET_ID_FILE"].read_text()
    vault_set(instance, plain.kms, plain.key, "--role-id", login["ROLE_ID"], "-", input=secret)
    before = plain.tokens() - 1
    for number in range(3):
        instance.add(f"data-{number}")
        instance.api("POST", f"/api/v1/filesystems/data-{number}/start")
    assert plain.tokens() == before + 1
    told = instance.api("GET", "/api/v1/kms")
    assert told["auth_method"] == "approle" and told["role"] == login["ROLE_ID"]
    assert told["token"]["ends"] and told["token"]["renewed"]
    assert 3000 < told["token"]["seconds_left"] <= 3600
    text = instance.run("security", "kms").stdout
    assert "Auth method : RoleId/SecretId\n" in text and "left, renewed by itself" in text
    assert secret not in text + json.dumps(told) + instance.events()
    # It logs out when it ends, and in again when it starts.
    instance.stop()
    assert plain.tokens() == before
    instance.start()
    for number in range(3):
        instance.wait_status(f"data-{number}", "started")
    assert plain.tokens() == before + 1
    # A set that fails leaves no token, and one that works gives the old one up.
    with pytest.raises(ApiError):
        instance.api("PUT", "/api/v1/kms", {
            "type": "vault", "address": plain.kms.address, "key": "no-such-key",
            "role_id": login["ROLE_ID"], "secret_id": secret})
    assert plain.tokens() == before + 1
    vault_set(instance, plain.kms, plain.key, "--token", plain.kms.root_token)
    assert plain.tokens() == before
    assert instance.api("GET", "/api/v1/kms")["token"] == {"ends": False}


def test_cofferd_renews_a_token_while_nothing_happens(plain, instance):
    login = plain.with_token(period="4s", renewable=True)
    vault_set(instance, plain.kms, plain.key, "--token-file", login["TOKEN_FILE"])
    witness = plain.kms.api("POST", "auth/token/create", {"ttl": "10s"})["auth"]["client_token"]

    def has_ended():
        try:
            plain.kms.api("GET", "auth/token/lookup-self", token=witness)
        except servers.VaultError:
            return True
        return False
    wait_until(has_ended, "another token ends")
    assert instance.add("data")["kms_key"] == plain.key


def test_cofferd_raises_an_alert_before_a_token_ends_and_a_new_one_repairs_it(plain, instance):
    login = plain.with_token(ttl="8s", renewable=True)
    vault_set(instance, plain.kms, plain.key, "--no-token-renewal", "--token-file",
              login["TOKEN_FILE"])
    instance.add("data")

    def alerts():
        return {alert["type"]: alert
                for alert in instance.api("GET", "/api/v1/status")["alerts"]}
    assert "kms-token-expiry" not in alerts()
    wait_until(lambda: "kms-token-expiry" in alerts(), "the alert")
    assert instance.api("POST", "/api/v1/filesystems/data/start")["status"] == "started"
    instance.api("POST", "/api/v1/filesystems/data/stop")
    text = alerts()["kms-token-expiry"]["text"]
    assert "left to the administrator" in text and "coffer security kms set" in text
    wait_until(lambda: "kms-error" in alerts(), "the token ends")
    with pytest.raises(ApiError, match="does not accept the token"):
        instance.api("POST", "/api/v1/filesystems/data/start")
    login = plain.with_token(ttl="1h")
    vault_set(instance, plain.kms, plain.key, "--token-file", login["TOKEN_FILE"])
    assert instance.api("POST", "/api/v1/filesystems/data/start")["status"] == "started"
    assert alerts() == {}


def test_kms_check_logs_in_as_the_role(plain, instance):
    login = plain.approle(token_type="batch", token_ttl="1h")
    vault_set(instance, plain.kms, plain.key, "--role-id", login["ROLE_ID"], "--secret-id-file",
              login["SECRET_ID_FILE"])
    text = instance.run("security", "kms", "check").stdout
    assert "the token is accepted" in text and "another one is got" in text


def test_cofferd_raises_an_alert_when_a_role_no_longer_logs_in(plain, instance):
    login = plain.approle(token_type="batch", token_ttl="8s")
    secret = login["SECRET_ID_FILE"].read_text()
    vault_set(instance, plain.kms, plain.key, "--role-id", login["ROLE_ID"], "-", input=secret)
    instance.add("data")
    plain.kms.api("POST", f"auth/approle/role/{plain.policy}/secret-id/destroy",
                  {"secret_id": secret})

    def alerts():
        return {alert["type"]: alert["text"]
                for alert in instance.api("GET", "/api/v1/status")["alerts"]}
    wait_until(lambda: "kms-token-expiry" in alerts(), "the alert")
    assert "invalid role or secret ID" in alerts()["kms-token-expiry"]
    assert secret not in alerts()["kms-token-expiry"]
    assert not instance.api("GET", "/api/v1/kms")["token"]["renewed"]
    # Its last token is still used. No login is tried again so soon, or OpenBao would lock the role
    # out, and refuse the new secret ID as well.
    assert instance.api("POST", "/api/v1/filesystems/data/start")["status"] == "started"
    wait_until(lambda: "kms-error" in alerts(), "the last token ends")
    login = plain.approle(token_type="batch", token_ttl="1h")
    vault_set(instance, plain.kms, plain.key, "--role-id", login["ROLE_ID"], "-",
              input=login["SECRET_ID_FILE"].read_text())
    assert alerts() == {}


def test_a_login_goes_to_the_address_that_answers(place):
    login = place.approle(token_type="batch")
    scheme = place.kms.address.split(":")[0]
    dead = f"{scheme}://127.0.0.1:{servers.free_port()}"
    assert place.probe(**login, ADDRESS=f"{dead},{place.kms.address}")("verify").startswith("OK ")
