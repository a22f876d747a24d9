"""Mounts: what a dead worker leaves behind, read-only ones, and those of an ordinary user. No key
server: keys are wrapped by local keys."""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import pytest

from instance import Instance, wait_until

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/fuse") or os.geteuid() != 0,
                                reason="needs root and /dev/fuse")

USER = 61234  # of nobody else


@pytest.fixture
def instance(build_folder, tmp_path):
    with Instance(build_folder, tmp_path) as own:
        own.add("data", allow_no_kms=True)
        yield own


def mounts_at(folder):
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        return [line for line in mounts if line.split()[1] == str(folder)]


def test_a_dead_mount_goes_although_the_kernel_remembers_its_attributes(instance, tmp_path):
    data = instance.mount("data", tmp_path / "mnt")
    os.stat(data)
    pid = instance.worker_pid("data")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: instance.worker_pid("data") not in (None, pid), "another worker")
    instance.wait_status("data", "mounted")
    assert len(mounts_at(data)) == 1


def test_a_read_only_mount_stays_one_after_a_restart(instance, tmp_path):
    data = tmp_path / "mnt"
    data.mkdir()
    said = instance.run("fs", "mount", "data", data, "--read-only").stdout
    assert said == f"Filesystem data is mounted at {data}, read-only.\n"
    pid = instance.worker_pid("data")
    for restart in (False, True):
        if restart:
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: instance.worker_pid("data") not in (None, pid), "another worker")
            instance.wait_status("data", "mounted")
        with pytest.raises(OSError, match="Read-only file system"):
            (data / "new").write_bytes(b"")
        assert instance.view("data")["read_only"]
    assert instance.run("fs").stderr == ""  # it was asked for: no trouble
    instance.run("fs", "umount", "data")
    instance.mount("data", data)
    (data / "new").write_bytes(b"")
    assert not instance.view("data")["read_only"]


AS_USER = """
set -eu
run=$1 uid=$2
mknod -m 666 "$run/fuse" c 10 229
mount --bind "$run/fuse" /dev/fuse
cp /etc/passwd "$run/passwd"
echo "trial:x:$uid:$uid::$run/home:/bin/sh" >> "$run/passwd"
mount --bind "$run/passwd" /etc/passwd
export HOME="$run/home" XDG_RUNTIME_DIR="$run/home/run" PATH="$run/programs:$PATH"
unset COFFER_STATE_DIR COFFER_SOCKET XDG_STATE_HOME
exec setpriv --reuid "$uid" --regid "$uid" --clear-groups --inh-caps=-all \\
    sh -euc "$3"
"""

SESSION = """
state="$HOME/.local/state/coffer"
cd "$HOME"
cofferd --user
trap 'kill "$(cat "$state/run/cofferd.pid")"' EXIT
coffer fs add mine 1GiB --allow-no-kms
coffer fs mount mine "$HOME/mnt"
trap 'coffer fs umount mine; kill "$(cat "$state/run/cofferd.pid")"' EXIT
echo kept > mnt/file
mkdir mnt/folder
sync mnt/file
stat -c '%u %a' mnt mnt/file

pid=$(pgrep -u "$(id -u)" -x coffer-fsd)
kill -9 "$pid"
is_new() { new=$(pgrep -u "$(id -u)" -x coffer-fsd) && [ "$new" != "$pid" ]; }
# A new worker first: until then cofferd may not have noticed that the old one is gone.
until is_new && [ "$(coffer fs -o status -f csv --no-header)" = mounted ]; do sleep 0.05; done
cat mnt/file
coffer fs check mine --read-data
coffer fs umount mine
trap 'kill "$(cat "$state/run/cofferd.pid")"' EXIT
coffer fs mount mine mnt/
cat mnt/file
coffer fs umount ./mnt
coffer fs remove mine --force
"""


@pytest.fixture
def user_folder(build_folder):
    """Programs and a home where an ordinary user reaches them."""
    with tempfile.TemporaryDirectory(prefix="coffer-user-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        (folder / "programs").mkdir()
        for program in ("coffer", "cofferd", "coffer-fsd"):
            shutil.copy(build_folder / "src" / "programs" / program, folder / "programs")
        for part in ("home", "home/run", "home/mnt"):
            (folder / part).mkdir(mode=0o700)
            os.chown(folder / part, USER, USER)
        yield folder


def test_an_ordinary_user_runs_all_of_it_for_himself(user_folder):
    done = subprocess.run(["unshare", "--mount", "--propagation", "private",
                           "sh", "-euc", AS_USER, "sh", user_folder, str(USER), SESSION],
                          capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done
    lines = done.stdout.splitlines()
    assert f"{USER} 755" in lines
    assert lines.count("kept") == 2
    assert "Filesystem mine has no faults." in lines
    assert lines[-1].startswith("Filesystem mine was removed")
    assert list((user_folder / "home" / ".local/state/coffer/filesystems").iterdir()) == []
