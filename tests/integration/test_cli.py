"""The command line: help, errors, exit codes, and what it sends to cofferd.

No cofferd and no key server is needed: a small server on a Unix socket records what arrives and
answers with what a test gave it. COFFER_BUILD names the build folder (default: build/).
"""
import http.server
import json
import os
import pathlib
import re
import signal
import socketserver
import subprocess
import threading

import pytest

import terminal

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAMS = pathlib.Path(os.environ.get("COFFER_BUILD", ROOT / "build")) / "src" / "programs"

CERT = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIC\n-----END PRIVATE KEY-----\n"

ROWS = [
    {"name": "beta", "uuid": "u-b", "status": "mounted", "status_text": "", "capacity": 1 << 30,
     "used": 1024, "free": 7, "kms_type": "vault", "kms_key": "key", "kms_key_version": 3,
     "mounted_at": "/mnt/beta", "store": "dir:/s", "meta": "lmdb:/m", "read_only": False},
    {"name": "alpha", "uuid": "u-a", "status": "waiting-for-kms",
     "status_text": "the KMS does not answer", "capacity": 0, "used": 0, "free": 0,
     "kms_type": "kmip", "kms_key": "1", "kms_key_version": 0, "mounted_at": "", "store": "dir:/t",
     "meta": "lmdb:/n", "read_only": False},
]


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class Fake:
    """Answers "METHOD path" with (status, value); records (method, path, body)."""

    def __init__(self, path):
        self.path = str(path)
        self.answers = {}
        self.requests = []
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format, *args):
                pass

            def address_string(self):
                return "unix"

            def answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                fake.requests.append((self.command, self.path, json.loads(body) if body else None))
                status, value = fake.answers.get(f"{self.command} {self.path}",
                                                 (404, {"error": "no such thing", "code": "ENOENT"}))
                data = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_DELETE = answer

        self.server = Server(self.path, Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(name="fake")
def fake_cofferd(tmp_path):
    fake = Fake(tmp_path / "cofferd.sock")
    yield fake
    fake.close()


def coffer(*words, state=None, stdin="", env=None, program="coffer", cwd=None):
    environment = {key: value for key, value in os.environ.items()
                   if not key.startswith("COFFER_")}
    if state:
        environment["COFFER_STATE_DIR"] = str(state)
    environment.update(env or {})
    # A session of its own has no terminal to ask on.
    return subprocess.run([PROGRAMS / program, *words], input=stdin, env=environment, cwd=cwd,
                          capture_output=True, text=True, timeout=60, check=False,
                          start_new_session=True)


def failed(result, sentence, code=1):
    assert result.returncode == code, result
    assert result.stdout == ""
    assert sentence in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result


@pytest.mark.parametrize("words", [[], ["status"], ["security"], ["security", "kms"],
                                   ["security", "kms", "set"], ["fs"], ["fs", "list"],
                                   ["fs", "add"], ["fs", "mount"], ["fs", "umount"],
                                   ["fs", "remove"], ["fs", "adopt"], ["fs", "check"], ["alerts"],
                                   ["alerts", "types"], ["alerts", "mute"], ["alerts", "unmute"],
                                   ["events"], ["audit"], ["audit", "verify"], ["help"]])
def test_every_command_has_help_at_its_level(words):
    for result in (coffer(*words, "--help"), coffer(*words, "-h"), coffer("help", *words)):
        assert result.returncode == 0
        assert result.stderr == ""
        assert result.stdout.startswith("Usage: coffer" + "".join(" " + word for word in words))
    assert coffer(*words, "--help").stdout == coffer("help", *words).stdout


def test_help_of_a_group_names_each_of_its_commands_once():
    text = coffer("fs", "--help").stdout
    for word in ("list", "add", "mount", "umount", "remove", "adopt", "check"):
        assert len(re.findall(rf"^  {word}\b", text, re.M)) == 1


def test_version():
    result = coffer("--version")
    assert (result.returncode, result.stderr) == (0, "")
    assert re.fullmatch(r"coffer \d+\.\d+\.\d+\n", result.stdout)


@pytest.mark.parametrize("words, sentence", [
    (["nonsense"], "there is no command 'nonsense'; see coffer --help"),
    (["fs", "nonsense"], "there is no command 'nonsense'; see coffer fs --help"),
    (["--nonsense"], "there is no option --nonsense here; see coffer --help"),
    (["fs", "-z"], "there is no option -z here; see coffer fs --help"),
    (["fs", "--format"], "--format needs a value"),
    (["fs", "--format", "xml"], "'xml' is no output format"),
    (["fs", "add"], "<name> is missing"),
    (["fs", "add", "a", "1GiB", "b"], "'b' is one word too many"),
    (["fs", "mount", "a"], "<dir> is missing"),
    (["security", "kms", "set", "vault", "https://v"], "<key-identifier> is missing"),
])
def test_what_cannot_be_understood_ends_with_2_and_points_to_help(words, sentence):
    failed(coffer(*words), sentence, code=2)


@pytest.mark.parametrize("words", [[], ["security"]])
def test_a_group_alone_shows_its_commands_and_fails(words):
    result = coffer(*words)
    assert result.returncode == 2
    assert "Commands:" in result.stderr
    assert "needs a command" in result.stderr


@pytest.mark.parametrize("words", [["status"], ["fs"], ["security", "kms"], ["fs", "umount", "a"],
                                   ["fs", "add", "a"], ["fs", "remove", "a"]])
def test_without_cofferd_the_sentence_says_what_to_start(words, tmp_path):
    result = failed(coffer(*words, state=tmp_path), "no cofferd answers on")
    assert str(tmp_path / "cofferd.sock") in result.stderr
    assert "start it" in result.stderr


def test_the_option_wins_over_the_environment(fake, tmp_path):
    fake.answers["GET /api/v1/filesystems"] = (200, ROWS)
    assert coffer("fs", env={"COFFER_SOCKET": str(tmp_path / "no")}).returncode == 1
    assert coffer("--socket", fake.path, "fs",
                  env={"COFFER_SOCKET": str(tmp_path / "no")}).returncode == 0
    assert coffer("fs", "--state-dir", str(tmp_path)).returncode == 0


def test_an_answer_that_is_not_from_cofferd_is_an_error(fake, tmp_path):
    fake.answers["GET /api/v1/filesystems"] = (200, b"<html>")
    failed(coffer("fs", state=tmp_path), "is not cofferd")
    fake.answers["GET /api/v1/filesystems"] = (500, b"<html>")
    failed(coffer("fs", state=tmp_path), "status 500")


def test_the_servers_sentence_is_shown_as_it_is(fake, tmp_path):
    fake.answers["POST /api/v1/filesystems"] = (
        409, {"error": "there is a filesystem a already; choose another name", "code": "EEXIST"})
    result = failed(coffer("fs", "add", "a", state=tmp_path), "choose another name")
    assert result.stderr == "error: there is a filesystem a already; choose another name\n"


def test_what_a_server_says_cannot_command_the_terminal(fake, tmp_path):
    fake.answers["GET /api/v1/status"] = (502, {"error": "bad \x1b]0;title\x07 \x9b2J\n token"})
    result = coffer("status", state=tmp_path)
    assert result.stderr == "error: bad ?]0;title? ??2J\n token\n"
    fake.answers["GET /api/v1/kms"] = (200, KMIP | {"error": "\x1b[31m"})
    assert "\x1b" not in coffer("security", "kms", state=tmp_path).stdout


# ------------------------------------------------------------------ lists

def test_the_list_has_the_promised_columns(fake, tmp_path):
    fake.answers["GET /api/v1/filesystems"] = (200, ROWS)
    result = coffer("fs", state=tmp_path)
    lines = result.stdout.splitlines()
    assert lines[0].split("  ")[0].startswith("NAME")
    for heading in ("UUID", "STATUS", "CAPACITY", "USED", "KMS KEY", "KEY VERSION", "MOUNTED AT"):
        assert heading in lines[0]
    assert "1.00 GiB" in lines[1] and "/mnt/beta" in lines[1]
    assert "unlimited" in lines[2] and "waiting-for-kms" in lines[2]
    assert result.stderr == "alpha: the KMS does not answer\n"
    assert "\033" not in result.stdout
    assert "\033" in coffer("fs", "--color", "enabled", state=tmp_path).stdout


def test_lists_are_sorted_filtered_and_cut(fake, tmp_path):
    fake.answers["GET /api/v1/filesystems"] = (200, ROWS)

    def csv(*words):
        result = coffer("filesystems", *words, "-f", "csv", state=tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    assert csv("-o", "name", "-s", "name", "--no-header") == "alpha\nbeta\n"
    assert csv("list", "-o", "name,kmsKeyVersion", "-s", "-name") == \
        "name,kms_key_version\nbeta,3\nalpha,-\n"
    assert csv("-o", "name,capacity", "-F", "status=mounted", "-R") == "name,capacity\nbeta,1073741824\n"
    assert csv("-o", "name", "-F", "status=~mounted", "--no-header") == "alpha\n"
    assert csv("-v").splitlines()[0].count(",") == 27
    unknown = coffer("fs", "-o", "nam", state=tmp_path)
    failed(unknown, "there is no column 'nam'; there are name,")
    assert unknown.stderr.endswith(", origin_task\n")
    failed(coffer("fs", "-F", "name", state=tmp_path), "write --filter column=value")


def test_an_update_of_nothing_or_of_another_kind_says_what_to_give(fake, tmp_path):
    fake.answers["GET /api/v1/object-stores/place"] = (200, {"name": "place", "type": "dir"})
    for words, said in ((("fs", "update", "data"), "--capacity, --cache, the key"),
                        (("fs", "update", "data", "--capacity", "none"), "or unlimited"),
                        (("fs", "update", "data", "--cache", "unlimited"), "0 for none"),
                        (("fs", "tier", "dir", "update", "place"), "say what is to be changed"),
                        (("fs", "tier", "s3", "update", "place", "--site", "remote"), "is of type dir"),
                        (("fs", "protection", "snapshot-policy", "update", "nightly"),
                         "say what is to be changed")):
        failed(coffer(*words, state=tmp_path), said)
    assert {method for method, _, _ in fake.requests} == {"GET"}


def test_a_log_is_fetched_in_pages_from_the_newest_on(fake, tmp_path):
    def events(first, last):
        return [{"number": n, "type": "added", "severity": "info"} for n in range(first, last + 1)]

    fake.answers["GET /api/v1/events?limit=200"] = (200, events(301, 500))
    fake.answers["GET /api/v1/events?limit=200&before=301"] = (200, events(101, 300))
    fake.answers["GET /api/v1/events?limit=50&before=101"] = (200, events(51, 100))
    fake.answers["GET /api/v1/events?limit=200&before=101"] = (200, events(1, 100))
    for number, first in (("450", 51), ("0", 1)):
        rows = json.loads(coffer("events", "--num-results", number, "-J", state=tmp_path).stdout)
        assert [row["number"] for row in rows] == list(range(first, 501))
    failed(coffer("events", "--num-results", "many", state=tmp_path), "is not a number of results")


def test_what_a_log_is_asked_for_is_escaped_and_times_are_utc(fake, tmp_path):
    fake.answers["GET /api/v1/audit?operation=a%26b%3D&filesystem=%C3%A4&"
                 "from=2026-11-27T13%3A30%3A00Z&until=2026-11-28T00%3A00%3A00Z&limit=50"] = (200, [])
    assert coffer("audit", "--filesystem", "\u00e4", "--operation", "a&b=", "--start-time",
                  "2026-11-27 14:30", "--end-time", "2026-11-28Z", state=tmp_path,
                  env={"TZ": "CET-1"}).returncode == 0


def test_json_is_what_the_server_said(fake, tmp_path):
    fake.answers["GET /api/v1/filesystems"] = (200, ROWS)
    for words in (["-J"], ["--json"], ["--format", "json"]):
        assert json.loads(coffer("fs", *words, state=tmp_path).stdout) == ROWS
    status = {"version": "0.1.0", "pid": 1, "filesystems": 0, "mounted": 0, "alerts": []}
    fake.answers["GET /api/v1/status"] = (200, status)
    assert json.loads(coffer("status", "-J", state=tmp_path).stdout) == status


# ------------------------------------------------------------------ changes

def test_fs_add_sends_bytes_and_tells_which_key_wraps(fake, tmp_path):
    fake.answers["POST /api/v1/filesystems"] = (201, ROWS[0])
    for verb in ("add", "create", "new"):
        result = coffer("fs", verb, "beta", "1.5GiB", "--store", "dir:/s", state=tmp_path)
        assert result.returncode == 0, result
        assert result.stdout == ("Filesystem beta was added, uuid u-b. Its key is wrapped by the "
                                 "vault key key, version 3.\n")
        assert fake.requests.pop() == (
            "POST", "/api/v1/filesystems",
            {"name": "beta", "capacity": 3 << 29, "store": "dir:/s"})
    coffer("fs", "add", "--allow-no-kms", "beta", state=tmp_path)
    assert fake.requests.pop()[2] == {"name": "beta", "capacity": 0, "allow_no_kms": True}
    failed(coffer("fs", "add", "beta", "1G", state=tmp_path), "'1G' has no known unit")
    assert not fake.requests


def test_fs_remove_asks_only_on_a_terminal(fake, tmp_path):
    fake.answers["DELETE /api/v1/filesystems/a"] = (200, {})
    for words in (["remove", "a"], ["delete", "-f", "a"]):
        result = coffer("fs", *words, state=tmp_path)
        assert (result.returncode, result.stdout) == \
            (0, "Filesystem a was removed, with its data and its key.\n")
        assert fake.requests.pop()[:2] == ("DELETE", "/api/v1/filesystems/a")


def test_fs_remove_shred_says_what_remains(fake, tmp_path):
    key = {"type": "vault", "key": "k", "version": 3, "namespace": "", "mount_path": "transit",
           "users": 2, "user_names": "b, c"}
    fake.answers["DELETE /api/v1/filesystems/a"] = (200, {"remaining_keys": [key]})
    result = coffer("fs", "remove", "--shred", "a", state=tmp_path)
    assert fake.requests.pop()[2] == {"shred": True}
    lines = result.stdout.splitlines()
    assert lines[1] == ("In the KMS remains what wrapped them: vault key k, version 3; it also wraps "
                        "the keys of b, c; other instances may use it too.")
    assert lines[2].startswith("With it, a copy of the wrapped keys that was made elsewhere still")
    fake.answers["DELETE /api/v1/filesystems/a"] = (200, {"remaining_keys": []})
    result = coffer("fs", "remove", "--shred", "a", state=tmp_path)
    assert "A copy that was made elsewhere" in result.stdout and "KMS" not in result.stdout


def test_fs_remove_on_a_terminal_takes_no_for_an_answer(fake, tmp_path):
    pid, fd = os.forkpty()
    if pid == 0:
        os.environ["COFFER_STATE_DIR"] = str(tmp_path)
        os.execv(PROGRAMS / "coffer", ["coffer", "fs", "remove", "a"])
    os.write(fd, b"n\n")
    text, code = terminal.finish(pid, fd)
    assert code == 1
    assert b"Nothing brings it back" in text
    assert b"nothing was removed" in text
    assert not fake.requests


def test_who_interrupts_a_wait_knows_that_the_task_goes_on(fake, tmp_path):
    fake.answers["GET /api/v1/tasks/9"] = (200, {"id": 9, "state": "running", "ended": None})
    pid, fd = os.forkpty()
    if pid == 0:
        os.environ["COFFER_STATE_DIR"] = str(tmp_path)
        os.execv(PROGRAMS / "coffer", ["coffer", "task", "wait", "9"])
    text = b""
    while b"shows it." not in text:
        text += os.read(fd, 1000)
    os.write(fd, b"\x03")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGINT
    os.close(fd)
    assert b"Waiting for task 9, which goes on if this command ends" in text
    assert {method for method, _, _ in fake.requests} == {"GET"}


def test_fs_check_succeeds_only_without_faults(fake, tmp_path):
    path = "POST /api/v1/filesystems/a/check"
    fake.answers[path] = (200, {"faults": 0, "report": ["7 inodes"]})
    result = coffer("fs", "check", "a", "--read-data", state=tmp_path)
    assert (result.returncode, result.stdout) == (0, "7 inodes\nFilesystem a has no faults.\n")
    assert fake.requests.pop()[2] == {"read_data": True}
    fake.answers[path] = (200, {"faults": 2, "report": ["inode 5 is wrong"]})
    result = coffer("fs", "check", "a", state=tmp_path)
    assert result.returncode == 1
    assert result.stdout == "inode 5 is wrong\n"
    assert "filesystem a has 2 faults" in result.stderr


def test_fs_adopt_sends_both_places(fake, tmp_path):
    fake.answers["POST /api/v1/filesystems/adopt"] = (201, ROWS[1])
    result = coffer("fs", "adopt", "lmdb:/m", "dir:/s", "--name", "alpha", state=tmp_path)
    assert result.returncode == 0
    assert "Filesystem alpha was adopted" in result.stdout
    assert fake.requests.pop()[2] == {"name": "alpha", "meta": "lmdb:/m", "store": "dir:/s"}


def test_mount_wants_a_folder_and_an_unmounted_filesystem(fake, tmp_path):
    fake.answers["GET /api/v1/filesystems/beta"] = (200, ROWS[0])
    failed(coffer("fs", "mount", "beta", str(tmp_path / "no"), state=tmp_path),
           "there is no folder")
    failed(coffer("fs", "mount", "beta", "cofferd.sock", state=tmp_path, cwd=tmp_path),
           "is not a folder")
    failed(coffer("fs", "mount", "beta", ".", state=tmp_path, cwd=tmp_path),
           "already mounted at /mnt/beta")
    failed(coffer("fs", "mount", "..%/x", ".", state=tmp_path, cwd=tmp_path), "no such thing")
    assert fake.requests[-1][1] == "/api/v1/filesystems/%2E.%25%2Fx"


def test_umount_knows_names_and_folders(fake, tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    row = dict(ROWS[0], mounted_at=str(folder))
    fake.answers["GET /api/v1/filesystems"] = (200, [ROWS[1] | {"status": "stopped"}, row])
    fake.answers["POST /api/v1/filesystems/beta/stop"] = (200, {})
    for words in (["umount", "beta"], ["unmount", "here"], ["umount", str(folder) + "/"],
                  ["umount", "./here"]):
        result = coffer("fs", *words, state=tmp_path, cwd=tmp_path)
        if words[1] == "here":
            failed(result, "there is no filesystem here")
            continue
        assert result.returncode == 0, result
        assert "Filesystem beta is unmounted and stopped" in result.stdout
    failed(coffer("fs", "umount", "alpha", state=tmp_path), "alpha is not mounted")
    failed(coffer("fs", "umount", "gamma", state=tmp_path), "there is no filesystem gamma")


def test_mount_helper_takes_what_mount_gives_it(fake, tmp_path):
    result = coffer("beta", str(tmp_path), "-f", "-v", "-n", "-s", "-o",
                    f"rw,nofail,x-systemd.automount,state_dir={tmp_path}", program="mount.coffer")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    fake.answers["GET /api/v1/filesystems/beta"] = (200, ROWS[0])
    result = coffer("/somewhere/beta", str(tmp_path), "-o", f"rw,socket={fake.path}",
                    program="mount.coffer")
    assert result.returncode == 32
    assert "already mounted at /mnt/beta" in result.stderr
    assert coffer("beta", program="mount.coffer").returncode == 1
    assert coffer("--help", program="mount.coffer").returncode == 0


# ------------------------------------------------------------------ key servers

VAULT = {"configured": True, "type": "vault", "addresses": ["https://v:8200"], "key": "weka-key",
         "namespace": "", "transit_path": "transit", "auth_method": "token", "key_version": 3,
         "key_state": "enabled", "algorithm": "aes256-gcm96", "server": "1.13.0",
         "reachable": True, "error": ""}
KMIP = {"configured": True, "type": "kmip", "addresses": ["k1:5696", "k2:5696"], "key": "7",
        "namespace": "", "transit_path": "", "auth_method": "client-certificate",
        "key_version": 0, "key_state": "active", "algorithm": "AES", "server": "",
        "reachable": False, "error": "k1:5696 does not answer"}


def test_the_kms_is_shown_as_administrators_know_it(fake, tmp_path):
    fake.answers["GET /api/v1/kms"] = (200, {"configured": False})
    assert coffer("security", "kms", state=tmp_path).stdout.startswith(
        "KMS is not configured. Encrypted filesystems are supported with a local encryption key")
    fake.answers["GET /api/v1/kms"] = (200, VAULT)
    text = coffer("security", "kms", state=tmp_path).stdout
    assert text.startswith("Using an external Vault by HashiCorp configured with:\n"
                           "URL         : https://v:8200\n"
                           "Key name    : weka-key\n"
                           "Auth method : Token\n")
    assert "Key version : 3\n" in text and "Status      : reachable\n" in text
    for token, line in (
            ({"ends": False}, "Token       : does not end\n"),
            ({"ends": True, "seconds_left": 8 * 86400 + 7200, "renewed": True, "obstacle": ""},
             "Token       : 8 d 2 h left, renewed by itself\n"),
            ({"ends": True, "seconds_left": 59, "renewed": False, "obstacle": "why"},
             "Token       : 59 s left, not renewed: why\n")):
        fake.answers["GET /api/v1/kms"] = (200, VAULT | {
            "auth_method": "approle", "role": "r", "auth_path": "roles", "token": token})
        text = coffer("security", "kms", state=tmp_path).stdout
        assert ("Auth method : RoleId/SecretId\nRole        : r\nAuth path   : roles\n"
                "Transit path: transit\n" + line) in text
    fake.answers["GET /api/v1/kms"] = (200, KMIP)
    text = coffer("security", "kms", state=tmp_path).stdout
    assert text.startswith("Using an external KMIP server configured with:\n"
                           "Address     : k1:5696, k2:5696\n"
                           "Key UID     : 7\n"
                           "Auth method : Client certificate\n")
    assert "Status      : not reachable: k1:5696 does not answer\n" in text
    assert json.loads(coffer("security", "kms", "-J", state=tmp_path).stdout) == KMIP


def kms_set(fake, tmp_path, *words, **more):
    fake.answers["PUT /api/v1/kms"] = (200, VAULT)
    result = coffer("security", "kms", "set", *words, state=tmp_path, cwd=tmp_path, **more)
    return result, (fake.requests.pop()[2] if fake.requests else None)


@pytest.mark.parametrize("words, more", [
    (["--token", "s.secret"], {}),
    (["--token=s.secret"], {}),
    (["-"], {"stdin": "s.secret\n"}),
    (["--token", "-"], {"stdin": "s.secret"}),
    (["--token-file", "-"], {"stdin": "s.secret\r\n"}),
    (["--token-file", "token"], {}),
    ([], {"env": {"COFFER_KMS_TOKEN": "s.secret"}}),
    (["--token-file", "token"], {"env": {"COFFER_KMS_TOKEN": "other"}}),
])
def test_a_token_comes_from_wherever_it_is_kept(fake, tmp_path, words, more):
    (tmp_path / "token").write_text("s.secret\n")
    result, sent = kms_set(fake, tmp_path, "vault", "https://v:8200", "key", *words, **more)
    assert result.returncode == 0, result
    assert sent == {"type": "vault", "address": "https://v:8200", "key": "key",
                    "token": "s.secret"}
    assert "s.secret" not in result.stdout + result.stderr
    assert "A trial wrap and unwrap succeeded" in result.stdout


@pytest.mark.parametrize("words, more", [
    (["--secret-id", "s.secret"], {}),
    (["-"], {"stdin": "s.secret\n"}),
    (["--secret-id", "-"], {"stdin": "s.secret"}),
    (["--secret-id-file", "-"], {"stdin": "s.secret\r\n"}),
    (["--secret-id-file", "secret"], {}),
    ([], {"env": {"COFFER_KMS_SECRET_ID": "s.secret", "COFFER_KMS_TOKEN": "other"}}),
])
def test_a_secret_id_comes_from_wherever_it_is_kept(fake, tmp_path, words, more):
    (tmp_path / "secret").write_text("s.secret\n")
    result, sent = kms_set(fake, tmp_path, "vault", "https://v:8200,https://w:8200", "key",
                           "--role-id", "r", "--auth-path", "roles", *words, **more)
    assert result.returncode == 0, result
    assert sent == {"type": "vault", "address": "https://v:8200,https://w:8200", "key": "key",
                    "role_id": "r", "auth_path": "roles", "secret_id": "s.secret"}
    assert "s.secret" not in result.stdout + result.stderr


@pytest.mark.parametrize("words, more", [
    (["-"], {"stdin": "s. secr\u00e9t\n"}),
    (["--password-file", "-"], {"stdin": "s. secr\u00e9t\r\n"}),
    (["--password-file", "password"], {"env": {"COFFER_KMS_PASSWORD": "other"}}),
    ([], {"env": {"COFFER_KMS_PASSWORD": "s. secr\u00e9t", "COFFER_KMS_TOKEN": "other"}}),
])
def test_a_kmip_password_comes_from_wherever_it_is_kept(fake, tmp_path, words, more):
    (tmp_path / "password").write_text("s. secr\u00e9t\n")
    (tmp_path / "c.pem").write_text(CERT)
    (tmp_path / "k.pem").write_text(KEY)
    result, sent = kms_set(fake, tmp_path, "kmip", "k:5696", "7", "--client-cert", "c.pem",
                           "--client-key", "k.pem", "--username", "alice", "--cipher-mode", "gcm",
                           *words, **more)
    assert result.returncode == 0, result
    assert sent == {"type": "kmip", "address": "k:5696", "key": "7", "client_cert": CERT,
                    "client_key": KEY, "username": "alice", "password": "s. secr\u00e9t",
                    "cipher_mode": "gcm"}
    assert "s. secr" not in result.stdout + result.stderr


def test_a_kubernetes_role_needs_no_secret(fake, tmp_path):
    result, sent = kms_set(fake, tmp_path, "vault", "https://v:8200", "key", "--kubernetes-role",
                           "r", "--kubernetes-token-path", "/token",
                           env={"COFFER_KMS_TOKEN": "unused"})
    assert result.returncode == 0, result
    assert sent == {"type": "vault", "address": "https://v:8200", "key": "key",
                    "kubernetes_role": "r", "kubernetes_token_path": "/token"}


@pytest.mark.parametrize("words, question, name", [
    (["vault", "https://v:8200", "key"], b"Vault token: ", "token"),
    (["kmip", "k:5696", "7", "--client-cert", "c.pem", "--client-key", "k.pem", "--username", "u"],
     b"Password of the KMIP user: ", "password"),
])
def test_a_secret_can_be_typed_without_an_echo(fake, tmp_path, words, question, name):
    fake.answers["PUT /api/v1/kms"] = (200, VAULT)
    (tmp_path / "c.pem").write_text(CERT)
    (tmp_path / "k.pem").write_text(KEY)
    pid, fd = os.forkpty()
    if pid == 0:
        os.environ.pop("COFFER_KMS_TOKEN", None)
        os.environ.pop("COFFER_KMS_PASSWORD", None)
        os.environ["COFFER_STATE_DIR"] = str(tmp_path)
        os.chdir(tmp_path)
        os.execv(PROGRAMS / "coffer", ["coffer", "security", "kms", "set", *words])
    text = b""
    while question not in text:
        text += os.read(fd, 1000)
    os.write(fd, b"s.typed\n")
    text, code = terminal.finish(pid, fd, text)
    assert code == 0, text
    assert b"s.typed" not in text
    assert fake.requests.pop()[2][name] == "s.typed"


def test_certificates_are_sent_by_content(fake, tmp_path):
    for name, content in (("c.pem", CERT), ("k.pem", KEY), ("ca.pem", CERT)):
        (tmp_path / name).write_text(content)
    result, sent = kms_set(fake, tmp_path, "kmip", "k:5696", "7", "--client-cert", "c.pem",
                           "--client-key", "k.pem", "--ca-cert", "ca.pem",
                           env={"COFFER_KMS_TOKEN": "unused"})
    assert result.returncode == 0, result
    assert sent == {"type": "kmip", "address": "k:5696", "key": "7", "client_cert": CERT,
                    "client_key": KEY, "ca_cert": CERT}
    assert "MIIC" not in result.stdout + result.stderr


@pytest.mark.parametrize("words, sentence", [
    (["vault", "https://v", "key"], "vault needs a token"),
    (["vault", "https://v", "key", "--token", "a", "-"], "more than once"),
    (["vault", "https://v", "key", "--token", "a b"], "--token does not hold just a token"),
    (["vault", "https://v", "key", "--token", ""], "--token holds no token"),
    (["vault", "https://v", "key", "--token-file", "missing"], "cannot read missing"),
    (["vault", "https://v", "key", "--token", "a", "--client-cert", "c"],
     "--client-cert must not be given for vault"),
    (["vault", "https://v", "key", "--token", "a", "--client-key", "c"],
     "--client-key must not be given for vault"),
    (["vault", "https://v", "key", "--token", "a", "--ca-cert", "c"],
     "coffer security ca-cert set --cert-file"),
    (["vault", "https://v", "key", "--role-id", "r"], "vault needs a secret ID"),
    (["vault", "https://v", "key", "--role-id", "r", "--secret-id-file", "missing"],
     "the secret ID cannot be read"),
    (["vault", "https://v", "key", "--role-id", "r", "--token", "t"], "two ways to log in"),
    (["vault", "https://v", "key", "--token", "a", "--namespace", "sys"], "must not be sys"),
    (["vault", "v:8200", "key", "--token", "a"], "give https://v:8200"),
    (["vault", "https://v", "key", "word"], "'word' is one word too many"),
    (["kmip", "k:5696", "7"], "--client-cert"),
    (["kmip", "k:5696", "7", "--client-cert", "c.pem"], "--client-key"),
    (["kmip", "k:5696", "7", "--client-cert", "c.pem", "--client-key", "k.pem", "--token", "a"],
     "a token must not be given for kmip"),
    (["kmip", "k:5696", "7", "--client-cert", "c.pem", "--client-key", "k.pem", "--username", "u"],
     "--username needs a password"),
    (["kmip", "k:5696", "7", "--client-cert", "c.pem", "--client-key", "k.pem", "--cipher-mode",
      "ctr"], "--cipher-mode is cbc"),
    (["kmip", "k:5696", "7", "--client-cert", "c.pem", "--client-key", "missing"],
     "cannot read missing"),
    (["kmip", "k:5696", "7", "--client-cert", "k.pem", "--client-key", "k.pem"],
     "there is no client certificate in PEM form in k.pem"),
    (["kmip", "k:5696", "7", "--client-cert", "c.pem", "--client-key", "locked.pem"],
     "protected by a passphrase"),
    (["kmip", "https://k:5696", "7", "--client-cert", "c.pem", "--client-key", "k.pem"],
     "give k:5696"),
    (["hsm", "k", "7"], "'hsm' is no type of KMS; give vault or kmip"),
])
def test_what_does_not_fit_the_type_is_refused_before_anything_is_sent(fake, tmp_path, words,
                                                                       sentence):
    (tmp_path / "c.pem").write_text(CERT)
    (tmp_path / "k.pem").write_text(KEY)
    (tmp_path / "locked.pem").write_text(KEY.replace("PRIVATE", "ENCRYPTED PRIVATE"))
    result, sent = kms_set(fake, tmp_path, *words)
    failed(result, sentence)
    assert sent is None


@pytest.mark.parametrize("words, name", [
    (["--token", "s.secret"], "token"),
    (["--role-id", "r", "--secret-id=s.secret"], "secret_id"),
])
def test_a_secret_argument_is_hidden_from_others_while_coffer_waits(fake, tmp_path, words, name):
    asked = threading.Event()
    seen = threading.Event()

    class Slow(dict):
        def get(self, key, default=None):
            asked.set()
            seen.wait(30)
            return super().get(key, default)

    fake.answers = Slow({"PUT /api/v1/kms": (200, VAULT)})
    with subprocess.Popen([PROGRAMS / "coffer", "--state-dir", tmp_path, "security", "kms", "set",
                           "vault", "https://v", "key", *words], stdout=subprocess.PIPE) as process:
        assert asked.wait(30)
        line = pathlib.Path(f"/proc/{process.pid}/cmdline").read_bytes()
        seen.set()
        process.communicate(timeout=30)
    assert b"s.secret" not in line
    assert b"********" in line
    assert fake.requests.pop()[2][name] == "s.secret"


# ------------------------------------------------------------------ completion and manual pages

@pytest.mark.parametrize("words, expected", [
    (["s"], {"status", "security"}),
    (["fs", "a"], {"add", "adopt"}),
    (["security", "kms", "set", ""], {"vault", "kmip"}),
    (["fs", "add", "--st"], {"--state-dir", "--store"}),
    (["fs", "mount", ""], {"alpha", "beta"}),
    (["fs", "umount", "b"], {"beta"}),
    (["fs", "add", ""], set()),
    (["fs", "mount", "beta", ""], set()),
])
def test_completion_offers_what_fits(fake, tmp_path, words, expected):
    fake.answers["GET /api/v1/filesystems"] = (200, ROWS)
    result = coffer("__complete", *words, state=tmp_path)
    assert result.returncode == 0
    assert set(result.stdout.split()) == expected


def commands(path=()):
    """All commands that run, by walking through the help texts."""
    text = coffer(*path, "--help").stdout
    found = {path} if text.startswith("Usage: coffer" + "".join(" " + w for w in path)) and \
        "[options]" in text.splitlines()[0] else set()
    section = text.partition("\nCommands:\n")[2].partition("\n\n")[0]
    for word in re.findall(r"^  (\S+)", section, re.M):
        found |= commands(path + (word,))
    return found


def test_the_manual_page_describes_every_command_and_every_option():
    page = (ROOT / "docs" / "man" / "coffer.8").read_text().replace("\\-", "-")
    described = {tuple(line.split()[2:]) for line in page.splitlines()
                 if line.startswith(".SS coffer ")}
    assert described == commands()
    for command in described:
        text = coffer(*command, "--help").stdout
        for option in re.findall(r"^  (?:-., |    )(--[a-z-]+)", text, re.M):
            assert option in page, (command, option)


def test_bash_asks_coffer_for_completions():
    script = """source "$1"
                COMP_WORDS=("$2" fs ad)
                COMP_CWORD=2
                _coffer
                printf '%s ' "${COMPREPLY[@]}" """
    result = subprocess.run(["bash", "-euc", script, "bash",
                             ROOT / "packaging" / "bash-completion" / "coffer",
                             PROGRAMS / "coffer"],
                            capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "add adopt ", "")
