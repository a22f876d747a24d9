"""One instance of coffer of a test's own: its state folder, its cofferd, its REST interface.

    with Instance(build_folder, tmp_path) as instance:
        instance.set_kmip(kms, uid)
        instance.add("data")
        instance.mount("data", folder)

start() and stop() within the `with` are restarts of cofferd; the workers live on. Leaving it
unmounts and stops everything.
"""
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time


class ApiError(Exception):
    def __init__(self, status, body):
        self.status = status
        self.code = body.get("code", "")
        self.text = body.get("error", "")
        super().__init__(f"{status} {self.code}: {self.text}")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def wait_until(condition, what, limit_s=60):
    end = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {limit_s} s")
        time.sleep(0.05)


def is_mounted(folder):
    wanted = str(folder)
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        return any(line.split()[1] == wanted for line in mounts)


def open_files(process):
    """What this folder of /proc says that it has open; less, if it ends meanwhile."""
    found = set()
    with contextlib.suppress(OSError):
        for fd in os.listdir(process / "fd"):
            with contextlib.suppress(OSError):
                found.add(os.readlink(process / "fd" / fd))
    return found


class Instance:
    def __init__(self, build_folder, folder, options=(), **environment):
        self.programs = pathlib.Path(build_folder) / "src" / "programs"
        self.state = pathlib.Path(folder) / "state"
        self.socket = self.state / "cofferd.sock"
        self.log = pathlib.Path(folder) / "cofferd.log"
        self.environment = {**os.environ, **environment}
        self.environment["COFFER_STATE_DIR"] = str(self.state)
        self.environment.pop("COFFER_SOCKET", None)
        self.options = options
        self.process = None
        self.mounts = []

    # cofferd

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "cofferd", "--state-dir", self.state, "--foreground", *self.options],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self._answers, "cofferd is ready")

    def _answers(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"cofferd ended: {self.log.read_text()}")
        try:
            return self.api("GET", "/api/v1/status")
        except OSError:
            return None

    def stop(self, how=signal.SIGTERM):
        """Ends cofferd only; the workers go on."""
        if self.process is None:
            return
        self.process.send_signal(how)
        self.process.wait(60)
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process is None:
            self.start()
        for row in self.api("GET", "/api/v1/filesystems"):
            if row["mounted_at"]:
                subprocess.run(["umount", "-l", row["mounted_at"]], check=False)
            try:
                self.api("POST", f"/api/v1/filesystems/{row['name']}/stop")
            except ApiError:
                pass
        self.stop()

    # REST and the command line

    def api(self, method, path, body=None, timeout=120):
        connection = UnixConnection(str(self.socket), timeout)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, body=text)
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status >= 400:
            raise ApiError(response.status, answer)
        return answer

    def run(self, *words, check=True, **options):
        """The command line: the finished process, its output as text."""
        done = subprocess.run([self.programs / "coffer", *map(str, words)], env=self.environment,
                              capture_output=True, text=True, timeout=300, **options)
        if check:
            assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def set_kmip(self, kms, uid, client="alice", address=None):
        cert, key = kms.client(client)
        return self.api("PUT", "/api/v1/kms", {
            "type": "kmip", "address": address or kms.address, "key": uid,
            "client_cert": cert.read_text(), "client_key": key.read_text(),
            "ca_cert": kms.ca_cert.read_text()})

    def add(self, name, **parameters):
        return self.api("POST", "/api/v1/filesystems", {"name": name, **parameters})

    def view(self, name):
        return self.api("GET", f"/api/v1/filesystems/{name}")

    def wait_status(self, name, status, limit_s=60):
        def has_it():
            row = self.view(name)
            return row if row["status"] == status else None
        try:
            return wait_until(has_it, f"{name} becomes {status}", limit_s)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it is {self.view(name)}; {self.log.read_text()}") from None

    def mount(self, name, folder):
        folder = pathlib.Path(folder)
        folder.mkdir(exist_ok=True)
        self.run("fs", "mount", name, folder)
        return folder

    def mount_anew(self, name, folder):
        """Started once more, with what wraps its key now; also soon after a restart of cofferd, which
        finds the workers again one by one."""
        wait_until(lambda: self.view(name)["status"] != "starting", f"{name} is found again")
        if self.view(name)["mounted_at"]:
            self.run("fs", "umount", name)
        return self.mount(name, folder)

    def worker_pid(self, name):
        """The process that listens on the filesystem's socket and is not cofferd."""
        uuid = self.view(name)["uuid"]
        wanted = None
        with open("/proc/net/unix", encoding="utf-8") as table:
            for line in table:
                fields = line.split()
                # Flag 00010000: it listens.
                if fields[-1].endswith(f"{uuid}.sock") and fields[3] == "00010000":
                    wanted = f"socket:[{fields[6]}]"
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            if wanted in open_files(process):
                return int(process.name)
        return None

    def memory_mib(self, what="VmRSS"):
        """Of cofferd; what: a name of proc_pid_status(5)."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(rf"{what}:\s*(\d+) kB", status.read()).group(1)) / 1024

    def events(self):
        """What cofferd logged, for what it does not tell otherwise yet."""
        return self.log.read_text()
