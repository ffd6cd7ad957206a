"""What a budget's file needs to know of the machine: since when it runs, and which processes live. Linux's /proc."""

from __future__ import annotations

import os
from uuid import UUID

from workerpool.errors import OptionError

BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Machine:
    """This machine, as the calling process sees it. Any thread; tests bring their own."""

    def boot(self) -> bytes:
        """Eight bytes that tell this boot from every other one: times of two boots cannot be compared.

        Raises `OptionError` where the system does not say.
        """
        try:
            with open(BOOT_ID, "rb") as file:
                return UUID(file.read().decode().strip()).bytes[:8]
        except (OSError, ValueError) as error:
            raise OptionError(
                f"budget= needs Linux: {BOOT_ID}, which tells one boot of the machine from another, cannot be read "
                f"({error}); without a budget by name, every limit holds for this process alone"
            ) from error

    def pid(self) -> int:
        """The calling process's number."""
        return os.getpid()

    def started_at(self, pid: int) -> int | None:
        """When a process started, in clock ticks since the boot; None if there is none, or it has ended.

        Two processes never have both the same number and the same start. One that has ended and that nobody has waited
        for (a zombie) holds no sockets any more. Raises OSError if it cannot be told, as with too many open files.
        """
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()  # its name, in parentheses, may hold anything
            return None if fields[0] in (b"Z", b"X") else int(fields[19])
        except (FileNotFoundError, ProcessLookupError):  # the latter if it ends right now
            return None

    def lives(self, pid: int, started_at: int) -> bool:
        """Whether the process with that number and start still runs, as far as can be told: nobody is buried alive."""
        try:
            return self.started_at(pid) == started_at
        except OSError:
            return True

    def pid_space(self) -> int:
        """Which namespace this process's numbers are of: those of another one (a container's) mean nothing here."""
        try:
            return os.stat("/proc/self/ns/pid").st_ino
        except OSError:
            return 0
