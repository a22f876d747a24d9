"""Alerts, events and the audit log of a real instance, as an administrator sees them."""
import csv
import io
import json
import os
import pathlib
import re
import signal
import time

import pytest

import servers
from faulty_peers import dated, from_now
from instance import Instance, UnixConnection, wait_until

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/fuse") or os.geteuid() != 0,
                                reason="needs root and /dev/fuse")


@pytest.fixture(name="instance")
def running_instance(build_folder, tmp_path):
    with Instance(build_folder, tmp_path) as made:
        yield made


def rows(instance, *words):
    return json.loads(instance.run(*words, "-J").stdout)


def operations(instance, *words):
    return [(row["operation"], row["filesystem"], row["result"])
            for row in rows(instance, "audit", *words)]


def verify(instance, *words, check=True):
    return instance.run("audit", "verify", *words, check=check)


def test_the_life_of_a_filesystem_is_in_the_audit_log(instance, tmp_path):
    assert instance.run("fs", "add", "data", check=False).returncode == 1
    instance.run("fs", "add", "data", "--allow-no-kms")
    instance.mount("data", tmp_path / "mnt")
    instance.run("fs", "umount", "data")
    instance.run("fs", "check", "data")
    view = instance.view("data")
    instance.run("fs", "remove", "data")
    assert operations(instance) == [("create", "data", "ENOKEY"), ("create", "data", "ok"),
                                    ("unwrap", "data", "ok"), ("unwrap", "data", "ok"),
                                    ("remove", "data", "ok")]
    entries = rows(instance, "audit")
    assert {row["by"] for row in entries} == {f"uid {os.geteuid()}"}
    assert [row["text"] for row in entries[2:4]] == ["to start it", "to check it"]
    assert all((row["kms_type"], row["kms_key"]) == ("local", view["kms_key"]) and
               row["uuid"] == view["uuid"] for row in entries[1:])
    for before, after in zip(entries, entries[1:]):
        assert after["previous"] == before["hash"] and after["number"] == before["number"] + 1
    assert f"5:{entries[-1]['hash']}" in verify(instance).stdout
    assert f"hash={entries[-1]['hash']}" in instance.log.read_text()


def test_what_cofferd_does_by_itself_is_told_apart(instance, tmp_path):
    instance.add("data", allow_no_kms=True)
    instance.mount("data", tmp_path / "mnt")
    pid = instance.worker_pid("data")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: instance.worker_pid("data") not in (None, pid), "another worker")
    instance.wait_status("data", "mounted")
    assert [row["by"] for row in rows(instance, "audit", "--operation", "unwrap")] == \
        ["uid 0", "cofferd"]
    assert "alert-raised" not in [row["type"] for row in rows(instance, "events", "--type", "added")]
    assert "worker-died" in [row["type"] for row in rows(instance, "events", "--severity", "major")]


def test_an_entry_that_was_altered_on_the_disk_is_named(instance, tmp_path):
    instance.add("data", allow_no_kms=True)
    instance.mount("data", tmp_path / "mnt")
    instance.run("fs", "umount", "data")
    instance.add("more", allow_no_kms=True)
    kept = rows(instance, "audit", "verify")
    assert kept["intact"]
    instance.stop()
    registry = instance.state / "registry" / "metadata.mdb"
    stored = registry.read_bytes()
    assert b"to start it" in stored
    registry.write_bytes(stored.replace(b"to start it", b"to alter it"))
    instance.start()
    result = verify(instance, check=False)
    assert result.returncode == 1
    assert result.stdout == "entry 2 was altered: its hash is wrong\n"
    assert "the audit log has 1 fault: it is not what cofferd wrote" in result.stderr
    assert not json.loads(verify(instance, "-J", check=False).stdout)["intact"]
    instance.stop()
    registry.write_bytes(stored)
    instance.start()
    verify(instance)
    verify(instance, f"{kept['number']}:{kept['hash']}")
    wrong = verify(instance, f"{kept['number']}:{'0' * 64}", check=False)
    assert wrong.returncode == 1 and "is not there with the hash that was kept" in wrong.stdout


def test_a_log_whose_end_was_cut_off_raises_an_alert_and_is_never_whole_again(instance):
    """The registry is put back as it was before, but for the note of the newest entry."""
    instance.add("data", allow_no_kms=True)
    newest = rows(instance, "audit", "verify")
    instance.stop()
    registry = instance.state / "registry" / "metadata.mdb"
    stored = registry.read_bytes()
    hash_bytes = bytes.fromhex(newest["hash"])
    # In the note it stands behind the number; in the entry it stands at the end.
    note = newest["number"].to_bytes(8, "little") + hash_bytes
    assert stored.count(note) >= 1
    registry.write_bytes(stored.replace(note, (9).to_bytes(8, "little") + bytes(32)))
    instance.start()
    result = verify(instance, check=False)
    assert "entries 2 to 9 are missing" in result.stdout
    assert "audit-damaged" in [row["type"] for row in rows(instance, "events")]
    assert operations(instance)[-1] == ("log-damaged", "", "EBADMSG")
    instance.stop()
    instance.start()
    assert verify(instance, check=False).returncode == 1
    wait_until(lambda: [row for row in rows(instance, "alerts") if row["type"] == "audit-damaged"
                        and "entries 2 to 9 are missing" in row["text"]], "the alert")


def test_an_entry_is_durable_before_the_operation_is_reported(instance):
    instance.add("data", allow_no_kms=True)
    instance.stop(signal.SIGKILL)
    instance.start()
    assert operations(instance) == [("create", "data", "ok")]
    instance.run("fs", "remove", "data")
    instance.stop(signal.SIGKILL)
    instance.start()
    assert operations(instance)[-1] == ("remove", "data", "ok")
    verify(instance)


def test_lists_of_logs_have_the_options_of_lists(instance):
    empty = instance.run("audit")
    assert (empty.stdout, empty.stderr) == ("", "There is nothing of that kind yet.\n")
    assert "with 0 entries" in verify(instance).stdout
    for name in ("a", "b", "c"):
        instance.add(name, allow_no_kms=True)
    instance.run("fs", "remove", "b")
    assert operations(instance, "--filesystem", "b") == [("create", "b", "ok"),
                                                         ("remove", "b", "ok")]
    assert operations(instance, "--num-results", "1") == [("remove", "b", "ok")]
    assert len(operations(instance, "--num-results", "0")) == 4
    assert operations(instance, "--start-time", "2099-01-01") == []
    assert operations(instance, "--end-time", "1h") == []
    assert len(operations(instance, "--start-time", "1h")) == 4
    text = instance.run("audit", "-f", "csv", "-o", "number,operation,filesystem", "-s", "-number",
                        "-F", "operation=~remove").stdout
    assert list(csv.reader(io.StringIO(text)))[1:] == [["3", "create", "c"], ["2", "create", "b"],
                                                       ["1", "create", "a"]]
    assert instance.run("audit", "-f", "markdown").stdout.startswith("| NUMBER |")
    wrong = instance.run("audit", "--start-time", "yesterday", check=False)
    assert wrong.returncode == 1 and "is not a time" in wrong.stderr
    wrong = instance.run("events", "--severity", "bad", check=False)
    assert wrong.returncode == 1 and "a severity is info, warning or critical" in wrong.stderr


def test_events_survive_a_restart(instance):
    instance.add("data", allow_no_kms=True)
    before = rows(instance, "events", "--type", "added")
    assert [row["filesystem"] for row in before] == ["data"]
    instance.stop()
    instance.start()
    assert rows(instance, "events", "--type", "added") == before


def test_an_alert_can_be_muted_and_says_what_to_do(instance):
    instance.add("data", allow_no_kms=True)
    alert, = rows(instance, "alerts")
    assert (alert["type"], alert["severity"], alert["filesystem"]) == ("local-key", "warning", "data")
    assert alert["action"] and alert["cause"]
    assert "muted for 2h" in instance.run("alerts", "mute", "local-key", "2h", "--comment",
                                          "a trial").stdout
    instance.stop()
    instance.start()
    assert rows(instance, "alerts") == []
    muted, = rows(instance, "alerts", "--muted")
    assert muted["muted"] and muted["comment"] == "a trial"
    assert "0, and 1 muted" in instance.run("status").stdout
    instance.run("alerts", "unmute", "local-key")
    assert len(rows(instance, "alerts")) == 1
    assert {"alert-muted", "alert-unmuted", "alert-raised"} <= \
        {row["type"] for row in rows(instance, "events")}
    for words, sentence in ((("local-kex", "2h"), "there is no alert of the type 'local-kex'"),
                            (("local-key", "soon"), "is not a duration")):
        wrong = instance.run("alerts", "mute", *words, check=False)
        assert wrong.returncode == 1 and sentence in wrong.stderr


def test_the_alert_about_damage_clears_when_all_was_read_and_is_right(instance, tmp_path):
    instance.add("data", allow_no_kms=True)
    (instance.mount("data", tmp_path / "mnt") / "file").write_bytes(os.urandom(100_000))
    instance.run("fs", "umount", "data")
    segment, = (path for path in (pathlib.Path(instance.view("data")["store"].partition(":")[2]) /
                                  "segments").rglob("*") if path.is_file())
    stored = segment.read_bytes()

    def replace(content):
        with open(segment, "r+b") as file:
            file.write(content)

    def types():
        return [row["type"] for row in rows(instance, "alerts")]
    replace(bytes(byte ^ (at % 1000 == 999) for at, byte in enumerate(stored)))
    with pytest.raises(OSError):
        (instance.mount("data", tmp_path / "mnt") / "file").read_bytes()
    assert types() == ["corruption", "local-key"]
    instance.run("fs", "umount", "data")
    assert instance.run("fs", "check", "data", "--read-data", check=False).returncode == 1
    assert types() == ["corruption", "local-key"]
    replace(stored)
    instance.run("fs", "check", "data")
    assert types() == ["corruption", "local-key"]
    instance.run("fs", "check", "data", "--read-data")
    assert types() == ["local-key"]


def test_a_kms_that_goes_away_raises_an_alert_that_a_new_set_clears(instance, tmp_path):
    try:
        kms = servers.PykmipServer(tmp_path / "kms")
    except servers.Unavailable as reason:
        pytest.skip(str(reason))
    with kms:
        uid = kms.admin().create()
        instance.set_kmip(kms, uid)
        instance.add("data")
        set_entry, created = rows(instance, "audit")
        assert (set_entry["operation"], set_entry["kms_type"], set_entry["kms_key"]) == \
            ("kms-set", "kmip", uid)
        assert created["kms_key"] == uid and created["kms_addresses"] == kms.address
        instance.run("security", "kms", "check")
        assert operations(instance)[-1] == ("unwrap", "", "ok")
        kms.stop()
        assert instance.run("fs", "add", "second", check=False).returncode == 1
        assert "kms-unreachable" in [row["type"] for row in rows(instance, "alerts")]
        kms.start()
        instance.set_kmip(kms, uid)
        assert rows(instance, "alerts") == []
        assert {"alert-raised", "alert-cleared"} <= {row["type"] for row in rows(instance, "events")}
        assert operations(instance)[-2:] == [("create", "second", "EAGAIN"), ("kms-set", "", "ok")]
        verify(instance)


def metrics(instance):
    """{name with labels: value}; the form is checked."""
    connection = UnixConnection(str(instance.socket), 60)
    connection.request("GET", "/metrics")
    response = connection.getresponse()
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    values, kinds = {}, {}
    for line in response.read().decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds and kind in ("gauge", "counter")
            kinds[name] = kind
            continue
        if line.startswith("# HELP "):
            continue
        found = re.fullmatch(r'(([a-z_]+)(?:\{(?:[a-z]+="[^"\\]*",?)+\})?) (-?[0-9.]+)', line)
        assert found, line
        assert found[2] in kinds and found[1] not in values, line
        assert (kinds[found[2]] == "counter") == found[2].endswith("_total")
        values[found[1]] = float(found[3])
    connection.close()
    return values


def test_metrics_tell_how_things_stand(instance, tmp_path):
    assert metrics(instance)["coffer_kms_configured"] == 0
    try:
        kms = servers.PykmipServer(tmp_path / "kms")
    except servers.Unavailable as reason:
        pytest.skip(str(reason))
    with kms:
        instance.set_kmip(kms, kms.admin().create())
        instance.add("data", capacity=1 << 30)
        instance.mount("data", tmp_path / "mnt")
        seen = metrics(instance)
        assert seen['coffer_filesystems{state="mounted"}'] == 1
        assert seen['coffer_filesystems{state="stopped"}'] == 0
        assert seen['coffer_filesystem_capacity_bytes{filesystem="data"}'] == 1 << 30
        assert seen["coffer_kms_reachable"] == seen["coffer_kms_usable"] == 1
        assert abs(seen["coffer_kms_last_success_timestamp_seconds"] - time.time()) < 3600
        assert seen["coffer_kms_certificate_left_seconds"] > 0
        for operation in ("describe", "wrap", "unwrap"):
            assert seen[f'coffer_kms_requests_total{{operation="{operation}",result="ok"}}'] > 0
        assert seen["coffer_audit_entries_total"] == 3
        assert seen['coffer_alerts{severity="critical",muted="false"}'] == 0
        kms.stop()
        assert instance.run("fs", "add", "second", check=False).returncode == 1
        seen = metrics(instance)
        assert seen["coffer_kms_reachable"] == seen["coffer_kms_usable"] == 0
        assert sum(value for name, value in seen.items() if 'result="unavailable"' in name) > 0
        assert seen['coffer_alerts_by_type{type="kms-unreachable"}'] == 1
        assert seen['coffer_alerts{severity="critical",muted="false"}'] == 1
        assert seen['coffer_events_total{severity="critical"}'] > 0


@pytest.mark.parametrize("days, severity, words",
                         [(31.1, None, None), (29.1, "warning", "ends in 29 days"),
                          (6.1, "critical", "ends in 6 days"), (0.9, "critical", "ends in 21 hours")])
def test_a_client_certificate_close_to_its_end_raises_an_alert(instance, tmp_path, days, severity,
                                                               words):
    try:
        kms = servers.PykmipServer(tmp_path / "kms")
    except servers.Unavailable as reason:
        pytest.skip(str(reason))
    with kms:
        cert, key = dated(kms.authority, "alice", from_now(-300), from_now(days),
                          "extendedKeyUsage=clientAuth\n")
        instance.run("security", "kms", "set", "kmip", kms.address, kms.admin().create(),
                     "--client-cert", cert, "--client-key", key, "--ca-cert", kms.ca_cert)
        found = [(row["severity"], row["text"]) for row in rows(instance, "alerts")]
        if severity is None:
            assert found == []
        else:
            (seen, text), = found
            assert seen == severity and words in text and "coffer security kms set" in text


def test_a_token_in_the_place_of_the_key_is_not_in_the_log(instance):
    for address, key in (("http://127.0.0.1:1", "hvs.misplaced"), ("hvs.misplaced", "key"),
                         ("http://user:hvs.misplaced@127.0.0.1:1", "key")):
        assert instance.run("security", "kms", "set", "vault", address, key, "--token", "x",
                            check=False).returncode != 0
    instance.stop()
    for path in (instance.state / "registry").iterdir():
        assert b"misplaced" not in path.read_bytes()
    assert "misplaced" not in instance.log.read_text()
    instance.start()
    entry, = rows(instance, "audit")
    assert entry["result"] == "EAGAIN" and "not noted" in entry["text"]


def test_older_entries_are_archived_and_the_chain_goes_on(instance, tmp_path):
    archive = tmp_path / "audit.cfaa"
    for name in ("one", "two"):
        instance.run("fs", "add", name, "--allow-no-kms")
    kept = rows(instance, "audit", "verify")
    done = instance.run("audit", "archive", "--before", "1d", "--output-file", archive, "-f")
    assert "nothing was archived" in done.stdout and not archive.exists()
    done = instance.run("audit", "archive", "--before", "2100-01-01", "--output-file", archive, "-f")
    last = re.search(r"The last of them: (2:[0-9a-f]{64})", done.stdout).group(1)
    assert "Entries 1 to 2 are in" in done.stdout and archive.stat().st_mode & 0o777 == 0o600
    assert last == f"{kept['number']}:{kept['hash']}"
    assert operations(instance) == [("archive", "", "ok")]
    assert f"It goes on behind what was archived: {last}" in verify(instance).stdout
    verify(instance, last)
    both = verify(instance, "--archive", archive).stdout
    assert "holds entries 1 to 2" in both and "ends where the audit log begins" in both

    instance.run("fs", "remove", "one", "--force")
    second = tmp_path / "second.cfaa"
    refused = instance.run("audit", "archive", "--before", "2100-01-01", "--output-file", archive, "-f",
                           check=False)
    assert refused.returncode == 1 and "File exists" in refused.stderr
    instance.run("audit", "archive", "--before", "2100-01-01", "--output-file", second, "-f")
    assert "Another archive is between" in verify(instance, "--archive", archive).stdout
    assert "ends where the audit log begins" in verify(instance, "--archive", second).stdout
    instance.stop()
    offline = ["--archive", second, "--offline"]
    assert "holds entries 3 to 4" in verify(instance, *offline).stdout
    verify(instance, last, "--archive", archive, "--offline")
    wrong = verify(instance, "2:" + "0" * 64, "--archive", archive, "--offline", check=False)
    assert wrong.returncode == 1 and "not in it with that hash" in wrong.stdout
    data = bytearray(second.read_bytes())
    data[-60] ^= 1
    second.write_bytes(data)
    assert verify(instance, *offline, check=False).returncode == 1
    instance.start()
    verify(instance)
    instance.run("fs", "add", "three", "--allow-no-kms")
    verify(instance)


def test_equal_checks_of_the_key_server_are_counted_not_listed(instance, openbao):
    openbao.create_key("checked")
    instance.api("PUT", "/api/v1/kms", {"type": "vault", "address": openbao.address,
                                        "key": "checked", "token": openbao.coffer_token("checked")})
    instance.add("data")
    before = len(operations(instance))
    for _ in range(5):
        instance.run("security", "kms", "check")
    assert len(operations(instance)) == before + 1
    openbao.rotate_key("checked")
    instance.run("security", "kms", "rewrap", "-f")
    instance.run("security", "kms", "check")
    entry = rows(instance, "audit")[-1]
    assert "4 since the entry before" in entry["text"]
