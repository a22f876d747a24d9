"""An instance of which everything is kept that it lets out: what its commands print and its REST
interface answers, and, looked at again and again, the argument lists, environments and open files
of its processes. For searches."""
import json
import os
import pathlib
import threading

from instance import ApiError, Instance, open_files

# What a process of coffer may have open besides its own state.
SYSTEM = ("/dev/", "/etc/", "/lib", "/proc/", "/sys/", "/usr/", "anon_inode:", "pipe:", "socket:")


def _read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it has ended


def _link(path):
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _parent(process):
    fields = _read(process / "stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


class ProcessWatch:
    """Looks at the processes that come from this one and whose program is in a folder, and at their
    children. A worker whose cofferd has ended stays one of them."""

    def __init__(self, programs):
        self.programs = f"{programs}/"
        self.descendants = set()  # of this process: a test beside it may use the same programs
        self.arguments = set()
        self.environments = set()
        self.files = set()  # that servers have open
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self._watch)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()

    def _watch(self):
        while not self.is_over.wait(0.02):
            self.look()

    def look(self):
        processes = list(pathlib.Path("/proc").glob("[0-9]*"))
        parents = {int(process.name): _parent(process) for process in processes}
        self._learn_descendants(parents)
        own = {int(process.name) for process in processes
               if int(process.name) in self.descendants
               and _link(process / "exe").startswith(self.programs)}
        for process in processes:
            if int(process.name) in own or parents[int(process.name)] in own:
                self.arguments.add(_read(process / "cmdline"))
                self.environments.add(_read(process / "environ"))
            if int(process.name) in own and not _link(process / "exe").endswith("/coffer"):
                self.files |= open_files(process)

    def _learn_descendants(self, parents):
        self.descendants &= parents.keys()  # the number of one that has ended may be given anew
        known = {os.getpid(), *self.descendants}
        while new := {pid for pid, parent in parents.items() if parent in known} - known:
            known |= new
        self.descendants = known


class WatchedInstance(Instance):
    def __init__(self, build_folder, folder, **environment):
        super().__init__(build_folder, folder, **environment)
        self.folder = pathlib.Path(folder)
        self.said = []  # (what was asked, what came)
        self.watch = ProcessWatch(self.programs.resolve())

    def __enter__(self):
        self.watch.__enter__()
        return super().__enter__()

    def __exit__(self, *reason):
        try:
            super().__exit__(*reason)
        finally:
            self.watch.__exit__(*reason)

    def run(self, *words, check=True, **options):
        done = super().run(*words, check=False, **options)
        self.said.append((f"coffer {' '.join(map(str, words))}", done.stdout + done.stderr))
        if check:
            assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def api(self, method, path, body=None, timeout=120):
        try:
            answer = super().api(method, path, body, timeout)
        except ApiError as error:
            self.said.append((f"{method} {path}", str(error)))
            raise
        self.said.append((f"{method} {path}", json.dumps(answer)))
        return answer

    def outputs(self):
        """(where, bytes) of all that it let out, but for its files."""
        yield from ((what, text.encode()) for what, text in self.said)
        yield from (("an argument list", arguments) for arguments in self.watch.arguments)
        yield from (("an environment", environment) for environment in self.watch.environments)

    def strange_files(self):
        """What its servers had open and is neither the system's nor in its own folder."""
        own = (*SYSTEM, f"{self.folder.resolve()}/", self.watch.programs)
        return {path for path in self.watch.files if path and not f"{path}/".startswith(own)}


def files_in(folder):
    """(path, bytes): of every file its content, and of everything its name."""
    for path in sorted(pathlib.Path(folder).rglob("*")):
        yield f"the name of {path}", os.fsencode(path)
        if path.is_symlink():
            yield f"the target of {path}", os.fsencode(os.readlink(path))
        elif path.is_file():
            yield str(path), path.read_bytes()
