"""Writers that use a filesystem until it dies, know what was acknowledged, and judge what they find
when it is back. What they know is in this process alone.

StrictWriter     each operation is one request that reaches the worker before it returns (names,
                 attributes, O_DIRECT writes). What is found must be the state after its first K
                 operations, for one K from the last one before an fsync that succeeded to the
                 last one begun; and over all writers, no operation is there without those that
                 had returned before it began.
BufferedWriter   writes through the kernel's cache, in cells of 1 KiB that say which file, place and
                 version they are. Each cell must be as old as the last fsync, or newer.

Each is used by one thread.
"""
import copy
import itertools
import os
import random
import struct
import threading

CELL = 1024
tickets = itertools.count(1)  # the order of events over all writers; next() is atomic


def read_file(path):
    with open(path, "rb") as file:
        return file.read()


class Writer:
    """run() works until an operation fails; is_over says that a failure is expected from now on."""

    def __init__(self, folder, seed, is_over):
        self.folder = folder
        self.random = random.Random(seed)
        self.is_over = is_over
        self.operations = 0
        self.failure = None  # of an operation that should have succeeded
        self.thread = None
        os.mkdir(folder)

    def start(self):
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def join(self):
        self.thread.join()
        if self.failure:
            raise self.failure

    def _run(self):
        try:
            while not self.is_over.is_set():
                self.step()
                self.operations += 1
        except OSError as error:
            if not self.is_over.is_set():
                self.failure = error
        except Exception as error:  # a fault of the test: told by join()
            self.failure = error

    def sync(self, name):
        fd = os.open(name, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class Node:
    def __init__(self):
        self.content = b""
        self.mark = b""
        self.links = 1


class Model:
    """What the strict writer's folder looks like after some operations."""

    def __init__(self):
        self.names = {}

    def apply(self, operation):
        kind, name, *rest = operation
        node = self.names.get(name)
        if kind == "create":
            self.names[name] = Node()
        elif kind == "write":
            offset, data = rest
            head = node.content[:offset].ljust(offset, b"\0")
            node.content = head + data + node.content[offset + len(data):]
        elif kind == "truncate":
            node.content = node.content[:rest[0]].ljust(rest[0], b"\0")
        elif kind == "mark":
            node.mark = rest[0]
        elif kind == "link":
            node.links += 1
            self.names[rest[0]] = node
        elif kind == "unlink":
            self.names.pop(name).links -= 1
        elif kind == "rename":
            if rest[0] in self.names:
                self.names[rest[0]].links -= 1
            self.names[rest[0]] = self.names.pop(name)

    def state(self):
        """Comparable with what is found()."""
        return {name: (node.links, node.mark, node.content) for name, node in self.names.items()}


class StrictWriter(Writer):
    NAMES = [f"{folder}/{name}" for folder in ("a", "b") for name in "stuvwxyz"]

    def __init__(self, *arguments):
        super().__init__(*arguments)
        for name in "ab":
            os.mkdir(self.folder / name)
        self.sync(self.folder / "a")
        self.base = Model()  # acknowledged
        self.log = []  # (operation, when it began, when it had returned or None) since base
        self.acknowledged = 0  # how many of the log an fsync covers
        self.current = Model()
        self.serial = 0

    def unique(self, length):
        """Bytes that no other operation writes."""
        self.serial += 1
        return (b"<%d>" % self.serial * (length // 3 + 1))[:length]

    def choose(self):
        pick = self.random.choice
        used = sorted(self.current.names)
        free = [name for name in self.NAMES if name not in self.current.names]
        if not used or (free and self.random.random() < 0.15):
            return "create", pick(free)
        kind = pick(["write", "write", "write", "truncate", "mark", "link", "unlink", "rename"])
        name = pick(used)
        size = len(self.current.names[name].content)
        if kind == "write":
            length = pick([32, 4096, 20_000, 200_000])
            offset = self.random.randint(0, min(size, 300_000))
            return "write", name, offset, self.unique(length)
        if kind == "truncate":
            return "truncate", name, self.random.randint(0, size + 1000)
        if kind == "mark":
            return "mark", name, self.unique(20)
        if kind == "link":
            return ("link", name, pick(free)) if free else ("unlink", name)
        if kind == "rename":
            # Two names of one file: rename does nothing.
            others = [other for other in self.NAMES
                      if self.current.names.get(other) is not self.current.names[name]]
            return "rename", name, pick(others)
        return kind, name

    def perform(self, operation):
        kind, name, *rest = operation
        path = self.folder / name
        if kind == "create":
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        elif kind == "write":
            fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
            try:
                done = os.pwrite(fd, rest[1], rest[0])
            finally:
                os.close(fd)
            assert done == len(rest[1])
        elif kind == "truncate":
            os.truncate(path, rest[0])
        elif kind == "mark":
            os.setxattr(path, "user.mark", rest[0])
        elif kind == "link":
            os.link(path, self.folder / rest[0])
        elif kind == "unlink":
            os.unlink(path)
        else:
            os.rename(path, self.folder / rest[0])

    def step(self):
        if self.random.random() < 0.03:
            count = len(self.log)
            self.sync(self.folder / self.random.choice(["a", *self.current.names]))
            self.acknowledged = count
            return
        operation = self.choose()
        self.log.append((operation, next(tickets), None))
        self.perform(operation)
        self.log[-1] = (*self.log[-1][:2], next(tickets))
        self.current.apply(operation)

    def found(self):
        state = {}
        for folder in ("a", "b"):
            for entry in os.scandir(self.folder / folder):
                try:
                    mark = os.getxattr(entry.path, "user.mark")
                except OSError:
                    mark = b""
                state[f"{folder}/{entry.name}"] = (entry.stat().st_nlink, mark,
                                                   read_file(entry.path))
        return state

    def judge(self):
        """Compares; what is found is where the next round begins. Returns the first and the last
        count of operations whose state it is, and the log."""
        found = self.found()
        model = copy.deepcopy(self.base)
        counts = []
        for count in range(len(self.log) + 1):
            if count > 0:
                model.apply(self.log[count - 1][0])
            if count >= self.acknowledged and model.state() == found:
                counts.append(count)
                self.base = copy.deepcopy(model)
        assert counts, (
            f"{self.folder}: found is no state between the {self.acknowledged} operations that an "
            f"fsync covers and the {len(self.log)} begun: found {brief(found)}, at the end "
            f"{brief(model.state())} after "
            f"{[operation[:3] for operation, *_ in self.log[self.acknowledged:]]}")
        verdict = counts[0], counts[-1], self.log
        self.current = copy.deepcopy(self.base)
        self.log = []
        self.acknowledged = 0
        return verdict


def brief(state):
    return {name: (links, mark[:8], len(content), content[:12])
            for name, (links, mark, content) in state.items()}


def judge_order(verdicts):
    """No operation of one strict writer is there without those of the others that had returned
    before it began."""
    for first, _, log in verdicts:
        if first == 0:
            continue
        began = log[first - 1][1]
        for _, last, other in verdicts:
            if last < len(other) and other[last][2] is not None:
                assert other[last][2] > began, (
                    f"{log[first - 1][0][:3]} is there, {other[last][0][:3]} before it is not")


class BufferedFile:
    def __init__(self, number):
        self.number = number
        self.version = 0
        self.acknowledged = 0
        self.cells = {}  # index: [(version, is it there)], ascending
        self.count = 0

    def cell(self, index, version):
        return struct.pack("<QQQQ", self.number, index, version, ~version & (2 ** 64 - 1)) * \
            (CELL // 32)

    def note(self, index, version, is_there):
        self.cells.setdefault(index, []).append((version, is_there))

    def write(self, index, count):
        """The data of cells of a new version."""
        self.version += 1
        for i in range(index, index + count):
            self.note(i, self.version, True)
        self.count = max(self.count, index + count)
        return b"".join(self.cell(i, self.version) for i in range(index, index + count))

    def truncate(self, count):
        self.version += 1
        for index in self.cells:
            if index >= count:
                self.note(index, self.version, False)
        self.count = count

    def fault(self, content):
        """What is wrong with this content, or None."""
        if len(content) % CELL:
            return f"its size is {len(content)}"
        count = len(content) // CELL
        for index in range(max(count, max(self.cells, default=-1) + 1)):
            data = content[index * CELL:(index + 1) * CELL]
            history = self.cells.get(index, [])
            old = [entry for entry in history if entry[0] <= self.acknowledged]
            allowed = [old[-1] if old else (0, False)]
            allowed += [entry for entry in history if entry[0] > self.acknowledged]
            if not any(data == self.cell(index, version) if is_there else not any(data)
                       for version, is_there in allowed):
                return (f"cell {index} of {count} has {struct.unpack_from('<QQQQ', data)[:3]}"
                        if data else f"cell {index} is missing") + \
                    f", file {self.number}, allowed {allowed}"
        return None

    def settled(self, content):
        """The file as it is from now on, found with this content."""
        file = BufferedFile(self.number)
        file.version = file.acknowledged = self.version
        file.count = len(content) // CELL
        for index in range(file.count):
            if any(content[index * CELL:(index + 1) * CELL]):
                version = struct.unpack_from("<QQQ", content, index * CELL)[2]
                file.note(index, version, True)
        return file


class BufferedWriter(Writer):
    NAMES = [f"file{i}" for i in range(5)]
    COUNT_MAX = 4000  # cells in a file

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.files = 0
        self.operation = 0
        self.acknowledged = 0
        self.names = {name: [(0, None)] for name in self.NAMES}  # [(operation, file)]

    def new_file(self):
        self.files += 1
        return BufferedFile(self.files)

    def file(self, name):
        return self.names[name][-1][1]

    def bind(self, name, file):
        self.names[name].append((self.operation, file))

    def step(self):
        self.operation += 1
        name = self.random.choice(self.NAMES)
        file = self.file(name)
        kind = self.random.choice(["write"] * 6 + ["append"] * 4 + ["sync", "cut", "move", "drop"])
        if file is None:
            self.bind(name, self.new_file())
            (self.folder / name).write_bytes(b"")
        elif kind == "sync":
            self.sync_file(name, file)
        elif kind == "cut":
            count = self.random.randint(0, file.count)
            file.truncate(count)
            os.truncate(self.folder / name, count * CELL)
        elif kind == "move":
            self.move(name, self.random.choice(self.NAMES))
        elif kind == "drop" and self.random.random() < 0.3:
            self.bind(name, None)
            os.unlink(self.folder / name)
        else:
            self.write(name, file, kind == "append")

    def sync_file(self, name, file):
        operation, version = self.operation, file.version
        self.sync(self.folder / name)
        self.acknowledged, file.acknowledged = operation, version

    def move(self, name, other):
        if other != name:
            file = self.file(name)
            self.bind(other, file)
            self.bind(name, None)
            os.rename(self.folder / name, self.folder / other)

    def write(self, name, file, is_append):
        index = file.count if is_append else self.random.randint(0, file.count)
        if index >= self.COUNT_MAX:
            index = 0
        data = file.write(index, self.random.choice([1, 3, 16, 100, 500]))
        with open(self.folder / name, "r+b", buffering=0) as stream:
            stream.seek(index * CELL)
            done = stream.write(data)
            if done < len(data):  # the end may come between two pages: then the next one says so
                stream.write(data[done:])
                raise AssertionError(f"only {done} of {len(data)} bytes were written")

    def judge(self):
        names = {}
        for name, history in self.names.items():
            old = [entry for entry in history if entry[0] <= self.acknowledged]
            allowed = [file for _, file in
                       old[-1:] + [entry for entry in history if entry[0] > self.acknowledged]]
            try:
                content = read_file(self.folder / name)
            except FileNotFoundError:
                assert None in allowed, f"{self.folder / name} is gone"
                names[name] = [(0, None)]
                continue
            faults = [file.fault(content) for file in allowed if file]
            assert None in faults, f"{self.folder / name}: {faults}"
            if content:
                file = [file for file in allowed if file][faults.index(None)].settled(content)
            else:  # which of those that were empty does not show
                file = self.new_file()
            names[name] = [(0, file)]
        self.names = names
        self.operation = 0
        self.acknowledged = 0
