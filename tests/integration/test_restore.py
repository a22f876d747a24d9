"""Snapshots are compared, and a filesystem is put back to one, as people do it."""
import json
import os
import pathlib
import random
import signal
import subprocess
import threading

import pytest

from home import make_varied_tree
from instance import ApiError, wait_until
from trees import age, describe, differences

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")
RESTORE = "/api/v1/filesystems/home/restore"
DIFF = "/api/v1/filesystems/home/snapshots/diff"
SNAPSHOTS = "/api/v1/filesystems/home/snapshots"


def take(home, name):
    home.instance.run("fs", "snapshot", "add", "home", name, "--access-point", name)
    return home.mnt / ".snapshots" / name


def restore(home, *words):
    """Unmounted for it, and mounted again."""
    home.instance.run("fs", "umount", "home")
    answer = home.instance.run("fs", "restore", "home", *words, "--force").stdout
    home.instance.mount("home", home.mnt)
    return answer


def change_all_sorts_of_things(folder):
    (folder / "sparse").write_bytes(b"overwritten")
    (folder / "new").mkdir()
    (folder / "new" / "file").write_bytes(os.urandom(3 << 20))
    (folder / "fifo").rename(folder / "moved")
    (folder / "folder-1").rename(folder / "new" / "folder-1")
    os.chmod(folder / "new", 0o700)
    os.setxattr(folder, "user.changed", b"yes")
    for path in sorted((folder / "new" / "folder-1").rglob("*"))[:5]:
        if path.is_file() and not path.is_symlink():
            path.unlink()


def test_everything_is_as_it_was(home):
    folder = home.folder("tree")
    make_varied_tree(folder)
    age(folder)
    before = describe(folder)
    shown = take(home, "first")
    change_all_sorts_of_things(folder)
    second = describe(folder)
    second_shown = take(home, "second")
    (folder / "newest").write_bytes(b"newest")

    answer = restore(home, "first")
    assert "is what snapshot first shows" in answer
    assert differences(before, describe(folder)) == []
    assert differences(before, describe(shown / "tree")) == []
    assert differences(second, describe(second_shown / "tree")) == []
    home.check()
    assert ": 0 files and folders differed" not in answer
    assert "event=restored" in home.instance.events()
    assert '"restore"' in home.instance.run("audit", "-J").stdout


def test_what_was_overwritten_is_kept_when_asked_for(home):
    folder = home.mnt / "tree"
    (folder / "only now").write_bytes(b"of today")
    now = describe(folder)
    answer = restore(home, "second", "--keep-as", "today", "--keep-access-point", "of-today")
    assert "kept as snapshot today" in answer
    assert (folder / "new" / "file").exists() and not (folder / "only now").exists()
    assert differences(now, describe(home.mnt / ".snapshots" / "of-today" / "tree")) == []
    restore(home, "today")
    assert differences(now, describe(folder)) == []
    home.check()


def refused(home, body, status):
    with pytest.raises(ApiError) as caught:
        home.instance.api("POST", RESTORE, body)
    assert caught.value.status == status
    return caught.value.text


def test_a_mounted_filesystem_and_names_that_are_not_there_are_refused(home):
    before = describe(home.mnt / "tree")
    assert "'coffer fs umount home' stops it" in refused(home, {"snapshot": "first"}, 409)
    home.instance.run("fs", "umount", "home")
    assert "no snapshot of that name" in refused(home, {"snapshot": "none"}, 404)
    assert "already" in refused(home, {"snapshot": "first", "keep_as": "second"}, 409)
    assert "access point" in refused(home, {"snapshot": "first", "keep_as": "x",
                                            "keep_access_point": "first"}, 409)
    assert "--keep-as" in refused(home, {"snapshot": "first", "keep_access_point": "x"}, 400)
    assert "must have 1 to 255 bytes" in refused(home, {"snapshot": "first", "keep_as": "a/b"}, 400)
    home.instance.mount("home", home.mnt)
    assert differences(before, describe(home.mnt / "tree")) == []


def kill_a_worker(home, thread):
    """That of the restore, whenever it is there; it may be over before."""
    while thread.is_alive():
        try:
            pid = home.instance.worker_pid("home")
            if pid and pathlib.Path(f"/proc/{pid}/comm").read_text() == "coffer-fsd\n":
                os.kill(pid, signal.SIGKILL)
                return
        except (FileNotFoundError, ProcessLookupError):
            pass


def test_a_worker_that_is_killed_leaves_the_one_or_the_other(home):
    folder = home.folder("many")
    for number in range(500):
        (folder / f"file-{number}").write_bytes(b"before")
    age(folder)
    before = describe(folder)
    take(home, "many")
    for number in range(3):
        for name in sorted(os.listdir(folder))[number::7]:
            (folder / name).write_bytes(b"after " * random.randrange(1000))
        after = describe(folder)
        home.instance.run("fs", "umount", "home")

        def order():
            try:
                home.instance.api("POST", RESTORE, {"snapshot": "many"})
            except ApiError as error:
                assert "the next start goes on" in error.text or "worker" in error.text

        thread = threading.Thread(target=order)
        thread.start()
        kill_a_worker(home, thread)
        thread.join()
        home.instance.mount("home", home.mnt)
        now = describe(folder)
        assert differences(before, now) == [] or differences(after, now) == []
        home.check()
    restore(home, "many")
    assert differences(before, describe(folder)) == []


def hold_a_worker(home, thread):
    """That of the restore, so that it does nothing; None: it was over before."""
    while thread.is_alive():
        try:
            pid = home.instance.worker_pid("home")
            if pid and pathlib.Path(f"/proc/{pid}/comm").read_text() == "coffer-fsd\n":
                os.kill(pid, signal.SIGSTOP)
                return pid
        except (FileNotFoundError, ProcessLookupError):
            pass
    return None


def is_mounted_now(home):
    """It is refused as long as the restore is under way."""
    return home.instance.run("fs", "mount", "home", home.mnt, check=False).returncode == 0


def test_a_restore_goes_on_when_cofferd_or_the_command_is_killed(home):
    folder = home.mnt / "many"
    before = describe(folder)
    for number in range(2):
        for name in sorted(os.listdir(folder))[number::5]:
            (folder / name).write_bytes(b"after " * random.randrange(1000))
        after = describe(folder)
        home.instance.run("fs", "umount", "home")
        command = subprocess.Popen(
            [home.instance.programs / "coffer", "fs", "restore", "home", "many", "--force"],
            env=home.instance.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)
        thread = threading.Thread(target=command.wait)
        thread.start()
        pid = hold_a_worker(home, thread)
        if number == 0:
            home.instance.stop(signal.SIGKILL)
            said = command.communicate()[0]
            assert command.returncode == 1 or pid is None, said
            home.instance.start()
        else:
            command.kill()
        thread.join()
        if pid:
            os.kill(pid, signal.SIGCONT)
            # Also by a cofferd that did not give the order: a worker has the key.
            wait_until(lambda pid=pid: not pathlib.Path(f"/proc/{pid}/exe").exists(), "it ends")
        wait_until(lambda: is_mounted_now(home), "it can be mounted")
        now = describe(folder)
        assert differences(before, now) == [] or differences(after, now) == []
        home.check()
        restore(home, "many")
        assert differences(before, describe(folder)) == []


def diff(home, *names):
    rows = json.loads(home.instance.run("fs", "snapshot", "diff", "home", *names, "-J").stdout)
    assert len({(row["inode"], row["change"], row["path"]) for row in rows}) == len(rows)
    return rows


def short(rows):
    """{path: what became of it}"""
    return {row["path"]: (row["change"], row["what"], row["old_path"]) for row in rows}


def test_what_changed_is_listed(home):
    folder = home.folder("compared")
    for name in ("in place", "grown", "removed", "renamed", "chmodded", "as it is", "linked"):
        (folder / name).write_bytes(name.encode() * 1000)
    (folder / "below").mkdir()
    (folder / "below" / "file").write_bytes(b"of below")
    (folder / "link").symlink_to("in place")
    age(folder)
    take(home, "older")
    with open(folder / "in place", "r+b") as file:
        file.write(b"IN PLACE")
    with open(folder / "grown", "ab") as file:
        file.write(b"more")
    (folder / "removed").unlink()
    (folder / "renamed").rename(folder / "below" / "otherwise")
    (folder / "below").rename(folder / "folder")
    os.chmod(folder / "chmodded", 0o600)
    os.setxattr(folder / "folder", "user.a", b"b")
    os.link(folder / "linked", folder / "second name")
    (folder / "link").unlink()
    (folder / "link").symlink_to("elsewhere")
    os.close(os.open(bytes(folder) + b"/\xff\n\x1b[31m", os.O_CREAT | os.O_WRONLY))
    take(home, "newer")
    expected = {
        "compared/in place": ("changed", "content, attributes", ""),
        "compared/grown": ("changed", "content, attributes", ""),
        "compared/removed": ("removed", "", ""),
        "compared/folder/otherwise": ("renamed", "", "compared/renamed"),
        "compared/folder": ("renamed", "attributes", "compared/below"),
        "compared/chmodded": ("changed", "attributes", ""),
        "compared/second name": ("added", "", ""),
        "compared/\\377\\012\\033[31m": ("added", "", ""),
    }
    rows = diff(home, "older", "newer")
    assert {row["change"] for row in rows if row["path"] == "compared/link"} == {"added", "removed"}
    found = short(rows)
    del found["compared/link"]
    assert found == expected
    assert diff(home, "older") == rows
    assert home.instance.run("fs", "snapshot", "diff", "home", "newer").stdout == ""
    csv = home.instance.run("fs", "snapshot", "diff", "home", "older", "newer", "-f", "csv").stdout
    assert "\x1b" not in csv and len(csv.splitlines()) == len(rows) + 1


def test_many_changes_come_in_pages(home):
    folder = home.folder("pages")
    take(home, "before pages")
    for number in range(1500):
        (folder / f"{number:0200d}").write_bytes(b"")
    take(home, "pages")
    paths = {row["path"] for row in diff(home, "before pages", "pages")}
    assert paths == {f"pages/{number:0200d}" for number in range(1500)}
    pages, behind = 0, ""
    while pages == 0 or behind:
        answer = home.instance.api("POST", DIFF, {"older": "before pages", "newer": "pages"} |
                                   ({"behind": behind} if behind else {}))
        pages, behind = pages + 1, answer["behind"]
    assert pages > 3


def test_what_cannot_be_compared_is_refused(home):
    for body, status, text in (
            ({"older": "newer", "newer": "older"}, 400, "the other way round"),
            ({"older": "none"}, 404, "no snapshot 'none'"),
            ({"older": "older", "behind": "x"}, 400, "'behind'"),
            ({}, 400, "older")):
        with pytest.raises(ApiError) as caught:
            home.instance.api("POST", DIFF, body)
        assert caught.value.status == status and text in caught.value.text
    home.instance.run("fs", "umount", "home")
    with pytest.raises(ApiError) as caught:
        home.instance.api("POST", DIFF, {"older": "older"})
    assert caught.value.status == 409 and "mount it first" in caught.value.text
    home.instance.mount("home", home.mnt)


def test_at_the_end_everything_is_sound(home):
    for row in home.instance.api("GET", SNAPSHOTS):
        home.instance.api("DELETE", SNAPSHOTS, {"name": row["name"]})
    wait_until(lambda: home.instance.api("GET", SNAPSHOTS) == [], "they are gone")
    home.look_at_all()
