// SPDX-License-Identifier: GPL-2.0-or-later
/* Whether the host of a connection is there. */
#include <errno.h>
#include <glib.h>
#include <linux/filter.h>
#include <sys/socket.h>
#include <unistd.h>

#include "keepalive.h"
#include "tcp_pair.h"

#define NS_PER_S UINT64_C(1000000000)

static void disconnect(int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

static void test_nothing_is_on_its_way(void)
{
	int fds[2];

	tcp_pair(fds);
	keepalive_begin(fds[0]);
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

	tcp_pair(fds);
	keepalive_begin(fds[0]);
	if (setsockopt(fds[1], SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) < 0) {
		g_assert_cmpint(errno, ==, EPERM);
		g_test_skip("the kernel lets this user filter no packets");
		disconnect(fds);
		return;
	}
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

	tcp_pair(fds);
	keepalive_begin(fds[0]);
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
