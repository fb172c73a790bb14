"""What checks share: tools from PyPI, and a server that ends when they do."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOLS = ROOT / "target" / "ci-tools"
# The real router over ports in memory.
SERVER = ["cargo", "run", "--quiet", "--package", "tests", "--bin", "serve", "--", "--port", "0"]
READY_SECONDS = 1800  # it may have to be compiled


def install(*packages):
    """Puts packages, as .ci/requirements.txt pins them, beside the other tools of CI."""
    if not (TOOLS / "bin" / "pip").exists():
        subprocess.run([sys.executable, "-m", "venv", TOOLS], check=True)
    pip = [TOOLS / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--constraint", ROOT / ".ci" / "requirements.txt", *packages], check=True)


@contextlib.contextmanager
def serving(command):
    """Runs the server, which must say where it listens. However this ends, the server does too."""
    # In a group of its own: what it starts ends with it.
    server = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
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
