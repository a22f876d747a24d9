"""HTTPS with login: TLS, roles, sessions, and what guards them, over the network as others see it."""
import http.client
import json
import re
import socket
import ssl
import subprocess
import threading

import pytest

from certificates import Authority
from conftest import ROOT
from instance import Instance, wait_until

PASSWORD = "correct horse battery"
ROLES = ["ReadOnly", "Regular", "KeyAdmin", "ClusterAdmin"]


class Web:
    """A client without a browser's habits: what it sends is what a test says."""

    def __init__(self, port, cafile=None):
        self.port = port
        self.context = ssl.create_default_context(cafile=cafile)
        if cafile is None:
            self.context.check_hostname = False
            self.context.verify_mode = ssl.CERT_NONE
        self.cookie = None
        self.headers = {}

    def send(self, method, path, body=None, headers=None, host="127.0.0.1"):
        connection = http.client.HTTPSConnection(host, self.port, context=self.context, timeout=60)
        sent = dict(self.headers)
        if self.cookie:
            sent["Cookie"] = self.cookie
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            sent["Content-Type"] = "application/json"
        sent.update(headers or {})
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        return answer, text

    def call(self, method, path, body=None, headers=None):
        """Status and JSON."""
        answer, text = self.send(method, path, body, headers)
        return answer.status, json.loads(text)

    def log_in(self, user, password=PASSWORD):
        answer, text = self.send("POST", "/api/v1/login", {"user": user, "password": password})
        if answer.status == 200:
            self.cookie = answer.getheader("Set-Cookie").split(";")[0]
            self.headers["X-Coffer-CSRF"] = json.loads(text)["csrf"]
        return answer.status, json.loads(text)


def add_user(instance, name, role, password=PASSWORD):
    instance.run("user", "add", name, "-", "--role", role, input=password + "\n")


@pytest.fixture
def instance(build_folder, folder):
    with Instance(build_folder, folder, ("--https", "127.0.0.1:0")) as running:
        yield running


def port_of(instance):
    return int(instance.api("GET", "/api/v1/status")["https"]["address"].rsplit(":", 1)[1])


@pytest.fixture
def web(instance):
    return Web(port_of(instance))


def routes():
    """(method, path, roles) of each operation of the document."""
    path, method = None, None
    for line in (ROOT / "docs/api/openapi.yaml").read_text().splitlines():
        if match := re.fullmatch(r"  (/\S*):", line):
            path = match[1]
        elif match := re.fullmatch(r"    (get|put|post|delete|patch):", line):
            assert method is None, f"{method} {path} has no x-roles"
            method = match[1].upper()
        elif match := re.fullmatch(r"      x-roles: \[(.*)\]", line):
            yield method, path, match[1].split(", ") if match[1] else []
            method = None


def test_every_route_answers_exactly_the_roles_that_the_document_names(instance, web):
    for role in ROLES:
        add_user(instance, role.lower(), role)
    walked = [route for route in routes() if route[1] != "/api/v1/login"]
    assert len(walked) > 30
    faults = []
    for role in [None, *ROLES]:
        client = Web(web.port)
        if role:
            assert client.log_in(role.lower())[0] == 200
        # The last one ends the session.
        for method, path, allowed in sorted(walked, key=lambda r: r[:2] == ("DELETE", "/api/v1/session")):
            # A name that nothing has, and a body that says nothing: no route does anything.
            body = None if method in ("GET", "DELETE") else {}
            answer, text = client.send(method, path.replace("{name}", "no-such-thing"), body)
            expected = 401 if role is None else 403
            refused = answer.status in (401, 403) and ("role" in text or "log in" in text)
            if (role in allowed) == refused or (refused and answer.status != expected):
                faults.append(f"{role}: {method} {path}: {answer.status} {text}")
    assert not faults, "\n".join(faults)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # old versions are the point
def test_tls_is_new_enough_and_the_certificate_is_the_one_that_status_shows(instance, web, folder):
    shown = instance.api("GET", "/api/v1/status")["https"]
    assert shown["self_made"] is True
    assert shown["certificate_sha256"] in instance.run("status").stdout
    pem = ssl.get_server_certificate(("127.0.0.1", web.port))
    (folder / "seen.pem").write_text(pem)
    printed = subprocess.run(["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in",
                              folder / "seen.pem"], capture_output=True, text=True, check=True)
    assert shown["certificate_sha256"] in printed.stdout
    # It verifies by itself, under the names that it has.
    trusting = Web(web.port, cafile=str(instance.state / "https-cert.pem"))
    assert trusting.send("GET", "/")[0].status == 200
    assert trusting.send("GET", "/", host="localhost")[0].status == 200
    with socket.create_connection(("127.0.0.1", web.port)) as plain:
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            old.wrap_socket(plain)
    assert (instance.state / "https-key.pem").stat().st_mode & 0o077 == 0
    instance.stop()
    instance.start()
    assert instance.api("GET", "/api/v1/status")["https"]["certificate_sha256"] == \
        shown["certificate_sha256"]


def test_a_certificate_of_the_administrators_is_used_and_a_wrong_one_told(build_folder, folder):
    authority = Authority(folder / "certificates")
    cert, key = authority.server()
    options = ("--https", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key)
    with Instance(build_folder, folder, options) as instance:
        assert instance.api("GET", "/api/v1/status")["https"]["self_made"] is False
        web = Web(port_of(instance), cafile=str(authority.cert))
        assert web.send("GET", "/")[0].status == 200
        assert not (instance.state / "https-key.pem").exists()
    other_key = authority.client("alice")[1]
    for wrong, text in ((("--tls-cert", cert, "--tls-key", other_key), "does not belong"),
                        (("--tls-cert", cert), "give both"),
                        (("--tls-cert", cert, "--tls-key", folder / "none"), "none")):
        done = subprocess.run([instance.programs / "cofferd", "--foreground", "--state-dir",
                               folder / "other", "--https", "127.0.0.1:0", *wrong],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and text in done.stderr, done.stderr


def test_the_end_of_its_certificate_is_an_alert_in_time(build_folder, folder):
    folder.joinpath("certificate").mkdir()
    cert, key = folder / "certificate/cert.pem", folder / "certificate/key.pem"

    def make(days):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-days", str(days), "-subj",
                        "/CN=localhost", "-keyout", key, "-out", cert],
                       check=True, capture_output=True)
    make(20)
    options = ("--https", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key)
    with Instance(build_folder, folder, options) as instance:
        def found():
            return [(row["severity"], row["text"]) for row in instance.api("GET", "/api/v1/alerts")
                    if row["type"] == "https-certificate-expiry"]
        (severity, text), = found()
        assert severity == "warning" and re.search("ends in (19|20) days", text) and "--tls-cert" in text
        for days, expected in ((5, ["critical"]), (60, [])):
            instance.stop()
            make(days)
            instance.start()
            assert [row[0] for row in found()] == expected


def test_a_browser_session_needs_cookie_and_token_and_ends_with_logout(instance, web):
    add_user(instance, "alice", "ClusterAdmin")
    status, answer = web.call("POST", "/api/v1/login", {"user": "alice", "password": "wrong"})
    assert (status, answer["error"]) == (401, "the name or the password is wrong")
    answer, _ = web.send("POST", "/api/v1/login", {"user": "alice", "password": PASSWORD})
    cookie = answer.getheader("Set-Cookie")
    assert cookie.startswith(f"__Host-coffer-{web.port}=")
    for part in ("Path=/", "Secure", "HttpOnly", "SameSite=Strict"):
        assert f"; {part}" in cookie
    assert web.log_in("alice")[0] == 200
    assert web.call("GET", "/api/v1/session")[1]["user"] == "alice"
    mute = ("PUT", "/api/v1/alerts/local-key/mute", {"seconds": 60})
    assert web.call(*mute)[0] == 200
    for wrong in ("", "0" * 64, web.cookie.split("=")[1]):
        status, answer = web.call(*mute, headers={"X-Coffer-CSRF": wrong})
        assert status == 403 and "X-Coffer-CSRF" in answer["error"]
    assert web.call("DELETE", "/api/v1/session")[0] == 200
    assert web.call("GET", "/api/v1/session")[0] == 401
    # Neither token nor cookie is in the log or on the disk.
    assert web.cookie.split("=")[1] not in instance.events()


def test_requests_that_other_sites_cause_are_refused(instance, web):
    add_user(instance, "alice", "ClusterAdmin")
    assert web.log_in("alice")[0] == 200
    own = f"https://127.0.0.1:{web.port}"
    mute = ("PUT", "/api/v1/alerts/local-key/mute", {"seconds": 60})
    assert web.call(*mute, headers={"Origin": own})[0] == 200
    for origin in ("https://evil.example", "null", f"http://127.0.0.1:{web.port}",
                   "https://127.0.0.1"):
        assert web.call(*mute, headers={"Origin": origin})[0] == 403
        assert web.call("POST", "/api/v1/login", {"user": "alice", "password": PASSWORD},
                        headers={"Origin": origin})[0] == 403
    for host in ("evil.example", "evil.example:443", "127.0.0.1.evil.example"):
        answer, text = web.send("GET", "/api/v1/status", headers={"Host": host})
        assert answer.status == 421 and "certificate" in text
        assert web.send("GET", "/", headers={"Host": host})[0].status == 421
    assert web.send("GET", "/api/v1/status", headers={"Host": "localhost:1"})[0].status == 200
    # What a form can send.
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer, text = web.send("PUT", "/api/v1/alerts/local-key/mute", '{"seconds":60}',
                                {"Content-Type": kind})
        assert answer.status == 400 and "application/json" in text
    for path in ("/", "/api/v1/status"):
        answer, _ = web.send("GET", path)
        policy = answer.getheader("Content-Security-Policy")
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        assert answer.getheader("X-Frame-Options") == "DENY"
        assert answer.getheader("Access-Control-Allow-Origin") is None


def test_a_bearer_token_works_without_cookies_and_only_as_one(instance, web):
    add_user(instance, "robot", "ReadOnly")
    status, answer = web.call("POST", "/api/v1/login",
                              {"user": "robot", "password": PASSWORD, "bearer": True})
    assert status == 200 and answer["csrf"] == ""
    bearer = {"Authorization": f"Bearer {answer['token']}"}
    assert web.call("GET", "/api/v1/status", headers=bearer)[0] == 200
    answer_as_cookie = {"Cookie": f"__Host-coffer-{web.port}={answer['token']}"}
    assert web.call("GET", "/api/v1/status", headers=answer_as_cookie)[0] == 401
    assert web.log_in("robot")[0] == 200
    cookie = web.cookie.split("=")[1]
    web.cookie, web.headers = None, {}
    assert web.call("GET", "/api/v1/status", headers={"Authorization": f"Bearer {cookie}"})[0] == 401
    assert web.send("GET", "/metrics", headers=bearer)[0].status == 200
    assert web.call("DELETE", "/api/v1/session", headers=bearer)[0] == 200
    assert web.call("GET", "/api/v1/status", headers=bearer)[0] == 401


def test_changes_of_a_user_count_at_once(instance, web):
    add_user(instance, "alice", "KeyAdmin")
    others = Web(web.port)
    assert web.log_in("alice")[0] == 200 and others.log_in("alice")[0] == 200
    assert web.call("DELETE", "/api/v1/kms", {})[0] != 403
    instance.run("user", "update", "alice", "--role", "ReadOnly")
    assert web.call("DELETE", "/api/v1/kms", {})[0] == 403
    # His own new password ends his other sessions, one that is given to him all.
    change = {"old_password": "wrong horse battery", "password": "a new and good one"}
    assert web.call("PUT", "/api/v1/session/password", change)[0] == 403
    change["old_password"] = PASSWORD
    assert web.call("PUT", "/api/v1/session/password", change)[0] == 200
    assert web.call("GET", "/api/v1/status")[0] == 200
    assert others.call("GET", "/api/v1/status")[0] == 401
    assert others.log_in("alice")[0] == 401
    instance.run("user", "passwd", "alice", "-", input="yet another one\n")
    assert web.call("GET", "/api/v1/status")[0] == 401
    assert web.log_in("alice", "yet another one")[0] == 200
    instance.run("user", "remove", "alice")
    assert web.call("GET", "/api/v1/status")[0] == 401
    add_user(instance, "alice", "ClusterAdmin")  # another one of that name
    assert web.call("GET", "/api/v1/status")[0] == 401
    texts = [(row["operation"], row["by"]) for row in instance.api("GET", "/api/v1/audit")]
    assert ("user-password", "user alice") in texts
    assert ("user-password", "uid 0") in texts and ("user-remove", "uid 0") in texts


def test_guessing_locks_a_name_and_slows_an_address_down(instance, web):
    add_user(instance, "alice", "ReadOnly")
    for _ in range(5):
        assert web.log_in("alice", "not this one")[0] == 401
    status, answer = web.log_in("alice")
    assert status == 429 and "two minutes" in answer["error"]
    assert any("user alice" in row["text"] and "127.0.0.1" in row["text"]
               for row in instance.api("GET", "/api/v1/events?type=user-locked"))
    # Soon answered without a look at the password, so more often than once in six seconds.
    answers = (web.log_in("nobody", "not this one") for _ in range(200))
    assert any(status == 429 and "from this address" in answer["error"] for status, answer in answers)
    for text in ("not this one", PASSWORD):
        assert text not in instance.events()
    instance.run("user", "passwd", "alice", "-", input="yet another one\n")  # still works here


def test_a_restart_keeps_users_and_ends_sessions(instance, web):
    add_user(instance, "alice", "ReadOnly")
    assert web.log_in("alice")[0] == 200
    assert "alice" in instance.run("user").stdout
    instance.stop()
    instance.start()
    web.port = port_of(instance)
    assert web.call("GET", "/api/v1/status")[0] == 401
    assert web.log_in("alice")[0] == 200
    for file in instance.state.rglob("*"):
        if file.is_file():
            assert PASSWORD.encode() not in file.read_bytes(), file


def test_what_a_stranger_may_send_is_bounded(instance, web):
    answer, text = web.send("POST", "/api/v1/login", {"user": "a", "password": "x" * 8000})
    assert answer.status == 413 and "4096" in text
    answer, text = web.send("PUT", "/api/v1/kms", {"x": "y" * 100000})
    assert answer.status in (401, 413)
    # More connections than there may be from one address: the last ones are closed at once, and
    # those that were there go on.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    held = [socket.create_connection(("127.0.0.1", web.port)) for _ in range(32)]
    try:
        first = context.wrap_socket(held[0])
        with pytest.raises((ssl.SSLError, OSError, http.client.HTTPException)):
            web.send("GET", "/")
        first.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert first.recv(12) == b"HTTP/1.1 200"
        first.close()
    finally:
        for connection in held:
            connection.close()

    def is_served():
        try:
            return web.send("GET", "/")[0].status == 200
        except (OSError, http.client.HTTPException):
            return False
    wait_until(is_served, "the places of closed connections are free")


def test_a_key_admin_cannot_have_files_of_the_host_sent_elsewhere(instance, web):
    add_user(instance, "alice", "KeyAdmin")
    assert web.log_in("alice")[0] == 200
    status, answer = web.call("PUT", "/api/v1/kms", {
        "type": "vault", "address": "http://127.0.0.1:1", "key": "k", "kubernetes_role": "r",
        "kubernetes_token_path": str(instance.state / "https-key.pem")})
    assert status == 403 and "kubernetes_token_path" in answer["error"]


def test_many_clients_at_once_are_served(instance, web):
    add_user(instance, "alice", "ReadOnly")
    assert web.log_in("alice")[0] == 200
    results = []

    def work():
        for _ in range(10):
            results.append(web.send("GET", "/api/v1/status")[0].status)
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [200] * 80


def test_the_command_line_reads_passwords_from_where_it_should(instance, folder):
    assert "Nobody can log in" in instance.run("user").stderr
    (folder / "password").write_text("from a file, with blanks\n")
    instance.run("user", "add", "one", "--role", "regular", "--password-file", folder / "password")
    instance.environment["COFFER_USER_PASSWORD"] = "from the environment"
    instance.run("user", "create", "two", "--role", "KeyAdmin")
    del instance.environment["COFFER_USER_PASSWORD"]
    web = Web(port_of(instance))
    assert web.log_in("one", "from a file, with blanks")[0] == 200
    assert web.log_in("two", "from the environment")[0] == 200
    for words, text in ((("add", "three", "--role", "regular", "a-password"), "not given as a word"),
                        (("add", "three", "-"), "the role is missing"),
                        (("add", "three", "-", "--role", "king"), "a role is ClusterAdmin"),
                        (("add", "one", "-", "--role", "regular"), "already"),
                        (("passwd", "nobody", "-"), "there is no user 'nobody'"),
                        (("update", "../kms", "--role", "regular"), "not the name of a user"),
                        (("remove", "nobody"), "coffer user")):
        done = instance.run("user", *words, check=False, input="a good password\n")
        assert done.returncode == 1 and text in done.stderr, done
    rows = json.loads(instance.run("users", "-J").stdout)
    assert [(row["name"], row["role"]) for row in rows] == [("one", "Regular"), ("two", "KeyAdmin")]
