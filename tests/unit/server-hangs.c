// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * For a server with a file whose file system hangs, in all calls that it makes beside the ring.
 * Which one a test says in a file of two numbers (TEST_HANGS), which it may change at any time: the
 * inode, and how many calls hang now. Linked with --wrap.
 */
#include <fcntl.h>
#include <glib.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

int __real_fstatvfs(int fd, struct statvfs *st);
int __wrap_fstatvfs(int fd, struct statvfs *st);
int __real_fstatvfs64(int fd, struct statvfs *st);
int __wrap_fstatvfs64(int fd, struct statvfs *st);
int __real_open64(const char *name, int flags, ...);
int __wrap_open64(const char *name, int flags, ...);
off_t __real_lseek(int fd, off_t off, int whence);
off_t __wrap_lseek(int fd, off_t off, int whence);
off_t __real_lseek64(int fd, off_t off, int whence);
off_t __wrap_lseek64(int fd, off_t off, int whence);

static struct {
	_Atomic uint64_t inode;
	_Atomic uint64_t calls;
} * hangs;

/* At once: the sandbox would not let us. */
static __attribute__((constructor)) void map_hangs(void)
{
	const char *path = getenv("TEST_HANGS");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

	g_assert_cmpint(fd, >=, 0);
	hangs = mmap(NULL, sizeof(*hangs), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	g_assert_true(hangs != MAP_FAILED);
	close(fd);
}

static void hang(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || atomic_load(&hangs->inode) != st.st_ino)
		return;
	atomic_fetch_add(&hangs->calls, 1);
	while (atomic_load(&hangs->inode) == st.st_ino)
		usleep(1000);
	atomic_fetch_sub(&hangs->calls, 1);
}

/* Only a look: nothing of this program opens the file for more while it hangs. */
int __wrap_open64(const char *name, int flags, ...)
{
	mode_t mode = 0;
	va_list args;
	int fd;

	va_start(args, flags);
	if (flags & O_CREAT)
		mode = va_arg(args, mode_t);
	va_end(args);
	fd = __real_open64(name, flags, mode);
	if (fd >= 0 && flags & O_PATH && hangs)
		hang(fd);
	return fd;
}

int __wrap_fstatvfs(int fd, struct statvfs *st)
{
	hang(fd);
	return __real_fstatvfs(fd, st);
}

int __wrap_fstatvfs64(int fd, struct statvfs *st)
{
	hang(fd);
	return __real_fstatvfs64(fd, st);
}

off_t __wrap_lseek(int fd, off_t off, int whence)
{
	hang(fd);
	return __real_lseek(fd, off, whence);
}

off_t __wrap_lseek64(int fd, off_t off, int whence)
{
	hang(fd);
	return __real_lseek64(fd, off, whence);
}
