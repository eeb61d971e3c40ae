// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * For a server with a file whose file system hangs, in all calls that it makes beside the ring.
 * A test says so in a file of three numbers (TEST_HANGS), which it may change at any time: the
 * inode, how many calls hang now, and which calls do (enum). Linked with --wrap.
 */
#include <fcntl.h>
#include <glib.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
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
char *__real_realpath(const char *name, char *real);
char *__wrap_realpath(const char *name, char *real);
int __real_stat(const char *name, struct stat *st);
int __wrap_stat(const char *name, struct stat *st);
int __real_stat64(const char *name, struct stat *st);
int __wrap_stat64(const char *name, struct stat *st);

enum { ALL, REALPATH, ON_MAIN_THREAD };

static struct {
	_Atomic uint64_t inode;
	_Atomic uint64_t calls;
	_Atomic uint64_t which;
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

static void hang_at(ino_t inode, bool is_realpath)
{
	uint64_t which = atomic_load(&hangs->which);

	if (atomic_load(&hangs->inode) != inode || (which == REALPATH && !is_realpath) ||
	    (which == ON_MAIN_THREAD && gettid() != getpid()))
		return;
	atomic_fetch_add(&hangs->calls, 1);
	while (atomic_load(&hangs->inode) == inode)
		usleep(1000);
	atomic_fetch_sub(&hangs->calls, 1);
}

static void hang(int fd)
{
	struct stat st;

	if (fstat(fd, &st) == 0)
		hang_at(st.st_ino, false);
}

static void hang_by_name(const char *name, bool is_realpath)
{
	struct stat st;

	if (hangs && fstatat(AT_FDCWD, name, &st, 0) == 0)
		hang_at(st.st_ino, is_realpath);
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

char *__wrap_realpath(const char *name, char *real)
{
	hang_by_name(name, true);
	return __real_realpath(name, real);
}

int __wrap_stat(const char *name, struct stat *st)
{
	hang_by_name(name, false);
	return __real_stat(name, st);
}

int __wrap_stat64(const char *name, struct stat *st)
{
	hang_by_name(name, false);
	return __real_stat64(name, st);
}
