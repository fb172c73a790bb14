"""Runs MiniStack, the local engine, until standard input ends; then ends everything that it started.

The local stack holds the other end of standard input. However that process dies, its end closes with it, so nothing is
left behind: not the engine, and not the function processes that the engine started.
"""

import os
import signal
import sys
import threading
import time

from ministack.app import main

GRACE_SECONDS = 10


def end_with_standard_input():
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)  # the engine saves its state
    time.sleep(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


threading.Thread(target=end_with_standard_input, daemon=True).start()
sys.argv = ["ministack"]
try:
    main()
finally:
    os.killpg(0, signal.SIGKILL)
