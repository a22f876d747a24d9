"""A former key of the key server in wrong hands: what it wrapped is destroyed at once, everywhere
below the state folder, with real key servers."""
import os
import pathlib
import re
import signal

import pytest

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/fuse") or os.geteuid() != 0,
                                reason="needs root and /dev/fuse")


NUMBERS = iter(range(1000))


@pytest.fixture
def key(openbao, instance):
    name = f"key-{next(NUMBERS)}"
    openbao.create_key(name)
    instance.api("PUT", "/api/v1/kms", {"type": "vault", "address": openbao.address, "key": name,
                                        "token": openbao.coffer_token(name)})
    return name


def ring_of(instance, name):
    return pathlib.Path(instance.view(name)["store"].split(":", 1)[1]) / "keyring"


def wrappings_below(folder):
    """What a Vault wrapped: the texts that name a version, in any file."""
    found = set()
    for path in pathlib.Path(folder).rglob("*"):
        if path.is_file() and not path.is_symlink():
            found |= set(re.findall(rb"vault:v[0-9]+:[A-Za-z0-9+/]{60,}", path.read_bytes()))
    return found


def versions(wrappings):
    return {int(text.split(b":")[1][1:]) for text in wrappings}


def assert_opens(instance, tmp_path, name):
    folder = instance.mount_anew(name, tmp_path / name)
    assert (folder / "file").read_text() == "content"


def test_the_state_folder_holds_nothing_of_the_former_version(instance, openbao, key, tmp_path):
    for name in ("data", "idle"):
        instance.add(name)
    (instance.mount("data", tmp_path / "data") / "file").write_text("content")
    openbao.rotate_key(key)
    instance.run("security", "kms", "rewrap", "-f")
    assert versions(wrappings_below(instance.state)) == {1, 2}

    dry = instance.run("security", "kms", "rewrap", "--drop-previous", "--dry-run").stdout
    assert "2 earlier wrappings, 0 key rings that had been kept aside" in dry
    assert versions(wrappings_below(instance.state)) == {1, 2}
    done = instance.run("security", "kms", "rewrap", "--drop-previous", "-f").stdout
    assert "Destroyed: 2 earlier wrappings, 0 key rings that had been kept aside." in done
    assert "The registry's file was written anew" in done
    assert "Out of reach are copies that were made before" in done
    assert versions(wrappings_below(instance.state)) == {2}

    openbao.configure_key(key, min_decryption_version=2)
    assert_opens(instance, tmp_path, "data")
    audit = instance.run("audit", "--num-results", "0", "-o", "operation,filesystem,result",
                         "--format", "csv", "--no-header").stdout.splitlines()
    assert "drop-previous,data,ok" in audit and "drop-previous,idle,ok" in audit
    instance.run("audit", "verify")
    assert "event=previous-dropped" in instance.events()


def test_one_filesystem_and_one_with_a_key_of_its_own(instance, openbao, tmp_path):
    keys = [f"key-{next(NUMBERS)}" for _ in range(2)]
    for name in keys:
        openbao.create_key(name)
    instance.api("PUT", "/api/v1/kms", {"type": "vault", "address": openbao.address,
                                        "key": keys[0], "token": openbao.coffer_token("+")})
    instance.add("data")
    instance.run("fs", "add", "own", "--kms-key-identifier", keys[1])
    before = wrappings_below(instance.state)
    for name in keys:
        openbao.rotate_key(name)
    done = instance.run("fs", "kms-rewrap", "data", "--drop-previous", "-f").stdout
    assert "Destroyed: 1 earlier wrapping, 0" in done
    assert len(before & wrappings_below(instance.state)) == 1
    alone = instance.run("security", "kms", "rewrap", "--drop-previous", "-f").stdout
    assert "1 filesystem with a key of its own in the KMS left alone; --all takes them too" in alone
    instance.run("security", "kms", "rewrap", "--all", "--drop-previous", "-f")
    assert not before & wrappings_below(instance.state)
    for name in ("data", "own"):
        (instance.mount(name, tmp_path / name) / "file").write_text("content")
        assert_opens(instance, tmp_path, name)


def test_one_that_does_not_open_is_named_and_keeps_what_it_has(instance, openbao, key, tmp_path):
    for name in ("data", "lost"):
        instance.add(name)
    (instance.mount("data", tmp_path / "data") / "file").write_text("content")
    openbao.rotate_key(key)
    ring_of(instance, "lost").unlink()
    ring_of(instance, "lost").mkdir()
    done = instance.run("security", "kms", "rewrap", "--drop-previous", "-f", check=False)
    assert done.returncode == 1
    assert "lost: " in done.stderr and "of 1 filesystem the key stays" in done.stderr
    assert versions(wrappings_below(instance.state)) == {1, 2}  # of the one, and of the other
    ring_of(instance, "lost").rmdir()
    instance.run("security", "kms", "rewrap", "--drop-previous", "-f")
    assert versions(wrappings_below(instance.state)) == {2}
    assert_opens(instance, tmp_path, "data")


def test_a_killed_cofferd_goes_on_when_it_is_run_again(instance, openbao, key, tmp_path):
    instance.add("data")
    (instance.mount("data", tmp_path / "data") / "file").write_text("content")
    openbao.rotate_key(key)
    instance.run("security", "kms", "rewrap", "-f")
    instance.stop(signal.SIGKILL)
    # As if it had been killed while the registry was written anew.
    leftover = instance.state / "registry" / "metadata.mdb.copy"
    leftover.write_bytes((instance.state / "registry" / "metadata.mdb").read_bytes())
    instance.start()
    assert not leftover.exists()
    instance.run("security", "kms", "rewrap", "--drop-previous", "-f")
    assert versions(wrappings_below(instance.state)) == {2}
    assert_opens(instance, tmp_path, "data")


def test_a_new_kmip_key_takes_the_place_of_one_in_wrong_hands(instance, pykmip, tmp_path):
    admin = pykmip.admin()
    old, new = (admin.create() for _ in range(2))
    instance.set_kmip(pykmip, old)
    instance.add("data")
    (instance.mount("data", tmp_path / "data") / "file").write_text("content")
    ring = ring_of(instance, "data").read_bytes()
    instance.run("security", "kms", "rewrap", "--new-key-uid", new, "--drop-previous", "-f")
    assert ring_of(instance, "data").read_bytes() != ring
    again = instance.run("security", "kms", "rewrap", "--new-key-uid", new, "--drop-previous", "-f")
    assert "Destroyed: 0 earlier wrappings, 0" in again.stdout
    admin.revoke(old, compromised=True)
    assert_opens(instance, tmp_path, "data")
