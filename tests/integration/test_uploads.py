"""What lies in an object store, and what is done with it there: coffer fs tier snapshot, ops, clean."""
import json

import pytest

import servers
from instance import Instance


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    try:
        server = servers.VersitygwServer(tmp_path_factory.mktemp("versitygw"), tls=True)
    except servers.Unavailable as reason:
        pytest.skip(str(reason))
    with server:
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
