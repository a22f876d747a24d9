"""Filesystems with a key of their own in the key server, besides the configured one."""
import json
import os
import shutil

import pytest

from instance import ApiError

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/fuse") or os.geteuid() != 0,
                                reason="needs root and /dev/fuse")


NUMBERS = iter(range(1000))


@pytest.fixture
def keys(openbao, instance):
    """The configured key and another one, which the token may use too."""
    names = [f"key-{next(NUMBERS)}" for _ in range(2)]
    for name in names:
        openbao.create_key(name)
    instance.api("PUT", "/api/v1/kms", {"type": "vault", "address": openbao.address,
                                        "key": names[0], "token": openbao.coffer_token("+")})
    return names


def wrapped(instance, name="data"):
    view = instance.view(name)
    return view["kms_key"], view["kms_key_version"], view["own_kms_key"]


def results(instance, *words):
    report = instance.run("security", "kms", "rewrap", *words, "-J", check=False)
    return {row["name"]: row["result"] for row in json.loads(report.stdout)["filesystems"]}


def mount_and_write(instance, tmp_path, name="data"):
    folder = instance.mount(name, tmp_path / name)
    (folder / "file").write_text("content")


def assert_opens(instance, tmp_path, name="data"):
    folder = instance.mount_anew(name, tmp_path / name)
    assert (folder / "file").read_text() == "content"


def test_a_filesystem_with_a_key_of_its_own(instance, openbao, keys, tmp_path):
    shared, own = keys
    text = instance.run("fs", "add", "data", "--kms-key-identifier", own).stdout
    assert f"wrapped by the vault key {own}, version 1" in text
    instance.add("other")
    assert wrapped(instance) == (own, 1, True)
    assert wrapped(instance, "other") == (shared, 1, False)
    mount_and_write(instance, tmp_path)
    instance.stop()
    instance.start()
    assert_opens(instance, tmp_path)

    for key in keys:
        openbao.rotate_key(key)
    assert results(instance) == {"other": "rewrapped"}
    assert wrapped(instance) == (own, 1, True)
    assert results(instance, "--all", "--dry-run") == {"data": "planned", "other": "unchanged"}
    assert results(instance, "--all") == {"data": "rewrapped", "other": "unchanged"}
    assert wrapped(instance) == (own, 2, True)
    openbao.rotate_key(own)
    instance.run("fs", "kms-rewrap", "data")
    assert wrapped(instance) == (own, 3, True)
    assert_opens(instance, tmp_path)


def test_update_to_a_key_of_its_own_and_back(instance, keys, tmp_path):
    shared, own = keys
    instance.add("data")
    mount_and_write(instance, tmp_path)  # it goes on running
    instance.run("fs", "update", "data", "--kms-key-identifier", own)
    assert wrapped(instance) == (own, 1, True)
    assert_opens(instance, tmp_path)
    instance.run("fs", "update", "data", "--use-cluster-kms-key-identifier")
    assert wrapped(instance) == (shared, 1, False)
    assert_opens(instance, tmp_path)


def test_what_cannot_wrap_changes_nothing(instance, keys, tmp_path):
    shared, _ = keys
    instance.add("data")
    mount_and_write(instance, tmp_path)
    for words in (["--kms-key-identifier", "missing"], ["--kms-key-identifier", "../x"],
                  ["--kms-namespace", "ns"], [],
                  ["--kms-key-identifier", "a", "--use-cluster-kms-key-identifier"]):
        refused = instance.run("fs", "update", "data", *words, check=False)
        assert refused.returncode == 1 and refused.stderr, words
        assert wrapped(instance) == (shared, 1, False)
    refused = instance.run("fs", "add", "new", "--kms-key-identifier", "missing", check=False)
    assert refused.returncode == 1 and "missing" in refused.stderr
    assert [view["name"] for view in instance.api("GET", "/api/v1/filesystems")] == ["data"]
    assert_opens(instance, tmp_path)


def test_another_kms_does_not_take_a_filesystem_from_its_own_key(
        instance, keys, pykmip, tmp_path):
    shared, own = keys
    instance.run("fs", "add", "data", "--kms-key-identifier", own)
    mount_and_write(instance, tmp_path)
    uid = pykmip.admin().create()
    with pytest.raises(ApiError) as refused:
        instance.set_kmip(pykmip, uid)
    assert "--use-cluster-kms-key-identifier" in str(refused.value)
    assert wrapped(instance) == (own, 1, True)
    instance.run("fs", "update", "data", "--use-cluster-kms-key-identifier")
    instance.set_kmip(pykmip, uid)
    other = pykmip.admin().create()
    instance.run("fs", "update", "data", "--kms-key-identifier", other)
    assert wrapped(instance) == (other, 0, True)
    assert_opens(instance, tmp_path)
    refused = instance.run("fs", "update", "data", "--kms-key-identifier", other,
                           "--kms-namespace", "ns", check=False)
    assert "only a vault has namespaces" in refused.stderr


def test_a_downgrade_ends_it(instance, openbao, keys, tmp_path):
    shared, own = keys
    instance.run("fs", "add", "data", "--kms-key-identifier", own)
    mount_and_write(instance, tmp_path)
    instance.run("security", "kms", "unset", "--allow-downgrade", "-f")
    assert instance.view("data")["kms_type"] == "local"
    instance.api("PUT", "/api/v1/kms", {"type": "vault", "address": openbao.address, "key": shared,
                                        "token": openbao.coffer_token("+")})
    assert wrapped(instance) == (shared, 1, False)
    assert_opens(instance, tmp_path)


def own_key_steps(instance):
    """[(result, class, text, action)] of the steps about such keys, and the exit code."""
    done = instance.run("security", "kms", "check", "-J", check=False)
    steps = json.loads(done.stdout)["steps"]
    return [(step["result"], step["class"], step["text"], step["action"])
            for step in steps if step["step"] == "own-key"], done.returncode


def test_a_check_tries_each_key_once_that_filesystems_have_of_their_own(instance, openbao, keys):
    shared, own = keys
    third = f"key-{next(NUMBERS)}"
    openbao.create_key(third)
    assert own_key_steps(instance) == ([], 0)
    for name, key in (("one", own), ("two", own), ("three", third)):
        instance.run("fs", "add", name, "--kms-key-identifier", key)
    instance.add("other")
    steps, code = own_key_steps(instance)
    assert code == 0 and [step[:2] for step in steps] == [("ok", "")] * 2
    texts = {text for _, _, text, _ in steps}
    assert any(f"'{own}'" in text and "filesystems " in text and "one" in text and "two" in text
               and "unwrapped and rewrapped" in text for text in texts)
    assert any(f"'{third}', the key of filesystem three: " in text for text in texts)

    # A token that may no longer encrypt with one of them, though all opens.
    rules = {f"transit/{what}/{key}": ["update"] for key in (shared, own, third)
             for what in ("encrypt", "decrypt", "rewrap") if (key, what) != (own, "encrypt")}
    token = openbao.token({**rules, "transit/keys/+": ["read"]}, policy="no-encrypt")
    instance.api("PUT", "/api/v1/kms", {"type": "vault", "address": openbao.address,
                                        "key": shared, "token": token})
    steps, code = own_key_steps(instance)
    assert code == 7 and sorted(step[0] for step in steps) == ["failed", "ok"]
    (kind, text, action), = [step[1:] for step in steps if step[0] == "failed"]
    assert kind == "permission" and f"transit/encrypt/{own}" in text
    assert "one" in text and "two" in text and f"read on transit/keys/{own} and update" in action


def test_a_check_tells_the_state_of_a_kmip_key_of_its_own(instance, pykmip):
    admin = pykmip.admin()
    shared, own = admin.create(), admin.create()
    instance.set_kmip(pykmip, shared)
    instance.run("fs", "add", "data", "--kms-key-identifier", own)
    steps, code = own_key_steps(instance)
    assert code == 0
    assert steps == [("ok", "", f"'{own}', the key of filesystem data: AES-256, active; a trial "
                      "text was wrapped and unwrapped", "")]
    admin.revoke(own)
    ((result, kind, text, action),), code = own_key_steps(instance)
    assert (result, kind, code) == ("failed", "unusable", 9)
    assert "filesystem data" in text and "deactivated" in text and own in action


def test_an_adopted_filesystem_keeps_its_own_key(instance, openbao, keys, tmp_path):
    instance.add("shared")
    instance.run("fs", "add", "own", "--kms-key-identifier", keys[1])
    (instance.mount("own", tmp_path / "own") / "file").write_text("content")
    instance.run("fs", "umount", "own")
    views = {name: instance.view(name) for name in ("shared", "own")}
    instance.stop()
    shutil.rmtree(instance.state / "registry")
    instance.start()
    said = {name: instance.run("fs", "adopt", view["meta"], view["store"], "--name", name).stdout
            for name, view in views.items()}
    assert "counts as the filesystem's own" in said["own"]
    assert "--use-cluster-kms-key-identifier" in said["own"]
    assert "filesystem's own" not in said["shared"]
    assert wrapped(instance, "own") == (keys[1], 1, True)
    assert wrapped(instance, "shared") == (keys[0], 1, False)
    openbao.rotate_key(keys[1])
    instance.run("fs", "kms-rewrap", "own")
    assert wrapped(instance, "own") == (keys[1], 2, True)
    assert (instance.mount("own", tmp_path / "own") / "file").read_text() == "content"


def test_an_adopted_filesystem_keeps_the_namespace_of_its_own_key(instance, openbao):
    openbao.create_key("key-of-all")
    openbao.api("POST", "sys/namespaces/team", {})
    openbao.api("POST", "sys/mounts/transit", {"type": "transit"}, namespace="team")
    openbao.api("POST", "transit/keys/key", {}, namespace="team")
    instance.api("PUT", "/api/v1/kms", {"type": "vault", "address": openbao.address,
                                        "key": "key-of-all", "token": openbao.root_token})
    instance.run("fs", "add", "own", "--kms-key-identifier", "key", "--kms-namespace", "team")
    view = instance.view("own")
    instance.stop()
    shutil.rmtree(instance.state / "registry")
    instance.start()
    instance.run("fs", "adopt", view["meta"], view["store"], "--name", "own")
    again = instance.view("own")
    for name in ("kms_key", "kms_namespace", "own_kms_key"):
        assert again[name] == view[name], name
    assert again["own_kms_key"] and again["kms_namespace"].strip("/") == "team"
    instance.run("fs", "kms-rewrap", "own")
