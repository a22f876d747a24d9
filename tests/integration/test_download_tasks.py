"""What is fetched in the background of a downloaded filesystem is a task: it is seen, paused, and goes
on after whatever ends; and the process that holds the bucket is replaced when it does."""
import os
import pathlib
import pty
import signal
import subprocess

import pytest

from instance import wait_until
from shared_sites import kms, sites  # noqa: F401
from sites import STORE, fill, hashes, sound

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")
ENDED = ("done", "failed", "aborted")


def uploaded(site):
    """(locator, hashes): of some 60 MB."""
    site.instance.add("projects")
    top = site.mount("projects")
    fill(top)
    (top / "larger").write_bytes(os.urandom(48 << 20))
    return site.upload("projects", "first"), hashes(top)


def on_terminal(site, typed, *words):
    """What the command says to somebody who has typed that."""
    terminal, its_end = pty.openpty()
    try:
        os.write(terminal, typed.encode())
        subprocess.run([site.instance.programs / "coffer", *map(str, words)], check=False, timeout=300,
                       env=site.instance.environment, stdin=its_end, stdout=its_end, stderr=its_end)
        return os.read(terminal, 65536).decode()
    finally:
        os.close(its_end)
        os.close(terminal)


def limit(site, bandwidth):
    """For processes that start from now on."""
    site.instance.run("fs", "tier", "dir", "update", STORE, "--download-bandwidth", bandwidth)


def task(site, number):
    return site.instance.api("GET", f"/api/v1/tasks/{number}")


def wait_state(site, number, *states):
    def reached():
        found = task(site, number)
        assert found["state"] in states or found["state"] not in ENDED, found
        return found if found["state"] in states else None
    return wait_until(reached, f"task {number} is {states}", 120)


def wait_fetching(site, number):
    """It is in the middle of what is to be fetched."""
    def fetches():
        found = task(site, number)
        assert found["state"] not in ENDED, found
        return found if found["state"] == "running" and found["phase"] == "data" else None
    return wait_until(fetches, f"task {number} fetches")


def left(site, name):
    """What is only in the object store, of one whose worker answers in time."""
    return wait_until(lambda: site.instance.view(name)["origin_left"], "it is known what is left")


def store_processes(site):
    """Those that its cofferd started, and that have not ended."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = stat.read_text().split("(", 1)[1].rsplit(")", 1)
        except OSError:
            continue
        state, parent = rest.split()[:2]
        if name == "coffer-store" and state != "Z" and int(parent) == site.instance.process.pid:
            found.append(int(stat.parent.name))
    return found


def kill_store_processes(site):
    killed = wait_until(lambda: store_processes(site), "the bucket's process is there")
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    return killed


def test_it_is_paused_and_goes_on_and_is_done_when_all_is_here(sites):
    one, two = sites
    locator, wanted = uploaded(one)
    limit(two, "8MB")
    said = two.download("copy", locator).stdout
    assert "Task 1 fetches in the background" in said
    view = two.instance.view("copy")
    assert (view["origin_store"], view["origin_task"], view["origin_left"]) == (STORE, 1, None)
    waiting = wait_state(two, 1, "waiting")
    assert waiting["kind"] == "download" and "is not started" in waiting["text"]
    assert waiting["about"] == f"download of copy, object store {STORE}"
    refused = two.instance.run("task", "abort", 1, "--force", check=False)
    assert refused.returncode == 1 and "removing the filesystem ends it" in refused.stderr
    assert "removing the filesystem ends it" in two.instance.run("task", "show", 1).stdout
    # Nobody is asked whether to do what cannot be done.
    said = on_terminal(two, "n\n", "task", "abort", 1)
    assert "cannot be aborted" in said and "[y/N]" not in said
    refused = two.instance.run("fs", "tier", "dir", "remove", STORE, "--force", check=False)
    assert refused.returncode == 1 and "copy was downloaded from the object store" in refused.stderr

    # Paused, it brings in nothing, whoever reads.
    two.instance.run("task", "pause", 1)
    top = two.mount("copy")
    before = left(two, "copy")
    assert before > 48 << 20 and task(two, 1)["state"] == "paused"
    assert f"still only in the object store {STORE}" in two.instance.run("fs").stderr
    # Reading goes on, also when the process that holds the bucket ends.
    kill_store_processes(two)
    with open(top / "larger", "rb") as file:
        head = file.read(65536)
    assert len(head) == 65536

    # It stays so over a restart of everything.
    worker = two.instance.worker_pid("copy")
    two.instance.stop(signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    two.instance.start()
    two.instance.wait_status("copy", "mounted")
    assert task(two, 1)["state"] == "paused"
    with open(top / "larger", "rb") as file:
        assert file.read(65536) == head
    assert left(two, "copy") == before

    two.instance.run("task", "resume", 1)
    assert wait_fetching(two, 1)["total"] >= before
    limit(two, "0")
    kill_store_processes(two)  # in the middle of it; the next one is not slow
    assert "is done" in two.instance.run("task", "wait", 1).stdout
    done = task(two, 1)
    assert done["result"] == "all of it is here" and done["percent"] == 100
    view = two.instance.view("copy")
    assert (view["origin_store"], view["origin_task"], view["origin_left"]) == ("", 0, None)
    assert [use["kind"] for use in two.uses()] == ["snapshot"]  # nothing of the download
    assert hashes(top) == wanted
    sound(two.instance, "copy")
    assert "still only in" not in two.instance.run("fs").stderr


def test_a_bucket_that_is_away_for_a_while_is_waited_for(sites):
    one, two = sites
    locator, wanted = uploaded(one)
    two.download("copy", locator)
    two.instance.run("task", "pause", 1)
    top = two.mount("copy")
    aside = two.disk.with_name("aside")
    two.disk.rename(aside)
    kill_store_processes(two)
    wait_until(lambda: "event=bucket-away" in two.instance.events(), "it is told")
    with subprocess.Popen(["sha256sum", top / "larger"], stdout=subprocess.PIPE, text=True) as reader:
        assert store_processes(two) == []
        aside.rename(two.disk)
        assert reader.communicate(timeout=100)[0].split()[0] == wanted["larger"][1]
    assert reader.returncode == 0
    two.instance.run("task", "resume", 1)
    wait_state(two, 1, "done")
    assert hashes(top) == wanted


def test_the_removal_of_the_filesystem_ends_it(sites):
    one, two = sites
    locator, _ = uploaded(one)
    two.download("copy", locator)
    two.instance.run("fs", "remove", "copy", "--force")
    ended = wait_state(two, 1, "aborted")
    assert "was removed" in ended["text"]
    assert [use["kind"] for use in two.uses()] == ["snapshot"]
    # The next one is a task of its own, although the name is the same.
    two.download("copy", locator)
    assert two.instance.view("copy")["origin_task"] == 2
