"""Two whole instances on one bucket: both upload, download, remove and clean there, at the same time and
what the other needs, while cofferd, workers and store processes are killed. Whatever happens, what is
listed is whole, what was acknowledged is listed, what was downloaded is whole, and in the end nothing
is left."""
import hashlib
import os
import pathlib
import random
import signal
import threading
import time

import pytest

from instance import ApiError, is_mounted, wait_until
from sites import STORE, Site

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")
TASKS = "/api/v1/tasks"
ENDED = ("done", "failed", "aborted")


def children(pid, program):
    """Processes of that name which this one started."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (path / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if name == program and int(rest.split()[1]) == pid:
            found.append(int(path.name))
    return found


def contents(top):
    """Of all files; they are in no folders. (trees.describe() is for one thread only.)"""
    return {entry.name: hashlib.sha256(pathlib.Path(entry.path).read_bytes()).hexdigest()
            for entry in os.scandir(top) if entry.is_file()}


class Bucket:
    """What both racers know of it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.wanted = {}  # locator: what was in the snapshot, of acknowledged uploads
        self.removed = set()  # locators that somebody began to remove

    def remember(self, locator, content):
        with self.lock:
            self.wanted[locator] = content


class Racer:
    """One instance: what it does, and what is done to it."""

    COMMANDS = ("add", "upload", "remove", "download", "clean")

    def __init__(self, site, name, bucket, seed):
        self.site, self.name, self.bucket = site, name, bucket
        self.dice = random.Random(seed)
        self.number = 0
        self.snapshots = {}  # name: what is in it
        self.tasks = {}  # number: name of the snapshot
        self.copies = {}  # name of a filesystem: the locator that it was made of
        self.counts = {}
        self.fault = None

    # What an administrator does. What fails, as a process was killed, is done another time.

    def count(self, *what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def run(self, *words):
        done = self.site.instance.run(*words, check=False)
        what = next(word for word in reversed(words[:4]) if word in self.COMMANDS)
        self.count(what, "done" if done.returncode == 0 else "failed")
        return done if done.returncode == 0 else None

    def listed(self):
        try:
            return [row["locator"] for row in self.site.instance.api(
                "GET", f"/api/v1/object-stores/{STORE}/snapshots")]
        except (OSError, ApiError, ValueError):
            return []

    def write(self):
        """Some files of a few, with new bytes."""
        top = self.site.folder / f"mnt-{self.name}"
        for _ in range(3):
            content = self.dice.randbytes(self.dice.randrange(300_000))
            (top / f"file-{self.dice.randrange(8)}").write_bytes(content)
        return top

    def upload(self):
        self.number += 1
        snapshot = f"s{self.number}"
        top = self.write()
        if not self.run("fs", "snapshot", "add", self.name, snapshot, "--access-point", snapshot):
            return
        self.snapshots[snapshot] = contents(top / ".snapshots" / snapshot)
        self.run("fs", "snapshot", "upload", self.name, snapshot, "--object-store", STORE)

    def remove(self):
        found = self.listed()
        if len(found) < 4:
            return
        locator = self.dice.choice(found)
        with self.bucket.lock:
            self.bucket.removed.add(locator)
        self.run("fs", "tier", "snapshot", "remove", STORE, locator, "--force")

    def download(self):
        found = self.listed()
        if not found or len(self.copies) >= 3:
            return
        self.number += 1
        name, locator = f"copy{self.number}", self.dice.choice(found)
        if self.run("fs", "download", name, locator, "--object-store", STORE):
            self.copies[name] = locator

    def drop_copy(self):
        if self.copies:
            name = self.dice.choice(list(self.copies))
            if self.run("fs", "remove", name, "--force"):
                self.copies.pop(name)

    def clean(self):
        self.run("fs", "tier", "clean", STORE)

    def race(self, end):
        acts = [self.upload] * 3 + [self.remove] * 3 + [self.download] * 2 + [self.clean,
                                                                              self.drop_copy]
        try:
            while time.monotonic() < end:
                try:
                    self.dice.choice(acts)()
                except OSError:
                    pass  # the mount ended under it, and comes back
        except Exception as fault:  # pylint: disable=broad-except
            self.fault = fault

    # What happens to it

    def victims(self, what):
        instance = self.site.instance
        if what == "store":
            return children(instance.process.pid, "coffer-store")
        try:
            name = self.dice.choice([self.name, *self.copies])
            return [pid for pid in [instance.worker_pid(name)] if pid]
        except (OSError, ApiError, ValueError):
            return []

    def be_killed(self, dice):
        what = dice.choice(["cofferd", "store", "store", "worker"])
        if what == "cofferd":
            self.site.instance.stop(signal.SIGKILL)
            self.site.instance.start()
        else:
            for pid in self.victims(what)[:1]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        self.count(what, "killed")

    # Afterwards

    def settle(self):
        """All uploads come to their end, and interrupted removals too."""
        instance = self.site.instance

        def have_ended():
            # A download goes on while its filesystem is mounted.
            going = [task for task in instance.api("GET", TASKS)
                     if task["state"] not in ENDED and task["kind"] != "download"]
            for task in going:
                try:
                    instance.api("POST", f"{TASKS}/{task['id']}/resume")
                except ApiError:
                    pass  # it ended meanwhile
            return not going
        wait_until(lambda: is_mounted(self.site.folder / f"mnt-{self.name}"), "it is mounted again")
        wait_until(have_ended, "all uploads end", 120)
        for row in instance.api("GET", f"/api/v1/filesystems/{self.name}/snapshots"):
            for upload in row["uploads"]:
                if row["name"] in self.snapshots:
                    self.bucket.remember(upload["locator"], self.snapshots[row["name"]])
        instance.run("fs", "tier", "clean", STORE)

    def check_copies(self):
        for name in set(self.site.names()) - {self.name}:
            if name not in self.copies:  # whose addition was cut off
                self.site.instance.run("fs", "remove", name, "--force")
                continue
            found = contents(self.site.mount_anew(name))
            assert found == self.bucket.wanted.get(self.copies[name], found)
            self.site.instance.run("fs", "check", name, "--read-data")

    def drop_copies(self):
        for name in set(self.site.names()) - {self.name}:
            self.site.instance.run("fs", "umount", name)
            self.site.instance.run("fs", "remove", name, "--force")


def kill_until(end, racers, dice):
    while time.monotonic() < end:
        time.sleep(dice.uniform(0.1, 0.8))  # not to wait for something: when it happens is the dice's
        dice.choice(racers).be_killed(dice)


def race(racers, seconds, dice):
    end = time.monotonic() + seconds
    threads = [threading.Thread(target=racer.race, args=(end,)) for racer in racers]
    for thread in threads:
        thread.start()
    try:
        kill_until(end, racers, dice)
    finally:
        for thread in threads:
            thread.join()
    for racer in racers:
        print(racer.name, dict(sorted(racer.counts.items())))
        if racer.fault:
            raise racer.fault


def check_bucket(racers):
    """What is listed is whole; what was acknowledged and not removed is listed; nobody else uses it."""
    one = racers[0].site
    bucket = racers[0].bucket
    listed = {row["locator"]: row for row in one.listed()}
    print(len(listed), "listed,", len(bucket.wanted), "acknowledged,", len(bucket.removed), "removed")
    for locator, row in listed.items():
        assert row["status"] == "complete", row
        verified = one.verify(locator)
        assert verified.returncode == 0, verified.stdout + verified.stderr
    assert bucket.wanted.keys() - bucket.removed <= listed.keys()
    uses = one.uses()
    assert {use["kind"] for use in uses} <= {"snapshot", "download"}, uses
    assert {use["locator"] for use in uses if use["kind"] == "snapshot"} == listed.keys()
    return listed


def check_download(site, bucket, listed):
    known = sorted(listed.keys() & bucket.wanted.keys())
    for locator in known[:1] + known[-1:]:
        name = f"check-{locator[8:16]}"
        site.download(name, locator)
        assert contents(site.mount(name)) == bucket.wanted[locator]
        site.instance.run("fs", "umount", name)
        site.instance.run("fs", "remove", name, "--force")


def race_and_check(build_folder, folder, kms, seed, seconds):
    print("seed", seed)
    (folder / STORE).mkdir()
    kms.create_key("shared")
    bucket = Bucket()
    with Site(build_folder, folder / "one", kms, folder / STORE) as one, \
            Site(build_folder, folder / "two", kms, folder / STORE) as two:
        one.instance.add("first")
        (one.mount("first") / "common").write_bytes(os.urandom(2 << 20))
        # So that the uploads of one need objects that the other put.
        two.download("second", one.upload("first", "begin"))
        two.mount("second")
        two.wait_until_all_is_here("second")
        racers = [Racer(one, "first", bucket, seed), Racer(two, "second", bucket, seed + 1)]
        race(racers, seconds, random.Random(seed + 2))
        for racer in racers:
            racer.settle()
        listed = check_bucket(racers)
        check_download(one, bucket, listed)
        for racer in racers:
            racer.check_copies()
        racers[0].drop_copies()
        end_of_two(one, two, listed)
        left = [path.name for path in (folder / STORE).rglob("*") if path.is_file()]
        assert left == ["coffer-place"]


def end_of_two(one, two, listed):
    """Its host is lost. What it left is collected when somebody says so."""
    two.instance.stop(signal.SIGKILL)
    for locator in listed:
        one.instance.run("fs", "tier", "snapshot", "remove", STORE, locator, "--force")
    for use in one.uses():
        assert (use["kind"], use["this_instance"]) == ("download", False), use
        one.instance.run("fs", "tier", "ops", STORE, "--expire", use["id"], "--force")
    one.instance.run("fs", "tier", "clean", STORE)
    # It was not, for this machine; what still runs of it is found, and ended with the test.
    two.instance.start()
    wait_until(lambda: all(row["status"] != "starting" for row in
                           two.instance.api("GET", "/api/v1/filesystems")), "all is found again")


def test_two_instances_race_for_a_bucket(build_folder, folder, openbao):
    race_and_check(build_folder, folder, openbao, 5, 6)


@pytest.mark.deep
@pytest.mark.parametrize("run", range(10))
def test_two_instances_race_for_a_bucket_for_long(build_folder, folder, openbao, run):
    print("run", run)
    race_and_check(build_folder, folder, openbao, random.SystemRandom().randrange(1 << 30), 60)
