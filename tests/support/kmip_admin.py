"""What a test does to keys of a KMIP server: create, activate, revoke, destroy. It writes its own
TTLV, so that it is independent both of coffer's and of the server's library."""
import socket
import ssl
import struct

STRUCTURE, INTEGER, ENUMERATION, TEXT, BYTES, DATE_TIME = 1, 2, 5, 7, 8, 9
ENCRYPT, DECRYPT = 4, 8


def item(tag, kind, value):
    if kind == STRUCTURE:
        body = b"".join(value)
    elif kind == TEXT:
        body = value.encode()
    elif kind == BYTES:
        body = value
    elif kind == DATE_TIME:
        body = struct.pack(">q", value)
    else:
        body = struct.pack(">i", value)
    padding = b"\0" * (-len(body) % 8)
    return struct.pack(">I", 0x420000 | tag)[1:] + bytes([kind]) + struct.pack(">I", len(body)) \
        + body + padding


def attribute(name, kind, value):
    return item(0x08, STRUCTURE, [item(0x0A, TEXT, name), item(0x0B, kind, value)])


def find(data, tag):
    """The first value with this tag, at any depth; None if there is none."""
    at = 0
    while at + 8 <= len(data):
        found = int.from_bytes(data[at + 1:at + 3], "big")
        kind, length = data[at + 3], int.from_bytes(data[at + 4:at + 8], "big")
        value = data[at + 8:at + 8 + length]
        if found == tag:
            return value
        inner = find(value, tag) if kind == STRUCTURE else None
        if inner is not None:
            return inner
        at += 8 + length + -length % 8
    return None


class KmipError(Exception):
    pass


class KmipAdmin:
    def __init__(self, host, port, ca, cert, key, version=(1, 2), login=(None, None)):
        self.address = (host, port)
        self.version = version
        self.login = login
        self.context = ssl.create_default_context(cafile=str(ca))
        self.context.load_cert_chain(str(cert), str(key))

    def _authentication(self):
        username, password = self.login
        if not username:
            return b""
        value = item(0x25, STRUCTURE, [item(0x99, TEXT, username), item(0xA1, TEXT, password)])
        return item(0x0C, STRUCTURE, [item(0x23, STRUCTURE, [item(0x24, ENUMERATION, 1), value])])

    def _call(self, operation, payload, version=None):
        major, minor = version or self.version
        spoken = item(0x69, STRUCTURE, [item(0x6A, INTEGER, major), item(0x6B, INTEGER, minor)])
        header = item(0x77, STRUCTURE, [spoken, self._authentication(), item(0x0D, INTEGER, 1)])
        batch = item(0x0F, STRUCTURE,
                     [item(0x5C, ENUMERATION, operation), item(0x79, STRUCTURE, payload)])
        answer = self.exchange(item(0x78, STRUCTURE, [header, batch]))
        if int.from_bytes(find(answer, 0x7F), "big") != 0:
            raise KmipError((find(answer, 0x7D) or b"").decode())
        return answer

    def exchange(self, message):
        """Sends these bytes on a connection of its own; the bytes of the answer."""
        with socket.create_connection(self.address, timeout=20) as plain:
            with self.context.wrap_socket(plain, server_hostname=self.address[0]) as tls:
                tls.sendall(message)
                return self._read(tls)

    @staticmethod
    def _read(tls):
        data = b""
        while len(data) < 8 or len(data) < 8 + int.from_bytes(data[4:8], "big"):
            more = tls.recv(65536)
            if not more:
                raise KmipError("the server closed the connection")
            data += more
        return data

    def create(self, activate=True, usage=ENCRYPT | DECRYPT, bits=256):
        if self.version >= (2, 0):
            template = item(0x125, STRUCTURE, [
                item(0x28, ENUMERATION, 3), item(0x2A, INTEGER, bits), item(0x2C, INTEGER, usage)])
        else:
            template = item(0x91, STRUCTURE, [
                attribute("Cryptographic Algorithm", ENUMERATION, 3),
                attribute("Cryptographic Length", INTEGER, bits),
                attribute("Cryptographic Usage Mask", INTEGER, usage),
            ])
        answer = self._call(0x01, [item(0x57, ENUMERATION, 2), template])
        uid = find(answer, 0x94).decode()
        if activate:
            self.activate(uid)
        return uid

    def activate(self, uid):
        self._call(0x12, [item(0x94, TEXT, uid)])

    def revoke(self, uid, compromised=False):
        """Deactivates an active key."""
        reason = item(0x81, STRUCTURE, [item(0x82, ENUMERATION, 2 if compromised else 6)])
        self._call(0x13, [item(0x94, TEXT, uid), reason])

    def encrypt_gcm(self, uid, data, iv):
        """The ciphertext and its tag of 16 bytes."""
        parameters = item(0x2B, STRUCTURE, [item(0x11, ENUMERATION, 9), item(0x28, ENUMERATION, 3),
                                            item(0xCE, INTEGER, 16)])
        answer = self._call(0x1F, [item(0x94, TEXT, uid), parameters, item(0xC2, BYTES, data),
                                   item(0x3D, BYTES, iv)], version=(1, 4))
        return find(answer, 0xC2), find(answer, 0xFF)

    def decrypt_cbc(self, uid, data, iv):
        parameters = item(0x2B, STRUCTURE, [item(0x11, ENUMERATION, 1), item(0x5F, ENUMERATION, 3),
                                            item(0x28, ENUMERATION, 3)])
        answer = self._call(0x20, [item(0x94, TEXT, uid), parameters, item(0xC2, BYTES, data),
                                   item(0x3D, BYTES, iv)])
        return find(answer, 0xC2)

    def destroy(self, uid):
        """Only what is not active: revoke it first."""
        self._call(0x14, [item(0x94, TEXT, uid)])
