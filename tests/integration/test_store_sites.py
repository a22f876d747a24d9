"""The site of an object store, local or remote: what uploads, downloads and snapshot policies mean
by it, and how they say that it means nothing, or too much."""
import json
import os

import pytest

from instance import Instance, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")
POLICY = ("fs", "protection", "snapshot-policy")


class Host:
    """An instance with a mounted filesystem, and object stores in folders."""

    def __init__(self, instance, folder, kms):
        instance.set_kmip(kms, kms.admin().create())
        instance.add("projects")
        self.instance, self.folder, self.run = instance, folder, instance.run
        self.mnt = instance.mount("projects", folder / "mnt")

    def add_store(self, name, *options):
        (self.folder / name).mkdir()
        self.run("fs", "tier", "dir", "add", name, "--path", self.folder / name, *options)

    def stores(self):
        rows = json.loads(self.run("fs", "tier", "-J").stdout)
        return {row["name"]: row["site"] for row in rows}

    def refusal(self, *words):
        done = self.run(*words, check=False)
        assert done.returncode == 1, done
        return done.stderr

    def upload(self, snapshot, *options):
        """Where it is, by object store."""
        self.run("fs", "snapshot", "upload", "projects", snapshot, "--wait", *options)
        rows = self.instance.api("GET", "/api/v1/filesystems/projects/snapshots")
        return {upload["object_store"]: upload["locator"] for row in rows
                if row["name"] == snapshot for upload in row["uploads"]}


@pytest.fixture
def host(build_folder, folder, pykmip):
    with Instance(build_folder, folder) as instance:
        yield Host(instance, folder, pykmip)


def test_a_site_names_the_only_object_store_of_it(host):
    run, refusal = host.run, host.refusal
    host.add_store("near")
    host.add_store("far", "--site", "REMOTE")
    assert host.stores() == {"near": "local", "far": "remote"}
    table = run("fs", "tier", "dir").stdout.splitlines()
    assert "SITE" in table[0] and "remote" in table[1] and "local" in table[2]

    (host.mnt / "file").write_text("of both")
    run("fs", "snapshot", "add", "projects", "one")
    upload = ("fs", "snapshot", "upload", "projects", "one")
    assert "there are 2 object stores; say which one with --object-store NAME, or with --site local" \
           in refusal(*upload)
    assert "is given twice" in refusal(*upload, "--site", "local", "--object-store", "near")
    assert "'mars' is no site" in refusal(*upload, "--site", "mars")
    assert list(host.upload("one", "--site", "remote")) == ["far"]
    assert sorted(uploads := host.upload("one", "--site", "LOCAL")) == ["far", "near"]

    host.add_store("farther", "--site", "remote")
    assert "there are 2 object stores of site remote" in refusal(*upload, "--site", "remote")
    run("fs", "tier", "dir", "update", "near", "--site", "remote")
    assert "there is no object store of site local" in refusal(*upload, "--site", "local")
    run("fs", "tier", "dir", "update", "far", "--site", "local")
    run("fs", "tier", "dir", "update", "near", "--upload-bandwidth", "1GiB")
    host.instance.stop()
    host.instance.start()
    assert host.stores() == {"near": "remote", "far": "local", "farther": "remote"}

    # What has only moved to another site is where it was.
    host.instance.wait_status("projects", "mounted")
    run("fs", "snapshot", "download", "projects", uploads["far"], "--site", "local", "--name",
        "back", "--wait")
    download = ("fs", "download", "copy", uploads["far"])
    assert "or its site with --site" in refusal(*download)
    assert "there are 2 object stores of site remote" in refusal(*download, "--site", "remote")
    run(*download, "--site", "local")
    copy = host.instance.mount("copy", host.folder / "mnt-copy")
    assert (copy / "file").read_text() == "of both"
    assert "--site" in run("__complete", "fs", "snapshot", "upload", "--s").stdout.split()


def test_a_policy_uploads_to_the_only_object_store_of_a_site(host):
    def policy(*words, **options):
        return host.run(*POLICY, *words, **options)

    def uploads():
        rows = host.instance.api("GET", "/api/v1/filesystems/projects/snapshots")
        return [upload["object_store"] for row in rows for upload in row["uploads"]]

    def shown():
        return host.instance.api("GET", "/api/v1/snapshot-policies/p")["daily_upload"]

    daily = ("p", "--daily", "0:00", "--daily-upload")
    assert "there is no object store of site remote" in host.refusal(*POLICY, "add", *daily, "remote")
    assert "'mars' is no site" in host.refusal(*POLICY, "add", *daily, "site:mars")
    host.add_store("near")
    host.add_store("far", "--site", "remote")
    policy("add", *daily, "Remote")
    policy("attach", "p", "projects")
    policy("run-once", "p")
    wait_until(lambda: uploads() == ["far"], "it is uploaded")
    assert "uploads to site:remote" in policy("show", "p").stdout

    # One may have that name: it is meant from then on, by whoever says so then.
    host.add_store("remote")
    policy("update", "p", "--daily-retention", "5")
    assert shown() == "site:remote"
    policy("update", *daily, "remote")
    assert shown() == "remote"
    policy("update", *daily, "site:remote")
    host.run("fs", "tier", "dir", "update", "remote", "--site", "remote")
    policy("run-once", "p")

    def alerts():
        return [row["text"] for row in host.instance.api("GET", "/api/v1/alerts")
                if row["type"] == "snapshot-policy-failed"]
    (text,) = wait_until(alerts, "it is told")
    assert "there are 2 object stores of site remote" in text
    assert uploads() == ["far"]
    host.run("fs", "tier", "dir", "update", "remote", "--site", "local")
    policy("run-once", "p")  # tries again at once, and takes one more
    wait_until(lambda: uploads() == ["far"] * 3, "both are uploaded")
