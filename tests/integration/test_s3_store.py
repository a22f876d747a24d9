"""The conformance suites of object stores against a real S3 server, and what such a server alone
can show."""
import os
import socket
import struct
import subprocess

import pytest

import servers


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    try:
        server = servers.VersitygwServer(tmp_path_factory.mktemp("versitygw"), keep_alive=True)
    except servers.Unavailable as reason:
        pytest.skip(str(reason))
    with server:
        yield server


@pytest.mark.parametrize("kind", ["s3", "s3+fault+retry+trace", "s3+remote"])
@pytest.mark.parametrize("suite", ["conformance", "threads"])
def test_a_bucket_fulfils_the_contract(s3, build_folder, suite, kind):
    program = build_folder / "tests" / "conformance" / f"object_store_{suite}"
    done = subprocess.run([program, kind], env={**os.environ, **s3.test_variables()},
                          timeout=300, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("suite", ["conformance", "threads"])
def test_a_bucket_in_a_process_of_its_own_fulfils_the_contract(s3, build_folder, suite):
    program = build_folder / "tests" / "conformance" / f"object_store_{suite}"
    holder = build_folder / "src" / "programs" / "coffer-store"
    done = subprocess.run([program, "s3"], timeout=300, capture_output=True, text=True,
                          env={**os.environ, **s3.test_variables(),
                               "COFFER_TEST_STORE_PROGRAM": str(holder)})
    assert done.returncode == 0, done.stdout + done.stderr


def message(version, number, body):
    """Of src/store/remote_protocol.h."""
    return struct.pack("<BBHI", version, number, 0, len(body)) + body


@pytest.mark.parametrize("sent, reason", [
    (message(1, 1, b""), "the first message is not START"),
    (message(2, 17, b""), "speaks version 2"),
    (message(1, 17, struct.pack("<II", 65534, 65534) + b"no settings"), "settings"),
    (message(1, 66, b"\0"), "is not for this side to send"),
    (b"\1", "has closed"),
])
def test_what_holds_a_bucket_takes_nothing_but_its_settings_first(build_folder, sent, reason):
    mine, its = socket.socketpair()
    with mine, subprocess.Popen([build_folder / "src" / "programs" / "coffer-store",
                                 "--fd", str(its.fileno())], pass_fds=[its.fileno()],
                                stderr=subprocess.PIPE, text=True) as holder:
        its.close()
        mine.sendall(sent)
        mine.shutdown(socket.SHUT_WR)
        _, told = holder.communicate(timeout=60)
    assert holder.returncode == 1
    assert reason in told


@pytest.mark.parametrize("suite", ["volume_file", "volume_names", "volume_races", "volume_posix",
                                   "sharing_races", "upload"])
def test_volumes_and_snapshots_are_kept_in_a_bucket(s3, build_folder, suite):
    done = subprocess.run([build_folder / "tests" / "unit" / f"test_{suite}"],
                          env={**os.environ, **s3.test_variables()},
                          timeout=300, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
