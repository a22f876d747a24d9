"""A mounted filesystem whose store fails on command (src/store/layers/fault.h), as a fixture for tests
that import it:

    from faulty_store import filesystem  # noqa: F401
"""
import pytest

from filesystem import Filesystem


@pytest.fixture
def filesystem(build_folder, folder):
    filesystem = Filesystem(build_folder, folder, scheme="fault+dir")
    try:
        try:
            filesystem.start()
        except AssertionError as refused:
            if "of no known kind" in str(refused):
                pytest.skip("this build has no fault layer (-Dfault_store=true)")
            raise
        filesystem.mount()
        yield filesystem
    finally:
        filesystem.close()
