"""A program that runs on a terminal of its own (os.forkpty())."""
import os


def finish(pid, fd, printed=b""):
    """All that it printed, with what was read before, and its exit code."""
    try:
        while chunk := os.read(fd, 1000):
            printed += chunk
    except OSError:  # how a terminal ends
        pass
    os.close(fd)
    return printed, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
