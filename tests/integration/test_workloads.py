"""What people and programs do with a mounted filesystem."""
import errno
import hashlib
import os
import pathlib
import random
import shutil
import sqlite3
import subprocess

import pytest

from home import (make_varied_tree, run, start_python, wait_all)
from instance import wait_until
from trees import age, describe, differences

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")
ROOT = pathlib.Path(__file__).resolve().parents[2]
MEMORY_MAX = 150 << 20  # of a worker with 100,000 files
KMIP_ENCRYPT, KMIP_DECRYPT = 0x1F, 0x20


# Programs


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A real repository: coffer's own, or one made of its sources where there is none."""
    if (ROOT / ".git").exists():
        return ROOT
    made = tmp_path_factory.mktemp("repository")
    for name in ("src", "docs"):
        shutil.copytree(ROOT / name, made / name)
    for words in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "all")):
        run("git", "-C", made, *words, env=git_environment())
    return made


def git_environment():
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
           for what, value in (("NAME", "Test"), ("EMAIL", "test@example.com"))}
    return {**os.environ, **who, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*"}


def test_a_repository_is_cloned_changed_packed_and_found_sound(home, repository):
    folder = home.folder("git")
    clone = folder / "clone"

    def git(*words):
        return run("git", "-C", clone, *words, env=git_environment()).stdout

    run("git", "clone", "-q", "--no-hardlinks", repository, clone, env=git_environment())
    git("fsck", "--full", "--strict")
    assert git("status", "--porcelain") == ""
    branch = git("rev-parse", "HEAD")
    git("checkout", "-q", "-b", "other")
    (clone / "README.md").write_text("changed\n")
    (clone / "added").write_text("new\n")
    assert len(git("status", "--porcelain").splitlines()) == 2
    git("add", ".")
    git("commit", "-q", "-m", "changed")
    git("checkout", "-q", "--detach", branch.strip())
    assert not (clone / "added").exists()
    git("checkout", "-q", "other")
    git("gc", "-q", "--prune=now")
    home.remount()
    git("fsck", "--full", "--strict")
    assert git("status", "--porcelain") == ""
    assert git("rev-parse", "other~") == branch
    home.keep(folder)


def make_source_tar(path):
    names = ["meson.build", "meson_options.txt", "src", "docs", "packaging", "tests",
             "tools", "web"]
    run("tar", "-cf", path, "-C", ROOT, "--exclude=__pycache__", *names)


def test_a_source_tree_is_unpacked_compiled_and_its_program_runs(home, tmp_path):
    make_source_tar(tmp_path / "source.tar")
    folder = home.folder("source")
    run("tar", "-xf", tmp_path / "source.tar", "-C", folder)
    run("tar", "--compare", "-f", tmp_path / "source.tar", "-C", folder)
    build = folder / "build"
    run("meson", "setup", build, folder, "-Dtests=false", "-Dbuildtype=plain", "-Dwerror=false")
    run("ninja", "-C", build, "src/programs/coffer")
    assert run(build / "src/programs/coffer", "--version").stdout.startswith("coffer ")
    # Nothing has to be made again.
    home.remount()
    assert "no work to do" in run("ninja", "-C", build, "src/programs/coffer").stdout
    assert run(build / "src/programs/coffer", "--version").stdout.startswith("coffer ")
    home.keep(folder)


@pytest.mark.deep
def test_the_whole_of_coffer_is_compiled_and_its_tests_pass(home, tmp_path):
    make_source_tar(tmp_path / "source.tar")
    folder = home.folder("whole")
    run("tar", "-xf", tmp_path / "source.tar", "-C", folder)
    run("meson", "setup", folder / "build", folder)
    subprocess.run(["ninja", "-C", folder / "build"], check=True, timeout=3600,
                   stdout=subprocess.DEVNULL)
    run("meson", "test", "-C", folder / "build", "--no-rebuild", "key_ring", "crypto")
    home.keep(folder)


ADD_ROWS = """
import sqlite3, sys
path, who, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
data = sqlite3.connect(path, timeout=300, isolation_level=None)
for number in range(count):
    data.execute("begin immediate")
    (total,) = data.execute("select total from sums").fetchone()
    data.execute("insert into rows values (?, ?, ?)", (who, number, "x" * (number * 37 % 5000)))
    data.execute("update sums set total = ?", (total + number,))
    data.execute("rollback" if number % 7 == 6 else "commit")
"""


@pytest.mark.parametrize("journal", ["wal", "delete", "truncate"])
def test_a_database_that_several_processes_write_is_whole(home, journal):
    folder = home.folder(f"sqlite-{journal}")
    path = folder / "data.db"
    writers, rounds = 3, 35

    def look():
        data = sqlite3.connect(path)
        try:
            assert data.execute("pragma integrity_check").fetchall() == [("ok",)]
            assert data.execute("pragma journal_mode").fetchone() == (
                journal if journal == "wal" else "delete",)
            committed = [number for number in range(rounds) if number % 7 != 6]
            assert data.execute("select who, number from rows order by who, number").fetchall() \
                == [(who, number) for who in range(writers) for number in committed]
            assert data.execute("select total from sums").fetchone() \
                == (writers * sum(committed),)
        finally:
            data.close()

    data = sqlite3.connect(path)
    assert data.execute(f"pragma journal_mode = {journal}").fetchone() == (journal,)
    data.execute("create table rows (who integer, number integer, text text)")
    data.execute("create index by_who on rows (who, number)")
    data.execute("create table sums (total integer)")
    data.execute("insert into sums values (0)")
    data.commit()
    data.close()
    wait_all([start_python(ADD_ROWS, path, who, rounds) for who in range(writers)])
    look()
    home.remount()
    look()
    home.keep(folder)


# Much


MAKE_FILES = """
import os, sys
folder, first, end = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.chdir(folder)
for number in range(first, end):
    os.close(os.open(f"entry-{number:06d}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
"""
ENTRIES = 100_000


def test_a_directory_of_a_hundred_thousand_entries_is_listed_completely_and_removed(home):
    folder = home.folder("large")
    half = ENTRIES // 2
    wait_all([start_python(MAKE_FILES, folder, 0, half),
              start_python(MAKE_FILES, folder, half, ENTRIES)])
    wanted = {f"entry-{number:06d}" for number in range(ENTRIES)}

    # Others are added and removed while it is listed.
    adding = start_python(MAKE_FILES, folder, ENTRIES, ENTRIES + 5000)
    listed = [entry.name for entry in os.scandir(folder)]
    wait_all([adding])
    assert len(listed) == len(set(listed))
    assert wanted <= set(listed)
    assert all(name in wanted or int(name[-6:]) < ENTRIES + 5000 for name in listed)
    assert home.worker_memory() < MEMORY_MAX

    home.remount()
    listed = os.listdir(folder)
    assert len(listed) == ENTRIES + 5000 and set(listed) >= wanted
    for number in random.Random(1).sample(range(ENTRIES), 200):
        assert os.stat(folder / f"entry-{number:06d}").st_size == 0
    with pytest.raises(FileNotFoundError):
        os.stat(folder / f"entry-{ENTRIES + 5000:06d}")
    # All of them at once in the kernel's cache, and in ours.
    assert sum(entry.stat().st_nlink for entry in os.scandir(folder)) == ENTRIES + 5000
    assert home.worker_memory() < MEMORY_MAX
    with pytest.raises(OSError) as failure:
        os.rmdir(folder)
    assert failure.value.errno == errno.ENOTEMPTY
    run("rm", "-r", folder)
    assert not folder.exists()
    assert home.worker_memory() < MEMORY_MAX


@pytest.mark.deep
def test_more_than_four_gigabytes_are_really_written(home):
    folder = home.folder("really-huge")
    block = random.Random(2).randbytes(1 << 20)
    written = hashlib.sha256()
    with open(folder / "file", "wb") as file:
        for number in range(4200):
            piece = number.to_bytes(8, "big") + block[8:]
            written.update(piece)
            file.write(piece)
    home.remount()
    read = hashlib.sha256()
    with open(folder / "file", "rb") as file:
        while piece := file.read(1 << 20):
            read.update(piece)
    assert read.digest() == written.digest()
    home.check()
    os.unlink(folder / "file")


# Trees


def copy_tree(source, target):
    if shutil.which("rsync"):
        run("rsync", "-aHAXS", f"{source}/", f"{target}/")
    else:
        run("cp", "-a", "--sparse=always", f"{source}/.", target)


def test_a_copy_of_a_tree_there_and_back_is_the_tree(home, tmp_path):
    folder = home.folder("copies")
    outside = tmp_path / "tree"
    outside.mkdir()
    make_varied_tree(outside)
    age(outside)
    wanted = describe(outside)
    (folder / "in").mkdir()
    copy_tree(outside, folder / "in")
    home.remount()
    assert differences(wanted, describe(folder / "in")) == []
    (tmp_path / "back").mkdir()
    copy_tree(folder / "in", tmp_path / "back")
    assert differences(wanted, describe(tmp_path / "back")) == []
    (folder / "made").mkdir()
    make_varied_tree(folder / "made")
    age(folder / "made")
    (folder / "inside").mkdir()
    copy_tree(folder / "made", folder / "inside")
    assert differences(describe(folder / "made"), describe(folder / "inside")) == []
    home.keep(folder)


def test_an_archive_of_a_tree_is_the_tree(home, tmp_path):
    folder = home.folder("archive")
    (folder / "tree").mkdir()
    make_varied_tree(folder / "tree")
    options = ("--xattrs", "--xattrs-include=*", "--numeric-owner", "--sparse", "--format=pax")
    run("tar", *options, "-cf", folder / "tree.tar", "-C", folder / "tree", ".")
    (tmp_path / "out").mkdir()
    run("tar", *options, "-xpf", folder / "tree.tar", "-C", tmp_path / "out")
    assert differences(describe(folder / "tree"), describe(tmp_path / "out")) == []
    home.keep(folder)


# The whole


def test_the_free_space_is_told_truly(home):
    folder = home.folder("space")
    before = os.statvfs(home.mnt)
    (folder / "file").write_bytes(random.Random(9).randbytes(20 << 20))
    with open(folder / "file", "rb") as file:
        os.fsync(file.fileno())
    after = os.statvfs(home.mnt)
    used = (before.f_bfree - after.f_bfree) * after.f_frsize
    assert 20 << 20 <= used < 21 << 20
    assert after.f_files - after.f_ffree == before.f_files - before.f_ffree + 1
    assert after.f_namemax == 255
    row = home.instance.view("home")
    total, left = run("df", "-B1", "--output=size,avail", home.mnt).stdout.splitlines()[1].split()
    assert int(total) == after.f_blocks * after.f_frsize
    assert 0 < int(left) <= int(total)
    du = int(run("du", "-B1", "-s", folder / "file").stdout.split()[0])
    assert 20 << 20 <= du < 21 << 20
    assert row["used"] >= 20 << 20
    os.unlink(folder / "file")
    wait_until(lambda: os.statvfs(home.mnt).f_bfree >= before.f_bfree - 16, "the space is free")


def test_no_operation_on_files_asks_the_key_server(home):
    """Through a mount and ten thousand operations: its start unwraps, and then there is only what
    cofferd asks each minute, whether the server and its key are as they should be."""
    def unwraps():
        return [operation for operation, _ in home.proxy.requests].count(KMIP_DECRYPT)

    before = unwraps()
    home.remount()
    assert unwraps() > before
    started = len(home.proxy.requests)
    folder = home.folder("counted")
    for number in range(1000):
        path = folder / f"file-{number}"
        path.write_bytes(random.Random(number).randbytes(number * 10))
        os.setxattr(path, "user.number", str(number).encode())
        os.rename(path, folder / f"renamed-{number}")
    with open(folder / "renamed-999", "rb") as file:
        os.fsync(file.fileno())
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
    for number in range(1000):
        path = folder / f"renamed-{number}"
        assert path.read_bytes() == random.Random(number).randbytes(number * 10)
        if number % 2:
            path.unlink()
    os.sync()
    since = [operation for operation, _ in home.proxy.requests[started:]]
    assert KMIP_DECRYPT not in since and KMIP_ENCRYPT not in since
    assert len(since) < 100
    home.keep(folder)


def test_after_all_of_this_everything_is_there_and_sound(home):
    folder = home.folder("last")
    make_varied_tree(folder)
    home.keep(folder)
    home.look_at_all()
