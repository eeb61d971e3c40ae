/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A TCP connection whose both ends are here, so both know what is on its way. */
#ifndef UBD_TEST_TCP_PAIR_H
#define UBD_TEST_TCP_PAIR_H

#include <endian.h>
#include <glib.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static inline void tcp_pair(int fds[2])
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
}

#endif
