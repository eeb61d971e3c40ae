// SPDX-License-Identifier: GPL-2.0-or-later
/* Messages between a server and its keeper; descriptors of those that are refused are closed. */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "keeper_wire.h"
#include "passed_fds.h"

#define NONE 1000000 /* of a descriptor: it must be overwritten */

struct message {
	char text[8];
};

static int pair[2];

static void begin(void)
{
	g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), ==, 0);
}

static void end(void)
{
	close(pair[0]);
	close(pair[1]);
}

/* The lowest number that is free tells whether a descriptor has stayed open. */
static int free_number(void)
{
	int fd = dup(STDERR_FILENO);

	close(fd);
	return fd;
}

static void send_fds(size_t bytes, unsigned nr)
{
	char data[sizeof(struct message) * 2] = "";
	struct iovec iov = { data, bytes };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fds[] = { STDERR_FILENO, STDERR_FILENO };
	union passed_fds room;

	if (nr)
		passed_fds_put(&msg, &room, fds, nr);
	g_assert_cmpint(sendmsg(pair[0], &msg, MSG_NOSIGNAL), ==, bytes);
}

static void check_refused(void)
{
	int number = free_number(), fd = NONE;
	struct message message;

	g_assert_cmpint(keeper_receive(pair[1], &message, sizeof(message), &fd), ==, -EPIPE);
	g_assert_cmpint(fd, ==, -1);
	g_assert_cmpint(free_number(), ==, number);
}

static void test_taken(void)
{
	struct message sent = { "message" }, got;
	int fd = NONE;

	begin();
	g_assert_cmpint(keeper_send(pair[0], &sent, sizeof(sent), -1), ==, 0);
	g_assert_cmpint(keeper_receive(pair[1], &got, sizeof(got), &fd), ==, 0);
	g_assert_cmpstr(got.text, ==, sent.text);
	g_assert_cmpint(fd, ==, -1);
	g_assert_cmpint(keeper_send(pair[0], &sent, sizeof(sent), STDERR_FILENO), ==, 0);
	g_assert_cmpint(keeper_receive(pair[1], &got, sizeof(got), &fd), ==, 0);
	g_assert_cmpint(fcntl(fd, F_GETFD), ==, FD_CLOEXEC);
	close(fd);
	end();
}

static void test_wrong_size(void)
{
	begin();
	for (unsigned nr = 0; nr < 2; nr++) {
		send_fds(sizeof(struct message) - 1, nr);
		check_refused();
		send_fds(sizeof(struct message) + 1, nr);
		check_refused();
	}
	end();
}

static void test_several_descriptors(void)
{
	begin();
	send_fds(sizeof(struct message), 2);
	check_refused();
	end();
}

static void test_gone(void)
{
	struct message message = { "" };
	int fd = NONE;

	begin();
	close(pair[0]);
	check_refused();
	g_assert_cmpint(keeper_send(pair[1], &message, sizeof(message), -1), ==, -EPIPE);
	close(pair[1]);
	g_assert_cmpint(keeper_receive(pair[1], &message, sizeof(message), &fd), ==, -EBADF);
	g_assert_cmpint(fd, ==, -1);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/control/keeper-wire/taken", test_taken);
	g_test_add_func("/control/keeper-wire/wrong-size", test_wrong_size);
	g_test_add_func("/control/keeper-wire/several-descriptors", test_several_descriptors);
	g_test_add_func("/control/keeper-wire/gone", test_gone);
	return g_test_run();
}
