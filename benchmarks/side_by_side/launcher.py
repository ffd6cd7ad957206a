"""Runs a command and says what it took: `python -IS launcher.py ERRORS PROGRAM ARGUMENT...`.

A process of its own, which imports next to nothing: Linux counts what was resident in the process that started a
command as resident in the command, so that none could seem smaller than that one. The command's standard error goes to
the file ERRORS. Prints its exit code, seconds from start to exit, seconds of CPU, and the bytes that it had resident at
most, which are never less than the 10 MB that this process has.
"""

import os
import sys
import time


def main(errors: str, *command: str) -> None:
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
    ]
    began = time.perf_counter()
    process = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
    _, status, used = os.wait4(process, 0)
    seconds = time.perf_counter() - began
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(os.waitstatus_to_exitcode(status), seconds, used.ru_utime + used.ru_stime, peak)


if __name__ == "__main__":
    main(*sys.argv[1:])
