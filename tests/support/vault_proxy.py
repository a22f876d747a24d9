"""Stands between coffer and a real Vault without TLS: an address that can be away, and a record of what
was asked.

    with VaultProxy(kms) as proxy:
        set_kms(instance, kms, address=proxy.address)
        ... proxy.asked("decrypt")
"""
import contextlib
import http.client
import http.server
import json
import threading


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _pass_on(self):
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if proxy.is_away:
            self.close_connection = True
            return
        proxy.requests.append((self.command, self.path, body))
        connection = http.client.HTTPConnection("127.0.0.1", proxy.kms.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            text = answer.read()
        self.send_response(answer.status)
        for name in ("Content-Type", "Cache-Control"):
            if answer.getheader(name):
                self.send_header(name, answer.getheader(name))
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_DELETE = do_LIST = _pass_on

    def log_message(self, *_):
        pass


class VaultProxy:
    def __init__(self, kms):
        self.kms = kms
        self.requests = []  # (method, path, body)
        self.is_away = False  # closes each connection without an answer
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.server.daemon_threads = True
        self.server.proxy = self
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def decrypted(self):
        """Each ciphertext, as often as it was asked for."""
        found = []
        for _, path, body in self.requests:
            if "/decrypt/" in path:
                asked = json.loads(body)
                found += [item["ciphertext"] for item in asked.get("batch_input", [asked])]
        return found
