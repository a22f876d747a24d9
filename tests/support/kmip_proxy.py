"""Stands between coffer and a real KMIP server and changes what a test wants changed: the versions
that the server says it speaks, single answers, how the bytes arrive."""
import socket
import ssl
import threading

from kmip_admin import ENUMERATION, INTEGER, STRUCTURE, TEXT, find, item

DISCOVER_VERSIONS = 0x1E


def response(*batch_item, version=(1, 2)):
    major, minor = version
    header = item(0x7A, STRUCTURE, [
        item(0x69, STRUCTURE, [item(0x6A, INTEGER, major), item(0x6B, INTEGER, minor)]),
        item(0x0D, INTEGER, 1)])
    return item(0x7B, STRUCTURE, [header, item(0x0F, STRUCTURE, batch_item)])


def refusal(reason, text):
    """As servers refuse what they cannot parse: version 1.0, no operation."""
    return response(item(0x7F, ENUMERATION, 1), item(0x7E, ENUMERATION, reason),
                    item(0x7D, TEXT, text), version=(1, 0))


def versions(*offered):
    listed = [item(0x69, STRUCTURE, [item(0x6A, INTEGER, major), item(0x6B, INTEGER, minor)])
              for major, minor in offered]
    return response(item(0x5C, ENUMERATION, DISCOVER_VERSIONS), item(0x7F, ENUMERATION, 0),
                    item(0x7C, STRUCTURE, listed))


def header_version(message):
    header = find(message, 0x69)
    return (int.from_bytes(find(header, 0x6A), "big"), int.from_bytes(find(header, 0x6B), "big"))


def operation(message):
    return int.from_bytes(find(message, 0x5C), "big")


class KmipProxy:
    """change(request) gives the answer's bytes, or None to ask the server, or b"" to close the
    connection. Requests are kept in .requests as (operation, header version)."""

    def __init__(self, kms, change, piece=65536):
        self.kms = kms
        self.change = change
        self.piece = piece
        self.requests = []
        self.connections = []  # for each, the operations that were asked for on it
        self.faults = []
        cert, key = kms.authority.server()
        self.server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server_side.load_cert_chain(cert, key)
        self.server_side.load_verify_locations(kms.ca_cert)
        self.server_side.verify_mode = ssl.CERT_REQUIRED
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()
        assert self.faults == []

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        admin = self.kms.admin()
        asked = []
        self.connections.append(asked)
        try:
            with self.server_side.wrap_socket(connection, server_side=True) as tls:
                while message := self._read(tls):
                    self.requests.append((operation(message), header_version(message)))
                    asked.append(operation(message))
                    answer = self.change(message)
                    if answer is None:
                        answer = admin.exchange(message)
                    if answer == b"":
                        return
                    for at in range(0, len(answer), self.piece):
                        tls.sendall(answer[at:at + self.piece])
        except OSError:
            pass  # the client went away
        except Exception as fault:
            self.faults.append(fault)

    @staticmethod
    def _read(tls):
        data = b""
        while len(data) < 8 or len(data) < 8 + int.from_bytes(data[4:8], "big"):
            more = tls.recv(65536)
            if not more:
                return None
            data += more
        return data
