"""What other versions of Vault answer than those that the tests can run, and what no honest one
does, played by a fake."""
import base64

import pytest

import servers
from fake_vault import FakeVault
from test_key_providers import Probe, settings, token_file

PLAIN = base64.b64encode(b"a key that a test has wrapped...").decode()
KEY = (200, {"data": {"type": "aes256-gcm96", "latest_version": 1, "min_decryption_version": 1,
                      "keys": {"1": 1}, "name": "one"}})
CIPHERTEXT = (200, {"data": {"ciphertext": "vault:v1:AAAA"}})  # no key_version: before 1.5
PLAINTEXT = (200, {"data": {"plaintext": PLAIN}})


@pytest.fixture
def make(build_folder, tmp_path):
    fakes = []

    def make(answers):
        fake = FakeVault({"GET transit/keys/one": KEY, "POST transit/encrypt/one": CIPHERTEXT,
                          "POST transit/decrypt/one": PLAINTEXT, **answers})
        fake.__enter__()
        fakes.append(fake)
        probe = Probe(build_folder, tmp_path, "vault",
                      settings(fake, "one", "", TOKEN_FILE=token_file(tmp_path, "s.secret")))
        return fake, probe
    yield make
    for fake in fakes:
        fake.__exit__()


def wrap_two(probe):
    assert probe("wrap", "a") == "OK version 1"
    assert probe("wrap", "b") == "OK version 1"


def item_error(text):
    return {"plaintext": "", "error": text}


def test_a_batch_that_fails_in_part_is_read_with_200_and_with_400(make):
    results = [{"plaintext": PLAIN}, item_error("invalid ciphertext: no prefix")]
    for status in (200, 400):
        fake, probe = make({"POST transit/decrypt/one": (status, {"data": {"batch_results": results}})})
        wrap_two(probe)
        said = probe("unwrap", "a", "b")
        assert said.startswith("EBADMSG: wrapped key 2 of 2")
        assert len(fake.asked("transit/decrypt/one")) == 1


def test_a_batch_that_fails_whole_with_500_is_asked_one_by_one(make):
    failed = (500, {"errors": ["1 error occurred:\n\t* cipher: message authentication failed\n\n"]})
    fake, probe = make({"POST transit/decrypt/one": [failed, PLAINTEXT, failed]})
    wrap_two(probe)
    assert probe("unwrap", "a", "b").startswith("EBADMSG: wrapped key 2 of 2")
    assert len(fake.asked("transit/decrypt/one")) == 3


def test_what_may_pass_is_asked_again_and_what_cannot_is_not(make):
    busy = (500, {"errors": ["local node not active but active cluster node not found"]})
    fake, probe = make({"POST transit/decrypt/one": [busy, (412, {"errors": []}), PLAINTEXT]})
    assert probe("wrap", "a") == "OK version 1"
    assert probe("unwrap", "a") == "OK 1"
    assert len(fake.asked("transit/decrypt/one")) == 3
    fake, probe = make({"POST transit/decrypt/one": (403, {"errors": ["permission denied"]})})
    assert probe("unwrap", "a").startswith("EACCES: ")
    assert len(fake.asked("transit/decrypt/one")) == 1


def test_encrypt_is_never_asked_before_the_key_was_read(make):
    fake, probe = make({"GET transit/keys/one": (404, {"errors": []})})
    assert probe("wrap", "a").startswith("ENOENT: ")
    assert fake.asked("transit/encrypt/one") == []


def test_a_key_that_was_made_anew_between_reading_and_encrypting_is_noticed(make):
    key = (200, {"data": {**KEY[1]["data"], "latest_version": 7}})
    _, probe = make({"GET transit/keys/one": key})
    said = probe("wrap", "a")
    assert said.startswith("EPROTO: ") and "replaced" in said


def test_a_redirect_by_a_standby_is_followed_with_token_and_body(make):
    active, _ = make({})
    location = f"{active.address}/v1/transit/decrypt/one"
    standby, probe = make({"POST transit/decrypt/one": (307, "", {"Location": location})})
    assert probe("wrap", "a") == "OK version 1"
    assert probe("unwrap", "a") == "OK 1"
    (method, _, headers, body), = active.asked("transit/decrypt/one")
    assert method == "POST" and body == {"ciphertext": "vault:v1:AAAA"}
    assert headers["X-Vault-Token"] == "s.secret"
    assert len(standby.asked("transit/decrypt/one")) == 1


def test_a_redirect_in_a_circle_ends(make):
    fake, probe = make({})
    location = f"{fake.address}/v1/transit/decrypt/one"
    fake.answers["POST transit/decrypt/one"] = [(307, "", {"Location": location})]
    assert probe("wrap", "a") == "OK version 1"
    assert probe("unwrap", "a").startswith("EPROTO: ")
    assert len(fake.asked("transit/decrypt/one")) == 3


@pytest.mark.parametrize("location", [
    "http://192.0.2.1:8200/v1/transit/decrypt/one",       # in clear, beyond the loopback
    "https://127.0.0.1:1/v1/transit/decrypt/one",         # another scheme
    "http://127.0.0.1:1/v1/transit/decrypt/two",          # another question
    "http://user@127.0.0.1:1/v1/transit/decrypt/one",
    "/v1/../evil",
])
def test_a_redirect_elsewhere_is_refused(make, location):
    _, probe = make({"POST transit/decrypt/one": (307, "", {"Location": location})})
    assert probe("wrap", "a") == "OK version 1"
    assert probe("unwrap", "a").startswith(("EPROTO: ", "EINVAL: "))


def test_other_redirects_are_never_followed(make):
    other, _ = make({})
    for status in (301, 302, 303, 308):
        location = f"{other.address}/v1/transit/keys/one"
        _, probe = make({"GET transit/keys/one": (status, "", {"Location": location})})
        assert probe("verify").startswith("EPROTO: ")
    assert other.requests == []


@pytest.mark.parametrize("answer", [
    (200, "not JSON"),
    (200, {}),
    (200, {"data": None}),
    (200, {"data": {"plaintext": 7}}),
    (200, {"data": {"plaintext": "!!!!"}}),
    (200, {"data": {"plaintext": PLAIN * 100}}),
    (200, "[" * 100000),
    (204, ""),
])
def test_an_answer_that_makes_no_sense_is_eproto_and_is_not_shown(make, answer):
    _, probe = make({"POST transit/decrypt/one": answer})
    assert probe("wrap", "a") == "OK version 1"
    said = probe("unwrap", "a")
    assert said.startswith("EPROTO: ") and PLAIN[:10] not in said and "!!!!" not in said


def test_a_server_that_returns_another_plaintext_fails_the_trial(make):
    _, probe = make({})
    said = probe("verify")
    assert said.startswith("EPROTO: ") and "other bytes" in said


def test_the_token_goes_only_to_configured_addresses(make):
    fake, probe = make({})
    assert probe("wrap", "a") == "OK version 1"
    # The blob says that it was wrapped by `fake`; another server is configured now.
    other, elsewhere = make({})
    count = len(fake.requests)
    assert elsewhere("unwrap", "a") == "OK 1"
    assert len(fake.requests) == count
    assert len(other.asked("transit/decrypt/one")) == 1


def test_a_dead_server_before_a_living_one_costs_no_answer(make):
    fake, probe = make({})
    assert probe("wrap", "a", ADDRESS=f"http://127.0.0.1:{servers.free_port()}/, {fake.address}/"
                 ) == "OK version 1"
