import os
import pathlib
import shutil
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from home import home  # noqa: E402, F401
from key_servers import instance, openbao, pykmip, s3, vaultcore  # noqa: E402, F401


@pytest.fixture(scope="session")
def build_folder():
    """Where the programs under test are: $COFFER_BUILD, or build/."""
    return pathlib.Path(os.environ.get("COFFER_BUILD", ROOT / "build"))


@pytest.fixture
def folder():
    """One that workers and other users may enter, which those of pytest's tmp_path may not."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="coffer-test-"))
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


def pytest_configure(config):
    config.addinivalue_line("markers", "deep: long runs, only with ./run-tests --deep")
