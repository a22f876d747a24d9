"""Snapshot policies of a real instance, whose clock the test sets."""
import calendar
import os
import pathlib
import re
import signal
import time

import pytest

import servers
from instance import ApiError, Instance, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")
POLICY = ("fs", "protection", "snapshot-policy")
PATH = "/api/v1/snapshot-policies"


class Clock:
    """cofferd's: it runs, and is moved between two looks."""

    def __init__(self, build_folder, folder):
        self.file = folder / "ahead"
        self.set("2026-11-27 10:10")
        self.environment = {
            "LD_PRELOAD": str(pathlib.Path(build_folder) / "tests/support/libset_clock.so"),
            "COFFER_TEST_CLOCK": str(self.file)}

    def set(self, text):
        moment = calendar.timegm(time.strptime(text, "%Y-%m-%d %H:%M"))
        self.put(int(moment - time.time()) + 1)

    def put(self, seconds):
        new = self.file.with_suffix(".new")
        new.write_text(str(seconds))
        new.rename(self.file)


class Home:
    def __init__(self, instance, clock, mnt):
        self.instance, self.clock, self.mnt = instance, clock, mnt

    def policy(self, *words, **options):
        return self.instance.run(*POLICY, *words, **options)

    def names(self):
        rows = self.instance.api("GET", "/api/v1/filesystems/home/snapshots")
        return [row["name"] for row in rows if row["status"] == "ready"]

    def wait_names(self, wanted):
        wait_until(lambda: self.names() == wanted, f"there are {wanted}", 20)

    def poke(self, name):
        """cofferd looks at a clock that was set once a minute; a change of a policy is at once."""
        self.instance.api("PATCH", f"{PATH}/{name}", {})

    def at(self, text, name):
        self.clock.set(text)
        self.poke(name)


@pytest.fixture
def home(build_folder, tmp_path):
    clock = Clock(build_folder, tmp_path)
    with Instance(build_folder, tmp_path, **clock.environment) as instance:
        instance.add("home", allow_no_kms=True)
        yield Home(instance, clock, instance.mount("home", tmp_path / "mnt"))


def test_snapshots_are_taken_by_the_clock_and_the_oldest_go(home):
    home.policy("add", "nightly", "--hourly", "0", "--hourly-retention", "2", "--daily", "12:30")
    home.policy("attach", "nightly", "home")
    (home.mnt / "file").write_text("at ten")
    home.at("2026-11-27 11:00", "nightly")
    home.wait_names(["nightly-hourly.2611271100"])
    (home.mnt / "file").write_text("at eleven")
    shown = home.mnt / ".snapshots" / "nightly-hourly.2611271100" / "file"
    assert shown.read_text() == "at ten"
    home.instance.run("fs", "snapshot", "add", "home", "mine")

    home.at("2026-11-27 12:00", "nightly")
    home.wait_names(["nightly-hourly.2611271100", "mine", "nightly-hourly.2611271200"])
    # Renamed: it is not the policy's any more.
    home.instance.run("fs", "snapshot", "update", "home", "nightly-hourly.2611271100", "--new-name",
                      "kept")
    home.at("2026-11-28 09:59", "nightly")  # 21 hourly ones and a daily one were missed
    home.wait_names(["kept", "mine", "nightly-hourly.2611271200", "nightly-daily.2611280959",
                     "nightly-hourly.2611280959"])
    home.at("2026-11-28 10:00", "nightly")
    home.wait_names(["kept", "mine", "nightly-daily.2611280959", "nightly-hourly.2611280959",
                     "nightly-hourly.2611281000"])
    # A run has not ended when its snapshot is there: until then there is no next one.
    wait_until(lambda: [row["filesystems"] for row in home.instance.api("GET", PATH)] == [
        [{"name": "home", "next": "2026-11-28T11:00:00.000Z", "error": ""}]], "the next is known")
    shown = home.policy().stdout
    assert re.search(r"nightly +0 +12:30 +home +2026-11-28T11:00:00.000Z", shown), shown
    shown = home.policy("show", "nightly").stdout
    assert shown == ("hourly   at minute 0, keeps 2\ndaily    12:30, keeps 7\n"
                     "attached to home, next 2026-11-28T11:00:00.000Z\n")


def test_a_restart_makes_up_what_was_missed_once_and_takes_nothing_twice(home):
    home.policy("add", "often", "--hourly", "0")
    home.policy("attach", "often", "home")
    home.at("2026-11-27 11:00", "often")
    home.wait_names(["often-hourly.2611271100"])
    home.instance.stop()
    home.instance.start()
    home.instance.wait_status("home", "mounted")
    home.poke("often")
    home.instance.stop()
    home.clock.set("2026-11-27 15:20")
    home.instance.start()
    home.wait_names(["often-hourly.2611271100", "often-hourly.2611271520"])

    home.instance.run("fs", "umount", "home")
    home.at("2026-11-27 20:20", "often")
    assert not [row for row in home.instance.api("GET", "/api/v1/alerts")
                if row["type"] == "snapshot-policy-failed"]
    home.instance.mount("home", home.mnt)
    home.wait_names(["often-hourly.2611271100", "often-hourly.2611271520",
                     "often-hourly.2611272020"])


def test_a_read_only_mount_is_no_obstacle_and_a_worker_that_hangs_is_waited_for(home):
    home.policy("add", "p", "--daily", "11:00")
    home.policy("attach", "p", "home")
    home.instance.run("fs", "umount", "home")
    home.instance.run("fs", "mount", "home", home.mnt, "--read-only")
    home.at("2026-11-27 11:00", "p")
    home.wait_names(["p-daily.2611271100"])
    pid = home.instance.worker_pid("home")
    os.kill(pid, signal.SIGSTOP)
    try:
        home.policy("run-once", "p")
        (row,) = home.instance.api("GET", PATH)  # what asks no worker goes on
        assert row["name"] == "p"
    finally:
        os.kill(pid, signal.SIGCONT)
    home.wait_names(["p-daily.2611271100", "p-daily.2611271100.1"])


def test_what_cannot_be_is_refused(home):
    for words, said in ((("add", "p"), "needs at least one of --hourly"),
                        (("add", "p", "--daily", "25:00"), "give a time as 23:00"),
                        (("add", "p", "--weekly", "23:00"), "sunday,wednesday 23:00"),
                        (("add", "p", "--monthly", "32 23:00"), "a day, 1 to 31"),
                        (("add", "p", "--daily", "1:00", "--daily-retention", "0"), "1 to 500"),
                        (("add", "p", "--daily", "1:00", "--daily-retention", "x"),
                         "no number of snapshots"),
                        (("add", "a/b", "--daily", "1:00"), "a policy's name is made of"),
                        (("attach", "p", "home"), "there is no snapshot policy 'p'"),
                        (("show", "p"), "there is no snapshot policy 'p'"),
                        (("run-once", "p"), "there is no snapshot policy 'p'")):
        refused = home.policy(*words, check=False)
        assert refused.returncode == 1 and said in refused.stderr, (words, refused.stderr)
    home.policy("add", "p", "--weekly", "sun,wed 23:00", "--monthly", "31 1:00")
    assert "already" in home.policy("add", "p", "--daily", "1:00", check=False).stderr
    assert "no filesystem" in home.policy("attach", "p", "nowhere", check=False).stderr
    assert "not attached" in home.policy("run-once", "p", check=False).stderr
    home.policy("attach", "p", "home")
    assert "already" in home.policy("attach", "p", "home", check=False).stderr
    refused = home.policy("remove", "p", check=False)
    assert "attached to 1 filesystem; detach it first" in refused.stderr
    home.policy("update", "p", "--weekly", "off", "--daily", "5:00", "--daily-retention", "3")
    (row,) = home.instance.api("GET", PATH)
    assert (row["weekly"], row["daily"], row["daily_retention"], row["monthly"]) == (
        "", "05:00", 3, "31 01:00")
    home.policy("detach", "p", "home")
    home.policy("remove", "p")
    assert home.instance.api("GET", PATH) == []
    with pytest.raises(ApiError) as missing:
        home.instance.api("GET", f"{PATH}/p")
    assert missing.value.status == 404


def test_each_is_uploaded_before_it_may_go(build_folder, folder):
    try:
        kms = servers.PykmipServer(folder / "kms")
    except servers.Unavailable as reason:
        pytest.skip(str(reason))
    with kms, Instance(build_folder, folder) as instance:
        instance.set_kmip(kms, kms.admin().create())
        instance.add("home")
        home = Home(instance, None, instance.mount("home", folder / "mnt"))
        refused = home.policy("add", "p", "--daily", "0:00", "--daily-upload", "backup", check=False)
        assert "there is no object store backup" in refused.stderr
        (folder / "backup").mkdir()
        instance.run("fs", "tier", "dir", "add", "backup", "--path", folder / "backup")
        home.policy("add", "p", "--daily", "0:00", "--daily-retention", "1", "--daily-upload",
                    "backup")
        home.policy("attach", "p", "home")

        def row():
            rows = [row for row in instance.api("GET", "/api/v1/filesystems/home/snapshots")
                    if row["status"] == "ready"]
            return rows[0] if len(rows) == 1 and rows[0]["id"] not in taken else None

        def in_store():
            return len(instance.api("GET", "/api/v1/object-stores/backup/snapshots"))
        taken = []
        for number in range(3):
            (home.mnt / "file").write_text(f"of {number}")
            home.policy("run-once", "p")
            wait_until(lambda: any(row["uploads"] for row in instance.api(
                "GET", "/api/v1/filesystems/home/snapshots") if row["id"] not in taken),
                "it is uploaded")
            home.poke("p")  # what was in use when it was to go
            taken.append(wait_until(row, "the one before is gone")["id"])
        assert in_store() == 3
        assert "uploads to backup" in home.policy("show", "p").stdout
        home.policy("update", "p", "--daily-upload", "none")
        home.policy("run-once", "p")
        wait_until(row, "another one, and the one before is gone")
        assert in_store() == 3


def test_what_cannot_be_uploaded_is_an_alert(home):
    (home.mnt.parent / "backup").mkdir()
    home.instance.run("fs", "tier", "dir", "add", "backup", "--path", home.mnt.parent / "backup")
    home.policy("add", "p", "--daily", "11:00", "--daily-upload", "backup")
    home.policy("attach", "p", "home")
    home.at("2026-11-27 11:00", "p")

    def alerts():
        return [row["text"] for row in home.instance.api("GET", "/api/v1/alerts")
                if row["type"] == "snapshot-policy-failed"]
    (text,) = wait_until(alerts, "it is told")
    assert "snapshot policy p does not work for home: daily snapshot: the key of filesystem home " \
           "is wrapped by a local file" in text
    assert "wrapped by a local file" in home.policy("show", "p").stdout
    home.wait_names(["p-daily.2611271100"])  # it was taken nevertheless


def test_a_filesystem_that_is_removed_leaves_its_policies(home):
    home.policy("add", "p", "--hourly", "0")
    home.policy("attach", "p", "home")
    home.policy("run-once", "p")
    wait_until(lambda: len(home.names()) == 1, "it was taken")
    home.instance.run("fs", "umount", "home")
    home.instance.run("fs", "remove", "home", "--force")
    (row,) = home.instance.api("GET", PATH)
    assert row["filesystems"] == []
    home.policy("remove", "p")
