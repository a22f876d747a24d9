"""A key ring that was lost in both of its places, back from an uploaded snapshot; and what is uploaded
of a filesystem whose key is in a local file."""
import json
import os
import shutil

import pytest

from sites import STORE, Origin, Site, lose_ring, ring_in_store, set_kms, sound
from trees import describe, differences

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")


@pytest.fixture
def site(build_folder, folder, openbao):
    openbao.create_key("shared")
    (folder / STORE).mkdir()
    with Site(build_folder, folder / "one", openbao, folder / STORE) as made:
        yield made
    openbao.delete_key("shared")


def repair(site, name, *words, check=True):
    return site.instance.run("fs", "key", "repair", name, *words, "--object-store", STORE, check=check)


def cannot_mount(site, name):
    """Why."""
    done = site.instance.run("fs", "mount", name, site.folder / f"mnt-{name}", check=False)
    assert done.returncode != 0, done
    return done.stderr


def test_a_ring_that_is_in_neither_place_comes_back(site):
    origin = Origin(site, "projects")
    for lost in (None, b"", os.urandom(600)):
        lose_ring(site, "projects", lost)
        assert cannot_mount(site, "projects")
        done = repair(site, "projects")
        assert origin.locator in done.stdout
        assert ring_in_store(site, "projects").stat().st_size > 0
        assert differences(origin.wanted, describe(site.mount("projects"))) == []
        sound(site.instance, "projects")
    events = json.loads(site.instance.run("events", "--type", "ring-repaired", "-J").stdout)
    assert len(events) == 3
    # And it is as any: its key is wrapped anew, its snapshots go up.
    site.instance.run("security", "kms", "rewrap", "-f")
    assert site.verify(site.upload("projects", "later")).returncode == 0


def test_the_key_was_rotated_and_rewrapped_since_the_upload(site, openbao):
    origin = Origin(site, "projects")
    openbao.rotate_key("shared")
    site.instance.run("security", "kms", "rewrap", "--drop-previous", "-f")
    assert site.wrapped("projects") == ("shared", 2)
    lose_ring(site, "projects")
    # The upload has the former wrapping, which needs the former version.
    openbao.configure_key("shared", min_decryption_version=2)
    refused = repair(site, "projects", check=False)
    assert refused.returncode == 1
    assert "vault key shared, version 1" in refused.stderr
    assert "min_decryption_version" in refused.stderr
    openbao.configure_key("shared", min_decryption_version=1)
    repair(site, "projects")
    assert site.wrapped("projects") == ("shared", 1)
    assert differences(origin.wanted, describe(site.mount("projects"))) == []
    site.instance.run("security", "kms", "rewrap", "-f")
    assert site.wrapped("projects") == ("shared", 2)
    assert differences(origin.wanted, describe(site.mount_anew("projects"))) == []


def test_of_several_uploads_the_newest_ring_counts_and_another_filesystems_never(site, openbao):
    origin = Origin(site, "projects")
    site.instance.add("other")
    (site.mount("other") / "file").write_text("content")
    others = site.upload("other", "first")
    openbao.rotate_key("shared")
    site.instance.run("security", "kms", "rewrap", "-f")
    newest = site.upload("projects", "second")
    lose_ring(site, "projects")
    wrong = repair(site, "projects", others, check=False)
    assert wrong.returncode == 1 and "of filesystem projects" in wrong.stderr
    assert newest in repair(site, "projects").stdout
    assert site.wrapped("projects") == ("shared", 2)
    assert differences(origin.wanted, describe(site.mount("projects"))) == []
    again = repair(site, "projects", check=False)
    assert again.returncode == 1 and "nothing to repair" in again.stderr


def test_a_local_key_is_uploaded_only_if_that_is_wanted_and_says_what_it_needs(
        build_folder, folder, openbao):
    openbao.create_key("shared")
    (folder / STORE).mkdir()
    with Site(build_folder, folder / "one", None, folder / STORE) as one, \
            Site(build_folder, folder / "two", openbao, folder / STORE) as two:
        one.instance.add("projects", allow_no_kms=True)
        (one.mount("projects") / "file").write_text("content")
        one.instance.run("fs", "snapshot", "add", "projects", "first")
        upload = ["fs", "snapshot", "upload", "projects", "first", "--wait"]
        refused = one.instance.run(*upload, check=False)
        assert refused.returncode == 1
        for part in ("wrapped by a local file, which is not uploaded", "coffer security kms set",
                     "--allow-no-kms"):
            assert part in refused.stderr
        assert one.listed() == [] and one.uses() == []
        one.instance.run(*upload, "--allow-no-kms")
        (row,) = one.listed()
        assert (row["kms_type"], row["kms_key"]) == ("local", one.instance.view("projects")["uuid"])
        # Where the key is, it opens.
        one.download("beside", row["locator"], "--allow-no-kms")
        assert (one.mount("beside") / "file").read_text() == "content"

        # Elsewhere it is of no use, and that is said; but with that file it is.
        for options in ([], ["--allow-no-kms"]):
            text = two.refuses(row["locator"], *options)
            assert f"local key {row['kms_key']}, of the host that uploaded it" in text
            assert f"local-keys/{row['kms_key']}" in text
        keys = two.instance.state / "local-keys"
        keys.mkdir(mode=0o700, exist_ok=True)
        shutil.copy(one.instance.state / "local-keys" / row["kms_key"], keys)
        two.download("copy", row["locator"])
        assert (two.mount("copy") / "file").read_text() == "content"
        assert two.wrapped("copy") == ("shared", 1)

        # With a KMS since then, it is wrapped by that.
        set_kms(one.instance, openbao)
        later = one.upload("projects", "second")
        assert [row["kms_type"] for row in one.listed()] == ["local", "vault"]
        two.download("later", later)
        assert (two.mount("later") / "file").read_text() == "content"
