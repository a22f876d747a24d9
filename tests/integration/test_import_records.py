"""What is noted of the download of a snapshot into a filesystem: who asked for it, and how it ended,
in the audit log; and in the registry not the name that somebody chose for it."""
import json
import os
import signal

import pytest

from instance import wait_until
from shared_sites import kms, sites  # noqa: F401
from sites import STORE, hashes

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")
NAME = "a-name-that-nobody-reads"


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


def set_limit(site, rate):
    site.instance.run("fs", "tier", "dir", "update", STORE, "--download-bandwidth", rate)


def begin(site, locator, *options):
    done = site.instance.run("fs", "snapshot", "download", "copy", locator, "--object-store", STORE,
                             *options, "-J")
    return str(json.loads(done.stdout)["id"])


def audited(site):
    """The oldest first."""
    return json.loads(site.instance.run("audit", "--operation", "download", "-J").stdout)


def kept(site):
    """All that the control plane has on its disk."""
    paths = [*(site.instance.state / "registry").iterdir(), site.instance.log]
    return b"".join(path.read_bytes() for path in map(type(site.folder), paths))


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


def test_a_name_that_was_chosen_is_sealed_until_the_snapshot_has_it(pair):
    two, locator, wanted, copy = pair
    set_limit(two, "64KiB")
    task = begin(two, locator, "--name", NAME)
    assert b"CFTK" in kept(two) and NAME.encode() not in kept(two)
    set_limit(two, "0")  # what runs has the limit from its start
    worker = two.instance.worker_pid("copy")
    two.instance.stop(signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    two.instance.start()
    wait_until(lambda: two.instance.worker_pid("copy") not in (None, worker), "it is started again")
    two.instance.wait_status("copy", "mounted")
    two.instance.run("task", "wait", task)
    (row,) = two.instance.api("GET", "/api/v1/filesystems/copy/snapshots")
    assert (row["name"], row["access_point"]) == (NAME, NAME)
    assert hashes(copy / ".snapshots" / NAME) == wanted
    two.instance.stop()
    assert NAME.encode() not in kept(two)
