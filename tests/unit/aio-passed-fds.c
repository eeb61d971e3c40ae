// SPDX-License-Identifier: GPL-2.0-or-later
/* Passing descriptors between processes, and sockets that only their owner can connect to. */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "passed_fds.h"
#include "unix_socket.h"

static int new_pipe(int *ret_reader)
{
	int fds[2];

	g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
	*ret_reader = fds[0];
	return fds[1];
}

static void send_fds(int socket, const int *fds, unsigned nr)
{
	struct iovec iov = { "x", 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union passed_fds room;

	if (nr)
		passed_fds_put(&msg, &room, fds, nr);
	g_assert_cmpint(sendmsg(socket, &msg, 0), ==, 1);
}

static unsigned receive_fds(int socket, int *ret_fds)
{
	char byte;
	struct iovec iov = { &byte, 1 };
	union passed_fds room;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &room,
		.msg_controllen = sizeof(room),
	};

	g_assert_cmpint(recvmsg(socket, &msg, MSG_CMSG_CLOEXEC), ==, 1);
	g_assert_false(msg.msg_flags & MSG_CTRUNC);
	return passed_fds_take(&msg, ret_fds);
}

static void check_pipe(int writer, int reader, char byte)
{
	char found = 0;

	g_assert_cmpint(write(writer, &byte, 1), ==, 1);
	g_assert_cmpint(read(reader, &found, 1), ==, 1);
	g_assert_cmpint(found, ==, byte);
}

/* No descriptor, one, and as many as fit, in order. */
static void over_a_socket(void)
{
	int sockets[2], readers[PASSED_FDS_MAX], writers[PASSED_FDS_MAX], got[PASSED_FDS_MAX];

	g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), ==, 0);
	for (unsigned i = 0; i < PASSED_FDS_MAX; i++)
		writers[i] = new_pipe(&readers[i]);
	for (unsigned nr = 0; nr <= PASSED_FDS_MAX; nr++) {
		send_fds(sockets[0], writers, nr);
		g_assert_cmpuint(receive_fds(sockets[1], got), ==, nr);
		for (unsigned i = 0; i < nr; i++) {
			check_pipe(got[i], readers[i], '0' + i);
			close(got[i]);
		}
	}
	for (unsigned i = 0; i < PASSED_FDS_MAX; i++) {
		close(readers[i]);
		close(writers[i]);
	}
	close(sockets[0]);
	close(sockets[1]);
}

static void check_inherited(unsigned nr, const char *names)
{
	g_auto(GStrv) found = NULL;
	g_autofree char *joined = NULL;

	g_assert_cmpuint(passed_fds_inherited(&found), ==, nr);
	joined = g_strjoinv("+", found);
	g_assert_cmpstr(joined, ==, names);
}

static void by_exec(void)
{
	passed_fds_forget();
	check_inherited(0, "");
	g_assert_false(passed_fds_are_ours());
	passed_fds_announce(2, "one:two");
	check_inherited(2, "one+two");
	g_assert_true(passed_fds_are_ours());
	/* As a shell's child would see them. */
	g_setenv("LISTEN_PID", "1", TRUE);
	g_assert_false(passed_fds_are_ours());
	check_inherited(2, "one+two");
	g_setenv("LISTEN_FDS", "-1", TRUE);
	check_inherited(0, "one+two");
	passed_fds_forget();
	check_inherited(0, "");
}

static void long_paths(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNSPEC };
	char path[sizeof(address.sun_path) + 1] = "";

	memset(path, 'a', sizeof(path) - 1);
	g_assert_cmpint(unix_socket_address(path, &address), ==, -ENAMETOOLONG);
	g_assert_cmpint(address.sun_family, ==, AF_UNSPEC);
	path[sizeof(path) - 2] = '\0';
	g_assert_cmpint(unix_socket_address(path, &address), ==, 0);
	g_assert_cmpint(address.sun_family, ==, AF_UNIX);
	g_assert_cmpstr(address.sun_path, ==, path);
}

/* Whatever the umask is. */
static void private_sockets(void)
{
	g_autofree char *folder = g_dir_make_tmp("ubd-XXXXXX", NULL);
	g_autofree char *path = g_build_filename(folder, "socket", NULL);
	struct sockaddr_un address;
	mode_t mask = umask(0);
	struct stat st;
	int fd = unix_socket_new_private(SOCK_NONBLOCK);

	g_assert_cmpint(fd, >=, 0);
	g_assert_cmpint(unix_socket_address(path, &address), ==, 0);
	g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof(address)), ==, 0);
	umask(mask);
	g_assert_cmpint(lstat(path, &st), ==, 0);
	g_assert_cmpint(st.st_mode, ==, S_IFSOCK | 0600);
	g_assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	g_assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	g_assert_cmpint(g_unlink(path), ==, 0);
	g_assert_cmpint(g_rmdir(folder), ==, 0);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/passed-fds/over-a-socket", over_a_socket);
	g_test_add_func("/passed-fds/by-exec", by_exec);
	g_test_add_func("/unix-socket/long-paths", long_paths);
	g_test_add_func("/unix-socket/private", private_sockets);
	return g_test_run();
}
