"""The conformance suites of object stores against a real S3 server, and what such a server alone
can show."""
import os
import subprocess

import pytest

import servers


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    try:
        server = servers.VersitygwServer(tmp_path_factory.mktemp("versitygw"))
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


@pytest.mark.parametrize("suite", ["volume_file", "volume_names", "volume_races", "volume_posix",
                                   "sharing_races", "upload"])
def test_volumes_and_snapshots_are_kept_in_a_bucket(s3, build_folder, suite):
    done = subprocess.run([build_folder / "tests" / "unit" / f"test_{suite}"],
                          env={**os.environ, **s3.test_variables()},
                          timeout=300, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
