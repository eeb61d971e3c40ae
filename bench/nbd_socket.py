# SPDX-License-Identifier: GPL-2.0-or-later
"""NBD servers on a UNIX socket: when one of them can be used. Its name is there before it listens."""
import os
import socket
import sys
import time

GREETING = b'NBDMAGIC'


def greets(path):
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return client.recv(len(GREETING), socket.MSG_WAITALL) == GREETING


def remove(path):
    """What an earlier server has left, before the next one starts."""
    if os.path.exists(path):
        os.unlink(path)


def wait(process, path, seconds=60, step=0.01):
    """Until the server that is this process greets clients."""
    end = time.monotonic() + seconds
    while not greets(path):
        if process.poll() is not None:
            sys.exit('bench: %s has ended' % process.args[0])
        if time.monotonic() > end:
            sys.exit('bench: %s does not greet' % process.args[0])
        time.sleep(step)
