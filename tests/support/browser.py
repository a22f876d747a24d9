"""Debian's Chromium, without a window, driven by Playwright:

    with chromium() as browser:
        page = browser.new_page(ignore_https_errors=True)

Playwright, which no Debian package has, is installed once into $COFFER_TEST_CACHE, or build/cache.
"""
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys

from servers import Unavailable, cache_folder, install_alone

PROGRAM = "/usr/bin/chromium-headless-shell"
PACKAGES = """\
playwright==1.65.0 \
--hash=sha256:e8e4d4a177bef2c2f2a17019febadded1c84cd1499b80f7100bb30ff20df7bad
greenlet==3.5.6 \
--hash=sha256:1c20ea32a73d17b9b60e3371240e17b0068120c98a5ec01a224a7dd8c89733ba \
--hash=sha256:f98e8215e172f567ce80eeaed9107fb4d32b6c44f26983d9b8334658136a205a
"""


def _install(folder):
    shutil.rmtree(folder, ignore_errors=True)
    requirements = cache_folder() / "playwright.txt"
    requirements.write_text(PACKAGES)
    for command in (["/usr/bin/python3", "-m", "venv", folder],
                    [folder / "bin" / "pip", "install", "--quiet", "--no-deps", "--only-binary",
                     ":all:", "--require-hashes", "-r", requirements]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            shutil.rmtree(folder, ignore_errors=True)
            raise Unavailable(f"Playwright cannot be installed: {done.stderr[-500:]}")


def _playwright():
    if not pathlib.Path(PROGRAM).exists():
        raise Unavailable("Chromium is not installed (Debian: chromium-headless-shell)")
    if os.uname().machine != "x86_64":
        raise Unavailable("Playwright's wheels are known for x86-64 only")
    # Of this very Python, since it is loaded into it.
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache_folder() / f"playwright-{version}"
    packages = folder / "lib" / f"python{version}" / "site-packages"
    with install_alone():
        if not (packages / "playwright").exists():
            _install(folder)
    if str(packages) not in sys.path:
        sys.path.append(str(packages))
    from playwright.sync_api import sync_playwright
    return sync_playwright


@contextlib.contextmanager
def chromium():
    with _playwright()() as playwright:
        # Root has no sandbox of Chromium's, and nothing but our own page is opened.
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
