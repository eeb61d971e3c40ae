// SPDX-License-Identifier: GPL-2.0-or-later
/* Noticing that a host is gone; see keepalive.h. */
#include "keepalive.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* After silence of IDLE_S it is asked, and so many times more in such intervals. */
#define IDLE_S	   60
#define INTERVAL_S 15
#define PROBES	   6
#define NS_PER_MS  UINT64_C(1000000)

static void set_number(int fd, int level, int option, int value)
{
	setsockopt(fd, level, option, &value, sizeof(value)); /* UNIX sockets do not have them */
}

void keepalive_begin(int fd)
{
	set_number(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_number(fd, IPPROTO_TCP, TCP_KEEPIDLE, IDLE_S);
	set_number(fd, IPPROTO_TCP, TCP_KEEPINTVL, INTERVAL_S);
	set_number(fd, IPPROTO_TCP, TCP_KEEPCNT, PROBES);
}

uint64_t keepalive_silence_ns(int fd)
{
	struct tcp_info info = { .tcpi_last_ack_recv = 0 };
	socklen_t len = sizeof(info);
	int on_its_way;

	if (ioctl(fd, SIOCOUTQ, &on_its_way) < 0 || !on_its_way ||
	    getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return 0;
	return info.tcpi_last_ack_recv * NS_PER_MS;
}
