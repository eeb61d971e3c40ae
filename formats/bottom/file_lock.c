// SPDX-License-Identifier: GPL-2.0-or-later
/* Image locks: see file_lock.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>

#include "file_lock.h"

#define PERM_BASE     100
#define UNSHARED_BASE 200
#define PERM_COUNT    4

/* What fcntl() returns: another process has the lock, or the file system has no locks. */
static int lock_error(int error)
{
	switch (error) {
	case EAGAIN:
	case EACCES:
		return -EBUSY;
	case ENOLCK:
	case EOPNOTSUPP:
	case ENOSYS:
	case EINVAL:
		return -ENOLCK;
	default:
		return -error;
	}
}

/* Locks the byte of each bit that is set. */
static int take_bytes(int fd, unsigned bits, off_t base, off_t *ret_off)
{
	for (unsigned i = 0; i < PERM_COUNT; i++) {
		struct flock lock = {
			.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = base + i, .l_len = 1
		};

		*ret_off = lock.l_start;
		if ((bits & (1u << i)) && fcntl(fd, F_OFD_SETLK, &lock) < 0)
			return lock_error(errno);
	}
	return 0;
}

/* Checks whether another process has locked the byte of a bit that is set. */
static int look_for_holders(int fd, unsigned bits, off_t base, off_t *ret_off)
{
	for (unsigned i = 0; i < PERM_COUNT; i++) {
		struct flock lock = {
			.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = base + i, .l_len = 1
		};

		if (!(bits & (1u << i)))
			continue;
		*ret_off = lock.l_start;
		if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
			return lock_error(errno);
		if (lock.l_type != F_UNLCK)
			return -EBUSY;
	}
	return 0;
}

void file_unlock(int fd)
{
	struct flock lock = {
		.l_type = F_UNLCK,
		.l_whence = SEEK_SET,
		.l_start = PERM_BASE,
		.l_len = UNSHARED_BASE + PERM_COUNT - PERM_BASE,
	};

	/* Without locks there is nothing to give up. */
	fcntl(fd, F_OFD_SETLK, &lock);
}

int file_lock(int fd, unsigned perms, unsigned unshared, off_t *ret_off)
{
	int ret;

	/*
	 * Take first, look afterwards: of two that arrive at the same time, at least one sees the
	 * other.
	 */
	ret = take_bytes(fd, perms, PERM_BASE, ret_off);
	if (!ret)
		ret = take_bytes(fd, unshared, UNSHARED_BASE, ret_off);
	if (!ret)
		ret = look_for_holders(fd, perms, UNSHARED_BASE, ret_off);
	if (!ret)
		ret = look_for_holders(fd, unshared, PERM_BASE, ret_off);
	return ret;
}
