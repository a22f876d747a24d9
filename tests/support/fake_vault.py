"""A Vault whose answers a test writes: for what only other versions of Vault answer, and for what
no honest server does."""
import http.server
import json
import threading


class FakeVault:
    """answers: {"POST transit/decrypt/one": answer or [answer, ...]}; an answer is (status, body)
    or (status, body, headers), or a function of the request's JSON that gives one. The last of a
    list is given again. What is not listed is 404. Requests are kept in .requests as (method,
    path, headers, JSON)."""

    def __init__(self, answers):
        self.answers = {key: list(value) if isinstance(value, list) else [value]
                        for key, value in answers.items()}
        self.requests = []
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                length = int(self.headers.get("Content-Length", 0))
                body = json.loads(self.rfile.read(length) or b"null")
                path = self.path.removeprefix("/v1/")
                fake.requests.append((self.command, path, dict(self.headers), body))
                status, text, *headers = fake.choose(f"{self.command} {path}", body)
                data = (text if isinstance(text, str) else json.dumps(text)).encode()
                self.send_response(status)
                for name, value in (headers[0] if headers else {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = answer

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 128

        self.server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.ca_cert = None

    def choose(self, key, body):
        listed = self.answers.get(key, [(404, {"errors": []})])
        chosen = listed.pop(0) if len(listed) > 1 else listed[0]
        return chosen(body) if callable(chosen) else chosen

    def asked(self, path):
        return [request for request in self.requests if request[1] == path]

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
