"""A host of the test's own: its names, its ports and its trusted CAs, so that commands with fixed
addresses run as they are written.

    with private_host(tmp_path, ["vault-dns"], authority.cert):
        ... https://vault-dns:8200 is this host; the system trusts authority

It is a network and a mount namespace: what the test starts within is in it too.
"""
import contextlib
import ctypes
import os
import shutil
import subprocess

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


class Unavailable(Exception):
    """There are no namespaces for us."""


def _check(result):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _run(*words):
    subprocess.run(words, check=True, capture_output=True)


def _trust(folder, ca_cert):
    """What Debian's ca-certificates would make of a host that trusts this CA alone."""
    folder.mkdir()
    shutil.copy(ca_cert, folder / "ca-certificates.crt")
    shutil.copy(ca_cert, folder / "ca.pem")
    _run("openssl", "rehash", str(folder))
    _run("mount", "--bind", str(folder), "/etc/ssl/certs")


def _furnish(folder, names, ca_cert):
    _run("mount", "--make-rprivate", "/")
    _run("ip", "link", "set", "lo", "up")
    hosts = folder / "hosts"
    hosts.write_text("".join(f"127.0.0.1 {name}\n" for name in ["localhost", *names]))
    _run("mount", "--bind", str(hosts), "/etc/hosts")
    _trust(folder / "trusted", ca_cert)


@contextlib.contextmanager
def private_host(folder, names, ca_cert):
    if os.geteuid() != 0 or not shutil.which("ip"):
        raise Unavailable("a host of the test's own needs root, and ip (Debian: iproute2)")
    before = [os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY) for kind in ("mnt", "net")]
    cwd = os.getcwd()
    try:
        try:
            _check(libc.unshare(CLONE_NEWNS | CLONE_NEWNET))
        except OSError as error:
            raise Unavailable(f"namespaces cannot be made: {error}") from None
        try:
            _furnish(folder, names, ca_cert)
            yield
        finally:
            for namespace in before:
                _check(libc.setns(namespace, 0))
            os.chdir(cwd)
    finally:
        for namespace in before:
            os.close(namespace)
