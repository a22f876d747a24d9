"""KMIP servers of other versions and with other faults than PyKMIP: its answers, changed on the
way."""
import pytest

import kmip_proxy
from kmip_proxy import DISCOVER_VERSIONS, KmipProxy, header_version, operation, refusal, versions
from test_key_providers import kmip_probe  # noqa: F401 (fixture)

GET_ATTRIBUTES, ENCRYPT, DECRYPT = 0x0B, 0x1F, 0x20


def only_for(wanted, answer):
    """Changes the answers to one operation."""
    return lambda message: answer if operation(message) == wanted else None


def spoken_after_discovery(proxy):
    return {version for what, version in proxy.requests if what != DISCOVER_VERSIONS}


@pytest.mark.parametrize("offered, chosen", [
    ([(1, 2)], (1, 2)),
    ([(1, 0), (1, 1), (1, 2), (1, 3)], (1, 3)),
    ([(2, 0), (1, 4)], (1, 4)),
    ([(3, 0), (2, 0)], (2, 0)),
])
def test_the_best_version_in_common_is_spoken(kmip_probe, pykmip, offered, chosen):
    with KmipProxy(pykmip, only_for(DISCOVER_VERSIONS, versions(*offered))) as proxy:
        assert kmip_probe("verify", ADDRESS=proxy.address) == (
            f"OK AES-256, active, version 0, from 0, KMIP {chosen[0]}.{chosen[1]}")
        assert spoken_after_discovery(proxy) == {chosen}


def test_no_version_in_common_is_said(kmip_probe, pykmip):
    for offered in ([], [(1, 0), (1, 1)]):
        with KmipProxy(pykmip, only_for(DISCOVER_VERSIONS, versions(*offered))) as proxy:
            said = kmip_probe("verify", ADDRESS=proxy.address)
        assert said.startswith("EPROTO: ") and "versions" in said


def test_a_server_without_discover_versions_is_spoken_to_in_1_2(kmip_probe, pykmip):
    with KmipProxy(pykmip, only_for(DISCOVER_VERSIONS, refusal(5, "unsupported"))) as proxy:
        assert kmip_probe("verify", ADDRESS=proxy.address).endswith("KMIP 1.2")


def test_a_server_that_reads_only_1_4_is_found(kmip_probe, pykmip):
    def change(message):
        return refusal(4, "cannot parse") if header_version(message) != (1, 4) else None
    with KmipProxy(pykmip, change) as proxy:
        assert kmip_probe("verify", ADDRESS=proxy.address).endswith("KMIP 1.4")
        assert [version for _, version in proxy.requests[:2]] == [(1, 2), (1, 4)]


def test_gcm_is_not_tried_where_the_version_would_lose_the_tag(kmip_probe, pykmip):
    from test_key_providers import write_gcm_blob
    write_gcm_blob(kmip_probe.folder / "a", kmip_probe.uid, b"x" * 32, b"i" * 12, b"t" * 16)
    with KmipProxy(pykmip, only_for(DISCOVER_VERSIONS, versions((1, 3)))) as proxy:
        said = kmip_probe("unwrap", "a", ADDRESS=proxy.address)
        assert said.startswith("EPROTO: ") and "GCM" in said
        assert DECRYPT not in [what for what, _ in proxy.requests]


def encrypted(data, tag=None):
    """An answer to Encrypt."""
    payload = [kmip_proxy.item(0x94, kmip_proxy.TEXT, "1"), kmip_proxy.item(0xC2, 8, data)]
    if tag is not None:
        payload.append(kmip_proxy.item(0xFF, 8, tag))
    return kmip_proxy.response(
        kmip_proxy.item(0x5C, kmip_proxy.ENUMERATION, ENCRYPT),
        kmip_proxy.item(0x7F, kmip_proxy.ENUMERATION, 0),
        kmip_proxy.item(0x7C, kmip_proxy.STRUCTURE, payload), version=(1, 4))


@pytest.mark.parametrize("version", [(1, 4), (2, 0)])
def test_gcm_wraps_and_unwraps_in_every_version_that_has_it(kmip_probe, pykmip, version):
    with KmipProxy(pykmip, only_for(DISCOVER_VERSIONS, versions(version))) as proxy:
        assert kmip_probe("wrap", "a", ADDRESS=proxy.address, CIPHER_MODE="gcm") == "OK version 0"
        # Whatever is configured, the blob says how it is opened.
        assert kmip_probe("unwrap", "a", ADDRESS=proxy.address) == "OK 1"
        assert kmip_probe("rewrap", "a", "b", ADDRESS=proxy.address) == "OK version 0"
        assert kmip_probe("unwrap", "a", "b", CIPHER_MODE="gcm") == "OK 2"
    assert {what for what, _ in proxy.requests} >= {ENCRYPT, DECRYPT}


@pytest.mark.parametrize("offered", [(1, 2), (1, 3)])
def test_gcm_is_refused_before_anything_is_encrypted_where_the_tag_would_be_lost(
        kmip_probe, pykmip, offered):
    with KmipProxy(pykmip, only_for(DISCOVER_VERSIONS, versions(offered))) as proxy:
        said = kmip_probe("verify", ADDRESS=proxy.address, CIPHER_MODE="gcm")
        assert said.startswith("EPROTO: ") and f"only version 1.{offered[1]}" in said
        assert "--cipher-mode cbc" in said
        said = kmip_probe("check", ADDRESS=proxy.address, CIPHER_MODE="gcm")
        assert f"\nfailed|protocol|unusable|KMIP 1.{offered[1]}, which loses the tag" in said
        assert ENCRYPT not in [what for what, _ in proxy.requests]


@pytest.mark.parametrize("data_len, tag, words", [
    (64, None, "a tag of 0 bytes"),
    (64, b"t" * 15, "a tag of 15 bytes"),
    (64, b"t" * 12, "a tag of 12 bytes"),
    (64, b"t" * 17, "a tag of 17 bytes"),
    (80, b"t" * 16, "80 bytes of 64"),
    (0, b"t" * 16, "makes no sense"),
    (64, b"t" * 16, "cannot decrypt"),
])
def test_gcm_without_its_whole_tag_is_not_believed(kmip_probe, pykmip, data_len, tag, words):
    with KmipProxy(pykmip, only_for(ENCRYPT, encrypted(b"c" * data_len, tag))) as proxy:
        said = kmip_probe("verify", ADDRESS=proxy.address, CIPHER_MODE="gcm")
    assert said.startswith(("EPROTO: ", "EBADMSG: ")) and words in said


@pytest.mark.parametrize("reason", [0x03, 0x0C, 0x39])
def test_a_login_that_is_refused_when_versions_are_asked_for_is_told(kmip_probe, pykmip, reason):
    with KmipProxy(pykmip, only_for(DISCOVER_VERSIONS, refusal(reason, "who are you"))) as proxy:
        said = kmip_probe("verify", ADDRESS=proxy.address)
    assert said.startswith("EACCES: ") and "--username" in said


def test_an_answer_in_single_bytes_is_read(kmip_probe, pykmip):
    with KmipProxy(pykmip, lambda _: None, piece=1) as proxy:
        assert kmip_probe("verify", ADDRESS=proxy.address).startswith("OK ")


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    bytes.fromhex("42007b017fffffff") + b"x" * 64,
    bytes.fromhex("42007b0100010008") + b"x" * 64,
    bytes.fromhex("42007b0100000008") + b"x" * 8,
    bytes.fromhex("42007b0100000000"),
    bytes.fromhex("4200780100000000"),
])
@pytest.mark.parametrize("what", [DISCOVER_VERSIONS, GET_ATTRIBUTES, DECRYPT])
def test_an_answer_that_makes_no_sense_is_eproto(kmip_probe, pykmip, what, answer):
    assert kmip_probe("wrap", "a") == "OK version 0"
    action = ["unwrap", "a"] if what == DECRYPT else ["verify"]
    with KmipProxy(pykmip, only_for(what, answer)) as proxy:
        assert kmip_probe(*action, ADDRESS=proxy.address).startswith("EPROTO: ")


def test_an_answer_to_another_question_is_eproto(kmip_probe, pykmip):
    assert kmip_probe("wrap", "a") == "OK version 0"
    with KmipProxy(pykmip, only_for(DECRYPT, versions((1, 2)))) as proxy:
        assert kmip_probe("unwrap", "a", ADDRESS=proxy.address).startswith("EPROTO: ")


@pytest.mark.parametrize("reason, code", [
    (0x01, "ENOENT"), (0x37, "ENOENT"), (0x03, "EACCES"), (0x0C, "EACCES"), (0x39, "EACCES"),
    (0x43, "EKEYREVOKED"), (0x0A, "EBADMSG"), (0x100, "EBADMSG"), (0x2A, "EAGAIN"),
    (0x3A, "EAGAIN"), (0x05, "EPROTO"), (0x07, "EPROTO"), (0xFFFF, "EPROTO"),
])
def test_reasons_of_every_version_are_sorted(kmip_probe, pykmip, reason, code):
    assert kmip_probe("wrap", "a") == "OK version 0"
    with KmipProxy(pykmip, only_for(DECRYPT, refusal(reason, "words of the server"))) as proxy:
        said = kmip_probe("unwrap", "a", ADDRESS=proxy.address)
    assert said.startswith(f"{code}: ")


def test_a_connection_that_closes_is_made_anew_once_for_each_round(kmip_probe, pykmip):
    closed = []

    def close_first_decrypt(message):
        if operation(message) == DECRYPT and not closed:
            closed.append(True)
            return b""
        return None
    assert kmip_probe("wrap", "a") == "OK version 0"
    with KmipProxy(pykmip, close_first_decrypt) as proxy:
        assert kmip_probe("unwrap", "a", ADDRESS=proxy.address) == "OK 1"


def test_a_server_that_returns_another_plaintext_fails_the_trial(kmip_probe, pykmip):
    wrong = kmip_proxy.response(
        kmip_proxy.item(0x5C, kmip_proxy.ENUMERATION, DECRYPT),
        kmip_proxy.item(0x7F, kmip_proxy.ENUMERATION, 0),
        kmip_proxy.item(0x7C, kmip_proxy.STRUCTURE, [kmip_proxy.item(0xC2, 8, b"w" * 64)]))
    with KmipProxy(pykmip, only_for(DECRYPT, wrong)) as proxy:
        said = kmip_probe("verify", ADDRESS=proxy.address)
    assert said.startswith("EPROTO: ") and "other bytes" in said
