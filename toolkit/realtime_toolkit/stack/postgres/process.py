"""Child processes that do not outlive the stack, and proof of which process is whose.

A pid alone proves nothing once its process is gone, so a process is known by pid *and* start time; only
one that still has both is ever signalled after the fact.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime_toolkit.stack.postgres.private import OsUser, open_log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process of one boot of one machine."""

    pid: int
    started: str
    """Opaque start time; equal only for the same process."""

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The process that has this pid now; ``None`` if there is none, or only its zombie."""
        started = _start_time(pid)
        return None if started is None else cls(pid, started)

    def alive(self) -> bool:
        return _start_time(self.pid) == self.started

    def kill(self, number: int) -> None:
        """Signal it if it still is that process."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _start_time(pid: int) -> str | None:
    if not sys.platform.startswith("linux"):
        return _start_time_elsewhere(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and parentheses
    state, ticks = fields[0], fields[19]
    return None if state in "ZX" else f"{_boot_id()}:{ticks}"


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _start_time_elsewhere(pid: int) -> str | None:
    done = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = done.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


def spawn(
    argv: Sequence[str | Path],
    *,
    log: Path,
    die_with: int = signal.SIGKILL,
    user: OsUser | None = None,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own (Ctrl-C reaches it through us only); its output goes to ``log``.

    On Linux the kernel sends it ``die_with`` as soon as the calling *thread* is gone, however that ended.
    """
    identity: dict[str, Any] = {}
    if user is not None:
        identity = {"user": user.uid, "group": user.gid, "extra_groups": []}
    with os.fdopen(open_log(log), "ab") as output:
        return subprocess.Popen(
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=None if env is None else dict(env),
            start_new_session=True,
            pass_fds=tuple(pass_fds),
            preexec_fn=_bind_life(die_with),  # noqa: PLW1509 - one system call, nothing that could deadlock
            **identity,
        )


def _bind_life(number: int) -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def bind() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return bind


async def wait_exit(process: subprocess.Popen[bytes]) -> int:
    """The exit code, once there is one. Cancelling it leaves the process alone."""
    loop = asyncio.get_running_loop()
    if process.poll() is not None or not hasattr(os, "pidfd_open"):
        while process.poll() is None:  # noqa: ASYNC110 - this system has no event for it
            await asyncio.sleep(0.02)
        return process.wait()
    gone = asyncio.Event()
    descriptor = os.pidfd_open(process.pid)
    loop.add_reader(descriptor, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return process.wait()


async def end(process: subprocess.Popen[bytes], *numbers: int, grace: float = 3.0) -> int:
    """Send one signal after the other, ``grace`` seconds apart, then SIGKILL; returns the exit code."""
    for number in (*numbers, signal.SIGKILL):
        if process.poll() is not None:
            break
        process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wait_exit(process), grace)
    return await wait_exit(process)
