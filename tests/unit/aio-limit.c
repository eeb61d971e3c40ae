// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Operations that give up, sockets, reads of events, groups, and calls on their own threads: on
 * loops with and without a ring.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "aio-test.h"

#define MS UINT64_C(1000000)

static void make_pair(int fds[2])
{
	g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
}

static void close_pair(const int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

/* A listener in the abstract namespace, whose address the kernel chooses. */
static int listen_somewhere(int backlog, struct sockaddr_un *ret_address, socklen_t *ret_len)
{
	const struct sockaddr_un any = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	g_assert_cmpint(bind(fd, (const struct sockaddr *)&any, sizeof(any.sun_family)), ==, 0);
	g_assert_cmpint(listen(fd, backlog), ==, 0);
	*ret_len = sizeof(*ret_address);
	g_assert_cmpint(getsockname(fd, (struct sockaddr *)ret_address, ret_len), ==, 0);
	return fd;
}

static int new_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* ---- operations that wait forever ---- */

static int recv_for_ever(struct aio_limit *limit)
{
	int fds[2], res;
	char byte;

	make_pair(fds);
	res = co_recv(fds[0], &byte, 1, limit);
	close_pair(fds);
	return res;
}

static int send_for_ever(struct aio_limit *limit)
{
	static const char block[65536];
	int fds[2], res;

	make_pair(fds);
	do
		res = co_send(fds[0], block, sizeof(block), limit);
	while (res > 0);
	close_pair(fds);
	return res;
}

static int accept_for_ever(struct aio_limit *limit)
{
	struct sockaddr_un address;
	socklen_t len;
	int fd = listen_somewhere(1, &address, &len), res = co_accept(fd, limit);

	close(fd);
	return res;
}

/* Nobody accepts here. */
static int connect_for_ever(struct aio_limit *limit)
{
	struct sockaddr_un address;
	socklen_t len;
	int listener = listen_somewhere(0, &address, &len), fds[8], nr = 0, res;

	do {
		fds[nr] = new_socket();
		res = co_connect(fds[nr++], (struct sockaddr *)&address, len, limit);
	} while (!res && nr < 8);
	while (nr)
		close(fds[--nr]);
	close(listener);
	return res;
}

static int poll_for_ever(struct aio_limit *limit)
{
	int fd = eventfd(0, EFD_CLOEXEC), res = co_poll(fd, POLLIN, limit);

	close(fd);
	return res;
}

static int read_event_for_ever(struct aio_limit *limit)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	eventfd_t count;
	int res = co_read_event(fd, &count, sizeof(count), limit);

	close(fd);
	return res;
}

static int (*const for_ever[])(struct aio_limit *limit) = {
	recv_for_ever, send_for_ever,	    accept_for_ever, connect_for_ever,
	poll_for_ever, read_event_for_ever, co_wait_limit,
};

static void time_out(void *arg)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(for_ever); i++) {
		uint64_t end = aio_ns_from_now(10 * MS);
		struct aio_limit limit = { .end_ns = end };

		g_assert_cmpint(for_ever[i](&limit), ==, -ETIME);
		g_assert_cmpuint(test_now_ns(), >=, end);
	}
}

static void test_operations_time_out(void)
{
	test_run(time_out, NULL);
}

struct victim {
	int (*fn)(struct aio_limit *limit);
	struct aio_limit *limit;
	int res;
};

static void victim_co(void *arg)
{
	struct victim *victim = arg;

	victim->res = victim->fn(victim->limit);
}

/* One limit cancels all at once; afterwards it refuses new operations. */
static void cancel_all(void *arg)
{
	struct victim victims[G_N_ELEMENTS(for_ever)];
	struct aio_limit limit = AIO_LIMIT_INIT;
	struct co_group group = { 0 };

	for (unsigned i = 0; i < G_N_ELEMENTS(for_ever); i++) {
		victims[i] = (struct victim){ .fn = for_ever[i], .limit = &limit };
		co_group_start(&group, victim_co, &victims[i]);
	}
	if (arg)
		co_sleep_ns(*(uint64_t *)arg);
	aio_limit_cancel(&limit);
	co_group_wait(&group);
	for (unsigned i = 0; i < G_N_ELEMENTS(for_ever); i++) {
		g_assert_cmpint(victims[i].res, ==, -ECANCELED);
		g_assert_cmpint(for_ever[i](&limit), ==, -ECANCELED);
	}
}

static void test_operations_are_cancelled(void)
{
	static const uint64_t pauses[] = { 20 * MS, MS, 1 };

	test_run(cancel_all, NULL);
	for (unsigned i = 0; i < G_N_ELEMENTS(pauses); i++)
		test_run(cancel_all, (void *)&pauses[i]);
}

/* More operations than the ring has entries. */
static void cancel_many(void *arg)
{
	struct victim victims[200];
	struct aio_limit limit = AIO_LIMIT_INIT;
	struct co_group group = { 0 };

	for (unsigned i = 0; i < G_N_ELEMENTS(victims); i++) {
		victims[i] = (struct victim){ .fn = recv_for_ever, .limit = &limit };
		co_group_start(&group, victim_co, &victims[i]);
	}
	co_sleep_ns(5 * MS);
	aio_limit_cancel(&limit);
	co_group_wait(&group);
	for (unsigned i = 0; i < G_N_ELEMENTS(victims); i++)
		g_assert_cmpint(victims[i].res, ==, -ECANCELED);
}

static void test_many_are_cancelled(void)
{
	test_run(cancel_many, NULL);
}

/* A limit cancels only its own operations, and stays expired for later ones. */
static void end_one_of_two(void *arg)
{
	struct aio_limit limit = AIO_LIMIT_INIT, other = AIO_LIMIT_INIT;
	struct victim victims[] = { { .fn = recv_for_ever, .limit = &limit },
				    { .fn = recv_for_ever, .limit = &other } };
	struct co_group group = { 0 }, other_group = { 0 };

	co_group_start(&group, victim_co, &victims[0]);
	co_group_start(&other_group, victim_co, &victims[1]);
	co_sleep_ns(MS);
	aio_limit_cancel(&limit);
	co_group_wait(&group);
	co_sleep_ns(MS);
	g_assert_cmpuint(other_group.running, ==, 1);
	g_assert_cmpint(recv_for_ever(&limit), ==, -ECANCELED);
	aio_limit_cancel(&other);
	co_group_wait(&other_group);
}

static void test_limit_ends_its_own(void)
{
	test_run(end_one_of_two, NULL);
}

/* ---- nothing is lost ---- */

#define STREAM_BYTES 20000

static void *send_stream(void *arg)
{
	int fd = *(int *)arg;

	for (unsigned i = 0; i < STREAM_BYTES; i++) {
		unsigned char byte = i;

		g_assert_cmpint(send(fd, &byte, 1, 0), ==, 1);
		if (i % 64 == 0)
			g_usleep(g_random_int_range(0, 100));
	}
	return NULL;
}

/* Keeps giving up, sometimes while a byte is arriving. */
static void receive_stream(void *arg)
{
	int fd = *(int *)arg;
	unsigned given_up = 0;

	for (unsigned i = 0; i < STREAM_BYTES;) {
		struct aio_limit limit = { .end_ns =
						   aio_ns_from_now(g_random_int_range(0, 50000)) };
		unsigned char byte;
		int res = co_recv(fd, &byte, 1, &limit);

		if (res == 1)
			g_assert_cmpuint(byte, ==, (unsigned char)i++);
		else
			g_assert_cmpint(res, ==, -ETIME);
		given_up += res == -ETIME;
	}
	g_assert_cmpuint(given_up, >, 0);
}

static void test_giving_up_loses_nothing(void)
{
	GThread *sender;
	int fds[2];

	make_pair(fds);
	sender = g_thread_new("sender", send_stream, &fds[1]);
	test_run(receive_stream, &fds[0]);
	g_thread_join(sender);
	close_pair(fds);
}

/* ---- sockets ---- */

struct server {
	int listener;
	int accepted;
};

static void accept_one(void *arg)
{
	struct server *server = arg;

	server->accepted = co_accept(server->listener, NULL);
}

static void connect_and_talk(void *arg)
{
	struct co_group group = { 0 };
	struct sockaddr_un address;
	struct server server;
	socklen_t len;
	char text[8] = "";
	int fd = new_socket();

	server.listener = listen_somewhere(1, &address, &len);
	co_group_start(&group, accept_one, &server);
	co_reschedule();
	g_assert_cmpint(co_connect(fd, (struct sockaddr *)&address, len, NULL), ==, 0);
	co_group_wait(&group);
	g_assert_cmpint(server.accepted, >=, 0);
	g_assert_cmphex(fcntl(server.accepted, F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
	/* The sockets are still blocking for their next user. */
	g_assert_cmphex(fcntl(fd, F_GETFL) & O_NONBLOCK, ==, 0);
	g_assert_cmphex(fcntl(server.listener, F_GETFL) & O_NONBLOCK, ==, 0);
	g_assert_cmpint(co_send(fd, "hello", 5, NULL), ==, 5);
	g_assert_cmpint(co_recv(server.accepted, text, sizeof(text), NULL), ==, 5);
	g_assert_cmpstr(text, ==, "hello");
	close(fd);
	g_assert_cmpint(co_recv(server.accepted, text, sizeof(text), NULL), ==, 0);
	/* EPIPE instead of SIGPIPE. */
	g_assert_cmpint(co_send(server.accepted, "x", 1, NULL), ==, -EPIPE);
	close(server.accepted);
	close(server.listener);
	fd = new_socket();
	g_assert_cmpint(co_connect(fd, (struct sockaddr *)&address, len, NULL), ==, -ECONNREFUSED);
	close(fd);
	g_assert_cmpint(co_accept(-1, NULL), ==, -EBADF);
	g_assert_cmpint(co_recv(-1, text, 1, NULL), ==, -EBADF);
}

static void test_connect_and_talk(void)
{
	test_run(connect_and_talk, NULL);
}

struct joiner {
	struct sockaddr_un address;
	socklen_t len;
	int res;
};

static void join(void *arg)
{
	struct joiner *joiner = arg;
	int fd = new_socket();

	joiner->res = co_connect(fd, (struct sockaddr *)&joiner->address, joiner->len, NULL);
	close(fd);
}

/* Connects that find the backlog full wait until there is room. */
static void wait_for_backlog(void *arg)
{
	struct co_group group = { 0 };
	struct joiner joiners[4];
	struct sockaddr_un address;
	socklen_t len;
	int listener = listen_somewhere(0, &address, &len);

	for (unsigned i = 0; i < G_N_ELEMENTS(joiners); i++) {
		joiners[i] = (struct joiner){ address, len, -1 };
		co_group_start(&group, join, &joiners[i]);
	}
	co_sleep_ns(5 * MS);
	for (unsigned i = 0; i < G_N_ELEMENTS(joiners); i++)
		close(co_accept(listener, NULL));
	co_group_wait(&group);
	for (unsigned i = 0; i < G_N_ELEMENTS(joiners); i++)
		g_assert_cmpint(joiners[i].res, ==, 0);
	close(listener);
}

static void test_full_backlog_is_waited_for(void)
{
	test_run(wait_for_backlog, NULL);
}

/* A descriptor travels in a message's ancillary data. */
static void pass_descriptor(void *arg)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	char byte = 'x';
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	int fds[2], sent = eventfd(42, EFD_CLOEXEC | EFD_NONBLOCK), got;
	eventfd_t count;

	make_pair(fds);
	control.align.cmsg_level = SOL_SOCKET;
	control.align.cmsg_type = SCM_RIGHTS;
	control.align.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.align), &sent, sizeof(sent));
	g_assert_cmpint(co_sendmsg(fds[0], &msg, 0, NULL), ==, 1);
	memset(&control, 0, sizeof(control));
	g_assert_cmpint(co_recvmsg(fds[1], &msg, MSG_CMSG_CLOEXEC, NULL), ==, 1);
	memcpy(&got, CMSG_DATA(&control.align), sizeof(got));
	g_assert_cmpint(got, !=, sent);
	g_assert_cmphex(fcntl(got, F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
	g_assert_cmpint(co_read_event(got, &count, sizeof(count), NULL), ==, sizeof(count));
	g_assert_cmpuint(count, ==, 42);
	close(got);
	close(sent);
	close_pair(fds);
}

static void test_descriptors_travel(void)
{
	test_run(pass_descriptor, NULL);
}

/* ---- events ---- */

struct reader {
	int fd;
	struct signalfd_siginfo info;
	int res;
};

static void read_signal(void *arg)
{
	struct reader *reader = arg;

	reader->res = co_read_event(reader->fd, &reader->info, sizeof(reader->info), NULL);
}

static void wait_for_signal(void *arg)
{
	struct co_group group = { 0 };
	struct reader reader = { .fd = -1 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	reader.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	for (unsigned i = 0; i < 3; i++) {
		co_group_start(&group, read_signal, &reader);
		co_sleep_ns(i * MS);
		kill(getpid(), SIGUSR2);
		co_group_wait(&group);
		g_assert_cmpint(reader.res, ==, sizeof(reader.info));
		g_assert_cmpuint(reader.info.ssi_signo, ==, SIGUSR2);
	}
	close(reader.fd);
}

static void test_signals_are_read(void)
{
	test_run(wait_for_signal, NULL);
}

/* ---- groups and threads ---- */

struct child {
	struct co_group *group;
	unsigned more;
	unsigned *ended;
};

static void child_co(void *arg)
{
	struct child child = *(struct child *)arg;

	co_sleep_ns(MS);
	if (child.more) {
		child.more--;
		co_group_start(child.group, child_co, &child);
		/* Waits until the child has its copy. */
		co_reschedule();
	}
	++*child.ended;
}

static void wait_for_group(void *arg)
{
	struct co_group group = { 0 };
	unsigned ended = 0;
	struct child child = { &group, 3, &ended };

	co_group_wait(&group);
	co_group_start(&group, child_co, &child);
	co_group_start(&group, child_co, &child);
	co_group_wait(&group);
	g_assert_cmpuint(ended, ==, 8);
	co_group_wait(&group);
}

static void test_group_waits_for_all(void)
{
	test_run(wait_for_group, NULL);
}

static int read_byte(void *arg)
{
	int *fds = arg;
	char byte;

	return read(fds[0], &byte, 1) == 1 ? byte : -errno;
}

struct caller {
	int fds[2];
	int res;
};

static void caller_co(void *arg)
{
	struct caller *caller = arg;

	caller->res = co_run_on_thread("ubd-test", read_byte, caller->fds);
}

static int answer(void *arg)
{
	return *(int *)arg;
}

/* Waiting calls block neither the loop, nor the pool's workers, nor each other. */
static void call_on_threads(void *arg)
{
	struct caller callers[20];
	struct co_group group = { 0 };
	int number = 42;

	for (unsigned i = 0; i < G_N_ELEMENTS(callers); i++) {
		make_pair(callers[i].fds);
		co_group_start(&group, caller_co, &callers[i]);
	}
	co_sleep_ns(MS);
	g_assert_cmpint(co_run_on_worker(answer, &number), ==, 42);
	for (unsigned i = G_N_ELEMENTS(callers); i--;)
		g_assert_cmpint(co_send(callers[i].fds[1], "\7", 1, NULL), ==, 1);
	co_group_wait(&group);
	for (unsigned i = 0; i < G_N_ELEMENTS(callers); i++) {
		g_assert_cmpint(callers[i].res, ==, 7);
		close_pair(callers[i].fds);
	}
	aio_workers_end();
}

static void test_long_calls_have_their_threads(void)
{
	test_run(call_on_threads, NULL);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/limit/operations-time-out", test_operations_time_out);
	g_test_add_func("/limit/operations-are-cancelled", test_operations_are_cancelled);
	g_test_add_func("/limit/many-are-cancelled", test_many_are_cancelled);
	g_test_add_func("/limit/limit-ends-its-own", test_limit_ends_its_own);
	g_test_add_func("/limit/giving-up-loses-nothing", test_giving_up_loses_nothing);
	g_test_add_func("/socket/connect-and-talk", test_connect_and_talk);
	g_test_add_func("/socket/full-backlog-is-waited-for", test_full_backlog_is_waited_for);
	g_test_add_func("/socket/descriptors-travel", test_descriptors_travel);
	g_test_add_func("/event/signals-are-read", test_signals_are_read);
	g_test_add_func("/group/waits-for-all", test_group_waits_for_all);
	g_test_add_func("/thread/long-calls-have-their-threads",
			test_long_calls_have_their_threads);
	return g_test_run();
}
