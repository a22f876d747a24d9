"""Hosts that share an object store and a key server, as fixtures for tests that import them:

    from shared_sites import kms, sites  # noqa: F401

`sites` are two, of each test's own. `site`, `origin` and `places` are made once for a module, and
`fresh` is another host for each of its tests.
"""
import pytest

from sites import STORE, Origin, Site, shared_places


@pytest.fixture(scope="module")
def kms(openbao):
    openbao.create_key("shared")
    return openbao


@pytest.fixture
def sites(build_folder, folder, kms):
    disk = folder / STORE
    disk.mkdir()
    with Site(build_folder, folder / "one", kms, disk) as one:
        with Site(build_folder, folder / "two", kms, disk) as two:
            yield one, two


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    return shared_places(tmp_path_factory)


@pytest.fixture(scope="module")
def site(build_folder, places, kms):
    with Site(build_folder, places / "one", kms, places / STORE) as made:
        yield made


@pytest.fixture(scope="module")
def origin(site):
    """A filesystem of it that was uploaded."""
    return Origin(site, "projects")


@pytest.fixture
def fresh(build_folder, folder, places):
    """A host that knows the object store, and no key server yet."""
    with Site(build_folder, folder, None, places / STORE) as made:
        yield made
