"""What stands in a client's way, on the loopback: ports that swallow everything, servers that do no
more than a TLS handshake or that send fixed bytes, certificates of any date."""
import contextlib
import datetime
import socket
import ssl
import subprocess
import threading
import warnings


@contextlib.contextmanager
def blackhole():
    """A port whose queue of connections is full: what is sent there is not answered."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@contextlib.contextmanager
def tls_server(cert, key, prepare=lambda context: None):
    """Does the handshake of each connection, and then closes it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    prepare(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                # What the client sent is read: else the kernel would cut what it is told.
                with contextlib.suppress(OSError), connection:
                    tls = context.wrap_socket(connection, server_side=True,
                                              do_handshake_on_connect=False)
                    with contextlib.suppress(ssl.SSLError):
                        tls.do_handshake()
                    plain = socket.socket(fileno=tls.detach())
                    with plain:
                        plain.shutdown(socket.SHUT_WR)
                        while plain.recv(65536):
                            pass
        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def dated(authority, name, start, end, extensions=None):
    """A certificate of the authority that is good from start to end: YYYYMMDDHHMMSSZ."""
    folder = authority.folder
    (folder / f"{name}.ext").write_text(extensions or "subjectAltName=IP:127.0.0.1\n")
    cert, key, request = (folder / f"{name}.{kind}" for kind in ("pem", "key", "csr"))
    database = folder / f"{name}.db"
    database.write_text("")
    (folder / f"{name}.cnf").write_text(
        "[ca]\ndefault_ca=one\n[one]\n"
        f"database={database}\nnew_certs_dir={folder}\nrand_serial=yes\n"
        "default_md=sha256\npolicy=any\n[any]\ncommonName=supplied\n")
    for words in (["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                   "-subj", f"/CN={name}", "-keyout", key, "-out", request],
                  ["ca", "-batch", "-notext", "-config", folder / f"{name}.cnf", "-cert",
                   authority.cert, "-keyfile", authority.key, "-startdate", start, "-enddate", end,
                   "-extfile", folder / f"{name}.ext", "-in", request, "-out", cert]):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
    return cert, key


def from_now(days):
    return (datetime.datetime.now(datetime.timezone.utc)
            + datetime.timedelta(days=days)).strftime("%Y%m%d%H%M%SZ")


def old_protocol(context):
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # which is why it is a fault
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1


@contextlib.contextmanager
def raw_server(data, pause_s=0):
    """Sends these bytes to whoever connects and asks, at once or one after each pause."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve(connection):
            with contextlib.suppress(OSError), connection:
                if not connection.recv(65536):
                    return
                if not pause_s:
                    connection.sendall(data)
                    return
                for at in range(len(data)):
                    connection.sendall(data[at:at + 1])
                    if stop.wait(pause_s):
                        return

        def accept():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()
        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
