import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))


@pytest.fixture(scope="session")
def build_folder():
    """Where the programs under test are: $COFFER_BUILD, or build/."""
    return pathlib.Path(os.environ.get("COFFER_BUILD", ROOT / "build"))
