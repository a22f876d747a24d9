"""Which key a download needs, with OpenBao: one upload, and a host of its own for each case. What opens,
opens with all files in it; what does not is refused with the name of what is missing."""
import os

import pytest

from servers import VaultError
from shared_sites import fresh, kms, origin, places, site  # noqa: F401
from sites import Origin, Site, set_kms
from test_own_logins import Team
from trees import describe
from vault_proxy import VaultProxy

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")


@pytest.fixture
def two_places(folder):
    """An object store of this test's own."""
    (folder / "disk").mkdir()
    return folder


def of_origin(origin, ciphertexts):
    """Those of its keys, of which the bucket shows the ciphertext in clear."""
    heads = [path.read_bytes() for path in (origin.site.disk / "coffer-1" / "heads").iterdir()]
    return [text for text in ciphertexts if any(text.encode() in head for head in heads)]


def test_the_kms_unwraps_the_key_once_and_then_the_host_has_one_that_it_wrapped(origin, fresh, kms):
    kms.create_key("of-the-host")
    with VaultProxy(kms) as proxy:  # and so it is the same server at another address
        set_kms(fresh.instance, kms, "of-the-host", address=proxy.address,
                token=kms.coffer_token("+"))
        fresh.opens("copy", origin.locator, origin.wanted)
        fresh.wait_until_all_is_here("copy")
        assert len(of_origin(origin, proxy.decrypted())) == 1
        assert fresh.wrapped("copy") == ("of-the-host", 1)
        # A login that may do nothing with the origin's key is enough from now on.
        set_kms(fresh.instance, kms, "of-the-host", address=proxy.address)
        fresh.instance.stop()
        fresh.instance.start()
        fresh.mount_anew("copy")
        assert describe(fresh.folder / "mnt-copy") == origin.wanted
        assert len(of_origin(origin, proxy.decrypted())) == 1


def test_the_key_was_rotated_and_then_its_old_version_forbidden(origin, fresh, kms):
    kms.rotate_key("shared")
    set_kms(fresh.instance, kms)
    fresh.opens("copy", origin.locator, origin.wanted)
    newest = kms.read_key("shared")["latest_version"]
    assert fresh.wrapped("copy") == ("shared", newest)
    kms.configure_key("shared", min_decryption_version=newest)
    try:
        text = fresh.refuses(origin.locator)
        assert f"vault key shared, version 1, of {kms.address}" in text
        assert "min_decryption_version" in text
        # What was made before does not need it.
        assert describe(fresh.mount_anew("copy")) == origin.wanted
    finally:
        kms.configure_key("shared", min_decryption_version=1)
    fresh.opens("again", origin.locator, origin.wanted)


def test_the_key_was_destroyed_or_made_anew_under_its_name(build_folder, two_places, kms, fresh):
    kms.create_key("short-lived")
    with Site(build_folder, two_places / "one", None, two_places / "disk") as one:
        set_kms(one.instance, kms, "short-lived")
        origin = Origin(one, "projects")
    set_kms(fresh.instance, kms)
    fresh.instance.run("fs", "tier", "dir", "update", "disk", "--path", two_places / "disk")
    kms.delete_key("short-lived")
    set_kms(fresh.instance, kms, token=kms.coffer_token("+"))
    text = fresh.refuses(origin.locator)
    assert f"vault key short-lived, version 1, of {kms.address}" in text and "no key" in text
    kms.create_key("short-lived")
    text = fresh.refuses(origin.locator)
    assert "vault key short-lived, version 1," in text and "made anew" in text


def test_another_kms_is_configured_or_none(origin, fresh, kms, pykmip, tmp_path):
    needed = f"vault key shared, version 1, of {kms.address}"
    text = fresh.refuses(origin.locator)
    assert needed in text and "coffer security kms set" in text
    assert needed in fresh.refuses(origin.locator, "--allow-no-kms")
    fresh.instance.set_kmip(pykmip, pykmip.admin().create())
    assert needed in fresh.refuses(origin.locator)
    with type(kms)(tmp_path / "other") as other:  # with a key of the same name
        other.enable_transit()
        other.create_key("shared")
        set_kms(fresh.instance, other)
        assert needed in fresh.refuses(origin.locator)
    set_kms(fresh.instance, kms)
    fresh.opens("copy", origin.locator, origin.wanted)


def test_the_login_may_not_use_the_origins_key(origin, fresh, kms):
    kms.create_key("unrelated")
    set_kms(fresh.instance, kms, "unrelated")
    text = fresh.refuses(origin.locator)
    assert f"vault key shared, version 1, of {kms.address}" in text
    assert "grant it in the token's policy" in text and "transit/decrypt/shared" in text


def test_namespace_path_and_own_key_are_those_of_the_origin(build_folder, two_places, kms, fresh):
    try:
        kms.api("POST", "sys/namespaces/team", {})
    except VaultError:
        pass  # it is there
    kms.api("POST", "sys/mounts/elsewhere", {"type": "transit"}, namespace="team")
    kms.api("POST", "elsewhere/keys/of-the-team", {}, namespace="team")
    kms.api("POST", "elsewhere/keys/of-the-filesystem", {}, namespace="team")
    with Site(build_folder, two_places / "one", None, two_places / "disk") as one:
        set_kms(one.instance, kms, "of-the-team", token=kms.root_token, namespace="team",
                transit_path="elsewhere")
        origin = Origin(one, "projects", kms_key="of-the-filesystem")
        (row,) = one.listed()
    assert (row["kms_key"], row["kms_namespace"].strip("/"), row["kms_mount_path"]) == \
        ("of-the-filesystem", "team", "elsewhere")
    fresh.instance.run("fs", "tier", "dir", "update", "disk", "--path", two_places / "disk")
    text = fresh.refuses(origin.locator)
    assert "key of-the-filesystem, version 1, in namespace team, path elsewhere, of http:" in text
    # Configured for the key of all, in no namespace.
    set_kms(fresh.instance, kms, token=kms.root_token)
    fresh.opens("copy", origin.locator, origin.wanted)
    assert fresh.wrapped("copy")[0] == "shared"



def test_the_login_of_the_new_filesystem_asks_for_what_only_it_may_use(build_folder, two_places, kms,
                                                                      fresh):
    team = Team(kms)
    login = ["--kms-key-identifier", team.key, "--kms-role-id", team.role_id, "--kms-secret-id", "-"]
    with Site(build_folder, two_places / "one", kms, two_places / "disk") as one:
        origin = Origin(one, "projects", kms_key=team.key, kms_role_id=team.role_id,
                        kms_secret_id=team.secret_id)
        # Where the origin is, its login is known.
        one.opens("beside", origin.locator, origin.wanted)
    set_kms(fresh.instance, kms)
    fresh.instance.run("fs", "tier", "dir", "update", "disk", "--path", two_places / "disk")
    assert f"vault key {team.key}, version 1," in fresh.refuses(origin.locator)
    fresh.opens("copy", origin.locator, origin.wanted, *login, input=team.secret_id)
    assert fresh.wrapped("copy") == (team.key, 1)
    audit = fresh.instance.run("audit", "--operation", "unwrap", "-o", "filesystem,result,text",
                               "--format", "csv", "--no-header").stdout
    assert "download of its snapshot" in audit
