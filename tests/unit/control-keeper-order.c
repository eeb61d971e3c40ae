// SPDX-License-Identifier: GPL-2.0-or-later
/* Orders to a server's keeper: who may give them, and what they may say. */
#include <errno.h>
#include <glib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper_order.h"
#include "keeper_wire.h"
#include "passed_fds.h"

#define NOBODY 0x7ffffffe /* not a process */

static struct keeper_order valid_order(void)
{
	return (struct keeper_order){
		.driver = TRANSPORT_UBLK,
		.ways = { DATA_ZERO_COPY, DATA_COPY },
		.info = { .id = TRANSPORT_ANY_ID, .queues = 2, .depth = 64 },
	};
}

/* ---- a process that orders, as ubdctl does ---- */

struct orderer {
	int fd; /* that it has passed on */
	pid_t pid;
};

/* @make: in the other process. It has ended when this returns. */
static struct orderer order_by(int (*make)(const struct keeper_order *order),
			       const struct keeper_order *order)
{
	struct orderer orderer;
	char byte;
	int pair[2], status;

	g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), ==, 0);
	orderer.pid = fork();
	if (orderer.pid == 0)
		_exit(keeper_send(pair[1], "x", 1, make(order)) < 0);
	g_assert_cmpint(keeper_receive(pair[0], &byte, 1, &orderer.fd), ==, 0);
	g_assert_cmpint(waitpid(orderer.pid, &status, 0), ==, orderer.pid);
	g_assert_cmpint(status, ==, 0);
	close(pair[0]);
	close(pair[1]);
	return orderer;
}

static int make_order(const struct keeper_order *order)
{
	return keeper_order_new(order, NULL);
}

static int make_empty(const struct keeper_order *order)
{
	int pair[2];

	return socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0 ? -errno : pair[0];
}

static int make_long(const struct keeper_order *order)
{
	char text[sizeof(*order) + 1] = "";
	int pair[2];

	memcpy(text, order, sizeof(*order));
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0)
		return -errno;
	keeper_send(pair[0], text, sizeof(text), -1);
	return pair[1];
}

/* As a client of the server's socket, which the server could pass on. */
static int make_stream(const struct keeper_order *order)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		return -errno;
	keeper_send(pair[0], order, sizeof(*order), -1);
	return pair[1];
}

/* A service that sends what looks like an order to whoever has connected, or is sent it. */
static int make_named(const struct keeper_order *order, bool listens)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_SEQPACKET, 0), client, accepted;
	socklen_t bytes = sizeof(name);

	/* The kernel chooses an abstract name. */
	if (bind(listener, (struct sockaddr *)&name, sizeof(sa_family_t)) < 0 ||
	    listen(listener, 1) < 0 || getsockname(listener, (struct sockaddr *)&name, &bytes) < 0)
		return -errno;
	client = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	if (connect(client, (struct sockaddr *)&name, bytes) < 0)
		return -errno;
	accepted = accept(listener, NULL, NULL);
	keeper_send(listens ? client : accepted, order, sizeof(*order), -1);
	return listens ? accepted : client;
}

static int make_connected(const struct keeper_order *order)
{
	return make_named(order, false);
}

static int make_accepted(const struct keeper_order *order)
{
	return make_named(order, true);
}

static void assert_refused(int fd, pid_t server)
{
	struct keeper_order got = { .driver = TRANSPORT_DRIVERS };
	g_autoptr(GError) err = NULL;

	g_assert_cmpint(keeper_order_take(fd, server, &got, &err), ==, -EPERM);
	g_assert_nonnull(err);
	g_assert_cmpint(got.driver, ==, TRANSPORT_DRIVERS);
	/* It is closed. */
	g_assert_cmpint(fd < 0 ? 0 : close(fd), ==, fd < 0 ? 0 : -1);
}

/* ---- tests ---- */

static void test_taken_once(void)
{
	const struct keeper_order order = valid_order();
	struct orderer orderer = order_by(make_order, &order);
	int copy = dup(orderer.fd);
	struct keeper_order got;

	g_assert_cmpint(keeper_order_take(orderer.fd, NOBODY, &got, NULL), ==, 0);
	g_assert_cmpmem(&got, sizeof(got), &order, sizeof(order));
	assert_refused(copy, NOBODY);
}

/* Which could name any device. */
static void test_not_by_the_server(void)
{
	const struct keeper_order order = valid_order();
	struct orderer server = order_by(make_order, &order);

	assert_refused(server.fd, server.pid);
}

/* The server has ends of sockets that the keeper has made. */
static void test_not_by_the_keeper(void)
{
	const struct keeper_order order = valid_order();

	assert_refused(keeper_order_new(&order, NULL), NOBODY);
}

static void test_other_descriptors(void)
{
	static int (*const make[])(const struct keeper_order *) = {
		make_empty, make_long, make_stream, make_connected, make_accepted,
	};
	const struct keeper_order order = valid_order();

	for (unsigned i = 0; i < G_N_ELEMENTS(make); i++)
		assert_refused(order_by(make[i], &order).fd, NOBODY);
	assert_refused(dup(STDERR_FILENO), NOBODY);
	assert_refused(-1, NOBODY);
}

/* The right comes from one process, and the wishes from another. */
static void test_wishes_are_bounded(void)
{
	struct keeper_order orders[8];

	for (unsigned i = 0; i < G_N_ELEMENTS(orders); i++)
		orders[i] = valid_order();
	orders[0].driver = TRANSPORT_DRIVERS;
	orders[1].ways[0] = DATA_ANY;
	orders[2].ways[1] = DATA_WAYS;
	for (unsigned i = 0; i < G_N_ELEMENTS(orders[3].ways); i++)
		orders[3].ways[i] = DATA_COPY;
	orders[4].info.queues = 0;
	orders[5].info.queues = KEEPER_ORDER_MAX_QUEUES + 1;
	orders[6].info.depth = TRANSPORT_MAX_DEPTH + 1;
	/* It would outlive the server, and nobody but root would find it again. */
	orders[7].info.recovery = RECOVERY_REISSUE;
	for (unsigned i = 0; i < G_N_ELEMENTS(orders); i++)
		assert_refused(order_by(make_order, &orders[i]).fd, NOBODY);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/control/keeper-order/taken-once", test_taken_once);
	g_test_add_func("/control/keeper-order/not-by-the-server", test_not_by_the_server);
	g_test_add_func("/control/keeper-order/not-by-the-keeper", test_not_by_the_keeper);
	g_test_add_func("/control/keeper-order/other-descriptors", test_other_descriptors);
	g_test_add_func("/control/keeper-order/wishes-are-bounded", test_wishes_are_bounded);
	return g_test_run();
}
