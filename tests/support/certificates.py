"""Certificates for tests, made with openssl: one CA, server certificates that name the loopback,
client certificates with exactly one CN."""
import pathlib
import subprocess

# Python 3.13 is strict: it wants all of these (RFC 5280, 4.2.1).
LEAF_EXTENSIONS = ("keyUsage=digitalSignature\nsubjectKeyIdentifier=hash\n"
                   "authorityKeyIdentifier=keyid\n")
SERVER_EXTENSIONS = ("subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n"
                     + LEAF_EXTENSIONS)
CLIENT_EXTENSIONS = "extendedKeyUsage=clientAuth\n" + LEAF_EXTENSIONS


def _openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class Authority:
    def __init__(self, folder, name="ca", server_names=()):
        """server_names: what servers are called, besides the loopback."""
        self.folder = pathlib.Path(folder)
        self.server_names = server_names
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cert = self.folder / f"{name}.pem"
        self.key = self.folder / f"{name}.key"
        if not self.cert.exists():
            _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                     "-nodes", "-days", "90", "-subj", f"/CN=coffer test {name}",
                     "-addext", "keyUsage=critical,keyCertSign,cRLSign",
                     "-keyout", str(self.key), "-out", str(self.cert))

    def issue(self, name, extensions):
        """The paths of a certificate and its key; made once for each name."""
        cert = self.folder / f"{name}.pem"
        key = self.folder / f"{name}.key"
        if cert.exists():
            return cert, key
        request = self.folder / f"{name}.csr"
        extension_file = self.folder / f"{name}.ext"
        extension_file.write_text(extensions)
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request))
        _openssl("x509", "-req", "-in", str(request), "-CA", str(self.cert), "-CAkey",
                 str(self.key), "-CAcreateserial", "-days", "90", "-extfile", str(extension_file),
                 "-out", str(cert))
        key.chmod(0o600)
        return cert, key

    def server(self, name="server"):
        names = "".join(f",DNS:{dns}" for dns in self.server_names)
        return self.issue(name, SERVER_EXTENSIONS.replace("\n", names + "\n", 1))

    def client(self, name):
        return self.issue(name, CLIENT_EXTENSIONS)
