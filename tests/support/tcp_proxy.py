"""A way to a server that can be cut, as a network can: what is under way breaks off, and what comes
finds nobody.

    with TcpProxy(server.port) as proxy:
        ... 127.0.0.1:proxy.port
        proxy.cut_after(1 << 20)    # bytes in both directions, counted from now on
        proxy.is_cut.wait()
        proxy.mend()
        proxy.hold_after(1 << 20)   # the connections stay, and nothing more comes through
"""
import contextlib
import socket
import threading


class TcpProxy:
    def __init__(self, port):
        self.server_port = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.open = set()
        self.left = None  # bytes until it is cut; None: it is not going to be
        self.holds = False
        self.is_cut = threading.Event()
        self.is_held = threading.Event()
        self.goes_on = threading.Event()

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.goes_on.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._break()

    def cut_after(self, count):
        with self.lock:
            self.left = count

    def hold_after(self, count):
        with self.lock:
            self.left, self.holds = count, True

    def mend(self):
        with self.lock:
            self.left = None
            self.is_cut.clear()

    def _break(self):
        with self.lock:
            for one in self.open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)  # wakes who reads it
                one.close()  # else what was not read would hold up its sender
            self.open.clear()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.is_cut.is_set():
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self.server_port))
            with self.lock:
                self.open |= {client, server}
            for words in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=words, daemon=True).start()

    def _carry(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(16384):
                used_up = self._is_used_up(len(data))
                if used_up and self.holds:
                    self.is_held.set()
                    self.goes_on.wait()
                elif used_up:
                    self._break()
                    break
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def _is_used_up(self, count):
        with self.lock:
            if self.left is not None:
                self.left -= count
                if self.left <= 0 and not self.holds:
                    self.is_cut.set()
            return self.is_cut.is_set() or (self.holds and self.left <= 0)
