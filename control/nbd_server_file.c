// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The lock is one of fcntl(2), which tells the process that has it. Such locks belong to a process:
 * it would not notice that it has one already, and would lose it by closing any descriptor of the
 * file. So a process that has several devices remembers whose files it has, and one thread at a
 * time looks at that, opens files and closes them.
 *
 * Each new device gets a new file: a process that has served one before may have kept its
 * descriptor. So a lock only counts if the file still has its name.
 */
#include "nbd_server_file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "run_folder.h"

/* Bits that mean nothing for a FIFO tell what becomes of the device. */
#define MODE_LIVING   0600
#define MODE_STOPPING (0600 | S_ISUID)
#define MODE_ENDED    (0600 | S_ISVTX)
#define MODE_WAITING  (0600 | S_ISGID)

/* How often to look whether the server has gone. */
#define POLL_US	      10000

const char *nbd_server_folder = "/run/ubd";

static char *path_of(uint32_t id)
{
	return g_strdup_printf("%s/nbd%u", nbd_server_folder, id);
}

/* ---- what this process has ---- */

struct held {
	uint32_t id;
	int fd;
	pid_t pid;	/* a child inherits the memory, but not the lock */
	bool is_passed; /* another process has the lock, or is about to take it */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static GArray *held; /* struct held; guarded by lock, which callers of these functions have taken */

/* The descriptor may have been closed, and then the number may be another file's. */
static bool is_valid(const struct held *one)
{
	g_autofree char *path = path_of(one->id);
	struct stat file, named;

	return one->pid == getpid() && fstat(one->fd, &file) == 0 && lstat(path, &named) == 0 &&
	       file.st_dev == named.st_dev && file.st_ino == named.st_ino;
}

static bool has(uint32_t id, bool also_passed)
{
	for (unsigned i = 0; held && i < held->len; i++) {
		const struct held *one = &g_array_index(held, struct held, i);

		if (one->id == id && (also_passed || !one->is_passed) && is_valid(one))
			return true;
	}
	return false;
}

/* Drops what was closed elsewhere: the number of its device or descriptor is in use again. */
static void note_held(uint32_t id, int fd)
{
	const struct held one = { id, fd, getpid(), false };

	if (!held)
		held = g_array_new(FALSE, FALSE, sizeof(one));
	for (unsigned i = 0; i < held->len; i++) {
		const struct held *old = &g_array_index(held, struct held, i);

		if (old->id == id || old->fd == fd)
			g_array_remove_index_fast(held, i--);
	}
	g_array_append_val(held, one);
}

static void note_passed(int fd)
{
	for (unsigned i = 0; held && i < held->len; i++)
		if (g_array_index(held, struct held, i).fd == fd)
			g_array_index(held, struct held, i).is_passed = true;
}

static void forget_held(int fd)
{
	for (unsigned i = 0; held && i < held->len; i++)
		if (g_array_index(held, struct held, i).fd == fd)
			g_array_remove_index_fast(held, i--);
	if (held && !held->len)
		g_clear_pointer(&held, g_array_unref);
}

/* ---- the file ---- */

/* *@ret_is_new: this process has just made it. */
static int open_file(uint32_t id, bool *ret_is_new, GError **err)
{
	g_autofree char *path = path_of(id);
	struct stat st;
	int fd, res;

	/* As run_folder_find() makes it: the sockets in it are for one user. */
	if (mkdir(nbd_server_folder, 0700) < 0 && errno != EEXIST)
		return error_set(err, -errno, "%s", nbd_server_folder);
	/* Otherwise the file may be anybody's, who could take the lock, or replace the file. */
	res = run_folder_check(nbd_server_folder, err);
	if (res < 0)
		return res;
	*ret_is_new = mkfifo(path, MODE_LIVING) == 0;
	if (!*ret_is_new && errno != EEXIST)
		return error_set(err, -errno, "%s", path);
	fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return error_set(err, -errno, "%s", path);
	if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode))
		return fd;
	close(fd);
	return error_refuse(err, -EEXIST, "%s: not a FIFO; remove it", path);
}

static int try_lock(int fd)
{
	const struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(fd, F_SETLK, &whole) == 0)
		return 0;
	return errno == EACCES || errno == EAGAIN ? -EBUSY : -errno;
}

/* What asked an earlier server to leave. */
static void drain(int fd)
{
	char bytes[64];

	while (read(fd, bytes, sizeof(bytes)) > 0)
		;
}

static int ask_to_leave(int fd)
{
	return write(fd, "", 1) < 0 && errno != EAGAIN ? -errno : 0;
}

static bool has_name(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_nlink > 0;
}

static int lock_and_note(uint32_t id, int fd)
{
	int res = try_lock(fd);

	if (res == 0 && !has_name(fd))
		res = -ESTALE;
	if (res == 0)
		note_held(id, fd);
	return res;
}

static void forget_and_close(int fd)
{
	forget_held(fd);
	close(fd);
}

/* -ESTALE: somebody has replaced the file. @asks: whoever has the lock is asked to leave. */
static int take(uint32_t id, bool asks, bool *ret_is_new, GError **err)
{
	int fd = open_file(id, ret_is_new, err), res;

	if (fd < 0)
		return fd;
	res = lock_and_note(id, fd);
	if (res == 0) {
		drain(fd);
		return fd;
	}
	/* Only a new server has read what the last one was sent. */
	if (res == -EBUSY && asks && !nbd_server_must_leave(fd))
		res = ask_to_leave(fd) ?: -EBUSY;
	close(fd);
	if (res != -EBUSY && res != -ESTALE)
		error_set(err, res, "%s/nbd%u", nbd_server_folder, id);
	return res;
}

static int take_new(uint32_t id, GError **err)
{
	g_autofree char *path = path_of(id);
	bool is_new;
	int fd = has(id, true) ? -EBUSY : take(id, false, &is_new, err);

	if (fd < 0 || is_new)
		return fd;
	/* Nobody else removes it while this process has the lock. */
	unlink(path);
	forget_and_close(fd);
	/* If another process is faster, it has made the file. */
	return take(id, false, &is_new, err);
}

int nbd_server_file_take(uint32_t id, GError **err)
{
	int fd;

	do {
		pthread_mutex_lock(&lock);
		fd = take_new(id, err);
		pthread_mutex_unlock(&lock);
	} while (fd == -ESTALE);
	return fd;
}

/* Not F_SETLKW: another process may become the server in between, and must be asked, too. */
int nbd_server_file_take_over(uint32_t id, GError **err)
{
	bool is_ours, is_new;
	int fd;

	for (;;) {
		pthread_mutex_lock(&lock);
		is_ours = has(id, true);
		fd = is_ours ? -EBUSY : take(id, true, &is_new, err);
		pthread_mutex_unlock(&lock);
		if (is_ours || (fd != -EBUSY && fd != -ESTALE))
			return fd;
		g_usleep(POLL_US);
	}
}

void nbd_server_file_unlock(int fd)
{
	const struct flock whole = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	pthread_mutex_lock(&lock);
	note_passed(fd);
	fcntl(fd, F_SETLK, &whole);
	pthread_mutex_unlock(&lock);
}

int nbd_server_file_lock(uint32_t id, int fd, GError **err)
{
	int res;

	pthread_mutex_lock(&lock);
	res = lock_and_note(id, fd);
	pthread_mutex_unlock(&lock);
	if (res == -ESTALE)
		res = -EBUSY;
	return res < 0 ? error_set(err, res, "/dev/nbd%u", id) : 0;
}

void nbd_server_file_close(int fd)
{
	pthread_mutex_lock(&lock);
	forget_and_close(fd);
	pthread_mutex_unlock(&lock);
}

static void set_mode(uint32_t id, mode_t mode)
{
	g_autofree char *path = path_of(id);

	chmod(path, mode);
}

static bool has_mode(uint32_t id, mode_t mode)
{
	g_autofree char *path = path_of(id);
	struct stat st;

	return lstat(path, &st) == 0 && S_ISFIFO(st.st_mode) && (st.st_mode & ALLPERMS) == mode;
}

void nbd_server_file_stop(uint32_t id)
{
	set_mode(id, MODE_STOPPING);
}

bool nbd_server_file_is_stopping(uint32_t id)
{
	return has_mode(id, MODE_STOPPING);
}

void nbd_server_file_end(uint32_t id)
{
	set_mode(id, MODE_ENDED);
}

bool nbd_server_file_has_ended(uint32_t id)
{
	return has_mode(id, MODE_ENDED);
}

void nbd_server_file_live(uint32_t id)
{
	if (has_mode(id, MODE_WAITING))
		set_mode(id, MODE_LIVING);
}

/* As the file's time of modification, from the clock that nobody sets. */
void nbd_server_file_wait(uint32_t id)
{
	g_autofree char *path = path_of(id);
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };

	if (nbd_server_file_is_stopping(id) || nbd_server_file_has_ended(id))
		return;
	clock_gettime(CLOCK_BOOTTIME, &times[1]);
	utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
	set_mode(id, MODE_WAITING);
}

int64_t nbd_server_file_waited(uint32_t id)
{
	g_autofree char *path = path_of(id);
	struct timespec now;
	struct stat st;

	if (!has_mode(id, MODE_WAITING) || lstat(path, &st) < 0)
		return -1;
	clock_gettime(CLOCK_BOOTTIME, &now);
	/* Whoever asked a server to leave has set it, too. */
	return MAX(now.tv_sec - st.st_mtim.tv_sec, 0);
}

/* Without the lock: whoever has that is the next server. */
int nbd_server_file_ask(uint32_t id)
{
	pid_t pid = nbd_server_pid(id);
	bool is_new;
	int fd, res = 0;

	if (pid == -1)
		return 0;
	fd = open_file(id, &is_new, NULL);
	if (fd < 0)
		return fd;
	while (res == 0) {
		bool asked = nbd_server_must_leave(fd);

		/* After that look, as the next server must not be asked in place of this one. */
		if (nbd_server_pid(id) != pid)
			break;
		res = asked ? 0 : ask_to_leave(fd);
		g_usleep(POLL_US);
	}
	close(fd);
	return res;
}

bool nbd_servers_are_hidden(void)
{
	return access(nbd_server_folder, X_OK) < 0 && errno == EACCES;
}

/* This process is not it. */
static pid_t find_server(uint32_t id)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	g_autofree char *path = path_of(id);
	int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW), res;

	if (fd < 0)
		return -1;
	res = fcntl(fd, F_GETLK, &whole);
	close(fd);
	return res < 0 || whole.l_type == F_UNLCK ? -1 : whole.l_pid;
}

pid_t nbd_server_pid(uint32_t id)
{
	pid_t pid;

	pthread_mutex_lock(&lock);
	pid = has(id, false) ? getpid() : find_server(id);
	pthread_mutex_unlock(&lock);
	return pid;
}

bool nbd_server_must_leave(int fd)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };

	return poll(&wait, 1, 0) == 1 && wait.revents & POLLIN;
}
