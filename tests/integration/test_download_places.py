"""Where a snapshot is downloaded: beside its origin, on the host that lost all but its disk, from a real
S3 server; and key server and object store that are away meanwhile."""
import os
import shutil

import pytest

import servers
from instance import wait_until
from shared_sites import kms, origin, places, site  # noqa: F401
from sites import STORE, Origin, Site, end_as_a_host, hashes, set_kms, sound
from tcp_proxy import TcpProxy
from trees import describe, differences
from vault_proxy import VaultProxy

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")


def write(path, content):
    """To last."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def test_beside_its_origin_both_go_on_and_none_disturbs_the_other(build_folder, folder, kms):
    (folder / STORE).mkdir()
    with Site(build_folder, folder, kms, folder / STORE) as site:
        origin = Origin(site, "projects")
        live = site.folder / "mnt-projects"
        write(live / "after", b"of the origin")
        site.opens("beside", origin.locator, origin.wanted)
        copy = site.folder / "mnt-beside"
        write(copy / "large", b"of the copy")
        write(live / "large", b"of the origin")
        write(copy / "own", b"of the copy")
        views = [site.instance.view(name) for name in ("projects", "beside")]
        assert views[0]["uuid"] != views[1]["uuid"]
        site.wait_until_all_is_here("beside")
        end_as_a_host(site, "projects", "beside")
        site.instance.start()
        for name in ("projects", "beside"):
            site.instance.wait_status(name, "mounted")
            sound(site.instance, name)
        assert (copy / "large").read_bytes() == b"of the copy"
        assert (live / "large").read_bytes() == b"of the origin"
        assert not (live / "own").exists() and not (copy / "after").exists()
        # Its keys are destroyed: those that the copy has stay.
        site.instance.run("fs", "umount", "projects")
        site.instance.run("fs", "remove", "projects", "--shred", "--force")
        wanted = hashes(copy)
        assert hashes(site.mount_anew("beside")) == wanted


def test_on_the_host_that_lost_its_state(build_folder, folder, kms):
    (folder / STORE).mkdir()
    with Site(build_folder, folder / "host", kms, folder / STORE) as site:
        origin = Origin(site, "projects")
        site.instance.run("fs", "umount", "projects")
    shutil.rmtree(site.instance.state)
    with Site(build_folder, folder / "host", kms, folder / STORE) as anew:
        assert anew.names() == []
        assert [row["filesystem"] for row in anew.listed()] == ["projects"]
        assert [use["this_instance"] for use in anew.uses()] == [False]
        anew.opens("projects", origin.locator, origin.wanted)
        anew.wait_until_all_is_here("projects")
        again = anew.upload("projects", "again")
        assert anew.verify(again).returncode == 0
        anew.instance.run("fs", "tier", "snapshot", "remove", STORE, origin.locator, "--force")
        assert anew.verify(again).returncode == 0


def test_the_kms_is_away_when_it_is_needed(build_folder, folder, places, origin, kms):
    with VaultProxy(kms) as proxy, Site(build_folder, folder, None, places / STORE) as fresh:
        set_kms(fresh.instance, kms, address=proxy.address)
        proxy.is_away = True
        text = fresh.refuses(origin.locator)
        assert proxy.address in text
        proxy.is_away = False
        fresh.opens("copy", origin.locator, origin.wanted)
        proxy.is_away = True
        end_as_a_host(fresh, "copy")
        fresh.instance.start()
        row = fresh.instance.wait_status("copy", "waiting-for-kms")
        assert row["mounted_at"] == ""
        proxy.is_away = False
        fresh.instance.wait_status("copy", "mounted")
        assert differences(origin.wanted, describe(fresh.folder / "mnt-copy")) == []


@pytest.fixture
def s3(folder):
    try:
        server = servers.VersitygwServer(folder / "versitygw", tls=True)
    except servers.Unavailable as reason:
        pytest.skip(str(reason))
    with server:
        yield server


def test_from_a_real_s3_server_that_goes_away_for_a_while(build_folder, folder, kms, s3):
    with S3Site(build_folder, folder / "one", kms, s3) as one, \
            S3Site(build_folder, folder / "two", kms, s3) as two:
        origin = Origin(one, "projects")
        assert one.verify(origin.locator).returncode == 0
        two.opens("copy", origin.locator, origin.wanted)
        two.wait_until_all_is_here("copy")
        two.limit(300_000)  # so that it does not end before its host does
        two.download("second", origin.locator)
        two.mount("second")
        two.limit(0)
        end_as_a_host(two, "copy", "second")
        s3.stop()
        two.instance.start()
        # What is here comes up by itself; what needs the store, when it is back.
        two.instance.wait_status("copy", "mounted")
        assert differences(origin.wanted, describe(two.folder / "mnt-copy")) == []
        assert two.instance.view("second")["status"] != "mounted"
        s3.start()
        two.instance.wait_status("second", "mounted")
        assert differences(origin.wanted, describe(two.folder / "mnt-second")) == []
        two.wait_until_all_is_here("second")
        one.instance.run("fs", "tier", "snapshot", "remove", STORE, origin.locator, "--force")
        assert s3.keys() == []
        sound(two.instance, "second")


@pytest.mark.deep
def test_the_network_is_cut_in_the_middle_of_an_upload_and_of_a_download(
        build_folder, folder, kms, s3):
    with TcpProxy(s3.port) as proxy, \
            S3Site(build_folder, folder / "one", kms, s3) as one, \
            S3Site(build_folder, folder / "two", kms, s3, proxy.port) as two:
        origin = Origin(one, "projects")
        proxy.cut_after(3 << 20)
        two.download("copy", origin.locator)
        top = two.mount("copy")
        assert proxy.is_cut.wait(60)
        proxy.mend()
        two.wait_until_all_is_here("copy")
        assert differences(origin.wanted, describe(top)) == []
        sound(two.instance, "copy")

        # What it uploads of this, too, goes on.
        (top / "new").write_bytes(os.urandom(4 << 20))
        two.instance.run("fs", "snapshot", "add", "copy", "again")
        proxy.cut_after(1 << 20)
        upload = two.instance.api("POST", "/api/v1/filesystems/copy/snapshots/upload",
                                  {"name": "again", "object_store": STORE})
        assert proxy.is_cut.wait(60)
        proxy.mend()
        two.instance.run("task", "resume", upload["id"], check=False)
        two.instance.run("task", "wait", upload["id"])
        for row in one.listed():
            assert one.verify(row["locator"]).returncode == 0
        assert len(one.listed()) == 2


def test_an_unmount_does_not_wait_for_a_network_that_hangs(build_folder, folder, kms, s3):
    with TcpProxy(s3.port) as proxy, \
            S3Site(build_folder, folder / "one", kms, s3) as one, \
            S3Site(build_folder, folder / "two", kms, s3, proxy.port) as two:
        origin = Origin(one, "projects")
        two.download("copy", origin.locator)
        proxy.hold_after(1 << 20)
        two.mount("copy")
        assert proxy.is_held.wait(60)
        two.instance.run("fs", "umount", "copy")
        assert two.instance.view("copy")["status"] == "stopped"
        proxy.goes_on.set()
        assert differences(origin.wanted, describe(two.mount("copy"))) == []


class S3Site(Site):
    """Its object store is a bucket, perhaps on the other side of a proxy."""

    def __init__(self, build_folder, folder, kms, server, port=None):
        super().__init__(build_folder, folder, kms, server)
        self.port = port or server.port

    def furnish(self):
        set_kms(self.instance, self.kms)
        self.instance.api("POST", "/api/v1/object-stores", {
            "name": STORE, "type": "s3", "hostname": "127.0.0.1", "port": self.port,
            "bucket": "coffer", "access_key_id": self.disk.access_key_id,
            "secret_key": self.disk.secret_key, "ca_cert": self.disk.ca_cert.read_text()})

    def limit(self, bytes_per_s):
        """For processes that use the store from now on."""
        self.instance.api("PATCH", f"/api/v1/object-stores/{STORE}",
                          {"download_bandwidth": bytes_per_s})
