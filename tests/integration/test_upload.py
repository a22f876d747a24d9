"""coffer fs snapshot upload and coffer task: into a real S3 server and into a folder, interrupted by
everything that can end, and the same in the store afterwards as without; what is refused and how."""
import json
import os
import pathlib
import random
import re
import signal

import pytest

from home import run
from instance import ApiError, Instance, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")
TASKS = "/api/v1/tasks"
SNAPSHOTS = "/api/v1/filesystems/home/snapshots"
MIB = 1 << 20
NEEDLE = b"what nobody reads in a bucket"


class Home:
    """A started filesystem, and object stores for it."""

    def __init__(self, instance, folder):
        self.instance = instance
        self.folder = folder
        self.mnt = folder / "mnt"
        self.store_processes = set()

    def fill(self, files=12, size=2 * MIB, seed=1):
        numbers = random.Random(seed)
        for number in range(files):
            (self.mnt / f"file-{number}").write_bytes(NEEDLE + numbers.randbytes(size))
        for number in range(400):  # in their inodes, so that there are some chunks of records
            (self.mnt / f"small-{number}").write_bytes(NEEDLE + numbers.randbytes(1900))

    def add_folder(self, name, *options):
        place = self.folder / name
        place.mkdir()
        self.instance.run("fs", "tier", "dir", "add", name, "--path", place, *options)
        return place

    def snapshot(self, name):
        self.instance.run("fs", "snapshot", "add", "home", name, "--access-point", name)

    def upload(self, snapshot, store, **others):
        """The number of the task."""
        return self.instance.api("POST", f"{SNAPSHOTS}/upload",
                                 {"name": snapshot, "object_store": store, **others})["id"]

    def start_again(self):
        self.instance.start()
        self.instance.wait_status("home", "mounted")

    def task(self, number):
        return self.instance.api("GET", f"{TASKS}/{number}")

    def act(self, number, what, **body):
        return self.instance.api("POST", f"{TASKS}/{number}/{what}", body)

    def wait(self, number, *states):
        states = states or ("done",)

        def reached():
            task = self.task(number)
            assert task["state"] in states or task["state"] not in ("done", "failed", "aborted"), task
            return task if task["state"] in states else None
        return wait_until(reached, f"task {number} is {states}")

    def wait_moved(self, number):
        """Until it is in the middle."""
        def moves():
            task = self.task(number)
            assert task["state"] in ("running", "waiting"), task
            return task["state"] == "running" and own_store_processes(self) != []
        return wait_until(moves, f"task {number} moves")

    def verify(self, store, locator):
        """All of it opens, with the key that the KMS unwraps."""
        done = self.instance.run("fs", "snapshot", "verify", locator, "--object-store", store)
        assert done.returncode == 0, done

    def uploads(self, snapshot):
        (row,) = [row for row in self.instance.api("GET", SNAPSHOTS) if row["name"] == snapshot]
        return {upload["object_store"]: upload["locator"] for upload in row["uploads"]}


@pytest.fixture
def home(build_folder, folder, pykmip):
    with Instance(build_folder, folder) as instance:
        instance.set_kmip(pykmip, pykmip.admin().create())
        instance.add("home")
        instance.mount("home", folder / "mnt")
        yield Home(instance, folder)


def add_bucket(home, s3, name="backup", **others):
    home.instance.api("POST", "/api/v1/object-stores", {
        "name": name, "type": "s3", "hostname": "127.0.0.1", "port": s3.port, "bucket": "coffer",
        "access_key_id": s3.access_key_id, "secret_key": s3.secret_key,
        "ca_cert": s3.ca_cert.read_text(), "prefix": name, **others})


def objects(place):
    """Of each kind the names, and all bytes."""
    found = {}
    for path in place.rglob("*"):
        if path.is_file() and "coffer-1" in path.parts:
            kind = path.parts[path.parts.index("coffer-1") + 1]
            found.setdefault(kind, {})[path.name] = path.stat().st_size
    return found


def content(place):
    """What must be equal however often an upload was interrupted."""
    found = objects(place)
    return {kind: found.get(kind) for kind in ("packs", "chunks")}


def store_processes():
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text().strip() == "coffer-store":
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def parent_of(pid):
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def own_store_processes(home):
    """Those of this instance, for others may be tested beside. They outlive a cofferd that is killed:
    so they are remembered when they are seen below it."""
    processes = store_processes()
    daemon = home.instance.process.pid if home.instance.process else None
    home.store_processes |= {pid for pid in processes if daemon and parent_of(pid) == daemon}
    return [pid for pid in processes if pid in home.store_processes]


def test_a_snapshot_is_uploaded_listed_and_what_comes_later_moves_little(home, s3):
    add_bucket(home, s3)
    top = s3.data / "coffer" / "backup"
    home.fill()
    home.snapshot("one")
    said = home.instance.run("fs", "snapshot", "upload", "home", "one", "--wait").stdout
    (locator,) = re.findall(r"^coffer1-[0-9a-z]{56}$", said, re.M)
    shown = home.instance.run("fs", "snapshot", "-f", "csv").stdout
    assert f"backup,{locator}" in shown
    assert locator in home.instance.run("task", "show", "1").stdout
    first = objects(top)
    assert {kind: len(first[kind]) for kind in ("heads", "manifests")} == {"heads": 1, "manifests": 1}
    total = sum(sum(kind.values()) for kind in first.values())
    task = home.task(1)
    assert task["percent"] == 100 and task["moved"] >= 24 * MIB and task["result"] == locator
    assert task["total"] == task["done"] > 24 * MIB

    (home.mnt / "small-7").write_bytes(b"changed")
    with open(home.mnt / "file-3", "r+b") as file:
        file.seek(MIB)
        file.write(os.urandom(4096))
    home.snapshot("two")
    second = home.wait(home.upload("two", "backup"))
    grown = sum(sum(kind.values()) for kind in objects(top).values()) - total
    assert grown < total // 20 and second["moved"] < total // 20, (grown, total)
    assert home.uploads("one") == {"backup": locator}
    assert home.uploads("two") == {"backup": second["result"]}
    for uploaded in (locator, second["result"]):
        home.verify("backup", uploaded)

    again = home.wait(home.upload("one", "backup"))
    assert again["moved"] < total // 20
    events = [row["type"] for row in json.loads(home.instance.run("events", "-J").stdout)]
    assert events.count("task-started") == 3 and events.count("task-done") == 3
    audit = json.loads(home.instance.run("audit", "--operation", "upload", "-J").stdout)
    assert [row["result"] for row in audit] == ["ok"] * 3
    assert "object store backup" in audit[0]["text"]

    for path in top.rglob("*"):
        if path.is_file():
            assert NEEDLE not in path.read_bytes(), path
    home.instance.stop()
    for path in (home.instance.log, *(home.instance.state / "registry").iterdir()):
        text = path.read_bytes()
        assert s3.secret_key.encode() not in text and NEEDLE not in text, path
    home.start_again()


def test_names_are_hidden_if_somebody_wants_that(home):
    place = home.add_folder("disk")
    (home.mnt / "file").write_bytes(b"x")
    home.snapshot("name-of-it")
    home.instance.run("fs", "snapshot", "upload", "home", "name-of-it", "--hide-names", "--wait")
    (head,) = (place / "coffer-1" / "heads").iterdir()
    assert b"name-of-it" not in head.read_bytes()
    home.instance.run("fs", "snapshot", "upload", "home", "name-of-it", "--wait")
    heads = [path.read_bytes() for path in (place / "coffer-1" / "heads").iterdir()]
    assert sum(b"name-of-it" in head for head in heads) == 1
    home.instance.stop()
    for path in (home.instance.state / "registry").iterdir():
        assert b"name-of-it" not in path.read_bytes()
    home.start_again()


def slow_folder(home, name="slow"):
    """One into which an upload does not come to its end: each process that holds it puts one large
    object, and then waits for a long time."""
    return home.add_folder(name, "--upload-bandwidth", "20kB")


def finish(home, number, store="slow"):
    """At full speed."""
    home.instance.run("fs", "tier", "dir", "update", store, "--upload-bandwidth", "0")
    home.act(number, "pause")
    home.act(number, "resume")
    return home.wait(number)


def compared(home):
    """What an undisturbed upload of the snapshot "one" puts, and a slow folder for another."""
    home.fill(files=4)
    home.snapshot("one")
    quick = home.add_folder("quick")
    home.wait(home.upload("one", "quick"))
    return quick, slow_folder(home)


def kill_worker(home):
    pid = home.instance.worker_pid("home")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: home.instance.worker_pid("home") not in (None, pid), "another worker is there")


def test_it_goes_on_whatever_is_killed(home):
    quick, slow = compared(home)
    number = home.upload("one", "slow")
    home.wait_moved(number)
    for pid in own_store_processes(home):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: home.task(number)["state"] == "waiting", "it waits")
    home.act(number, "resume")
    home.wait_moved(number)
    kill_worker(home)
    home.act(number, "resume")
    home.wait_moved(number)
    home.instance.stop(signal.SIGKILL)
    home.start_again()
    home.wait_moved(number)
    # All of them at once, as a host ends.
    worker = home.instance.worker_pid("home")
    home.instance.stop(signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    for pid in own_store_processes(home):
        os.kill(pid, signal.SIGKILL)
    home.start_again()
    home.wait_moved(number)
    task = finish(home, number)
    assert content(slow) == content(quick)
    assert len(objects(slow)["heads"]) == 1 and "removing" not in objects(slow)
    assert home.uploads("one")["slow"] == task["result"]
    home.verify("slow", task["result"])


def test_cofferd_may_be_away_when_it_ends(home):
    quick, slow = compared(home)
    home.instance.run("fs", "tier", "dir", "update", "slow", "--upload-bandwidth", "6MB")
    number = home.upload("one", "slow")
    wait_until(lambda: "references" in objects(slow), "the worker has begun")
    home.instance.stop(signal.SIGKILL)
    assert "heads" not in objects(slow)
    wait_until(lambda: "heads" in objects(slow), "the worker has ended it")
    home.instance.start()
    home.wait(number)
    assert content(slow) == content(quick) and len(objects(slow)["heads"]) == 1


def test_it_waits_for_a_store_that_is_away_and_for_the_mount(home, s3):
    add_bucket(home, s3, "away", upload_bandwidth=20000)
    home.fill(files=4)
    home.snapshot("one")
    number = home.upload("one", "away")
    home.wait_moved(number)
    s3.stop()
    task = home.wait(number, "waiting")
    assert "127.0.0.1" in task["text"], task
    assert "waiting" in home.instance.run("task").stdout
    home.instance.run("fs", "umount", "home")
    home.act(number, "resume")
    wait_until(lambda: "is not started" in home.task(number)["text"], "it waits for the mount")
    s3.start()
    home.instance.mount("home", home.mnt)
    home.instance.api("PATCH", "/api/v1/object-stores/away", {"upload_bandwidth": 0})
    home.act(number, "pause")
    home.act(number, "resume")
    task = home.wait(number)
    assert len(objects(s3.data / "coffer" / "away")["heads"]) == 1
    home.verify("away", task["result"])


def test_one_that_is_paused_rests_and_one_that_is_aborted_leaves_nothing(home):
    quick, slow = compared(home)
    number = home.upload("one", "slow")
    home.wait_moved(number)
    said = home.instance.run("task", "pause", number).stdout
    assert "is paused" in said
    shown = home.instance.run("fs", "snapshot", "--name", "one", "-o", "uploaded_to", "-f", "csv")
    assert "quick, slow paused" in shown.stdout
    wait_until(lambda: own_store_processes(home) == [], "nothing goes on")
    before = content(slow)
    home.instance.stop()
    home.start_again()
    assert home.task(number)["state"] == "paused"
    assert content(slow) == before
    home.instance.run("task", "resume", number)
    home.wait_moved(number)
    said = home.instance.run("task", "abort", number, "--force").stdout
    assert "is being aborted" in said
    ended = home.instance.run("task", "wait", number, check=False)
    assert ended.returncode == 1 and "was aborted" in ended.stderr
    assert objects(slow) == {}
    assert home.uploads("one").keys() == {"quick"}

    # In a store that holds a snapshot, what that one needs stays.
    home.instance.run("fs", "tier", "dir", "update", "quick", "--upload-bandwidth", "2MB")
    needed = objects(quick)
    (home.mnt / "more").write_bytes(os.urandom(6 * MIB))
    home.snapshot("two")
    number = home.upload("two", "quick")
    wait_until(lambda: objects(quick)["references"] != needed["references"], "it has begun")
    home.act(number, "abort")
    home.wait(number, "aborted")
    assert objects(quick) == needed


def test_what_is_uploaded_stays_until_then(home):
    _, _ = compared(home)
    number = home.upload("one", "slow")
    for words, part in ((("fs", "snapshot", "remove", "home", "one", "--force"), "needs it"),
                        (("fs", "tier", "dir", "remove", "slow", "--force"), "needs it"),
                        (("fs", "snapshot", "upload", "home", "one", "--object-store", "slow"),
                         f"task {number} ")):
        refused = home.instance.run(*words, check=False)
        assert refused.returncode == 1 and part in refused.stderr, refused
        assert f"coffer task abort {number}" in refused.stderr
    # Several at a time, into one store one after the other.
    home.snapshot("two")
    second = home.upload("two", "slow")
    wait_until(lambda: home.task(second)["phase"] == f"waits for task {number}", "it waits")
    home.act(number, "abort")
    home.wait(number, "aborted")
    home.instance.run("fs", "snapshot", "remove", "home", "one", "--force")
    finish(home, second)


def test_a_store_that_refuses_says_so_and_is_waited_for(home, s3):
    try:
        s3.add_user("limited", "limited-secret")
    except Exception as reason:  # pylint: disable=broad-except
        pytest.skip(str(reason))
    add_bucket(home, s3, "refuses", access_key_id="limited", secret_key="limited-secret",
               skip_verification=True)
    (home.mnt / "file").write_bytes(b"x")
    home.snapshot("one")
    number = home.upload("one", "refuses")
    task = home.wait(number, "waiting")
    assert "denies access" in task["text"], task
    assert "limited-secret" not in json.dumps(task)
    assert s3.secret_key not in pathlib.Path(home.instance.log).read_text()
    home.instance.api("PATCH", "/api/v1/object-stores/refuses",
                      {"access_key_id": s3.access_key_id, "secret_key": s3.secret_key})
    home.act(number, "resume")
    home.wait(number)


def test_keys_that_are_wrapped_anew_meanwhile_are_so_in_the_store(home, pykmip):
    _, slow = compared(home)
    number = home.upload("one", "slow")
    home.wait_moved(number)
    uid = pykmip.admin().create()
    home.instance.run("security", "kms", "rewrap", "--new-key-uid", uid, "--force")
    task = finish(home, number)
    rows = json.loads(home.instance.run("fs", "tier", "s3", "snapshot", "list", "slow",
                                        "-J").stdout)
    assert [row["locator"] for row in rows] == [task["result"]]
    assert uid in json.dumps(rows)
    home.verify("slow", task["result"])


def test_refusals_have_their_sentences(home):
    home.add_folder("disk")
    (home.mnt / "file").write_bytes(b"x")
    home.snapshot("one")
    for body, status, part in (({"name": "none"}, 404, "has no snapshot 'none'"),
                               ({"name": "one", "object_store": "none"}, 404, "no object store none"),
                               ({}, 400, "name")):
        with pytest.raises(ApiError) as refused:
            home.instance.api("POST", f"{SNAPSHOTS}/upload", body)
        assert refused.value.status == status and part in refused.value.text, body
    for number in ("7", "x", "0", "-1"):
        with pytest.raises(ApiError) as missing:
            home.task(number)
        assert missing.value.status == 404
    done = home.wait(home.upload("one", "disk"))
    for what in ("pause", "resume", "abort"):
        with pytest.raises(ApiError) as late:
            home.act(done["id"], what)
        assert late.value.status == 409 and "has ended" in late.value.text
    run("sh", "-c", f"rm -rf {home.folder / 'disk'}")
    number = home.upload("one", "disk")
    assert str(home.folder / "disk") in home.wait(number, "waiting")["text"]
    home.instance.run("task", "abort", number, "--force")
    home.wait(number, "aborting", "waiting")
    home.instance.run("task", "abort", number, "--force", "--leave")
    home.wait(number, "aborted")
    home.instance.run("fs", "tier", "dir", "remove", "disk", "--force")
