"""Runs a server as long as somebody needs it."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
READY_SECONDS = 1800  # it may have to be compiled


@contextlib.contextmanager
def serving(command, cwd=ROOT):
    """Runs the server, which must say where it listens. However this ends, the server does too."""
    # In a group of its own: what it starts ends with it.
    server = subprocess.Popen(
        command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    too_late = threading.Timer(READY_SECONDS, kill, [server, signal.SIGKILL])
    try:
        too_late.start()
        url = next((line.split()[1] for line in server.stdout if line.startswith("ready: ")), None)
        too_late.cancel()
        if url is None:
            sys.exit(f"the server was never ready: {' '.join(command)}")
        # Read on, so that it never waits for somebody to read what it says.
        threading.Thread(target=lambda: [print(line, end="") for line in server.stdout], daemon=True).start()
        yield server, url
    finally:
        too_late.cancel()
        stop(server)


def stop(server):
    """Lets the server end, and makes it end if it does not."""
    with contextlib.suppress(BrokenPipeError):
        server.stdin.close()
    for seconds, ending in ((10, signal.SIGTERM), (5, signal.SIGKILL)):
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(seconds)
        kill(server, ending)
    server.wait()


def kill(server, ending):
    """Sends a signal to whatever is left of the server's group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(server.pid, ending)


def end_with_signals():
    """A signal ends this process as an error does, so that the server ends too."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _frame: sys.exit(128 + number))
