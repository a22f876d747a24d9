"""What somebody who can write into the bucket does there: objects that are altered, missing, cut short,
exchanged, or put back from before. A verification names each; a download restores nothing silently."""
import contextlib
import errno
import hashlib
import json
import os

import pytest

from shared_sites import kms, places, site  # noqa: F401
from sites import Origin, Site
from trees import describe, differences

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")


@pytest.fixture(scope="module")
def origin(site):
    """In several chunks and two packs, which are equally long, and in two versions."""
    site.instance.add("projects")
    top = site.mount("projects")
    (top / "data-0").write_bytes(os.urandom(600_000))
    for number in range(450):
        (top / f"small-{number}").write_bytes(os.urandom(1500))
        (top / f"empty-{number}-{'n' * 200}").touch()  # where chunks end is chance: there are many
    site.first = site.upload("projects", "first")
    (top / "data-1").write_bytes(os.urandom(600_000))
    made = Origin.__new__(Origin)
    made.site, made.wanted, made.locator = site, describe(top), site.upload("projects", "second")
    return made


@pytest.fixture
def fresh(build_folder, folder, places, openbao, origin):
    assert origin
    with Site(build_folder, folder, openbao, places / "disk") as made:
        yield made


def objects(site, kind):
    return sorted((site.disk / "coffer-1" / kind).iterdir())


def of_locator(site, kind, locator):
    """The head or manifest of one of two snapshots."""
    rows = {row["locator"]: row for row in site.listed()}
    other = next(other for other in rows if other != locator)
    (own,) = [path for path in objects(site, kind) if locators_name(path.name) == locator]
    (others,) = [path for path in objects(site, kind) if locators_name(path.name) == other]
    return own, others


ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def locators_name(name):
    """The locator of a manifest's hash: docs/formats/snap-to-object.md."""
    digest = bytes.fromhex(name)
    check = hashlib.sha256(b"coffer locator 1\0" + digest).digest()[:3]
    number = int.from_bytes(digest + check, "big")
    return "coffer1-" + "".join(ALPHABET[number >> (5 * at) & 31] for at in reversed(range(56)))


@contextlib.contextmanager
def altered(changes):
    """{path: what is in it meanwhile, or None: it is gone}."""
    kept = {path: path.read_bytes() for path in changes}
    try:
        for path, content in changes.items():
            path.unlink()  # no object is written to, they are put
            if content is not None:
                path.write_bytes(content)
        yield
    finally:
        for path, content in kept.items():
            path.write_bytes(content)


def flipped(path, at=None):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if at is None else at] ^= 0x20
    return bytes(content)


def cut(path):
    return path.read_bytes()[:-40]


def assert_names(done, *paths):
    """The verification tells of each of these objects."""
    assert done.returncode == 1, done
    text = done.stdout + done.stderr
    for path in paths:
        assert path.name in text, (path, text)


def test_packs_altered_missing_cut_and_exchanged_are_named(origin):
    site = origin.site
    one, two = objects(site, "packs")
    for changes in ({one: two.read_bytes(), two: one.read_bytes()}, {one: flipped(one), two: None},
                    {one: b"", two: cut(two)}, {one: one.read_bytes() + b"more", two: flipped(two, -1)},
                    {one: bytes(one.stat().st_size)}):
        with altered(changes):
            assert_names(site.verify(origin.locator), *changes)
    whole = site.verify(origin.locator)
    assert whole.returncode == 0, whole


def test_chunks_altered_missing_cut_exchanged_and_older_are_named(origin):
    site = origin.site
    needed = own_chunks(site, origin.locator)
    old = [path for path in objects(site, "chunks") if path not in needed]
    assert len(needed) >= 6 and old
    one, two, three, four, five, six = needed[:6]
    changes = {one: flipped(one), two: None, three: cut(three), four: five.read_bytes(),
               five: four.read_bytes(), six: old[0].read_bytes()}
    with altered(changes):
        assert_names(site.verify(origin.locator), *changes)


def own_chunks(site, locator):
    """Those that a verification misses when all are gone."""
    with altered({path: None for path in objects(site, "chunks")}):
        done = site.verify(locator)
        text = done.stdout + done.stderr
    return [path for path in objects(site, "chunks") if path.name in text]


@pytest.mark.parametrize("kind", ["heads", "manifests"])
def test_a_head_or_manifest_is_refused_by_verification_and_download(origin, fresh, kind):
    site = origin.site
    own, older = of_locator(site, kind, origin.locator)
    for content in (flipped(own), None, cut(own), b"", older.read_bytes(), flipped(own, 40),
                    flipped(own, -1)):
        with altered({own: content}):
            verified = site.verify(origin.locator)
            assert verified.returncode == 1
            for text in (verified.stderr, fresh.refuses(origin.locator)):
                assert own.name in text or "no snapshot of this locator" in text \
                    or "what it wrapped was altered" in text
    assert site.verify(origin.locator).returncode == 0
    assert site.verify(site.first).returncode == 0


def read_all(top, wanted):
    """The names of files that do not give what they should: those may only fail."""
    failed = set()
    for path, what in wanted.items():
        if "content" not in what:
            continue
        try:
            content = (top / path).read_bytes()
        except OSError as error:
            assert error.errno == errno.EIO, error
            failed.add(path.removeprefix("./"))
            continue
        assert (len(content), hashlib.sha256(content).hexdigest()) == what["content"], path
    return failed


def test_a_download_gives_an_error_for_what_was_altered_and_all_when_it_is_put_back(origin, fresh):
    pack = objects(origin.site, "packs")[0]
    with altered({pack: flipped(pack, 100_000)}):
        fresh.download("copy", origin.locator)
        top = fresh.mount("copy")
        assert read_all(top, origin.wanted) in ({"data-0"}, {"data-1"})
        rows = json.loads(fresh.instance.run("events", "--num-results", "0", "-J").stdout)
        assert not any(row["type"] == "downloaded" for row in rows)
        assert any("data-0" in json.dumps(row) or pack.name in json.dumps(row) for row in rows)
    fresh.wait_until_all_is_here("copy")
    assert differences(origin.wanted, describe(fresh.mount_anew("copy"))) == []


def test_a_download_of_two_packs_that_were_exchanged_restores_nothing_of_them(origin, fresh):
    one, two = objects(origin.site, "packs")
    with altered({one: two.read_bytes(), two: one.read_bytes()}):
        fresh.download("copy", origin.locator)
        top = fresh.mount("copy")
        assert read_all(top, origin.wanted) == {"data-0", "data-1"}



def test_a_download_of_what_is_missing_or_cut_short_is_refused(origin, fresh):
    one, two = objects(origin.site, "packs")
    chunk = own_chunks(origin.site, origin.locator)[0]
    for path, content in ((one, None), (two, cut(two)), (chunk, None)):
        with altered({path: content}):
            assert path.name in fresh.refuses(origin.locator)


def test_a_download_whose_records_are_altered_fails_and_names_the_chunk(origin, fresh):
    """At once, where the chunk is needed for a beginning, or when it is read."""
    for number, chunk in enumerate(own_chunks(origin.site, origin.locator)):
        with altered({chunk: flipped(chunk)}):
            done = fresh.download(f"copy-{number}", origin.locator, check=False)
            if done.returncode:
                assert chunk.name in done.stderr
                continue
            top = fresh.mount(f"copy-{number}")
            failed = read_all(top, origin.wanted)
            assert failed and len(failed) < len(origin.wanted)
            assert chunk.name in fresh.instance.run("events", "--num-results", "0", "-J").stdout
            break
    fresh.wait_until_all_is_here(f"copy-{number}")
    assert differences(origin.wanted, describe(fresh.mount_anew(f"copy-{number}"))) == []
