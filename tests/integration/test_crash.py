"""A worker that is killed under load, and a host that loses power: what an fsync acknowledged is
there, and everything together is one state that the filesystem had."""
import os
import random
import threading

import pytest

import crash_load
from filesystem import Disk, Filesystem, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                                reason="needs root and /dev/fuse")


@pytest.fixture
def filesystem(folder, build_folder):
    filesystem = Filesystem(build_folder, folder)
    filesystem.start()
    filesystem.mount()
    yield filesystem
    filesystem.close()


class Load:
    """Writers of both kinds in folders of their own."""

    def __init__(self, mnt, seed, strict=3, buffered=3):
        self.random = random.Random(seed)
        self.is_over = threading.Event()
        self.writers = [kind(mnt / f"{kind.__name__}{i}", self.random.random(), self.is_over)
                        for kind, count in ((crash_load.StrictWriter, strict),
                                            (crash_load.BufferedWriter, buffered))
                        for i in range(count)]
        fd = os.open(mnt, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)

    def operations(self):
        return sum(writer.operations for writer in self.writers)

    def run_until(self, operations, end):
        """end() is called under load, after about so many operations."""
        self.is_over.clear()
        wanted = self.operations() + operations
        for writer in self.writers:
            writer.start()
        try:
            until(lambda: self.operations() >= wanted or any(w.failure for w in self.writers),
                  "the load")
        finally:
            self.is_over.set()
            end()
            for writer in self.writers:
                writer.thread.join()
        for writer in self.writers:
            writer.join()

    def judge(self):
        verdicts = [writer.judge() for writer in self.writers]
        crash_load.judge_order([verdict for verdict in verdicts if verdict])


def kill_rounds(filesystem, seed, rounds, operations):
    load = Load(filesystem.mnt, seed)
    for number in range(rounds):
        load.run_until(load.random.randrange(operations), filesystem.kill)
        filesystem.restart()
        if load.random.random() < 0.3:  # again, at once
            filesystem.kill()
            filesystem.restart()
        try:
            load.judge()
            filesystem.assert_sound()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, round {number}: {error}") from None


def test_a_killed_worker_leaves_a_state_that_the_filesystem_had(filesystem):
    kill_rounds(filesystem, random.randrange(2 ** 32), rounds=12, operations=4000)


def test_a_worker_that_is_killed_on_a_small_disk(build_folder, folder):
    """Where compaction is always at work."""
    disk = Disk(folder, "disk", 250 << 20)
    filesystem = Filesystem(build_folder, folder, store=disk.path / "store")
    try:
        filesystem.start()
        filesystem.mount()
        kill_rounds(filesystem, random.randrange(2 ** 32), rounds=6, operations=6000)
    finally:
        filesystem.close()
        disk.close()


@pytest.mark.deep
def test_a_worker_that_is_killed_hundreds_of_times(filesystem):
    kill_rounds(filesystem, random.randrange(2 ** 32), rounds=200, operations=3000)


def lose_power(filesystem, disk):
    """Of the host, whose only disk it is."""
    disk.lose_power()
    filesystem.kill()
    filesystem.unmount_dead()
    disk.unmount()
    disk.mount()


def power_rounds(build_folder, folder, rounds, operations):
    seed = random.randrange(2 ** 32)
    disk = Disk(folder, "disk", 2 << 30, "ext4")
    filesystem = Filesystem(build_folder, folder, meta=disk.path / "meta",
                            store=disk.path / "store")
    try:
        filesystem.start()
        filesystem.mount()
        load = Load(filesystem.mnt, seed)
        for number in range(rounds):
            load.run_until(load.random.randrange(operations), lambda: lose_power(filesystem, disk))
            filesystem.restart()
            try:
                load.judge()
                filesystem.assert_sound()
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, round {number}: {error}") from None
    finally:
        filesystem.close()
        disk.close()


def test_a_host_that_loses_power_leaves_a_state_that_the_filesystem_had(build_folder, folder):
    power_rounds(build_folder, folder, rounds=6, operations=3000)


@pytest.mark.deep
def test_a_host_that_loses_power_many_times(build_folder, folder):
    power_rounds(build_folder, folder, rounds=60, operations=2000)
