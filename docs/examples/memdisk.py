#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk in memory as /dev/ubdbN: a whole server in Python's standard library, with one queue and one thread.

    memdisk.py [MIB]

Prints the disk's name and serves until SIGTERM or SIGINT. It calls io_uring without a library, and was
written from docs/protocol.md alone. Control commands use the same ring as requests, because the disk
starts and stops only if requests are answered meanwhile.

It shows the protocol, not how to survive a lack of memory: Python allocates memory as it runs.

Memory ordering: Python only has the plain loads and stores of ctypes and struct. They suffice where this
thread and the kernel take turns, which covers all requests: io_uring_enter() submits entries, and in that
call, on this thread, the driver fills in descriptors and io_uring posts CQEs. But another thread may post
the CQEs of control commands at any time. x86 keeps loads in order; other processors need a load-acquire
of the CQ ring's tail, such as libatomic's __atomic_load_4(), which ctypes can call.
"""
import ctypes
import errno
import mmap
import os
import signal
import struct
import sys

# io_uring
NR_SETUP, NR_ENTER = 425, 426
OFF_RINGS, OFF_SQES = 0, 0x10000000
ENTER_GETEVENTS = 1
OP_POLL_ADD, OP_URING_CMD = 6, 46
POLLIN = 1
SQE = struct.Struct('=B3xiQ12xIQ8x16s')  # opcode, fd, cmd_op, flags of the operation, user_data, cmd
CQE = struct.Struct('=Qi4x')  # user_data, res

# ubd
ADD_DEV, START_DEV, STOP_DEV, SET_PARAMS = 0x04, 0x06, 0x07, 0x08
FETCH_REQ, COMMIT_AND_FETCH_REQ = 0x20, 0x21
RES_OK, RES_ABORT = 0, -errno.ENODEV
OP_READ, OP_WRITE = 0, 1
DEV_ID_ANY = 0xffffffff
DEV_INFO = struct.Struct('=HHHHIIQiIIIQ24x')
PARAMS = struct.Struct('=IIIIIIIIIIQ32x')
CTRL_CMD = struct.Struct('=HHIQ')
IO_CMD = struct.Struct('=HHiQ')
IO_DESC = struct.Struct('=IIQQ')

DEPTH = 64
IO_BYTES = 128 << 10
# user_data of anything that is not a tag's command.
CONTROL, SIGNAL = DEPTH, DEPTH + 1
SIGNALS = signal.SIGTERM, signal.SIGINT

libc = ctypes.CDLL(None, use_errno=True)


def syscall(number, *arguments):
    """Its result; an error is an OSError, but for a signal that interrupts it."""
    result = libc.syscall(*(ctypes.c_long(argument) for argument in (number, *arguments)))
    if result < 0 and ctypes.get_errno() != errno.EINTR:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def address(memory):
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


class Ring:
    """An io_uring. It has room: a turn prepares at most one entry for each that it saw completed."""

    def __init__(self, entries):
        params = bytearray(120)
        self.fd = syscall(NR_SETUP, entries, address(params))
        sq_entries, cq_entries = struct.unpack_from('=II', params)
        _, sq_tail, sq_mask, _, _, _, array = struct.unpack_from('=7I', params, 40)
        cq_head, cq_tail, cq_mask, _, _, self.cqes = struct.unpack_from('=6I', params, 80)
        size = max(array + 4 * sq_entries, self.cqes + CQE.size * cq_entries)
        self.rings = mmap.mmap(self.fd, size, offset=OFF_RINGS)
        self.sqes = mmap.mmap(self.fd, SQE.size * sq_entries, offset=OFF_SQES)
        self.sq_tail, self.cq_head, self.cq_tail = (
            ctypes.c_uint32.from_buffer(self.rings, place) for place in (sq_tail, cq_head, cq_tail))
        self.sq_mask, self.cq_mask = (
            struct.unpack_from('=I', self.rings, place)[0] for place in (sq_mask, cq_mask))
        struct.pack_into('=%dI' % sq_entries, self.rings, array, *range(sq_entries))
        self.prepared = 0

    def prepare(self, opcode, fd, user_data, cmd_op=0, flags=0, cmd=b''):
        place = SQE.size * (self.sq_tail.value & self.sq_mask)
        SQE.pack_into(self.sqes, place, opcode, fd, cmd_op, flags, user_data, cmd)
        self.sq_tail.value = (self.sq_tail.value + 1) & 0xffffffff
        self.prepared += 1

    def submit_and_wait(self):
        """Yields user_data and res of each completed command."""
        self.prepared -= max(syscall(NR_ENTER, self.fd, self.prepared, 1, ENTER_GETEVENTS, 0, 0), 0)
        head, tail = self.cq_head.value, self.cq_tail.value
        while head != tail:
            completion = CQE.unpack_from(self.rings, self.cqes + CQE.size * (head & self.cq_mask))
            head = self.cq_head.value = (head + 1) & 0xffffffff
            yield completion


class Server:
    def __init__(self, disk_bytes):
        self.disk = memoryview(bytearray(disk_bytes))
        self.memory = mmap.mmap(-1, DEPTH * IO_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.buffers, self.buffers_address = memoryview(self.memory), address(self.memory)
        self.ring = Ring(2 * DEPTH)
        self.control_fd = self.char_fd = self.descs = None

    def serve(self, tag):
        """The driver expects the number of bytes done, 0, or a negative errno."""
        op_flags, nr_sectors, start_sector, _ = IO_DESC.unpack_from(self.descs, tag * IO_DESC.size)
        size, place = nr_sectors * 512, start_sector * 512
        buffer = self.buffers[tag * IO_BYTES:][:size]
        if op_flags & 0xff == OP_READ:
            buffer[:] = self.disk[place:place + size]
            return size
        if op_flags & 0xff == OP_WRITE:
            self.disk[place:place + size] = buffer
            return size
        return -errno.EOPNOTSUPP

    def fetch(self, op, tag, result):
        cmd = IO_CMD.pack(0, tag, result, self.buffers_address + tag * IO_BYTES)
        self.ring.prepare(OP_URING_CMD, self.char_fd, tag, op, cmd=cmd)

    def turn(self):
        """Submits what was prepared, waits, serves. Returns the answer to a control command, or None."""
        answer = None
        for user_data, res in self.ring.submit_and_wait():
            if user_data == CONTROL:
                answer = res
            elif user_data == SIGNAL:
                # From here the driver answers tags with RES_ABORT.
                self.ring.prepare(OP_URING_CMD, self.control_fd, CONTROL, STOP_DEV)
            elif res == RES_OK:
                self.fetch(COMMIT_AND_FETCH_REQ, user_data, self.serve(user_data))
            elif res != RES_ABORT:
                raise OSError(-res, 'the driver refused a command: ' + os.strerror(-res))
        return answer

    def wait_for_answer(self):
        """Serves until a control command is answered."""
        answer = None
        while answer is None:
            answer = self.turn()
        if answer < 0:
            raise OSError(-answer, os.strerror(-answer))
        return answer

    def control(self, fd, op, buffer=None):
        cmd = CTRL_CMD.pack(0, len(buffer), 0, address(buffer)) if buffer else bytes(CTRL_CMD.size)
        self.ring.prepare(OP_URING_CMD, fd, CONTROL, op, cmd=cmd)
        return self.wait_for_answer()

    def add_device(self):
        """Returns its number."""
        info = bytearray(DEV_INFO.pack(1, DEPTH, 0, 0, DEV_ID_ANY, IO_BYTES, 0, 0, 0, 0, 0, 0))
        sectors = len(self.disk) // 512
        params = bytearray(PARAMS.pack(0, 512, 4096, 4096, 0, IO_BYTES // 512, 0, 0, 0, 0, sectors))
        fd = os.open('/dev/ubd-control', os.O_RDWR)
        self.control_fd = self.control(fd, ADD_DEV, info)
        os.close(fd)
        self.control(self.control_fd, SET_PARAMS, params)
        return DEV_INFO.unpack(info)[4]

    def open_queue(self, number):
        self.char_fd = os.open('/dev/ubdc%d' % number, os.O_RDWR)
        size = -(-DEPTH * IO_DESC.size // mmap.PAGESIZE) * mmap.PAGESIZE
        self.descs = mmap.mmap(self.char_fd, size, mmap.MAP_SHARED, mmap.PROT_READ)
        for tag in range(DEPTH):
            self.fetch(FETCH_REQ, tag, 0)

    def stop_on_signals(self):
        """The interpreter writes to the pipe when a signal comes, and the ring polls the pipe."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer)
        self.ring.prepare(OP_POLL_ADD, reader, SIGNAL, flags=POLLIN)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def run(self):
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        device = self.add_device()
        self.open_queue(device)
        self.control(self.control_fd, START_DEV)
        print('/dev/ubdb%d' % device, flush=True)
        self.stop_on_signals()
        self.wait_for_answer()


if __name__ == '__main__':
    Server(int(sys.argv[1] if len(sys.argv) > 1 else 64) << 20).run()
