// SPDX-License-Identifier: GPL-2.0-or-later
/* Whether the host of a connection is there. */
#include <endian.h>
#include <errno.h>
#include <glib.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "keepalive.h"

#define NS_PER_S UINT64_C(1000000000)

/* Both ends are here, so both know what is on its way. */
static void connect_by_tcp(int fds[2])
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t len = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htobe32(INADDR_LOOPBACK);
	g_assert_cmpint(bind(listener, (struct sockaddr *)&address, len), ==, 0);
	g_assert_cmpint(listen(listener, 1), ==, 0);
	g_assert_cmpint(getsockname(listener, (struct sockaddr *)&address, &len), ==, 0);
	fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	g_assert_cmpint(connect(fds[1], (struct sockaddr *)&address, len), ==, 0);
	fds[0] = accept(listener, NULL, NULL);
	g_assert_cmpint(fds[0], >=, 0);
	close(listener);
	keepalive_begin(fds[0]);
}

static void disconnect(int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

static void test_nothing_is_on_its_way(void)
{
	int fds[2];

	connect_by_tcp(fds);
	g_usleep(50000);
	g_assert_cmpuint(keepalive_silence_ns(fds[0]), ==, 0);
	disconnect(fds);
}

static void test_unix_socket(void)
{
	int fds[2];

	g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
	keepalive_begin(fds[0]);
	g_assert_cmpint(send(fds[0], "x", 1, 0), ==, 1);
	g_usleep(50000);
	g_assert_cmpuint(keepalive_silence_ns(fds[0]), ==, 0);
	disconnect(fds);
}

/* Its packets are lost, so it does not answer. */
static void test_host_is_gone(void)
{
	struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog filter = { 1, &nothing };
	int fds[2];

	connect_by_tcp(fds);
	g_assert_cmpint(setsockopt(fds[1], SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)),
			==, 0);
	g_assert_cmpint(send(fds[0], "x", 1, 0), ==, 1);
	while (keepalive_silence_ns(fds[0]) < NS_PER_S)
		g_usleep(10000);
	disconnect(fds);
}

/* It does not read, but its kernel answers now and then. */
static void test_host_is_there(void)
{
	static const char data[65536];
	uint64_t longest = 0, now = 0;
	int fds[2];

	connect_by_tcp(fds);
	while (send(fds[0], data, sizeof(data), MSG_DONTWAIT) > 0)
		;
	g_assert_cmpint(errno, ==, EAGAIN);
	do {
		g_usleep(10000);
		longest = MAX(longest, now);
		now = keepalive_silence_ns(fds[0]);
	} while (longest < NS_PER_S / 10 || now > longest / 2);
	disconnect(fds);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/keepalive/nothing-on-its-way", test_nothing_is_on_its_way);
	g_test_add_func("/keepalive/unix-socket", test_unix_socket);
	g_test_add_func("/keepalive/host-is-gone", test_host_is_gone);
	g_test_add_func("/keepalive/host-is-there", test_host_is_there);
	return g_test_run();
}
