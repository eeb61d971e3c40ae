// SPDX-License-Identifier: GPL-2.0-or-later
/* One connection over a UNIX socket with a path. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl.h"
#include "error.h"
#include "tool.h"
#include "unix_socket.h"

static bool set_address(struct sockaddr_un *address, const char *path, GError **err)
{
	if (unix_socket_address(path, address) == 0)
		return true;
	g_set_error(err, UBD_ERROR, ENAMETOOLONG,
		    "%s: longer than the %zu bytes of a socket's path", path,
		    sizeof(address->sun_path) - 1);
	return false;
}

static int fail(int fd, const char *path, GError **err)
{
	error_set(err, -errno, "%s", path);
	if (fd >= 0)
		close(fd);
	return -1;
}

/* False with @err set if the other side must be a certain user and is not. */
static bool is_peer(int fd, const char *path, const struct ctl_owner *owner, GError **err)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (owner->uid == CTL_NOT_GIVEN)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		error_set(err, -errno, "%s", path);
	else if (peer.uid != owner->uid)
		g_set_error(err, UBD_ERROR, EACCES, "%s: the other side is user %u, not user %u",
			    path, peer.uid, owner->uid);
	else
		return true;
	return false;
}

int ctl_socket_limit(int fd, unsigned seconds)
{
	const struct timeval limit = { .tv_sec = seconds };

	return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit))
		       ?: setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

/* It waits if the listener's backlog is full. */
static int connect_within_limit(int fd, const struct sockaddr_un *address)
{
	int res = connect(fd, (const struct sockaddr *)address, sizeof(*address));

	if (res < 0 && errno == EAGAIN)
		errno = ETIMEDOUT;
	return res;
}

int ctl_socket_connect(const char *path, const struct ctl_owner *owner, unsigned seconds,
		       GError **err)
{
	struct sockaddr_un address;
	int fd;

	if (!set_address(&address, path, err))
		return -1;
	fd = unix_socket_new(0);
	if (fd < 0)
		return error_set(err, fd, "%s", path);
	if (ctl_socket_limit(fd, seconds) < 0 || connect_within_limit(fd, &address) < 0)
		return fail(fd, path, err);
	if (is_peer(fd, path, owner, err))
		return fd;
	close(fd);
	return -1;
}

/* ---- listening ---- */

/* A socket that is created at @path, and which file that is. */
struct listener {
	int fd;
	const char *path;
	dev_t dev;
	ino_t ino;
};

/* Removes only the socket itself, whatever has that name by now. */
static void remove_listener(const struct listener *listener)
{
	struct stat st;

	if (lstat(listener->path, &st) == 0 && st.st_dev == listener->dev &&
	    st.st_ino == listener->ino)
		unlink(listener->path);
	close(listener->fd);
}

/*
 * Anybody who can write to the folder may have put another file in place of the socket: only a
 * socket of ours that has no other name is given away. The listener gets its device and inode as
 * soon as that is clear.
 */
static int give_to(const struct ctl_owner *owner, struct listener *listener)
{
	int fd = open(listener->path, O_PATH | O_NOFOLLOW | O_CLOEXEC), res = 0;
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0) {
		res = -errno;
	} else if (!S_ISSOCK(st.st_mode) || st.st_uid != geteuid() || st.st_nlink != 1) {
		res = -EEXIST;
	} else {
		listener->dev = st.st_dev;
		listener->ino = st.st_ino;
		if (fchownat(fd, "", owner->uid, owner->gid, AT_EMPTY_PATH) < 0)
			res = -errno;
	}
	close(fd);
	return res;
}

/* Nobody can connect before listen(), so the socket has its owner in time. */
static int listen_at(const char *path, const struct ctl_owner *owner, struct listener *ret_listener,
		     GError **err)
{
	struct listener listener = { .path = path };
	struct sockaddr_un address;
	int res;

	if (!set_address(&address, path, err))
		return -1;
	listener.fd = unix_socket_new_private(0);
	if (listener.fd < 0)
		return error_set(err, listener.fd, "%s", path);
	if (bind(listener.fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return fail(listener.fd, path, err);
	*ret_listener = listener;
	res = give_to(owner, ret_listener);
	if (!res && listen(listener.fd, 1) < 0)
		res = -errno;
	if (!res)
		return 0;
	error_set(err, res, "%s", path);
	remove_listener(ret_listener);
	return -1;
}

/*
 * Accepts the first connection of the right user; others are refused, with a message. Returns -1
 * without @err if a signal must end the process, as @signal_fd tells.
 */
static int accept_peer(const struct listener *listener, const struct ctl_owner *owner,
		       int signal_fd, GError **err)
{
	struct pollfd fds[] = {
		{ .fd = listener->fd, .events = POLLIN },
		{ .fd = signal_fd, .events = POLLIN },
	};

	for (;;) {
		g_autoptr(GError) why = NULL;
		int fd;

		if (poll(fds, G_N_ELEMENTS(fds), -1) < 0)
			continue; /* EINTR: stopped and continued */
		if (fds[1].revents)
			return -1;
		fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0)
			return fail(-1, listener->path, err);
		if (is_peer(fd, listener->path, owner, &why))
			return fd;
		tool_error("%s", why->message);
		close(fd);
	}
}

/* Runs with the signals blocked that end this process; they do so when the caller unblocks them. */
static int accept_once(const char *path, const struct ctl_owner *owner, int signal_fd, GError **err)
{
	struct listener listener = { .fd = -1 };
	int fd;

	if (listen_at(path, owner, &listener, err) < 0)
		return -1;
	fd = accept_peer(&listener, owner, signal_fd, err);
	remove_listener(&listener);
	return fd;
}

/* Without those that this process ignores: nohup(1), background jobs. */
static sigset_t ending_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action;
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < G_N_ELEMENTS(signals); i++)
		if (sigaction(signals[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
			sigaddset(&set, signals[i]);
	return set;
}

int ctl_socket_accept(const char *path, const struct ctl_owner *owner, GError **err)
{
	sigset_t ends = ending_signals(), before;
	int signal_fd, fd;

	signal_fd = signalfd(-1, &ends, SFD_CLOEXEC);
	if (signal_fd < 0)
		return fail(-1, path, err);
	sigprocmask(SIG_BLOCK, &ends, &before);
	fd = accept_once(path, owner, signal_fd, err);
	close(signal_fd);
	/* If a signal was pending, the process ends here, without its socket. */
	sigprocmask(SIG_SETMASK, &before, NULL);
	/*
	 * Unless it is the first process of a PID namespace, to which the kernel does not deliver
	 * it.
	 */
	if (fd < 0 && err && !*err)
		error_set(err, -EINTR, "%s", path);
	return fd;
}
