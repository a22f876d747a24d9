"""What lies in an object store, and what is done with it there: coffer fs tier snapshot, ops, clean."""
import json
import pathlib
import random
import threading

import pytest

import servers
from instance import Instance, wait_until


@pytest.fixture(scope="module")
def vault(tmp_path_factory):
    try:
        server = servers.OpenBaoServer(tmp_path_factory.mktemp("openbao"))
    except servers.Unavailable as reason:
        pytest.skip(str(reason))
    with server:
        server.enable_transit()
        yield server


@pytest.fixture
def instance(build_folder, folder):
    with Instance(build_folder, folder) as made:
        yield made


def test_a_new_bucket_holds_nothing_and_nobody_uses_it(instance, s3):
    instance.run("fs", "tier", "s3", "add", "backup", "--hostname", "127.0.0.1", "--port", s3.port,
                 "--bucket", "coffer", "--access-key-id", s3.access_key_id, "--ca-cert", s3.ca_cert,
                 "--secret-key", "-", input=s3.secret_key)
    for words in (["fs", "tier", "snapshot", "list"], ["fs", "tier", "s3", "snapshot", "list"],
                  ["fs", "tier", "ops"]):
        listed = instance.run(*words, "backup")
        assert "object store backup" in listed.stderr
        assert json.loads(instance.run(*words, "backup", "-J").stdout) == []
    assert instance.run("fs", "tier", "clean", "backup").stdout.startswith("0 objects (0 bytes)")
    assert s3.keys() == []
    wrong = instance.run("fs", "tier", "snapshot", "remove", "backup", "coffer1-x", "-f", check=False)
    assert wrong.returncode == 1 and "locator" in wrong.stderr
    unknown = instance.run("fs", "tier", "snapshot", "list", "other", check=False)
    assert unknown.returncode == 1 and "there is no object store other" in unknown.stderr
    nobody = instance.run("fs", "tier", "ops", "backup", "--force", "--expire",
                          "01234567-89ab-cdef-0123-456789abcdef", check=False)
    assert nobody.returncode == 1 and "has no entry" in nobody.stderr


def test_what_is_no_head_is_listed_as_damaged(instance, folder):
    place = folder / "disk"
    heads = place / "coffer-1" / "heads"
    heads.mkdir(parents=True)
    (heads / ("0" * 64)).write_text("\x1b[2J nonsense")
    (heads / "README").write_text("of somebody else")
    instance.run("fs", "tier", "dir", "add", "disk", "--path", place)
    rows = json.loads(instance.run("fs", "tier", "snapshot", "list", "disk", "-J").stdout)
    assert [row["status"] for row in rows] == ["damaged"]
    assert rows[0]["locator"].startswith("coffer1-000") and "head" in rows[0]["text"]
    table = instance.run("fs", "tier", "snapshot", "list", "disk", "-v").stdout
    assert "damaged" in table and "\x1b" not in table
    # What such a snapshot needs is not known: so nothing is removed.
    refused = instance.run("fs", "tier", "clean", "disk", check=False)
    assert refused.returncode == 1 and "has no reference" in refused.stderr
    assert json.loads(instance.run("fs", "tier", "ops", "disk", "-J").stdout) == []
    instance.run("fs", "tier", "snapshot", "remove", "disk", rows[0]["locator"], "-f")
    assert json.loads(instance.run("fs", "tier", "snapshot", "list", "disk", "-J").stdout) == []
    assert (heads / "README").exists()


KEY = "coffer-key"


def set_vault(instance, vault, key=KEY):
    vault.create_key(key)
    instance.api("PUT", "/api/v1/kms", {"type": "vault", "address": vault.address, "key": key,
                                        "token": vault.coffer_token(key)})


def upload(instance, name, folder, store="disk", snapshot="monday"):
    """The locator of a snapshot of what is in the folder now."""
    instance.run("fs", "snapshot", "add", name, snapshot)
    instance.run("fs", "snapshot", "upload", name, snapshot, "--object-store", store, "--wait")
    return listed(instance, store)[-1]["locator"]


def listed(instance, store="disk"):
    rows = json.loads(instance.run("fs", "tier", "snapshot", "list", store, "-J").stdout)
    return sorted(rows, key=lambda row: row["created"])


@pytest.fixture
def uploaded(instance, vault, folder):
    """(instance, place of the store, locator) of a filesystem with some files, uploaded."""
    place = folder / "disk"
    place.mkdir()
    instance.run("fs", "tier", "dir", "add", "disk", "--path", place)
    set_vault(instance, vault)
    instance.add("data")
    files = instance.mount("data", folder / "mnt")
    for i in range(20):
        (files / f"file{i}").write_bytes(random.Random(i).randbytes(i * 40000))
    yield instance, place, upload(instance, "data", folder)
    vault.delete_key(KEY)


def verify(instance, locator, *options):
    return instance.run("fs", "snapshot", "verify", locator, "--object-store", "disk", *options,
                        check=False)


def test_an_uploaded_snapshot_is_listed_verified_and_what_is_wrong_is_named(uploaded, vault):
    instance, place, locator = uploaded
    row = listed(instance)[0]
    assert (row["filesystem"], row["snapshot"], row["status"]) == ("data", "monday", "complete")
    assert (row["kms_type"], row["kms_key"], row["kms_key_version"]) == ("vault", KEY, 1)
    assert row["kms_addresses"] == vault.address and row["kms_mount_path"] == "transit"
    uses = json.loads(instance.run("fs", "tier", "ops", "disk", "-J").stdout)
    assert [(use["kind"], use["locator"], use["this_instance"]) for use in uses] == \
        [("snapshot", locator, True)]

    whole = verify(instance, locator)
    assert whole.returncode == 0 and "completely" in whole.stdout, whole.stderr
    assert verify(instance, locator, "--sample", 2).returncode == 0
    assert json.loads(instance.run("audit", "-J").stdout)

    chunk = next((place / "coffer-1" / "chunks").iterdir())
    pack = next((place / "coffer-1" / "packs").iterdir())
    content = chunk.read_bytes()
    chunk.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    bad = verify(instance, locator)
    assert bad.returncode == 1 and chunk.name in bad.stderr
    chunk.write_bytes(content)
    kept = pack.read_bytes()
    pack.unlink()
    missing = verify(instance, locator)
    assert missing.returncode == 1 and pack.name in missing.stderr
    pack.write_bytes(kept[:-100])
    cut = verify(instance, locator)
    assert cut.returncode == 1 and pack.name in cut.stderr
    pack.write_bytes(kept)
    assert verify(instance, locator).returncode == 0
    assert verify(instance, "coffer1-" + "0" * 56).returncode == 1


def test_a_verification_goes_on_in_the_background_and_fails_if_there_is_a_fault(uploaded):
    instance, place, locator = uploaded
    said = verify(instance, locator, "--background")
    assert "Task 2 was started: verification, object store disk" in said.stdout, said.stderr
    done = instance.run("task", "wait", 2)
    assert f"{locator}: all that was read is as it was uploaded" in done.stdout
    shown = instance.api("GET", "/api/v1/tasks/2")
    assert (shown["kind"], shown["unit"], shown["object_store"]) == ("verification", "objects", "disk")
    types = [row["type"] for row in json.loads(instance.run("events", "-J").stdout)]
    assert types.count("upload-verified") == 1

    pack = next((place / "coffer-1" / "packs").iterdir())
    kept = pack.read_bytes()
    pack.write_bytes(kept[:-100])
    verify(instance, locator, "--background")
    failed = instance.run("task", "wait", 3, check=False)
    assert failed.returncode == 1 and "cannot be relied on" in failed.stderr
    assert locator in failed.stderr and pack.name in failed.stderr
    pack.write_bytes(kept)

    # What is slow is stopped at once, and leaves nothing.
    instance.run("fs", "tier", "dir", "update", "disk", "--download-bandwidth", "20kB")
    verify(instance, locator, "--background")
    wait_until(lambda: instance.api("GET", "/api/v1/tasks/4")["phase"] != "", "it reads")
    refused = instance.run("fs", "tier", "dir", "remove", "disk", "--force", check=False)
    assert "coffer task abort 4" in refused.stderr
    instance.run("task", "abort", 4, "--force")
    ended = instance.run("task", "wait", 4, check=False)
    assert ended.returncode == 1 and "was aborted" in ended.stderr
    missing = verify(instance, "coffer1-" + "0" * 56, "--background")
    assert missing.returncode == 1


def test_a_rewrap_goes_on_in_the_background(uploaded, vault):
    instance, _, locator = uploaded
    rewrap = ("fs", "snapshot", "rewrap", "--object-store", "disk", "-f")
    for words, part in ((("--all", "--dry-run"), "a dry run is waited for"), ((), "locator")):
        refused = instance.run(*rewrap, *words, "--background", check=False)
        assert refused.returncode == 1 and part in refused.stderr, refused
    vault.rotate_key(KEY)
    started = instance.run(*rewrap, "--all", "--background").stdout
    assert "Task 2 was started: rewrap, object store disk" in started
    assert "1 rewrapped, 0 unchanged" in instance.run("task", "wait", 2).stdout
    assert listed(instance)[0]["kms_key_version"] == 2
    instance.run(*rewrap, locator, "--drop-previous", "--background")
    assert "0 rewrapped, 1 unchanged" in instance.run("task", "wait", 3).stdout
    assert verify(instance, locator).returncode == 0
    vault.configure_key(KEY, min_decryption_version=2)
    assert verify(instance, locator).returncode == 0
    # What fails is named, and a KMS that refuses is waited for.
    assert instance.api("GET", "/api/v1/tasks/3")["unit"] == "snapshots"


def test_a_rotated_key_a_raised_minimum_and_another_server(uploaded, vault, folder):
    instance, _, locator = uploaded
    vault.rotate_key(KEY)
    assert verify(instance, locator).returncode == 0  # the old version is there
    vault.configure_key(KEY, min_decryption_version=2)
    refused = verify(instance, locator)
    assert refused.returncode == 1
    assert f"vault key {KEY}, version 1, of {vault.address}" in refused.stderr
    vault.configure_key(KEY, min_decryption_version=1)

    instance.run("security", "kms", "rewrap", "-f")
    instance.mount_anew("data", folder / "mnt")
    planned = instance.run("fs", "snapshot", "rewrap", "--object-store", "disk", "--all", "--dry-run")
    assert "planned" in planned.stdout
    done = instance.run("fs", "snapshot", "rewrap", "--object-store", "disk", "--all",
                        "--drop-previous", "-f")
    assert "rewrapped" in done.stdout and f"needs: {KEY} version 1" in done.stdout, done.stdout
    assert listed(instance)[0]["kms_key_version"] == 2
    assert f"{KEY} version 1" in instance.run("security", "kms").stdout
    vault.configure_key(KEY, min_decryption_version=2)
    assert verify(instance, locator).returncode == 0

    # For another KMS, while both are there.
    token = folder / "token"
    vault.create_key("partner")
    token.write_text(vault.coffer_token("partner"))
    half = instance.run("fs", "snapshot", "rewrap", locator, "--object-store", "disk", "-f",
                        "--to-kms", "vault", check=False)
    assert half.returncode == 1 and "--to-address" in half.stderr
    instance.run("fs", "snapshot", "rewrap", locator, "--object-store", "disk", "-f", "--to-kms",
                 "vault", "--to-address", vault.address, "--to-key", "partner", "--token-file", token,
                 "--drop-previous")
    assert listed(instance)[0]["kms_key"] == "partner"
    elsewhere = verify(instance, locator)
    assert elsewhere.returncode == 1 and "vault key partner, version 1" in elsewhere.stderr


def what_is_left(place):
    """Apart from what says that it is an object store."""
    return [path for path in place.rglob("*") if path.is_file() and path.name != "coffer-place"]


def test_what_is_removed_takes_along_what_only_it_needs(uploaded, folder):
    instance, place, first = uploaded
    (folder / "mnt" / "more").write_bytes(random.Random(99).randbytes(3000000))
    second = upload(instance, "data", folder, snapshot="tuesday")
    told = instance.run("fs", "snapshot", "remove", "data", "tuesday", "-f").stdout
    assert f"stays: in object store disk, {second}" in told
    whole = instance.run("fs", "key", "repair", "data", "--object-store", "disk", check=False)
    assert whole.returncode == 1 and "nothing to repair" in whole.stderr
    told = instance.run("fs", "tier", "snapshot", "remove", "disk", first, "-f").stdout
    assert told.startswith("The uploaded snapshot was removed. ") and "are still needed" in told
    task = json.loads(instance.run("task", "-J").stdout)[-1]  # also of one that is waited for
    assert (task["kind"], task["object_store"], task["state"]) == ("removal", "disk", "done")
    assert task["unit"] == "objects" and task["done"] == task["total"] > 0
    assert [row["locator"] for row in listed(instance)] == [second]
    assert verify(instance, second).returncode == 0
    again = instance.run("fs", "tier", "snapshot", "remove", "disk", first, "-f", "--background",
                         check=False)
    assert again.returncode == 1 and f"holds no snapshot {first}" in again.stderr
    started = instance.run("fs", "tier", "snapshot", "remove", "disk", second, "-f", "--background",
                           "-J")
    done = instance.run("task", "wait", json.loads(started.stdout)["id"]).stdout
    assert "snapshots 1, objects " in done and "still needed 0" in done
    assert what_is_left(place) == []


def test_a_shredding_takes_along_what_is_uploaded(uploaded):
    instance, place, _ = uploaded
    instance.run("fs", "umount", "data")
    alone = instance.run("fs", "remove", "data", "--uploaded", "-f", check=False)
    assert alone.returncode == 1 and "--shred" in alone.stderr
    told = instance.run("fs", "remove", "data", "--shred", "--uploaded", "-f").stdout
    assert told.startswith("1 uploaded snapshot(s) of it were removed"), told
    assert what_is_left(place) == []


def test_credentials_of_a_bucket_are_seen_nowhere(instance, s3):
    instance.run("fs", "tier", "s3", "add", "backup", "--hostname", "127.0.0.1", "--port", s3.port,
                 "--bucket", "coffer", "--access-key-id", s3.access_key_id, "--ca-cert", s3.ca_cert,
                 "--secret-key", "-", input=s3.secret_key)
    seen, is_over = set(), threading.Event()

    def use():
        while not is_over.is_set():
            instance.run("fs", "tier", "snapshot", "list", "backup")

    def look():
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                shown = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
                program = (process / "exe").resolve()
            except OSError:
                continue
            if program.parent == instance.programs.resolve():  # another's environment is another's
                seen.add(program.name)
                assert s3.secret_key.encode() not in shown
        return {"cofferd", "coffer-store"} <= seen

    user = threading.Thread(target=use)  # the process for a bucket ends when it has been used
    user.start()
    try:
        wait_until(look, "a process for the bucket is seen")
    finally:
        is_over.set()
        user.join()
    assert s3.secret_key not in instance.log.read_text()
