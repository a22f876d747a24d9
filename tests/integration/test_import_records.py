"""What is noted of the download of a snapshot into a filesystem: who asked for it, and how it ended,
in the audit log."""
import json
import os

import pytest

from sites import STORE, Site, hashes

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")


@pytest.fixture
def sites(build_folder, folder, openbao):
    openbao.create_key("shared")
    disk = folder / "disk"
    disk.mkdir()
    with Site(build_folder, folder / "one", openbao, disk) as one:
        with Site(build_folder, folder / "two", openbao, disk) as two:
            yield one, two


@pytest.fixture
def pair(sites):
    """A filesystem, its copy elsewhere, and a snapshot with something that the copy has not."""
    one, two = sites
    one.instance.add("projects")
    top = one.mount("projects")
    (top / "file").write_text("of both")
    two.download("copy", one.upload("projects", "first"))
    copy = two.mount("copy")
    two.wait_until_all_is_here("copy")
    (top / "larger").write_bytes(os.urandom(4 << 20))
    return two, one.upload("projects", "second"), hashes(top), copy


def begin(site, locator, *options):
    done = site.instance.run("fs", "snapshot", "download", "copy", locator, "--object-store", STORE,
                             *options, "-J")
    return str(json.loads(done.stdout)["id"])


def audited(site):
    """The oldest first."""
    return json.loads(site.instance.run("audit", "--operation", "download", "-J").stdout)


def test_the_audit_log_knows_who_asked_for_it_and_how_it_ended(pair):
    two, locator, _, _ = pair
    (chunks,) = [path for path in two.disk.rglob("chunks") if path.is_dir()]
    chunks.rename(two.disk / "away")
    two.instance.run("task", "wait", begin(two, locator), check=False)
    asked, failed = audited(two)
    assert asked["result"] == "ok" and asked["filesystem"] == "copy" and asked["by"] == "uid 0"
    assert asked["text"] == f"snapshot {locator} of object store {STORE}, into this filesystem"
    assert asked["kms_key"] == "shared"
    assert failed["result"] != "ok" and failed["filesystem"] == "copy" and failed["by"] == "uid 0"
    assert failed["text"].startswith(f"the download of a snapshot from {STORE} failed: ")

    (two.disk / "away").rename(chunks)
    two.instance.run("task", "wait", begin(two, locator))
    assert [row["result"] for row in audited(two)] == ["ok", failed["result"], "ok"]
    refused = two.instance.run("fs", "snapshot", "download", "copy", locator, check=False)
    assert refused.returncode == 1 and "already" in refused.stderr
    assert len(audited(two)) == 3  # nothing was begun
    two.instance.run("audit", "verify")
