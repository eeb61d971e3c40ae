// SPDX-License-Identifier: GPL-2.0-or-later
/* Faults below the file node; see inject.h. */
#include "inject.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "aio.h"

#define SECTOR	   512u
#define MAX_IOVECS 64u

const char *const fault_names[NR_FAULT_KINDS] = {
	[FAULT_NONE] = "none", [FAULT_EIO] = "eio",	[FAULT_ENOSPC] = "enospc",
	[FAULT_TORN] = "torn", [FAULT_SHORT] = "short", [FAULT_INTR] = "intr",
	[FAULT_KILL] = "kill",
};

static struct {
	enum fault_kind kind;
	unsigned at;
	bool lasting;
	/* A worker calls ftruncate(). */
	_Atomic bool paused;
	_Atomic unsigned calls;
	unsigned fixed_calls;
	_Atomic unsigned hits;
	_Atomic bool hit_sync;
} fault;

void inject_start(enum fault_kind kind, unsigned at, bool lasting)
{
	fault.kind = kind;
	fault.at = at;
	fault.lasting = lasting;
	fault.paused = false;
	fault.calls = 0;
	fault.fixed_calls = 0;
	fault.hits = 0;
	fault.hit_sync = false;
}

void inject_stop(void)
{
	fault.kind = FAULT_NONE;
	fault.paused = true;
}

void inject_pause(bool pause)
{
	fault.paused = pause;
}

unsigned inject_calls(void)
{
	return fault.calls;
}

unsigned inject_fixed_calls(void)
{
	return fault.fixed_calls;
}

unsigned inject_hits(void)
{
	return fault.hits;
}

bool inject_take_sync(void)
{
	return atomic_exchange(&fault.hit_sync, false);
}

enum call {
	CALL_READ,
	CALL_WRITE,
	CALL_SPACE,
	CALL_SYNC,
};

static bool can_go_wrong(enum fault_kind kind, enum call call)
{
	switch (kind) {
	case FAULT_NONE:
		return false;
	case FAULT_EIO:
		return true;
	case FAULT_ENOSPC:
		return call == CALL_WRITE || call == CALL_SPACE;
	case FAULT_TORN:
		return call == CALL_WRITE;
	case FAULT_SHORT:
		return call == CALL_READ || call == CALL_WRITE;
	case FAULT_INTR:
	case FAULT_KILL:
		return true;
	case NR_FAULT_KINDS:
		break;
	}
	return false;
}

/* What must go wrong with this call. */
static enum fault_kind next(enum call call)
{
	unsigned number;

	if (fault.paused)
		return FAULT_NONE;
	number = atomic_fetch_add(&fault.calls, 1) + 1;
	if (number != fault.at && !(fault.lasting && number > fault.at))
		return FAULT_NONE;
	if (!can_go_wrong(fault.kind, call))
		return FAULT_NONE;
	fault.hits++;
	if (fault.kind == FAULT_KILL)
		raise(SIGKILL);
	if (call == CALL_SYNC && fault.kind == FAULT_EIO)
		fault.hit_sync = true;
	return fault.kind;
}

static int error_of(enum fault_kind kind)
{
	return kind == FAULT_ENOSPC ? -ENOSPC : kind == FAULT_INTR ? -EINTR : -EIO;
}

/* In whole units. */
static size_t half_of(size_t bytes, unsigned unit)
{
	size_t half = bytes / 2 / unit * unit;

	/* Nothing at all would mean the end of the file. */
	return !half && unit == 1 ? bytes : half;
}

/* The first half. Returns how many vectors that are. */
static unsigned halve(struct iovec *half, const struct iovec *iov, unsigned niov, unsigned unit)
{
	size_t bytes = 0, left;
	unsigned nr = 0;

	for (unsigned i = 0; i < niov; i++)
		bytes += iov[i].iov_len;
	left = half_of(bytes, unit);
	for (; nr < niov && nr < MAX_IOVECS && left; nr++) {
		half[nr] = iov[nr];
		if (half[nr].iov_len > left)
			half[nr].iov_len = left;
		left -= half[nr].iov_len;
	}
	return nr;
}

/* ---- what the linker puts in place of the calls ---- */

ssize_t __real_co_preadv(int fd, const struct iovec *iov, unsigned niov, uint64_t off);
ssize_t __wrap_co_preadv(int fd, const struct iovec *iov, unsigned niov, uint64_t off);
ssize_t __real_co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off, int flags);
ssize_t __wrap_co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off, int flags);
ssize_t __real_co_read_fixed(int fd, unsigned index, uint64_t addr, size_t bytes, uint64_t off);
ssize_t __wrap_co_read_fixed(int fd, unsigned index, uint64_t addr, size_t bytes, uint64_t off);
ssize_t __real_co_write_fixed(int fd, unsigned index, uint64_t addr, size_t bytes, uint64_t off);
ssize_t __wrap_co_write_fixed(int fd, unsigned index, uint64_t addr, size_t bytes, uint64_t off);
int __real_co_fdatasync(int fd);
int __wrap_co_fdatasync(int fd);
int __real_co_fallocate(int fd, int mode, uint64_t off, uint64_t bytes);
int __wrap_co_fallocate(int fd, int mode, uint64_t off, uint64_t bytes);
int __real_ftruncate64(int fd, off64_t size);
int __wrap_ftruncate64(int fd, off64_t size);
ssize_t __real_copy_file_range(int from, off64_t *from_off, int to, off64_t *to_off, size_t bytes,
			       unsigned flags);
ssize_t __wrap_copy_file_range(int from, off64_t *from_off, int to, off64_t *to_off, size_t bytes,
			       unsigned flags);

ssize_t __wrap_co_preadv(int fd, const struct iovec *iov, unsigned niov, uint64_t off)
{
	enum fault_kind kind = next(CALL_READ);
	struct iovec half[MAX_IOVECS];

	if (kind == FAULT_SHORT)
		return __real_co_preadv(fd, half, halve(half, iov, niov, 1), off);
	return kind ? error_of(kind) : __real_co_preadv(fd, iov, niov, off);
}

ssize_t __wrap_co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off, int flags)
{
	enum fault_kind kind = next(CALL_WRITE);
	struct iovec half[MAX_IOVECS];

	if (kind == FAULT_SHORT)
		return __real_co_pwritev(fd, half, halve(half, iov, niov, 1), off, flags);
	if (kind == FAULT_TORN)
		__real_co_pwritev(fd, half, halve(half, iov, niov, SECTOR), off, flags);
	return kind ? error_of(kind) : __real_co_pwritev(fd, iov, niov, off, flags);
}

static enum fault_kind next_fixed(enum call call)
{
	if (!fault.paused)
		fault.fixed_calls++;
	return next(call);
}

ssize_t __wrap_co_read_fixed(int fd, unsigned index, uint64_t addr, size_t bytes, uint64_t off)
{
	enum fault_kind kind = next_fixed(CALL_READ);

	if (kind == FAULT_SHORT)
		return __real_co_read_fixed(fd, index, addr, half_of(bytes, 1), off);
	return kind ? error_of(kind) : __real_co_read_fixed(fd, index, addr, bytes, off);
}

ssize_t __wrap_co_write_fixed(int fd, unsigned index, uint64_t addr, size_t bytes, uint64_t off)
{
	enum fault_kind kind = next_fixed(CALL_WRITE);

	if (kind == FAULT_SHORT)
		return __real_co_write_fixed(fd, index, addr, half_of(bytes, 1), off);
	if (kind == FAULT_TORN)
		__real_co_write_fixed(fd, index, addr, half_of(bytes, SECTOR), off);
	return kind ? error_of(kind) : __real_co_write_fixed(fd, index, addr, bytes, off);
}

int __wrap_co_fdatasync(int fd)
{
	enum fault_kind kind = next(CALL_SYNC);

	return kind ? error_of(kind) : __real_co_fdatasync(fd);
}

int __wrap_co_fallocate(int fd, int mode, uint64_t off, uint64_t bytes)
{
	enum fault_kind kind = next(CALL_SPACE);

	return kind ? error_of(kind) : __real_co_fallocate(fd, mode, off, bytes);
}

int __wrap_ftruncate64(int fd, off64_t size)
{
	enum fault_kind kind = next(CALL_SPACE);

	if (!kind)
		return __real_ftruncate64(fd, size);
	errno = -error_of(kind);
	return -1;
}

ssize_t __wrap_copy_file_range(int from, off64_t *from_off, int to, off64_t *to_off, size_t bytes,
			       unsigned flags)
{
	enum fault_kind kind = next(CALL_WRITE);
	size_t half = half_of(bytes, kind == FAULT_SHORT ? 1 : SECTOR);

	if (kind == FAULT_SHORT)
		return __real_copy_file_range(from, from_off, to, to_off, half, flags);
	if (kind == FAULT_TORN)
		__real_copy_file_range(from, from_off, to, to_off, half, flags);
	if (!kind)
		return __real_copy_file_range(from, from_off, to, to_off, bytes, flags);
	errno = -error_of(kind);
	return -1;
}
