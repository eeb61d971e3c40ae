# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the NBD server share: a server in a folder of its own, and a client that says what it
likes."""
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import traceback

import nbd

SERVE, IMG, IO = (os.path.realpath(p) for p in sys.argv[1:4])
# For what takes no time; a machine may be slow.
LONG = 300

CLIENT_FLAGS = 3
OPT_EXPORT_NAME, OPT_ABORT, OPT_LIST, OPT_STARTTLS, OPT_INFO, OPT_GO = 1, 2, 3, 5, 6, 7
OPT_STRUCTURED_REPLY, OPT_LIST_META, OPT_SET_META, OPT_EXTENDED_HEADERS = 8, 9, 10, 11
REP_ACK, REP_SERVER, REP_INFO, REP_META = 1, 2, 3, 4
ERR_UNSUP, ERR_POLICY, ERR_INVALID, ERR_TLS, ERR_UNKNOWN, ERR_TOO_BIG = (1 << 31 | n for n in (1, 2, 3, 5, 6, 9))
CMD_READ, CMD_WRITE, CMD_DISC, CMD_FLUSH, CMD_TRIM, CMD_CACHE, CMD_ZEROES, CMD_STATUS = range(8)
FLAG_FUA, FLAG_REQ_ONE, FLAG_PAYLOAD_LEN = 1, 8, 32
MAX_PAYLOAD = 32 << 20
# LeakSanitizer's, which is no error: on a busy machine it may miss a thread that ends.
NOT_SUSPENDED = re.compile(r'^==\d+==Running thread \d+ was not suspended\. False leaks are possible\.\n+', re.MULTILINE)


def run(*command, **options):
    """A program that must succeed; what it prints."""
    result = subprocess.run(command, capture_output=True, text=True, timeout=LONG, **options)
    assert result.returncode == 0, '%s: %s%s' % (' '.join(command), result.stdout, result.stderr)
    return result.stdout


def make_image(name='disk.qcow2', size='64M', *options):
    run(IMG, 'create', '-q', '-f', 'qcow2', *options, name, size)
    return name


def qemu_io(name, *commands, **options):
    arguments = []
    for command in commands:
        arguments += ['-c', command]
    out = run('qemu-io', '-f', 'qcow2', *arguments, name, **options)
    assert 'rror' not in out and 'failed' not in out, out
    return out


class Server:
    """A server of an image, which has ended well at the end of `with`."""

    def __init__(self, image, *options, export='nbd:unix:nbd.sock', status=0, **popen):
        self.status = status
        self.process = subprocess.Popen([SERVE, '--export=' + export, *options, image], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, **popen)
        self.uri = self.process.stdout.readline().strip()
        if not self.uri:
            raise AssertionError('it did not start: ' + self.process.communicate(timeout=LONG)[1])

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.terminate()
        self.errors = NOT_SUSPENDED.sub('', self.process.communicate(timeout=LONG)[1] or '')
        if kind is None:
            assert self.process.returncode == self.status, (self.process.returncode, self.errors)

    def kill(self):
        self.status = -signal.SIGKILL
        self.process.kill()
        self.process.wait(LONG)

    def connect(self, contexts=(), structured=True, lax=False):
        """A client by libnbd."""
        h = nbd.NBD()
        for context in contexts:
            h.add_meta_context(context)
        h.set_request_structured_replies(structured)
        if lax:
            h.set_strict_mode(0)
        h.connect_uri(self.uri)
        return h

    def raw(self):
        return Raw('nbd.sock')


class Raw:
    """A client that is not bound to the protocol."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(LONG)
        self.socket.connect(path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def recv(self, n):
        data = b''
        while len(data) < n:
            piece = self.socket.recv(n - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def is_dropped(self):
        """The server hangs up; a reset is the same, when it has not read all."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return True

    def greet(self, flags=CLIENT_FLAGS):
        assert self.recv(18) == b'NBDMAGICIHAVEOPT\0\3'
        self.send(struct.pack('>I', flags))
        return self

    def option(self, nr, data=b'', length=None):
        self.send(b'IHAVEOPT' + struct.pack('>II', nr, len(data) if length is None else length) + data)

    def reply(self):
        magic, nr, kind, length = struct.unpack('>QIII', self.recv(20))
        assert magic == 0x3e889045565a9
        return nr, kind, self.recv(length)

    def ask(self, nr, data=b''):
        """An option, and its replies up to the last one; their types, and what the others had."""
        self.option(nr, data)
        kinds, found = [], []
        while not kinds or (kinds[-1] != REP_ACK and kinds[-1] < 1 << 31):
            same, kind, text = self.reply()
            assert same == nr
            kinds.append(kind)
            found.append(text)
        return kinds, found

    def go(self, name=b'', structured=False):
        if structured:
            assert self.ask(OPT_STRUCTURED_REPLY)[0] == [REP_ACK]
        kinds, _ = self.ask(OPT_GO, struct.pack('>I', len(name)) + name + b'\0\0')
        assert kinds[-1] == REP_ACK
        return self

    def request(self, kind, offset=0, length=0, flags=0, cookie=7, data=b'', magic=0x25609513):
        self.send(struct.pack('>IHHQQI', magic, flags, kind, cookie, offset, length) + data)

    def answer(self):
        """The error and the cookie of a simple reply."""
        magic, error, cookie = struct.unpack('>IIQ', self.recv(16))
        assert magic == 0x67446698
        return error, cookie


class Skip(Exception):
    """A test raises it, with the reason, if it cannot run here."""


def needs_root():
    if os.geteuid() != 0:
        raise Skip('needs root')


def run_tests(tests):
    """Runs functions, each in a folder of its own; their documentation is their name."""
    failed = 0
    print('1..%d' % len(tests))
    for nr, test in enumerate(tests, 1):
        folder = tempfile.mkdtemp(prefix='ubd-nbd-')
        os.chdir(folder)
        try:
            test()
            print('ok %d %s' % (nr, test.__doc__.split('\n')[0].rstrip('.')), flush=True)
        except Skip as why:
            print('ok %d %s # SKIP %s' % (nr, test.__doc__.split('\n')[0].rstrip('.'), why), flush=True)
        except Exception:
            failed += 1
            print('not ok %d %s' % (nr, test.__doc__.split('\n')[0].rstrip('.')))
            print('# ' + traceback.format_exc().replace('\n', '\n# '), flush=True)
        os.chdir('/')
        shutil.rmtree(folder)
    sys.exit(1 if failed else 0)
