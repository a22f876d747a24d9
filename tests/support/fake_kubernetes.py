"""The one call of Kubernetes' API that a key server makes to see whose a service account's token is
(TokenReview), answered for tokens of our own making."""
import base64
import http.server
import json
import threading


def _part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


class FakeKubernetes:
    """Accepts the tokens that token() made and that were not withdrawn."""

    def __init__(self):
        self.accounts = {}
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers.get("Content-Length", 0))
                review = json.loads(self.rfile.read(length))
                data = json.dumps(fake.review(review)).encode()
                self.send_response(201)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def token(self, account, namespace="default"):
        """A JWT as a pod finds it; its signature is not looked at here."""
        uid = f"uid-of-{account}"
        claims = {"iss": "https://kubernetes.default.svc", "sub":
                  f"system:serviceaccount:{namespace}:{account}", "exp": 4102444800, "iat": 1,
                  "nbf": 1, "number": len(self.accounts),
                  "kubernetes.io": {"namespace": namespace,
                                    "serviceaccount": {"name": account, "uid": uid}}}
        token = f"{_part({'alg': 'RS256', 'typ': 'JWT'})}.{_part(claims)}.c2lnbmF0dXJl"
        self.accounts[token] = (claims["sub"], uid)
        return token

    def withdraw(self, token):
        del self.accounts[token]

    def review(self, review):
        subject, uid = self.accounts.get(review["spec"]["token"], (None, None))
        status = {"authenticated": False, "error": "invalid bearer token"}
        if subject:
            status = {"authenticated": True, "user": {"username": subject, "uid": uid, "groups":
                      ["system:serviceaccounts", "system:authenticated"]}}
        return {**review, "status": status}

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
