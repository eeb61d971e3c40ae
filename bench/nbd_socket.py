# SPDX-License-Identifier: GPL-2.0-or-later
"""NBD servers on a UNIX socket: when one of them can be used. Its name is there before it listens."""
import os
import socket
import struct
import sys
import time

GREETING = b'NBDMAGIC'
# The protocol's numbers; see base/nbd_protocol.h.
FIXED_NEWSTYLE, NO_ZEROES = 1, 2
OPTION_MAGIC, OPTION_EXPORT_NAME = b'IHAVEOPT', 1
REQUEST_MAGIC, READ = 0x25609513, 0
EXPORT_BYTES, REPLY_BYTES = 10, 16


def receive(client, size):
    got = client.recv(size, socket.MSG_WAITALL)
    if len(got) != size:
        sys.exit('bench: a server has closed the connection')
    return got


def read_sector(client):
    """What a client does up to its first answer."""
    # The rest of the greeting: a magic number and flags.
    receive(client, 10)
    client.sendall(struct.pack('>I8sII', FIXED_NEWSTYLE | NO_ZEROES, OPTION_MAGIC, OPTION_EXPORT_NAME, 0))
    receive(client, EXPORT_BYTES)
    client.sendall(struct.pack('>IHHQQI', REQUEST_MAGIC, 0, READ, 1, 0, 512))
    reply = receive(client, REPLY_BYTES + 512)
    if reply[4:8] != bytes(4):
        sys.exit('bench: a server has failed to read')


def greets(path, then=None):
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        if client.recv(len(GREETING), socket.MSG_WAITALL) != GREETING:
            return False
        if then:
            then(client)
        return True


def remove(path):
    """What an earlier server has left, before the next one starts."""
    if os.path.exists(path):
        os.unlink(path)


def wait(process, path, seconds=60, step=0.01, then=None):
    """Until the server that is this process greets clients, and then(client) has returned."""
    end = time.monotonic() + seconds
    while not greets(path, then):
        if process.poll() is not None:
            sys.exit('bench: %s has ended' % process.args[0])
        if time.monotonic() > end:
            sys.exit('bench: %s does not greet' % process.args[0])
        time.sleep(step)
