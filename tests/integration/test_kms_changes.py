"""Keys wrapped anew, with real key servers: after a rotation, with a new key, from one server to
another and back, by local keys; the same server elsewhere, restored, or with its key made anew; and
cofferd killed in the middle."""
import os
import shutil
import signal
import threading
import time

import pytest

import servers
import terminal
from instance import ApiError
from key_servers import started

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/fuse") or os.geteuid() != 0,
                                reason="needs root and /dev/fuse")


@pytest.fixture(params=["openbao", "vaultcore"])
def vault(request):
    return request.getfixturevalue(request.param)


KEYS = iter(range(1000))


def new_key(vault):
    name = f"key-{next(KEYS)}"
    vault.create_key(name)
    return name


def set_vault(instance, vault, key, **more):
    return instance.api("PUT", "/api/v1/kms", {
        "type": "vault", "address": vault.address, "key": key,
        "token": vault.coffer_token(key), **more})


def rewrap(instance, **body):
    return instance.api("POST", "/api/v1/kms/rewrap", body)


def results(report):
    return {row["name"]: row["result"] for row in report["filesystems"]}


def wrapped(instance, name="data"):
    view = instance.view(name)
    return view["kms_type"], view["kms_key"], view["kms_key_version"]


def mount_and_write(instance, tmp_path, name="data"):
    folder = instance.mount(name, tmp_path / name)
    (folder / "file").write_text("content")
    return folder


def assert_opens(instance, tmp_path, *names):
    """Each starts anew with what wraps its key now, and has its data."""
    for name in names:
        folder = instance.mount_anew(name, tmp_path / name)
        assert (folder / "file").read_text() == "content"


# Rotation


def test_rewrap_after_a_rotation_of_the_key(instance, vault, tmp_path):
    key = new_key(vault)
    set_vault(instance, vault, key)
    for name in ("data", "stopped"):
        instance.add(name)
    mount_and_write(instance, tmp_path)
    vault.rotate_key(key)

    planned = rewrap(instance, dry_run=True)
    assert results(planned) == {"data": "planned", "stopped": "planned"}
    assert wrapped(instance) == ("vault", key, 1)

    report = rewrap(instance)
    assert report["failed"] == 0
    assert report["filesystems"][0] == {
        "name": "data", "old_type": "vault", "old_key": key, "old_version": 1,
        "new_type": "vault", "new_key": key, "new_version": 2, "result": "rewrapped",
        "dropped": 0, "kept_dropped": 0, "text": ""}
    assert report["needed"] == [{"type": "vault", "key": key, "version": 1},
                                {"type": "vault", "key": key, "version": 2}]
    assert (tmp_path / "data" / "file").read_text() == "content"
    assert results(rewrap(instance)) == {"data": "unchanged", "stopped": "unchanged"}

    vault.configure_key(key, min_decryption_version=2)
    assert_opens(instance, tmp_path, "data")
    assert wrapped(instance, "stopped") == ("vault", key, 2)
    instance.mount("stopped", tmp_path / "stopped")


def test_the_command_line_shows_a_table_and_what_must_stay(instance, vault):
    key = new_key(vault)
    set_vault(instance, vault, key)
    instance.add("data")
    vault.rotate_key(key)
    done = instance.run("security", "kms", "rewrap", "-f")
    heading, row, *rest = done.stdout.splitlines()
    assert heading.split() == ["NAME", "OLD", "KEY", "OLD", "VERSION", "NEW", "KEY", "NEW",
                               "VERSION", "RESULT"]
    assert row.split() == ["data", key, "1", key, "2", "rewrapped"]
    assert f"must stay in the KMS for them: {key} version 1, 2." in " ".join(rest)
    assert "snapshots keep the wrapping" in rest[0]
    for _ in range(2):
        vault.rotate_key(key)
        done = instance.run("security", "kms", "rewrap", "-f")
    assert f"must stay in the KMS for them: {key} version 1 to 4." in done.stdout
    one = instance.run("fs", "kms-rewrap", "data")
    assert "unchanged" in one.stdout
    refused = instance.run("security", "kms", "rewrap", "--new-key-uid", "7", check=False)
    assert refused.returncode == 1 and "KMIP only" in refused.stderr
    assert "rotate" in refused.stderr


def test_a_rewrap_that_the_policy_denies_changes_nothing_and_can_be_repeated(instance, openbao):
    key = new_key(openbao)
    poor = openbao.token({f"transit/keys/{key}": ["read"], f"transit/encrypt/{key}": ["update"],
                          f"transit/decrypt/{key}": ["update"]}, policy="poor")
    set_vault(instance, openbao, key, token=poor)
    instance.add("data")
    openbao.rotate_key(key)
    report = rewrap(instance)
    assert results(report) == {"data": "failed"}
    assert f"transit/rewrap/{key}" in report["filesystems"][0]["text"]
    shown = instance.run("security", "kms", "rewrap", "-f", check=False)
    assert shown.returncode == 1 and "run it again" in shown.stderr
    assert wrapped(instance) == ("vault", key, 1)
    set_vault(instance, openbao, key)
    assert results(rewrap(instance)) == {"data": "rewrapped"}


def test_a_new_kmip_key(instance, pykmip, tmp_path):
    old, new = pykmip.admin().create(), pykmip.admin().create()
    instance.set_kmip(pykmip, old)
    for name in ("data", "more"):
        instance.add(name)
        mount_and_write(instance, tmp_path, name)
    with pytest.raises(ApiError) as failure:
        rewrap(instance)
    assert "--new-key-uid" in failure.value.text
    with pytest.raises(ApiError) as failure:
        rewrap(instance, new_key_uid="no-such-uid")
    assert "no-such-uid" in failure.value.text
    assert instance.api("GET", "/api/v1/kms")["key"] == old

    report = rewrap(instance, new_key_uid=new)
    assert results(report) == {"data": "rewrapped", "more": "rewrapped"}
    assert [need["key"] for need in report["needed"]] == sorted([old, new])
    assert instance.api("GET", "/api/v1/kms")["key"] == new
    pykmip.admin().revoke(old)
    assert_opens(instance, tmp_path, "data", "more")


# Another server


def test_from_vault_to_kmip_and_back(instance, vault, pykmip, tmp_path):
    key, uid = new_key(vault), pykmip.admin().create()
    set_vault(instance, vault, key)
    instance.add("data")
    mount_and_write(instance, tmp_path)
    assert instance.set_kmip(pykmip, uid)["rewrapped"] == 1
    assert wrapped(instance) == ("kmip", uid, 0)
    assert_opens(instance, tmp_path, "data")
    set_vault(instance, vault, key)
    assert wrapped(instance) == ("vault", key, 1)
    pykmip.admin().revoke(uid)
    assert_opens(instance, tmp_path, "data")


def test_a_local_key_is_wrapped_by_a_kms_and_goes_away(instance, openbao, tmp_path):
    instance.add("data", allow_no_kms=True)
    mount_and_write(instance, tmp_path)
    key = new_key(openbao)
    set_vault(instance, openbao, key)
    assert wrapped(instance) == ("vault", key, 1)
    assert_opens(instance, tmp_path, "data")
    assert not list((instance.state / "local-keys").iterdir())


def test_a_downgrade_to_local_keys_and_up_again(instance, openbao, tmp_path):
    key = new_key(openbao)
    set_vault(instance, openbao, key)
    instance.add("data")
    mount_and_write(instance, tmp_path)
    refused = instance.run("security", "kms", "unset", check=False)
    assert refused.returncode == 1
    assert "data" in refused.stderr and "--allow-downgrade" in refused.stderr
    done = instance.run("security", "kms", "reset", "--allow-downgrade")
    assert "Whoever can read those files" in done.stderr
    assert instance.api("GET", "/api/v1/kms") == {"configured": False}
    assert not (instance.state / "credentials").exists()
    assert wrapped(instance)[0] == "local"
    assert_opens(instance, tmp_path, "data")
    assert "local-key" in [a["type"] for a in instance.api("GET", "/api/v1/status")["alerts"]]
    set_vault(instance, openbao, key)
    assert_opens(instance, tmp_path, "data")


def test_unset_without_filesystems(instance, openbao):
    set_vault(instance, openbao, new_key(openbao))
    instance.run("security", "kms", "unset")
    assert instance.api("GET", "/api/v1/kms") == {"configured": False}
    again = instance.run("security", "kms", "unset", check=False)
    assert again.returncode == 1 and "no KMS is configured" in again.stderr


def on_a_terminal(instance, answer, *words):
    """What it printed, and its exit code."""
    pid, fd = os.forkpty()
    if pid == 0:
        os.execve(instance.programs / "coffer", ["coffer", *words], instance.environment)
    os.write(fd, answer)
    text, code = terminal.finish(pid, fd)
    return text.decode(), code


def test_on_a_terminal_it_asks_and_takes_no_for_an_answer(instance, openbao):
    key = new_key(openbao)
    set_vault(instance, openbao, key)
    instance.add("data")
    text, code = on_a_terminal(instance, b"n\n", "security", "kms", "unset", "--allow-downgrade")
    assert code == 1 and "local keys" in text and "nothing was changed" in text
    openbao.rotate_key(key)
    text, code = on_a_terminal(instance, b"n\n", "security", "kms", "rewrap")
    assert code == 1 and "nothing was changed" in text
    assert wrapped(instance) == ("vault", key, 1)
    text, code = on_a_terminal(instance, b"y\n", "security", "kms", "rewrap")
    assert code == 0 and wrapped(instance) == ("vault", key, 2)
    text, code = on_a_terminal(instance, b"", "security", "kms", "unset", "--allow-downgrade", "-f")
    assert code == 0 and wrapped(instance)[0] == "local"


# The same server, elsewhere or restored; or another key of the same name


def test_the_same_server_at_a_new_address_and_one_restored_from_a_backup(instance, tmp_path):
    uid = None
    with started(lambda: servers.PykmipServer(tmp_path / "one")) as first:
        uid = first.admin().create()
        instance.set_kmip(first, uid)
        instance.add("data")
        mount_and_write(instance, tmp_path)
        first.stop()
        shutil.copy(first.folder / "kmip.db", tmp_path / "backup.db")
    with started(lambda: restored(tmp_path)) as second:
        instance.set_kmip(second, uid)
        assert instance.api("GET", "/api/v1/kms")["addresses"] == [second.address]
        assert wrapped(instance) == ("kmip", uid, 0)
        assert_opens(instance, tmp_path, "data")


def restored(tmp_path):
    server = servers.PykmipServer(tmp_path / "two")
    shutil.copy(tmp_path / "backup.db", server.folder / "kmip.db")
    return server


def test_a_vault_restored_from_a_backup_that_is_older_than_the_last_rewrap(instance, tmp_path):
    with started(lambda: servers.VaultCoreServer(tmp_path / "one")) as first:
        first.enable_transit()
        key = new_key(first)
        set_vault(instance, first, key)
        for name in ("data", "started"):
            instance.add(name)
            mount_and_write(instance, tmp_path, name)
        token = first.coffer_token(key)
        first.stop()
        shutil.copytree(tmp_path / "one", tmp_path / "two", ignore=shutil.ignore_patterns("*.log"))
        first.start()
        first.rotate_key(key)
        assert results(rewrap(instance)) == {"data": "rewrapped", "started": "rewrapped"}
        instance.run("fs", "umount", "started")
    with servers.VaultCoreServer(tmp_path / "two") as second:
        # What wrapped before the rewrap opens it, at another address too.
        set_vault(instance, second, key, token=token)
        assert wrapped(instance) == ("vault", key, 1)
        assert_opens(instance, tmp_path, "data", "started")


def test_a_replica_beside_the_first(instance, pykmip, tmp_path):
    uid = pykmip.admin().create()
    instance.set_kmip(pykmip, uid)
    instance.add("data")
    mount_and_write(instance, tmp_path)
    replica = servers.PykmipServer(tmp_path / "replica")
    shutil.copy(pykmip.folder / "kmip.db", replica.folder / "kmip.db")
    with replica:
        assert instance.set_kmip(replica, uid)["rewrapped"] == 0
        assert_opens(instance, tmp_path, "data")
        instance.set_kmip(pykmip, uid)
        assert_opens(instance, tmp_path, "data")


def test_a_key_that_was_made_anew_under_its_name_never_wraps_what_it_does_not_open(
        instance, openbao, tmp_path):
    key = new_key(openbao)
    set_vault(instance, openbao, key)
    instance.add("data")
    mount_and_write(instance, tmp_path)
    ring = (instance.state / "filesystems" / instance.view("data")["uuid"] / "store" / "keyring")
    before = ring.read_bytes()
    openbao.delete_key(key)
    openbao.create_key(key)
    report = rewrap(instance)
    assert results(report) == {"data": "failed"}
    assert "made anew" in report["filesystems"][0]["text"]
    with pytest.raises(ApiError):
        instance.api("DELETE", "/api/v1/kms", {"allow_downgrade": True})
    openbao.rotate_key(key)
    assert results(rewrap(instance)) == {"data": "failed"}
    assert results(instance.api("POST", "/api/v1/filesystems/data/kms-rewrap")) == {
        "data": "failed"}
    assert ring.read_bytes() == before


# Ends in the middle


def test_cofferd_killed_in_the_middle_of_rewraps_and_moves(instance, openbao, pykmip, tmp_path):
    names = [f"fs{i}" for i in range(8)]
    key, uid = new_key(openbao), pykmip.admin().create()
    set_vault(instance, openbao, key)
    for name in names:
        instance.add(name)
    mount_and_write(instance, tmp_path, names[0])
    mount_and_write(instance, tmp_path, names[-1])
    def rewrap_and_check():
        assert rewrap(instance)["failed"] == 0

    def downgrade():
        if instance.api("GET", "/api/v1/kms")["configured"]:
            instance.api("DELETE", "/api/v1/kms", {"allow_downgrade": True})

    for turn in range(10):
        openbao.rotate_key(key)
        act = [rewrap_and_check, lambda: instance.set_kmip(pykmip, uid),
               lambda: set_vault(instance, openbao, key), downgrade,
               lambda: set_vault(instance, openbao, key)][turn % 5]
        kill_during(instance, act, 0.02 + 0.03 * (turn % 4))
        assert_opens(instance, tmp_path, names[0], names[-1])
        act()
        assert_opens(instance, tmp_path, names[0], names[-1])
    assert not (instance.state / "credentials.staged").exists()


def test_cofferd_killed_in_the_middle_of_additions(instance, openbao, tmp_path):
    key = new_key(openbao)
    set_vault(instance, openbao, key)
    for turn in range(8):
        name = f"fs{turn}"
        kill_during(instance, lambda: instance.add(name), 0.015 * turn)
        views = {row["name"]: row for row in instance.api("GET", "/api/v1/filesystems")}
        folders = instance.state / "filesystems"
        assert {path.name for path in folders.iterdir()} <= {row["uuid"] for row in views.values()}
        if name not in views:
            instance.add(name)  # nothing was left of it
        elif turn % 2:
            instance.run("fs", "remove", name, "--force")
            instance.add(name)
        mount_and_write(instance, tmp_path, name)  # a start completes what was left
        assert_opens(instance, tmp_path, name)
        assert wrapped(instance, name) == ("vault", key, 1)
    instance.run("audit", "verify")


def kill_during(instance, act, after_s):
    def ignore_the_end():
        try:
            act()
        except (OSError, ApiError, ValueError):
            pass
    thread = threading.Thread(target=ignore_the_end)
    thread.start()
    time.sleep(after_s)
    instance.stop(signal.SIGKILL)
    thread.join()
    instance.start()


# Crypto-shred


def test_a_shredded_filesystem_stays_shut_although_the_kms_has_the_key(
        instance, openbao, tmp_path):
    key = new_key(openbao)
    set_vault(instance, openbao, key)
    instance.add("data")
    instance.add("other")
    mount_and_write(instance, tmp_path)
    assert instance.run("fs", "remove", "data", "--shred", check=False).returncode == 1  # mounted
    instance.run("fs", "umount", "data")
    view = instance.view("data")
    places = [view[place].split(":", 1)[1] for place in ("store", "meta")]
    for place in places:
        shutil.copytree(place, tmp_path / ("copy-" + os.path.basename(place)))
    os.remove(tmp_path / "copy-store" / "keyring")  # what a copy that left it out would have

    text = instance.run("fs", "remove", "data", "--shred").stdout
    assert "The keys of filesystem data were destroyed in the registry and in the store" in text
    assert f"vault key {key}, version 1; it also wraps the keys of other; other instances" in text
    assert not any(os.path.exists(place) for place in places)
    refused = instance.run("fs", "adopt", f"lmdb:{tmp_path}/copy-meta",
                           f"dir:{tmp_path}/copy-store", "--name", "back", check=False)
    assert refused.returncode == 1 and "holds no key ring" in refused.stderr
    audit = instance.run("audit", "--num-results", "0", "-o", "operation,filesystem,result",
                         "--format", "csv", "--no-header").stdout
    assert "shred,data,ok" in audit.splitlines()
    assert "event=keys-shredded" in instance.events()
    mount_and_write(instance, tmp_path, "other")
    assert_opens(instance, tmp_path, "other")
