"""./quickstart, as somebody sees it who has just cloned coffer."""
import os
import pathlib
import shlex
import subprocess

import pytest

from instance import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]


def quickstart(trial, build_folder, *words, code=0):
    result = subprocess.run([ROOT / "quickstart", *words], capture_output=True, text=True,
                            timeout=600, check=False, stdin=subprocess.DEVNULL,
                            env=os.environ | {"COFFER_TRIAL": str(trial),
                                              "COFFER_BUILD": str(build_folder)})
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout if code == 0 else result.stderr


@pytest.fixture(name="trial")
def trial_folder(tmp_path, build_folder):
    if os.getuid() != 0 or not os.access("/dev/fuse", os.W_OK):
        pytest.skip("needs root and /dev/fuse")
    yield tmp_path / "trial"
    quickstart(tmp_path / "trial", build_folder, "--remove")
    assert not (tmp_path / "trial").exists()


def without_the_last_act(trial):
    """As if it had been shown before: tests that look at something else need not wait for it."""
    trial.mkdir()
    (trial / "sums.downloaded").write_text("shown\n")


def sources(folder):
    return {path.relative_to(folder): path.read_bytes()
            for path in (folder / "src").rglob("*.[ch]")}


def in_trial(trial, build_folder, script):
    environment = quickstart(trial, build_folder, "--env")
    return subprocess.run(["bash", "-euc", environment + script], capture_output=True, text=True,
                          timeout=120, check=True).stdout


@pytest.mark.parametrize("kms, key", [("kmip", "the KMIP key with UID 1"),
                                      ("vault", "OpenBao's transit key coffer-trial")])
def test_it_shows_files_that_survive_a_restart_and_can_be_run_again(trial, build_folder, kms, key):
    text = quickstart(trial, build_folder, "--kms", kms)
    assert "came back by itself" in text
    restarted, moved = text.split("Its files on a second host")
    for part in (restarted, moved):
        assert "have the same SHA-256 sum as before" in part
    assert key in text
    assert not list(trial.glob("*-host*"))
    copy = trial / "mnt" / "coffer-sources"
    assert sources(copy) == sources(ROOT)

    (copy / "mine").write_text("something of my own")
    text = quickstart(trial, build_folder)
    assert "came back by itself" in text and "second host" not in text
    assert (copy / "mine").read_text() == "something of my own"

    listed = in_trial(trial, build_folder, "coffer fs -f csv --no-header -o name,status,mounted_at")
    assert listed == f"trial,mounted,{shlex.quote(str(trial / 'mnt'))}\n"

    assert "warning" not in in_trial(trial, build_folder, "coffer security kms check")
    next_step = "coffer fs tier dir add bucket --path trial/bucket; coffer fs tier snapshot list bucket"
    assert next_step in text
    listed = in_trial(trial, build_folder, f"cd {shlex.quote(str(trial.parent))}\n{next_step}")
    assert " evening " in listed

    quickstart(trial, build_folder, "--stop")
    assert not os.path.ismount(trial / "mnt")
    assert list((trial / "mnt").iterdir()) == []
    quickstart(trial, build_folder, "--stop")
    quickstart(trial, build_folder)
    assert (copy / "mine").read_text() == "something of my own"


def test_it_leaves_a_mount_alone_that_is_in_use(trial, build_folder):
    without_the_last_act(trial)
    quickstart(trial, build_folder)
    with open(trial / "mnt" / "coffer-sources" / "README.md", "rb") as file:
        assert "is in use" in quickstart(trial, build_folder, "--stop", code=1)
        assert file.read(8) == b"# coffer"
        assert os.path.ismount(trial / "mnt")
        assert "trial" in in_trial(trial, build_folder, "coffer fs")
    quickstart(trial, build_folder, "--stop")


def test_a_filesystem_that_somebody_added_is_stopped_and_comes_back_with_the_rest(
        trial, build_folder, tmp_path):
    without_the_last_act(trial)
    quickstart(trial, build_folder)
    second = tmp_path / "second, with a blank"
    second.mkdir()
    in_trial(trial, build_folder, "coffer fs add second 1GiB\n"
             f"coffer fs mount second {shlex.quote(str(second))}")
    (second / "mine").write_text("something of my own")
    quickstart(trial, build_folder, "--stop")
    assert not os.path.ismount(second)
    quickstart(trial, build_folder)
    wait_until(lambda: (second / "mine").exists(), "the second filesystem")
    assert (second / "mine").read_text() == "something of my own"


def test_it_says_what_it_does_not_understand(tmp_path, build_folder):
    trial = tmp_path / "trial"
    assert "see ./quickstart --help" in quickstart(trial, build_folder, "--nonsense", code=1)
    assert "give --kms kmip or vault" in quickstart(trial, build_folder, "--kms", "hsm", code=1)
    assert "needs a value" in quickstart(trial, build_folder, "--kms", code=1)
    assert "There is no trial" in quickstart(trial, build_folder, "--remove")
    assert quickstart(trial, build_folder, "--help").startswith("Usage: ./quickstart")
    assert not trial.exists()
