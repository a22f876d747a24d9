"""The way back after a disaster: a filesystem whose host was away gets the snapshots of the one that was
made of it elsewhere, though that one has a key of its own."""
import errno
import json
import os
import shutil
import subprocess

import pytest

from instance import Instance, wait_until
from shared_sites import kms, sites  # noqa: F401
from sites import STORE, Site, end_as_a_host, fill, hashes, lose_ring, set_kms, sound
from vault_proxy import VaultProxy

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")


@pytest.fixture
def alone(build_folder, folder):
    """One that has both filesystems, and exports keys; without a key server."""
    (folder / "disk").mkdir()
    made = Site(build_folder, folder / "one", None, folder / "disk")
    made.instance = Instance(build_folder, made.folder, options=["--allow-key-export"])
    with made:
        yield made


def fail_over(one, two, *options, size=3 << 20, **parameters):
    """A filesystem of the one, as it goes on at the other: the locator of what became of it there, and
    what is in that."""
    one.instance.add("projects", **parameters)
    fill(one.mount("projects"))
    two.download("copy", one.upload("projects", "before", *options), *options)
    copy = two.mount("copy")
    two.wait_until_all_is_here("copy")
    (copy / "written-there").write_bytes(os.urandom(size))
    (copy / "folder-1" / "small-1").write_text("changed there")
    (copy / "folder-2" / "small-2").unlink()
    return two.upload("copy", "after", *options), hashes(copy)


def bring(site, filesystem, locator, *options, check=True):
    return site.instance.run("fs", "snapshot", "download", filesystem, locator, "--object-store", STORE,
                             *options, check=check)


def top_of(site, filesystem, name):
    rows = json.loads(site.instance.run("fs", "snapshot", "--filesystem", filesystem, "-J").stdout)
    found = next(row for row in rows if row["name"] == name)
    return site.folder / f"mnt-{filesystem}" / ".snapshots" / found["access_point"]


def shown(site, filesystem, name):
    return hashes(top_of(site, filesystem, name))


def restore(site, filesystem, name):
    site.instance.run("fs", "umount", filesystem)
    site.instance.run("fs", "restore", filesystem, name)
    return site.mount(filesystem)


def joined(site):
    rows = json.loads(site.instance.run("events", "--type", "keys-joined", "--num-results", "0",
                                        "-J").stdout)
    return len(rows)


def test_the_way_back_and_over_again(sites, build_folder, folder, kms):
    one, two = sites
    locator, wanted = fail_over(one, two)
    top = one.folder / "mnt-projects"
    worker, mine = one.instance.worker_pid("projects"), hashes(top)

    bring(one, "projects", locator, "--wait")
    assert joined(one) == 1
    assert one.instance.worker_pid("projects") == worker
    assert shown(one, "projects", "after") == wanted
    assert hashes(top) == mine
    sound(one.instance, "projects")

    top = restore(one, "projects", "after")
    assert hashes(top) == wanted
    (top / "at-home-again").write_bytes(os.urandom(1 << 20))
    second = one.upload("projects", "second")
    wanted = hashes(top)

    # The copy has all keys that this needs; and what it uploads next needs none that is new.
    bring(two, "copy", second, "--wait")
    copy = two.folder / "mnt-copy"
    assert shown(two, "copy", "second") == wanted and joined(two) == 0
    (copy / "once-more").write_text("there")
    bring(one, "projects", two.upload("copy", "third"), "--wait")
    assert shown(one, "projects", "third") == hashes(copy) and joined(one) == 1
    two.instance.run("fs", "umount", "copy")

    # A third host gets the keys of both with what either uploaded.
    with Site(build_folder, folder / "three", kms, one.disk) as three:
        three.download("other", second)
        other = three.mount("other")
        assert hashes(other) == wanted
        three.wait_until_all_is_here("other")
        sound(three.instance, "other")
        bring(one, "projects", three.upload("other", "fourth"), "--wait")
    assert shown(one, "projects", "fourth") == wanted and joined(one) == 2
    sound(one.instance, "projects")


def test_a_rotation_a_restart_and_a_key_server_that_is_away(build_folder, folder, openbao):
    openbao.create_key("rotated")
    (folder / "disk").mkdir()
    with VaultProxy(openbao) as proxy, \
            Site(build_folder, folder / "one", None, folder / "disk") as one:
        set_kms(one.instance, openbao, "rotated", address=proxy.address)
        locator, wanted = fail_over(one, one)
        proxy.is_away = True
        refused = bring(one, "projects", locator, check=False)
        assert refused.returncode == 1 and proxy.address in refused.stderr
        assert joined(one) == 0
        proxy.is_away = False

        # Both are killed in the middle; the keys are in the ring by then.
        task = json.loads(bring(one, "projects", locator, "-J").stdout)
        killed = one.instance.worker_pid("projects")
        end_as_a_host(one, "projects")
        one.instance.start()
        wait_until(lambda: one.instance.worker_pid("projects") not in (None, killed) and
                   one.instance.view("projects")["status"] == "mounted", "it is mounted again")
        one.instance.run("task", "wait", str(task["id"]))
        assert shown(one, "projects", "after") == wanted

        openbao.rotate_key("rotated")
        one.instance.run("security", "kms", "rewrap", "-f")
        openbao.configure_key("rotated", min_decryption_version=2)
        proxy.is_away = True
        end_as_a_host(one, "projects", "copy")
        one.instance.start()
        one.instance.wait_status("projects", "waiting-for-kms")
        proxy.is_away = False
        one.instance.wait_status("projects", "mounted")
        assert shown(one, "projects", "after") == wanted
        assert hashes(restore(one, "projects", "after")) == wanted
        sound(one.instance, "projects")
        one.instance.run("fs", "umount", "projects")
        one.instance.run("fs", "remove", "projects", "--shred", "--force")


def alert(site, filesystem):
    """What keeps data from elsewhere from being read; None if nothing does."""
    rows = json.loads(site.instance.run("alerts", "-J").stdout)
    return next((row for row in rows if row["type"] == "foreign-key-missing" and
                 row["filesystem"] == filesystem), None)


def test_a_key_server_that_lost_the_version_of_what_came(build_folder, folder, openbao):
    """It is restored from a backup of before: its own key opens, that which joined later does not."""
    openbao.create_key("restored", exportable=True, allow_plaintext_backup=True)
    (folder / "disk").mkdir()
    with Site(build_folder, folder / "one", None, folder / "disk") as one, \
            Site(build_folder, folder / "two", None, folder / "disk") as two:
        for site in (one, two):
            set_kms(site.instance, openbao, "restored")
        locator, wanted = fail_over(one, two)
        mine = hashes(one.folder / "mnt-projects")
        copy = two.instance.view("copy")["uuid"]
        former = openbao.api("GET", "transit/backup/restored")["data"]["backup"]
        openbao.rotate_key("restored")
        bring(one, "projects", locator, "--wait")
        assert shown(one, "projects", "after") == wanted
        latter = openbao.api("GET", "transit/backup/restored")["data"]["backup"]
        openbao.api("POST", "transit/restore/restored", {"backup": former, "force": True})

        run = one.instance.run
        run("fs", "umount", "projects")
        top = one.mount("projects")
        assert hashes(top) == mine
        there = top_of(one, "projects", "after")
        with pytest.raises(OSError) as caught:
            (there / "written-there").read_bytes()
        assert caught.value.errno == errno.EIO
        assert (there / "large").read_bytes() == (top / "large").read_bytes()
        text = alert(one, "projects")["text"]
        assert copy in text and "restored" in text
        assert copy in run("fs").stderr + run("fs").stdout
        checked = run("security", "kms", "check", check=False)
        assert checked.returncode != 0 and "projects opens, but not 1 of the keys" in checked.stdout
        checked = run("fs", "check", "projects", "--read-data", check=False)
        assert checked.returncode != 0 and copy in checked.stdout + checked.stderr
        assert run("fs", "check", "projects", check=False).returncode == 0

        # Nothing that goes on meanwhile loses it.
        (top / "meanwhile").write_bytes(os.urandom(1 << 20))
        mine = hashes(top)
        assert "as before" in run("security", "kms", "rewrap", "-f").stderr
        uploaded = one.upload("projects", "meanwhile")
        end_as_a_host(one, "projects")
        one.instance.start()
        one.instance.wait_status("projects", "mounted")
        assert alert(one, "projects")
        worker = one.instance.worker_pid("projects")

        openbao.api("POST", "transit/restore/restored", {"backup": latter, "force": True})
        set_kms(one.instance, openbao, "restored")  # else it is seen within a minute
        wait_until(lambda: alert(one, "projects") is None, "the key opens again")
        assert one.instance.worker_pid("projects") == worker
        assert shown(one, "projects", "after") == wanted
        assert hashes(top) == mine
        sound(one.instance, "projects")
        bring(two, "copy", uploaded, "--wait")
        assert shown(two, "copy", "meanwhile") == mine


def test_a_ring_from_before_gets_the_keys_again(sites):
    one, two = sites
    locator, wanted = fail_over(one, two)
    bring(one, "projects", locator, "--wait")
    mine = hashes(one.folder / "mnt-projects")
    lose_ring(one, "projects")
    one.instance.run("fs", "key", "repair", "projects", "--object-store", STORE)
    assert hashes(one.mount("projects")) == mine
    with pytest.raises(OSError) as caught:
        shown(one, "projects", "after")
    assert caught.value.errno == errno.EIO
    bring(one, "projects", locator, "--name", "again", "--wait")
    assert joined(one) == 2
    for name in ("again", "after"):
        assert shown(one, "projects", name) == wanted
    sound(one.instance, "projects")


def test_local_keys_and_a_recovery_copy(alone):
    run = alone.instance.run
    locator, wanted = fail_over(alone, alone, "--allow-no-kms", allow_no_kms=True)
    certificate, key, old, copy = (alone.folder / name for name in ("pem", "key", "old", "copy"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj",
                    "/CN=custodian", "-keyout", key, "-out", certificate],
                   check=True, capture_output=True)
    export = ["fs", "key", "export", "projects", "--recipient-cert", certificate, "--output-file"]
    run(*export, old)
    bring(alone, "projects", locator, "--wait")
    mine = hashes(alone.folder / "mnt-projects")
    run(*export, copy)
    run("fs", "umount", "copy")
    run("fs", "remove", "copy", "--shred", "--force")
    run("fs", "umount", "projects")
    shutil.rmtree(alone.instance.state / "local-keys")

    def take_back(keys, check=True):
        return run("fs", "key", "import", "projects", keys, "--recipient-key", key,
                   "--allow-no-kms", check=check)
    # The one from before has the filesystem's own keys; only what came later needs the other.
    assert "the recovery copy does not have it" in take_back(old).stderr
    top = alone.mount("projects")
    assert hashes(top) == mine and alert(alone, "projects")
    with pytest.raises(OSError) as caught:
        shown(alone, "projects", "after")
    assert caught.value.errno == errno.EIO
    run("fs", "umount", "projects")
    assert "does not have it" not in take_back(copy).stderr
    alone.mount("projects")
    assert shown(alone, "projects", "after") == wanted and not alert(alone, "projects")
    assert hashes(restore(alone, "projects", "after")) == wanted
    sound(alone.instance, "projects")


def test_with_kmip(build_folder, folder, pykmip):
    (folder / "disk").mkdir()
    with Site(build_folder, folder / "one", None, folder / "disk") as one:
        uid = pykmip.admin().create()
        one.instance.set_kmip(pykmip, uid)
        locator, wanted = fail_over(one, one)
        bring(one, "projects", locator, "--wait")
        new = pykmip.admin().create()
        one.instance.run("security", "kms", "rewrap", "--new-key-uid", new, "--drop-previous", "-f")
        pykmip.admin().revoke(uid)
        one.mount_anew("projects")
        assert shown(one, "projects", "after") == wanted
        sound(one.instance, "projects")
