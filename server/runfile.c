// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The pid file and the socket of a server; see runfile.h.
 *
 * A file is recognised by its inode, and removed from the folder that it was made in, which is kept
 * open: whoever may write above that folder could have its name lead elsewhere. The lock on a pid
 * file keeps other servers away from it. The lock on a socket's folder is held from the check of an
 * old socket until the new one listens, so that two servers cannot mistake each other's sockets for
 * abandoned ones.
 */
#include "runfile.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "close_fds.h"
#include "error.h"
#include "open_folder.h"
#include "run_folder.h"
#include "unix_socket.h"

/* A number and a newline are shorter. */
#define MAX_PID_FILE  32
/* How long to wait for other servers that create their sockets in the same folder. */
#define LOCK_ATTEMPTS 50
#define LOCK_PAUSE_US 20000

/* A name in a folder. */
struct place {
	int folder; /* of open_folder_get() */
	char *name;
};

struct runfile {
	int fd; /* -1: none */
	struct place place;
	dev_t dev;
	ino_t ino;
	bool is_early; /* there was no keeper yet, so that it knows it */
};

/* Those that exist, with NULLs in between; the keeper's process has a copy of its own. */
static GPtrArray *all;
/* To the keeper; -1: there is none. */
static int keeper_fd = -1;

static struct place place_of_path(const char *path)
{
	g_autofree char *folder = g_path_get_dirname(path);
	const char *slash = strrchr(path, '/');
	struct place place = { -EISDIR, g_strdup(slash ? slash + 1 : path) };

	if (!*place.name)
		return place;
	place.folder = open_folder_get(folder);
	return place;
}

static void place_clear(struct place *place)
{
	if (place->folder >= 0)
		open_folder_put(place->folder);
	g_free(place->name);
}

static int stat_place(const struct place *place, struct stat *ret_st)
{
	if (place->folder < 0)
		return place->folder;
	return fstatat(place->folder, place->name, ret_st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static bool is_at(const struct place *place, dev_t dev, ino_t ino)
{
	struct stat st;

	return stat_place(place, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

static void unlink_at(const struct place *place, dev_t dev, ino_t ino)
{
	if (is_at(place, dev, ino))
		unlinkat(place->folder, place->name, 0);
}

/* Where it is in the list. */
static unsigned index_of(const struct runfile *file)
{
	unsigned i = 0;

	while (all->pdata[i] != file)
		i++;
	return i;
}

static void add(struct runfile *file)
{
	all = all ?: g_ptr_array_new();
	if (!g_ptr_array_find(all, NULL, NULL))
		g_ptr_array_add(all, NULL);
	all->pdata[index_of(NULL)] = file;
}

/* Takes ownership of @fd and @place. */
static struct runfile *runfile_new(int fd, const struct place *place, const struct stat *st)
{
	struct runfile *file = g_new(struct runfile, 1);

	*file = (struct runfile){ fd, *place, st->st_dev, st->st_ino, keeper_fd < 0 };
	add(file);
	return file;
}

int runfile_fd(const struct runfile *file)
{
	return file->fd;
}

static void unlink_file(const struct runfile *file)
{
	unlink_at(&file->place, file->dev, file->ino);
}

/* ---- the keeper ---- */

/* A number that says which file, and the same when it is gone. */
static void keep(int fd)
{
	uint32_t which;

	while (recv(fd, &which, sizeof(which), 0) == sizeof(which)) {
		if (all && which < all->len && all->pdata[which])
			unlink_file(all->pdata[which]);
		send(fd, &which, sizeof(which), MSG_NOSIGNAL);
	}
	_exit(0);
}

/* root's: its folders may belong to others. An ordinary user has none to keep. */
static int keep_one_capability(void)
{
	bool has = capng_have_capability(CAPNG_EFFECTIVE, CAP_DAC_OVERRIDE);

	capng_clear(CAPNG_SELECT_CAPS);
	if (has)
		capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_DAC_OVERRIDE);
	return capng_apply(CAPNG_SELECT_CAPS);
}

/* All but the socket, which becomes the first descriptor, and the folders. */
static int keep_fds(int fd)
{
	g_autofree int *kept = NULL;
	unsigned nr;

	if (dup2(fd, 0) < 0)
		return -errno;
	kept = open_folders(&nr);
	return close_fds_from(1, kept, nr);
}

/* It has nothing of the server's but the list. */
static void G_GNUC_NORETURN be_keeper(int fd)
{
	sigset_t set;

	sigfillset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
	if (keep_fds(fd) < 0 || chdir("/") < 0)
		_exit(1);
	prctl(PR_SET_NAME, "ubd-keeper", 0, 0, 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (keep_one_capability() < 0)
		_exit(1);
	keep(0);
	_exit(0);
}

int runfile_begin_keeper(GError **err)
{
	int fds[2], res = 0;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return error_set(err, -errno, "socketpair");
	pid = fork();
	if (pid == 0)
		be_keeper(fds[1]);
	if (pid < 0) {
		res = error_set(err, -errno, "cannot create a process");
		close(fds[0]);
	} else {
		keeper_fd = fds[0];
	}
	close(fds[1]);
	return res;
}

/* Waits: the next server may want the name once this one has ended. False: there is no keeper. */
static bool ask_keeper(uint32_t which)
{
	return keeper_fd >= 0 &&
	       send(keeper_fd, &which, sizeof(which), MSG_NOSIGNAL) == sizeof(which) &&
	       recv(keeper_fd, &which, sizeof(which), 0) == sizeof(which);
}

void runfile_remove(struct runfile *file)
{
	if (!file)
		return;
	/* Before closing it: nobody replaces the file while it is locked or listens. */
	if (!file->is_early || !ask_keeper(index_of(file)))
		unlink_file(file);
	runfile_leave(file);
}

void runfile_leave(struct runfile *file)
{
	if (!file)
		return;
	all->pdata[index_of(file)] = NULL;
	if (file->fd >= 0)
		close(file->fd);
	place_clear(&file->place);
	g_free(file);
}

struct runfile *runfile_take(const char *path)
{
	struct place place = place_of_path(path);
	struct stat st;

	if (stat_place(&place, &st) == 0)
		return runfile_new(-1, &place, &st);
	place_clear(&place);
	return NULL;
}

/* ---- the pid file ---- */

/* Empty, or a number and a newline: a server writes nothing else, but may die before it writes. */
static bool is_pid_file(int fd)
{
	char text[MAX_PID_FILE + 1];
	ssize_t len = pread(fd, text, MAX_PID_FILE, 0);
	size_t digits;

	if (len < 0 || len == MAX_PID_FILE)
		return false;
	text[len] = 0;
	digits = strspn(text, G_CSET_DIGITS);
	return len == 0 || (digits > 0 && strcmp(text + digits, "\n") == 0);
}

/* Opens and locks a regular file, described in *ret_st. -errno; -EEXIST: it is not a server's. */
static int open_pid_file(const struct place *place, struct stat *ret_st)
{
	int fd, res;

	if (place->folder < 0)
		return place->folder;
	res = stat_place(place, ret_st);
	if (res < 0 && res != -ENOENT)
		return res;
	/* Opening anything but a regular file can have side effects. */
	if (res == 0 && !S_ISREG(ret_st->st_mode))
		return -EEXIST;
	fd = openat(place->folder, place->name,
		    O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
	if (fd < 0)
		return errno == ELOOP ? -EEXIST : -errno;
	if (fstat(fd, ret_st) < 0)
		res = -errno;
	else if (!S_ISREG(ret_st->st_mode) || !is_pid_file(fd))
		res = -EEXIST;
	else
		res = flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
	if (!res && is_at(place, ret_st->st_dev, ret_st->st_ino))
		return fd;
	close(fd);
	/* Its server has removed it in the meantime. */
	return res ?: -EAGAIN;
}

static int write_pid(int fd)
{
	g_autofree char *text = g_strdup_printf("%d\n", getpid());
	ssize_t len = strlen(text), written;

	/* In this order, a reader never finds it empty. */
	written = pwrite(fd, text, len, 0);
	if (written < 0 || ftruncate(fd, len) < 0)
		return -errno;
	return written == len ? 0 : -ENOSPC;
}

static const char *pid_file_error(int res)
{
	switch (res) {
	case -EEXIST:
		return "it exists and is not a pid file; give another name or remove it";
	case -EWOULDBLOCK:
		return "another process is using it";
	default:
		return g_strerror(-res);
	}
}

struct runfile *runfile_new_pid(const char *path, GError **err)
{
	struct place place = place_of_path(path);
	struct runfile *file = NULL;
	struct stat st;
	int fd, res;

	/* -EWOULDBLOCK, too: the files of a server that was killed may still be open. */
	for (int i = 0; i < LOCK_ATTEMPTS; i++) {
		fd = open_pid_file(&place, &st);
		if (fd != -EAGAIN)
			break;
		g_usleep(LOCK_PAUSE_US);
	}
	res = fd;
	if (fd >= 0) {
		file = runfile_new(fd, &place, &st);
		res = write_pid(fd);
	} else {
		place_clear(&place);
	}
	if (res >= 0)
		return file;
	runfile_remove(file);
	g_set_error(err, UBD_ERROR, -res, "%s: cannot create the pid file: %s", path,
		    pid_file_error(res));
	return NULL;
}

/* ---- the socket ---- */

/* Keeps other servers from creating or replacing a socket in this folder. The lock's fd or -errno.
 */
static int lock_folder(const char *path)
{
	g_autofree char *folder = g_path_get_dirname(path);
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), error;

	if (fd < 0)
		return -errno;
	for (int i = 0; i < LOCK_ATTEMPTS; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return fd;
		error = errno;
		if (error != EWOULDBLOCK)
			break;
		g_usleep(LOCK_PAUSE_US);
	}
	close(fd);
	return -error;
}

/*
 * Checks what has the name that the new socket will get, and stores it in *ret_st. 0 if it is a
 * socket on which nobody listens, -EEXIST if it is not a socket, or -EADDRINUSE.
 */
static int look_at_old(const struct sockaddr_un *address, const struct place *place,
		       struct stat *ret_st)
{
	int fd = stat_place(place, ret_st);
	bool refused;

	if (fd < 0)
		return fd;
	/* Connecting to a regular file is refused, too. */
	if (!S_ISSOCK(ret_st->st_mode))
		return -EEXIST;
	/* SOCK_NONBLOCK: do not wait for a server that no longer accepts connections. */
	fd = unix_socket_new(SOCK_NONBLOCK);
	if (fd < 0)
		return fd;
	refused = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
		  errno == ECONNREFUSED;
	close(fd);
	return refused ? 0 : -EADDRINUSE;
}

static int bind_to(int fd, const struct sockaddr_un *address)
{
	return bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;
}

static int replace_old(int fd, const struct sockaddr_un *address, const struct place *place,
		       int lock_error)
{
	struct stat old;
	int res = look_at_old(address, place, &old);

	/* -ENOENT: its server has removed it in the meantime. */
	if (res < 0 && res != -ENOENT)
		return res;
	if (res == 0 && lock_error < 0)
		return lock_error;
	if (res == 0)
		unlink_at(place, old.st_dev, old.st_ino);
	return bind_to(fd, address);
}

/*
 * The socket was made at a path. -ESTALE: that leads elsewhere, or has done so in between, and what
 * is in the folder may be somebody else's.
 */
static int stat_new(const struct sockaddr_un *address, const struct place *place,
		    struct stat *ret_st)
{
	int res = stat_place(place, ret_st);
	struct stat st;

	if (res < 0)
		return res;
	if (lstat(address->sun_path, &st) < 0)
		return -errno;
	return S_ISSOCK(st.st_mode) && st.st_dev == ret_st->st_dev && st.st_ino == ret_st->st_ino
		       ? 0
		       : -ESTALE;
}

/* @lock_error: 0, or why the folder is not locked; then an old socket is not replaced. */
static int listen_at(int fd, const struct sockaddr_un *address, const struct place *place,
		     int lock_error, struct stat *ret_st)
{
	int res = bind_to(fd, address);

	if (res == -EADDRINUSE)
		res = replace_old(fd, address, place, lock_error);
	if (res < 0)
		return res;
	res = stat_new(address, place, ret_st);
	if (res == 0 && listen(fd, 8) < 0) {
		res = -errno;
		unlink_at(place, ret_st->st_dev, ret_st->st_ino);
	}
	return res;
}

static int make_socket(const char *path, const struct place *place, struct stat *ret_st)
{
	struct sockaddr_un address;
	int lock, fd, res = unix_socket_address(path, &address);

	if (res < 0 || place->folder < 0)
		return MIN(res, place->folder);
	/* Anyone who can read the folder can lock it; a lock must not keep us from having a socket.
	 */
	lock = lock_folder(path);
	fd = unix_socket_new_private(0);
	res = fd < 0 ? fd : listen_at(fd, &address, place, MIN(lock, 0), ret_st);
	if (lock >= 0)
		close(lock);
	if (!res)
		return fd;
	if (fd >= 0)
		close(fd);
	return res;
}

static const char *socket_error(int res)
{
	switch (res) {
	case -EEXIST:
		return "it exists and is not a socket; give another name or remove it";
	case -EWOULDBLOCK:
		return "another process has locked its folder";
	default:
		return g_strerror(-res);
	}
}

static bool is_answered(const struct sockaddr_un *address)
{
	int fd = unix_socket_new(SOCK_NONBLOCK);
	bool refused;

	refused = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
		  (errno == ECONNREFUSED || errno == ENOENT);
	if (fd >= 0)
		close(fd);
	return !refused;
}

/* Its process has ended, or is in another PID namespace: does nobody listen? */
static void remove_abandoned(const char *path)
{
	struct sockaddr_un address;
	struct stat st;

	if (unix_socket_address(path, &address) == 0 && lstat(path, &st) == 0 &&
	    (S_ISSOCK(st.st_mode) || S_ISLNK(st.st_mode)) && !is_answered(&address))
		unlink(path);
}

void runfile_clean_sockets(const char *folder)
{
	g_autofree char *inside = g_build_filename(folder, ".", NULL);
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	const char *name;
	int lock = lock_folder(inside), pid;

	while (dir && lock >= 0 && (name = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(folder, name, NULL);

		if (run_folder_is_socket_name(name, &pid) && kill(pid, 0) < 0 && errno == ESRCH)
			remove_abandoned(path);
	}
	if (lock >= 0)
		close(lock);
}

struct runfile *runfile_new_socket(const char *path, GError **err)
{
	struct place place = place_of_path(path);
	struct stat st;
	int fd = make_socket(path, &place, &st);

	if (fd >= 0)
		return runfile_new(fd, &place, &st);
	place_clear(&place);
	g_set_error(err, UBD_ERROR, -fd, "%s: cannot create the socket: %s", path,
		    socket_error(fd));
	return NULL;
}

struct runfile *runfile_new_link(const char *path, const char *target, GError **err)
{
	g_autofree char *absolute = g_canonicalize_filename(target, NULL);
	struct place place = place_of_path(path);
	struct stat st;
	int res = place.folder;

	/* Something of a process that had our number. */
	remove_abandoned(path);
	if (res >= 0)
		res = symlinkat(absolute, place.folder, place.name) < 0 ? -errno
									: stat_place(&place, &st);
	if (res >= 0)
		return runfile_new(-1, &place, &st);
	place_clear(&place);
	error_set(err, res, "%s", path);
	return NULL;
}
