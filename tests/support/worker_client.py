"""What cofferd says to a worker (host/worker_protocol.h), for tests that need no cofferd."""
import array
import ctypes
import os
import pathlib
import socket
import struct
import subprocess
import uuid as uuids

START, MOUNT, STATUS, CHECK, STOP, SET_CAPACITY, SNAPSHOT_TAKE, SNAPSHOT_UPDATE, SNAPSHOT_REMOVE, \
    SNAPSHOT_LIST, TASK_START, TASK_STOP = range(1, 13)
DONE, STATUS_REPLY, CHECK_REPLY, SNAPSHOTS_REPLY = range(32, 36)
EVENT, UNMOUNTED, TASK_PROGRESS, TASK_DONE = range(64, 68)
READ_ONLY, TAKE_OVER, FORMAT = 1, 2, 4

libc = ctypes.CDLL(None, use_errno=True)


def text(value):
    data = value.encode()
    return struct.pack("<H", len(data)) + data


def mount_device(name, mountpoint):
    """Mounts as root does and returns the descriptor."""
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other," \
              "max_read=1048576"
    if libc.mount(name.encode(), str(mountpoint).encode(), b"fuse.coffer", 0, options.encode()):
        error = ctypes.get_errno()
        os.close(fd)
        raise OSError(error, os.strerror(error), str(mountpoint))
    return fd


def unmount(mountpoint, lazy=False):
    if libc.umount2(str(mountpoint).encode(), 2 if lazy else 0):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), str(mountpoint))


class Worker:
    """One coffer-fsd and the connection to it."""

    def __init__(self, program, folder):
        self.folder = pathlib.Path(folder)
        self.path = str(self.folder / "worker.sock")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(self.path)
        listener.listen(4)
        fd = listener.fileno()
        self.process = subprocess.Popen([program, "--fd", str(fd)], pass_fds=[fd])
        listener.close()
        self.connection = None
        self.requests = 0
        self.unasked = []  # (type, body) of what came unasked
        self.uuid = uuids.uuid4()
        self.connect()

    def connect(self):
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.connection.settimeout(60)
        self.connection.connect(self.path)

    def disconnect(self):
        self.connection.close()
        self.connection = None

    def send(self, message, body=b"", fd=None):
        self.requests += 1
        packet = struct.pack("<BBHI", 1, message, 0, self.requests) + body
        control = []
        if fd is not None:
            control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        self.connection.sendmsg([packet], control)

    def receive(self):
        """(type, request, body) of the next packet; None if the worker closed."""
        try:
            packet = self.connection.recv(65536)
        except ConnectionResetError:
            return None
        if not packet:
            return None
        _, message, _, request = struct.unpack_from("<BBHI", packet)
        return message, request, packet[8:]

    def ask(self, message, body=b"", fd=None):
        """(type, body) of the answer."""
        self.send(message, body, fd)
        while True:
            packet = self.receive()
            if packet is None:
                raise ConnectionError("the worker closed the connection")
            if packet[1] == self.requests:
                return packet[0], packet[2]
            self.unasked.append((packet[0], packet[2]))

    def order(self, message, body=b"", fd=None):
        """Asks for what DONE answers: (code, text)."""
        answer, body = self.ask(message, body, fd)
        assert answer == DONE
        code, length = struct.unpack_from("<iH", body)
        return code, body[6:6 + length].decode()

    def start(self, meta, store, flags=FORMAT, keys=((1, b"k" * 32),), capacity=0, uid=65534,
              gid=65534):
        body = self.uuid.bytes + b"o" * 16 + text(meta) + text(store)
        body += struct.pack("<QQ", capacity, 0) + text("")  # no cache
        body += struct.pack("<IIIIB", 4096, flags, uid, gid, len(keys))
        for generation, key in keys:
            body += struct.pack("<I", generation) + key
        body += struct.pack("<B", 0)  # no keys of other filesystems
        body += struct.pack("<H", 0)  # no settings of a store that no URL opens
        body += struct.pack("<B64x", 0)  # not downloaded
        return self.order(START, body)

    def mount(self, mountpoint, name="test"):
        fd = mount_device(name, mountpoint)
        try:
            return self.order(MOUNT, text(str(mountpoint)) + b"\0", fd)
        finally:
            os.close(fd)

    def status(self):
        answer, body = self.ask(STATUS)
        assert answer == STATUS_REPLY
        started, mounted, read_only, pid = struct.unpack_from("<BBBi", body)
        (length,) = struct.unpack_from("<H", body, 23)
        mountpoint = body[25:25 + length].decode()
        numbers = struct.unpack_from("<QQQQQQQB", body, 25 + length)
        generations = struct.unpack_from(f"<{numbers[7]}I", body, 25 + length + 57)
        names = ("capacity", "total", "free", "used", "files", "files_free", "corruptions")
        return {"started": bool(started), "mounted": bool(mounted), "read_only": bool(read_only),
                "pid": pid, "uuid": uuids.UUID(bytes=body[7:23]), "mountpoint": mountpoint,
                "generations": list(generations), **dict(zip(names, numbers))}

    def take_snapshot(self, name):
        """0, or a negative errno."""
        answer, body = self.ask(SNAPSHOT_TAKE, text(name) + text("") + text(name))
        return 0 if answer == SNAPSHOTS_REPLY else struct.unpack_from("<i", body)[0]

    def remove_snapshot(self, name):
        return self.order(SNAPSHOT_REMOVE, text(name) + text("") + text(""))

    def has_snapshots(self):
        """Also such as are being removed."""
        answer, body = self.ask(SNAPSHOT_LIST, struct.pack("<Q", 0))
        assert answer == SNAPSHOTS_REPLY
        return body[1] > 0

    def wait(self, timeout=60):
        return self.process.wait(timeout)
