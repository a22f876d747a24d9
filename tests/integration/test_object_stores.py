"""coffer fs tier: object stores that are configured, with a real S3 server and with folders; what
is refused and how that is said; that no secret key comes out; that a server fails in the middle."""
import http.server
import json
import os
import pathlib
import re
import stat
import threading

import pytest

import servers
from certificates import Authority
from instance import ApiError, Instance

SECRET_PART = "secret-of-the-root"


@pytest.fixture
def instance(build_folder, folder):
    with Instance(build_folder, folder) as made:
        yield made


def settings(s3, **others):
    values = {"name": "backup", "type": "s3", "hostname": "127.0.0.1", "port": s3.port,
              "bucket": "coffer", "access_key_id": s3.access_key_id, "secret_key": s3.secret_key,
              "ca_cert": s3.ca_cert.read_text(), "prefix": "host1", **others}
    return {name: value for name, value in values.items() if value is not None}


def add(instance, s3, **others):
    return instance.api("POST", "/api/v1/object-stores", settings(s3, **others))


def options(s3):
    return ["--hostname", "127.0.0.1", "--port", s3.port, "--bucket", "coffer",
            "--access-key-id", s3.access_key_id, "--ca-cert", s3.ca_cert]


def secrets(instance):
    return sorted((instance.state / "object-stores").iterdir())


def test_a_bucket_is_added_shown_changed_tried_and_removed(instance, s3, folder):
    key = folder / "key"
    key.write_text(s3.secret_key + "\n")
    assert "There is none yet" in instance.run("fs", "tier").stderr
    said = instance.run("fs", "tier", "s3", "add", "backup", *options(s3),
                        "--secret-key-file", key).stdout
    assert said == "Object store backup was added; it was tried and does what coffer needs.\n"
    instance.run("fs", "tier", "s3", "add", "second", *options(s3), "--prefix", "a/b",
                 "--secret-key", "-", input=s3.secret_key)
    rows = json.loads(instance.run("fs", "tier", "s3", "-J").stdout)
    assert [row["name"] for row in rows] == ["backup", "second"]
    assert rows[0]["region"] == "us-east-1" and rows[0]["protocol"] == "HTTPS"
    assert rows[0]["ca_cert"] is True
    assert instance.run("fs", "tier", "check", "second").returncode == 0

    instance.run("fs", "tier", "s3", "update", "second", "--prefix", "c",
                 "--upload-bandwidth", "10MiB", "--secret-key-file", key)
    table = instance.run("fs", "tier", "s3", "-v", "-f", "csv").stdout.splitlines()
    assert "10.00 MiB" in table[2] and ",c," in table[2]
    assert len(secrets(instance)) == 2
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in secrets(instance))

    instance.stop()
    (instance.state / "object-stores" / "01234567-89ab-cdef-0123-456789abcdef").write_text("left")
    instance.start()
    assert len(secrets(instance)) == 2
    assert instance.run("fs", "tier", "check", "second").returncode == 0
    wrong = instance.run("fs", "tier", "dir", "remove", "second", check=False)
    assert wrong.returncode == 1 and "is of type s3" in wrong.stderr
    instance.run("fs", "tier", "s3", "remove", "second", "--force")
    gone = instance.run("fs", "tier", "check", "second", check=False)
    assert gone.returncode == 1 and "there is no object store second" in gone.stderr
    assert len(secrets(instance)) == 1
    assert s3.keys() == []  # trials leave nothing
    types = [row["type"] for row in json.loads(instance.run("events", "-J").stdout)]
    assert types.count("object-store-added") == 2 and "object-store-removed" in types


def test_a_folder_is_added_tried_and_removed(instance, folder):
    place = folder / "disk"
    missing = instance.run("fs", "tier", "dir", "add", "disk", "--path", place, check=False)
    assert missing.returncode == 1 and str(place) in missing.stderr
    assert "make it, or mount its disk" in missing.stderr
    missing = instance.run("fs", "tier", "dir", "add", "disk", "--path", "disk", check=False,
                           cwd=folder)
    assert "cannot find the folder disk" in missing.stderr
    place.mkdir()
    instance.run("fs", "tier", "dir", "add", "disk", "--path", "disk", cwd=folder)
    rows = json.loads(instance.run("fs", "tier", "-J").stdout)
    assert [(row["name"], row["type"], row["path"]) for row in rows] == [("disk", "dir", str(place))]
    mark = place / "coffer-place"
    assert [path for path in place.rglob("*") if path.is_file()] == [mark]
    assert re.fullmatch(r"object store of coffer: [0-9a-f-]{36}\n", mark.read_text())
    instance.run("fs", "tier", "check", "disk")
    instance.run("fs", "tier", "dir", "update", "disk", "--download-bandwidth", "1GB")
    assert instance.api("GET", "/api/v1/object-stores/disk")["download_bandwidth"] == 10**9
    instance.run("fs", "tier", "dir", "update", "disk", "--path", ".", cwd=place)
    assert instance.api("GET", "/api/v1/object-stores/disk")["path"] == str(place)
    assert instance.run("fs", "tier", "snapshot", "list", "disk").stderr == \
        "There is no uploaded snapshot in object store disk.\n"
    unknown = instance.run("fs", "tier", "ops", "disk", "--expire", "that", "--force", check=False)
    assert "'that' is not one of the ids" in unknown.stderr
    instance.run("fs", "tier", "dir", "remove", "disk")
    assert instance.api("GET", "/api/v1/object-stores") == []


def test_it_says_that_a_server_does_not_speak_tls_or_that_a_url_was_given(instance):
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as plain:
        threading.Thread(target=plain.serve_forever, daemon=True).start()
        words = ["fs", "tier", "s3", "add", "plain", "--port", plain.server_port, "--bucket", "coffer",
                 "--access-key-id", "a", "--secret-key", "b", "--hostname"]
        refused = instance.run(*words, "127.0.0.1", check=False).stderr
        assert "does not speak TLS" in refused and "which CA" not in refused
        refused = instance.run(*words, "https://127.0.0.1", check=False).stderr
        assert "without http://" in refused
        plain.shutdown()


REFUSALS = [
    ({"secret_key": "wrong"}, 403, "does not accept the signature"),
    ({"access_key_id": "nobody"}, 403, "does not know the access key id nobody"),
    ({"bucket": "not-there"}, 422, "there is no bucket not-there"),
    ({"region": "eu-west-1"}, 422, "give --region us-east-1"),
    ({"ca_cert": None}, 502, "give it with --ca-cert"),
    ({"hostname": "no-such-host.invalid"}, 502, "cannot be resolved"),
    ({"secret_key": ""}, 400, "the secret key is empty"),
    ({"secret_key": None}, 400, "the secret key is empty"),
    ({"bucket": None}, 400, "cannot be the name of a bucket"),
    ({"bucket": "a/../b"}, 400, "cannot be the name of a bucket"),
    ({"prefix": "/a"}, 400, "cannot be a prefix"),
    ({"hostname": "http://h"}, 400, "no host name"),
    ({"protocol": "HTTPS_UNVERIFIED"}, 400, "always verified"),
    ({"port": 65536}, 400, "\"port\" must be from 0 to 65535"),
    ({"max_concurrent": 65}, 400, "from 0 to 64"),
    ({"upload_bandwidth": -1}, 400, "upload_bandwidth"),
    ({"path": "/tmp"}, 400, "does not belong to an object store of type s3"),
    ({"type": "ftp"}, 400, "s3 or dir"),
    ({"name": "a/b"}, 400, "name is made of"),
    ({"name": "x" * 33}, 400, "\"name\""),
    ({"ca_cert": "no PEM"}, 400, ""),
]


def test_each_refusal_has_its_sentence_and_nothing_is_kept(instance, s3):
    for others, status, part in REFUSALS:
        with pytest.raises(ApiError) as refused:
            add(instance, s3, **others)
        assert refused.value.status == status, (others, refused.value)
        assert part in refused.value.text, others
        assert SECRET_PART not in refused.value.text
    assert instance.api("GET", "/api/v1/object-stores") == []
    assert secrets(instance) == []
    assert s3.keys() == []


def test_an_update_that_is_refused_leaves_all_as_it_was(instance, s3):
    before = add(instance, s3)
    with pytest.raises(ApiError) as taken:
        add(instance, s3)
    assert taken.value.status == 409
    files = secrets(instance)
    for change in ({"secret_key": "wrong"}, {"bucket": "not-there"}, {"prefix": "a//b"}):
        with pytest.raises(ApiError):
            instance.api("PATCH", "/api/v1/object-stores/backup", change)
    assert instance.api("GET", "/api/v1/object-stores/backup") == before
    assert secrets(instance) == files
    instance.api("POST", "/api/v1/object-stores/backup/check")


def test_who_may_do_nothing_is_told_which_permission_is_missing(instance, tmp_path):
    try:
        server = servers.VersitygwServer(tmp_path / "s3")
    except servers.Unavailable as reason:
        pytest.skip(str(reason))
    with server as s3:
        s3.add_user("limited", "limited-secret")
        body = settings_of_limited(s3)
        with pytest.raises(ApiError) as denied:
            instance.api("POST", "/api/v1/object-stores", body)
        assert denied.value.status == 403
        assert "denies access to the access key id limited" in denied.value.text
        assert "s3:PutObject" in denied.value.text
        # In a recovery the credentials may be allowed to read only.
        instance.api("POST", "/api/v1/object-stores", {**body, "skip_verification": True})


def settings_of_limited(s3):
    return {"name": "limited", "type": "s3", "hostname": "127.0.0.1", "port": s3.port,
            "protocol": "HTTP", "bucket": "coffer", "access_key_id": "limited",
            "secret_key": "limited-secret"}


def test_a_certificate_of_another_ca_is_refused(instance, s3, folder):
    other = Authority(folder / "other")
    with pytest.raises(ApiError) as refused:
        add(instance, s3, ca_cert=other.cert.read_text())
    assert refused.value.status == 502
    assert "no trusted connection" in refused.value.text


def test_a_secret_key_never_comes_out(instance, s3, folder):
    key = folder / "key"
    key.write_text(s3.secret_key)
    said = instance.run("fs", "tier", "s3", "add", "backup", *options(s3),
                        "--secret-key-file", key)
    texts = [said.stdout, said.stderr]
    for words in (["fs", "tier"], ["fs", "tier", "s3", "-v"], ["fs", "tier", "-J"],
                  ["events", "-J"], ["audit", "-J"], ["status", "-J"],
                  ["fs", "tier", "check", "backup"]):
        done = instance.run(*words)
        texts += [done.stdout, done.stderr]
    texts.append(pathlib.Path(instance.log).read_text())
    instance.stop()
    for path in instance.state.rglob("*"):
        if path.is_file() and path.parent.name != "object-stores":
            texts.append(path.read_bytes().decode("latin-1"))
    assert not any(SECRET_PART in text for text in texts)


def test_the_secret_key_is_taken_from_the_environment_or_asked_for(instance, s3):
    words = ["fs", "tier", "s3", "add", "backup", *options(s3)]
    missing = instance.run(*words, check=False, start_new_session=True)
    assert missing.returncode == 1
    assert "give --secret-key-file, --secret-key or -, or set COFFER_S3_SECRET_KEY" in missing.stderr
    instance.environment["COFFER_S3_SECRET_KEY"] = s3.secret_key
    assert instance.run(*words, start_new_session=True).returncode == 0
    del instance.environment["COFFER_S3_SECRET_KEY"]
    instance.run("fs", "tier", "s3", "update", "backup", "-", input=s3.secret_key)
    twice = instance.run("fs", "tier", "s3", "update", "backup", "-", "--secret-key", "x",
                         check=False, input=s3.secret_key)
    assert twice.returncode == 1 and "more than once" in twice.stderr
    surplus = instance.run(*words[:5], "x", *words[5:], check=False)
    assert surplus.returncode == 1 and "one word too many" in surplus.stderr


def test_the_registry_holds_what_the_format_says(instance, s3):
    add(instance, s3)
    instance.stop()
    registry = (instance.state / "registry" / "metadata.mdb").read_bytes()
    assert re.search(rb"CSOR\x03\x00\x02\x00\x00", registry)
    (secret,) = secrets(instance)
    content = secret.read_bytes()
    length = len(s3.secret_key)
    assert content == b"CSOK\x01\x00" + length.to_bytes(2, "little") + s3.secret_key.encode()
    assert os.stat(secret.parent).st_mode & 0o777 == 0o700
