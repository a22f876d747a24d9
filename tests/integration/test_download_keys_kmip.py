"""Which key a download needs, with PyKMIP: replaced, deactivated and destroyed, on a server that was
restored elsewhere, and after the uploaded snapshots were wrapped for another KMS."""
import os
import shutil

import pytest

import servers
from kmip_admin import find
from kmip_proxy import KmipProxy
from shared_sites import fresh, places  # noqa: F401
from sites import Origin, Site, set_kms

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")
DECRYPT = 0x20


@pytest.fixture(scope="module")
def site(build_folder, places):
    with Site(build_folder, places / "one", None, places / "disk") as made:
        yield made


@pytest.fixture(scope="module")
def origin(site, pykmip):
    site.uid = pykmip.admin().create()
    site.instance.set_kmip(pykmip, site.uid)
    return Origin(site, "projects")


def test_another_key_of_the_server_and_one_request_for_the_origins(origin, fresh, pykmip):
    decrypted = []

    def note(request):
        if int.from_bytes(find(request, 0x5C), "big") == DECRYPT:
            decrypted.append(find(request, 0x94).decode())

    own = pykmip.admin().create()
    with KmipProxy(pykmip, note) as proxy:
        fresh.instance.set_kmip(pykmip, own, address=proxy.address)
        fresh.opens("copy", origin.locator, origin.wanted)
        fresh.wait_until_all_is_here("copy")
        assert decrypted.count(origin.site.uid) == 1
        assert fresh.wrapped("copy") == (own, 0)
        fresh.instance.stop()
        fresh.instance.start()
        fresh.mount_anew("copy")
        assert decrypted.count(origin.site.uid) == 1


def test_a_server_that_was_restored_from_its_backup_elsewhere(origin, fresh, pykmip, tmp_path):
    restored = servers.PykmipServer(tmp_path / "restored")
    shutil.copy(pykmip.folder / "kmip.db", restored.folder / "kmip.db")
    with restored:
        fresh.instance.set_kmip(restored, origin.site.uid)
        fresh.opens("copy", origin.locator, origin.wanted)


def test_another_server_that_has_another_key_under_the_same_number(origin, fresh, pykmip, tmp_path):
    with servers.PykmipServer(tmp_path / "other") as other:
        uid = None
        while uid != origin.site.uid:
            uid = other.admin().create()
        fresh.instance.set_kmip(other, uid)
        text = fresh.refuses(origin.locator)
        assert f"the snapshot needs kmip key {uid}, of {pykmip.address}" in text


def test_it_was_replaced_for_another_kms_then_deactivated_and_destroyed(
        origin, fresh, pykmip, openbao, folder):
    one, admin = origin.site, pykmip.admin()
    new = admin.create()
    one.instance.run("security", "kms", "rewrap", "--new-key-uid", new, "-f")
    second = one.upload("projects", "second")
    assert [row["kms_key"] for row in one.listed()] == [one.uid, new]

    # The old snapshot opens as long as the old key is there.
    fresh.instance.set_kmip(pykmip, new)
    fresh.opens("copy", origin.locator, origin.wanted)
    assert fresh.wrapped("copy") == (new, 0)

    # The new one for another KMS, while both are reached.
    openbao.create_key("partner")
    token = folder / "token"
    token.write_text(openbao.coffer_token("partner"))
    done = one.instance.run("fs", "snapshot", "rewrap", second, "--object-store", "disk", "-f",
                            "--to-kms", "vault", "--to-address", openbao.address, "--to-key",
                            "partner", "--token-file", token, "--drop-previous").stdout
    assert "rewrapped" in done

    admin.revoke(one.uid)
    text = fresh.refuses(origin.locator)
    assert f"kmip key {one.uid}, of {pykmip.address}" in text and "is not active" in text
    admin.destroy(one.uid)
    text = fresh.refuses(origin.locator)
    assert f"kmip key {one.uid}, of {pykmip.address}" in text
    assert "destroyed" in text or "no key" in text

    # Whoever has that other KMS needs no other; who has the former cannot do without.
    text = fresh.refuses(second)
    assert f"vault key partner, version 1, of {openbao.address}" in text
    set_kms(fresh.instance, openbao, "partner")
    fresh.opens("partner", second, origin.wanted)


def test_nothing_known_needs_a_key_that_uploads_were_rewrapped_from(build_folder, folder, pykmip):
    (folder / "disk").mkdir()
    admin = pykmip.admin()
    old, new = admin.create(), admin.create()
    with Site(build_folder, folder / "one", None, folder / "disk") as one:
        one.instance.set_kmip(pykmip, old)
        origin = Origin(one, "projects")
        one.instance.run("security", "kms", "rewrap", "--new-key-uid", new, "--drop-previous", "-f")

        def unneeded():
            known = one.instance.api("GET", "/api/v1/kms").get("unneeded", {"keys": []})
            return [key["key"] for key in known["keys"]]
        assert old not in unneeded()
        one.instance.run("fs", "snapshot", "rewrap", "--object-store", "disk", "--all",
                         "--drop-previous", "-f")
        assert old in unneeded()
        told = one.instance.run("security", "kms").stdout
        assert f"needs: {old}." in told and "Other instances" in told
        admin.revoke(old)
        admin.destroy(old)
        one.opens("copy", origin.locator, origin.wanted)
