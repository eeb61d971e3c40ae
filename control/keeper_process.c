// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The keeper itself; see keeper.h. A thread for each handle, as one handle may wait in a command
 * while another is asked to end that.
 *
 * The server is not trusted. What it may ask for is the list in answer(); what it sends is bounded
 * by the size of a message, and where it is an index, that is checked here. The rest is numbers of
 * its own device, which the kernel checks.
 */
#include "keeper.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "keeper_wire.h"

/* The server's main handle, and those of commands that run at the same time. */
#define MAX_HANDLES 16

struct handle {
	struct transport *transport;
	int sock;
};

static int server_pid;
static atomic_uint handles = 1;
/* The number may be that of another's device next. */
static _Atomic bool is_deleted;

static void *serve(void *arg);

/* ---- requests ---- */

/* Another handle, on another thread. A socket, or -errno. */
static int make_handle(const struct transport *transport)
{
	struct handle *handle;
	pthread_attr_t attr;
	pthread_t thread;
	int fds[2], res;

	if (atomic_fetch_add(&handles, 1) >= MAX_HANDLES ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) {
		atomic_fetch_sub(&handles, 1);
		return -EMFILE;
	}
	handle = g_new(struct handle, 1);
	*handle = (struct handle){ transport->ops->clone(transport, NULL), fds[0] };
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	res = handle->transport ? -pthread_create(&thread, &attr, serve, handle) : -ENOMEM;
	pthread_attr_destroy(&attr);
	if (res == 0)
		return fds[1];
	transport_free(handle->transport);
	g_free(handle);
	close(fds[0]);
	close(fds[1]);
	atomic_fetch_sub(&handles, 1);
	return res;
}

/* A device of that number that another process serves is another one. */
static bool is_ours(struct transport *transport)
{
	struct transport_info info;

	return !is_deleted && transport->ops->get_info(transport, &info) == 0 &&
	       (info.server_pid <= 0 || info.server_pid == server_pid);
}

static int open_queue(struct transport *transport, uint16_t q_id, struct keeper_reply *reply)
{
	g_autoptr(GError) err = NULL;
	struct transport_info info;
	int res;

	if (!transport->ops->open_queue || transport->ops->get_info(transport, &info) < 0 ||
	    q_id >= info.queues)
		return -EINVAL;
	res = transport->ops->open_queue(transport, q_id, &err);
	if (err)
		g_strlcpy(reply->error, err->message, sizeof(reply->error));
	return res;
}

static int delete_device(struct transport *transport)
{
	int res = transport->ops->delete (transport);

	is_deleted |= res == 0;
	return res;
}

static bool only_asks(enum keeper_op op)
{
	return op == KEEPER_CLONE || op == KEEPER_GET_INFO || op == KEEPER_GET_PARAMS ||
	       op == KEEPER_GET_QUEUE_CPUS;
}

/* Everything that a server can ask for. @ret_fd: what is passed back, and then closed. */
static int answer(struct transport *transport, const struct keeper_request *request,
		  struct keeper_reply *reply, int *ret_fd)
{
	const struct transport_ops *ops = transport->ops;

	if (!only_asks(request->op) && !is_ours(transport))
		return -ENODEV;
	switch (request->op) {
	case KEEPER_CLONE:
		return *ret_fd = make_handle(transport);
	case KEEPER_GET_INFO:
		return ops->get_info(transport, &reply->info);
	case KEEPER_SET_PARAMS:
		return ops->set_params(transport, &request->params);
	case KEEPER_GET_PARAMS:
		return ops->get_params(transport, &reply->params);
	case KEEPER_GET_QUEUE_CPUS:
		return transport_get_queue_cpus(transport, request->q_id, &reply->cpus);
	case KEEPER_OPEN_QUEUE:
		return *ret_fd = open_queue(transport, request->q_id, reply);
	case KEEPER_START:
		return ops->start(transport);
	case KEEPER_STOP:
		return ops->stop(transport);
	case KEEPER_STOP_IF_UNUSED:
		return transport_stop_if_unused(transport);
	case KEEPER_DELETE:
		return delete_device(transport);
	case KEEPER_RESIZE:
		return transport_resize(transport, request->sectors);
	case KEEPER_END_RECOVERY:
		return transport_end_recovery(transport);
	}
	return -EINVAL;
}

/* Ends with the handle. */
static void *serve(void *arg)
{
	struct handle *handle = arg;
	struct keeper_request request;
	int fd;

	while (keeper_receive(handle->sock, &request, sizeof(request), &fd) == 0) {
		struct keeper_reply reply;

		/* The server expects none. */
		if (fd >= 0)
			close(fd);
		/* All of it: nothing else of this process goes to the server. */
		memset(&reply, 0, sizeof(reply));
		fd = -1;
		reply.res = MIN(answer(handle->transport, &request, &reply, &fd), 0);
		keeper_send(handle->sock, &reply, sizeof(reply), fd);
		if (fd >= 0)
			close(fd);
	}
	close(handle->sock);
	transport_free(handle->transport);
	g_free(handle);
	atomic_fetch_sub(&handles, 1);
	return NULL;
}

/* ---- begin and end ---- */

static struct transport *resume(int fd, const struct transport_seed *seed)
{
	g_autoptr(GError) err = NULL;
	struct keeper_reply reply = { .res = -EINVAL };
	struct transport *transport = NULL;

	if (seed->driver < TRANSPORT_DRIVERS && transports[seed->driver]->resume) {
		transport = transports[seed->driver]->resume(seed, fd, &err);
		reply.res = transport ? 0 : -err->code;
	} else if (fd >= 0) {
		close(fd);
	}
	if (err)
		g_strlcpy(reply.error, err->message, sizeof(reply.error));
	keeper_send(STDIN_FILENO, &reply, sizeof(reply), -1);
	return transport;
}

int keeper_main(void)
{
	/* A service manager ends it together with the server, which may take its time. */
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE, TRANSPORT_LEAVE_SIGNAL };
	struct transport_seed seed;
	struct transport *transport, *last;
	struct handle *handle;
	int fd;

	for (unsigned i = 0; i < G_N_ELEMENTS(ignored); i++)
		signal(ignored[i], SIG_IGN);
	/* Nothing that the server was started with stays in use because of the keeper. */
	if (close_range(STDERR_FILENO + 1, ~0u, 0) < 0 || chdir("/") < 0)
		return EXIT_FAILURE;
	if (keeper_receive(STDIN_FILENO, &seed, sizeof(seed), &fd) < 0)
		return EXIT_FAILURE;
	server_pid = seed.server_pid;
	transport = resume(fd, &seed);
	if (!transport)
		return EXIT_FAILURE;
	last = transport->ops->server_ended ? transport->ops->clone(transport, NULL) : NULL;
	handle = g_new(struct handle, 1);
	*handle = (struct handle){ transport, STDIN_FILENO };
	serve(handle);
	if (last)
		last->ops->server_ended(last);
	return EXIT_SUCCESS;
}
