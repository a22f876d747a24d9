"""Servers as fixtures, one of each for a test module, and an instance for each test. conftest.py has
them for all modules; one that needs another kind defines its own under the same name.
"""
import pytest

import servers
from instance import Instance


def started(make):
    """The server that make() returns, to be entered; a skip if it cannot run here."""
    try:
        return make()
    except servers.Unavailable as reason:
        pytest.skip(str(reason))


def _with_transit(make, folder):
    with started(lambda: make(folder)) as server:
        server.enable_transit()
        yield server


@pytest.fixture(scope="module")
def pykmip(tmp_path_factory):
    with started(lambda: servers.PykmipServer(tmp_path_factory.mktemp("pykmip"))) as server:
        yield server


@pytest.fixture(scope="module")
def openbao(tmp_path_factory):
    yield from _with_transit(servers.OpenBaoServer, tmp_path_factory.mktemp("openbao"))


@pytest.fixture(scope="module")
def vaultcore(tmp_path_factory):
    """Without TLS."""
    yield from _with_transit(servers.VaultCoreServer, tmp_path_factory.mktemp("vaultcore"))


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    folder = tmp_path_factory.mktemp("versitygw")
    with started(lambda: servers.VersitygwServer(folder, tls=True)) as server:
        yield server


@pytest.fixture
def instance(build_folder, tmp_path):
    with Instance(build_folder, tmp_path) as own:
        yield own
