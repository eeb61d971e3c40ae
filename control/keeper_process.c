// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The keeper itself; see keeper.h. A thread for each handle, as one handle may wait in a command
 * while another is asked to end that. A handle is one device's for good: which device a request is
 * about follows from the socket that it came on.
 *
 * The server is not trusted once the keeper is sealed. What it may ask for is the list in answer();
 * what it sends is bounded by the size of a message, and where it is an index, that is checked
 * here. The rest is numbers of its own device, which the kernel checks.
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

#include "disk_mark.h"
#include "error.h"
#include "keeper_order.h"
#include "keeper_wire.h"

/* Of a device: the server's main handle, and those of commands that run at the same time. */
#define MAX_HANDLES 16
/* More than a server can have. */
#define MAX_DEVICES 8192
/* Of their threads. */
#define STACK_BYTES (256 << 10)

/* Freed with the last handle. */
struct device {
	atomic_uint handles;
	/* What a driver keeps of that for all handles has no lock of its own. */
	pthread_mutex_t setting_up;
	/* The number may be that of another's device next. */
	_Atomic bool is_deleted;
	bool is_added; /* by this process */
};

struct handle {
	struct device *device;
	struct transport *transport;
	int sock;
	bool is_main; /* the server has ended, or the device has, when it is closed */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned devices; /* whose main handles are served; guarded by lock */

static pid_t server;
static bool is_sealed; /* the server is not trusted any more */

/* How many there are then. */
static unsigned count_devices(int more)
{
	unsigned count;

	pthread_mutex_lock(&lock);
	count = devices += more;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
	return count;
}

static void *serve(void *arg);

/* ---- handles ---- */

/* One more; false: there are too many. */
static bool take_device(struct device *device)
{
	if (atomic_fetch_add(&device->handles, 1) < MAX_HANDLES)
		return true;
	atomic_fetch_sub(&device->handles, 1);
	return false;
}

static void put_device(struct device *device)
{
	if (atomic_fetch_sub(&device->handles, 1) != 1)
		return;
	pthread_mutex_destroy(&device->setting_up);
	g_free(device);
}

static void free_handle(struct handle *handle)
{
	close(handle->sock);
	transport_free(handle->transport);
	put_device(handle->device);
	g_free(handle);
}

static int start_thread(struct handle *handle)
{
	pthread_attr_t attr;
	pthread_t thread;
	int res;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	res = -pthread_create(&thread, &attr, serve, handle);
	pthread_attr_destroy(&attr);
	return res;
}

/*
 * Serves a handle on a thread. Takes @transport, and @device, which is that of the caller's
 * take_device(). The server's end of its socket; or -errno, and a device that was added for it is
 * deleted.
 */
static int make_handle(struct device *device, struct transport *transport, bool is_main)
{
	struct handle *handle;
	int fds[2], res;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) {
		res = -errno;
		if (is_main && device->is_added)
			transport->ops->delete (transport);
		transport_free(transport);
		put_device(device);
		return res;
	}
	handle = g_new(struct handle, 1);
	*handle = (struct handle){ device, transport, fds[0], is_main };
	res = start_thread(handle);
	if (res == 0)
		return fds[1];
	if (is_main && device->is_added)
		transport->ops->delete (transport);
	free_handle(handle);
	close(fds[1]);
	return res;
}

/* ---- requests ---- */

static int clone_handle(const struct handle *handle)
{
	struct transport *transport;

	if (!take_device(handle->device))
		return -EMFILE;
	transport = handle->transport->ops->clone(handle->transport, NULL);
	if (transport)
		return make_handle(handle->device, transport, false);
	put_device(handle->device);
	return -ENOMEM;
}

static bool is_ours(const struct handle *handle)
{
	return !handle->device->is_deleted && handle->transport->ops->is_given(handle->transport);
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

/* The server may open that of a device which it has added itself. */
static int open_server_file(const struct handle *handle, struct keeper_reply *reply)
{
	g_autoptr(GError) err = NULL;
	int res = -EINVAL;

	if (handle->device->is_added)
		res = handle->transport->ops->open_server_file(handle->transport, &err);
	if (err)
		g_strlcpy(reply->error, err->message, sizeof(reply->error));
	return res;
}

/* Its number may be another's long before this returns. */
static int delete_device(const struct handle *handle)
{
	struct device *device = handle->device;
	int res;

	if (atomic_exchange(&device->is_deleted, true))
		return -ENODEV;
	res = handle->transport->ops->delete (handle->transport);
	if (res < 0 && res != -ENODEV)
		device->is_deleted = false;
	return res;
}

static int set_up(const struct handle *handle, const struct keeper_request *request,
		  struct keeper_reply *reply, int *ret_fd)
{
	struct transport *transport = handle->transport;
	int res;

	pthread_mutex_lock(&handle->device->setting_up);
	if (request->op == KEEPER_SET_PARAMS)
		res = transport->ops->set_params(transport, &request->params);
	else if (request->op == KEEPER_OPEN_QUEUE)
		res = *ret_fd = open_queue(transport, request->q_id, reply);
	else
		res = transport->ops->start(transport);
	pthread_mutex_unlock(&handle->device->setting_up);
	return res;
}

static bool only_asks(enum keeper_op op)
{
	return op == KEEPER_CLONE || op == KEEPER_GET_INFO || op == KEEPER_GET_PARAMS ||
	       op == KEEPER_GET_QUEUE_CPUS;
}

/* Everything that a server can ask for. @ret_fd: what is passed back, and then closed. */
static int answer(const struct handle *handle, const struct keeper_request *request,
		  struct keeper_reply *reply, int *ret_fd)
{
	struct transport *transport = handle->transport;
	const struct transport_ops *ops = transport->ops;

	if (!only_asks(request->op) && !is_ours(handle))
		return -ENODEV;
	switch (request->op) {
	case KEEPER_CLONE:
		return *ret_fd = clone_handle(handle);
	case KEEPER_GET_INFO:
		return ops->get_info(transport, &reply->info);
	case KEEPER_SET_PARAMS:
	case KEEPER_OPEN_QUEUE:
	case KEEPER_START:
		return set_up(handle, request, reply, ret_fd);
	case KEEPER_GET_PARAMS:
		return ops->get_params(transport, &reply->params);
	case KEEPER_OPEN_SERVER_FILE:
		return *ret_fd = open_server_file(handle, reply);
	case KEEPER_GET_QUEUE_CPUS:
		return transport_get_queue_cpus(transport, request->q_id, &reply->cpus);
	case KEEPER_STOP:
		return ops->stop(transport);
	case KEEPER_STOP_IF_UNUSED:
		return transport_stop_if_unused(transport);
	case KEEPER_DELETE:
		return delete_device(handle);
	case KEEPER_RESIZE:
		return transport_resize(transport, request->sectors);
	case KEEPER_END_RECOVERY:
		return transport_end_recovery(transport);
	}
	return -EINVAL;
}

/* One that nobody else has added is not left to anybody. */
static void end_device(const struct handle *handle)
{
	const struct transport_ops *ops = handle->transport->ops;

	if (handle->device->is_added && is_ours(handle))
		delete_device(handle);
	if (ops->server_ended)
		ops->server_ended(handle->transport);
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
		reply.res = MIN(answer(handle, &request, &reply, &fd), 0);
		keeper_send(handle->sock, &reply, sizeof(reply), fd);
		if (fd >= 0)
			close(fd);
	}
	/* The process may end with it. */
	if (handle->is_main) {
		end_device(handle);
		free_handle(handle);
		count_devices(-1);
	} else {
		free_handle(handle);
	}
	return NULL;
}

/* ---- begin and end ---- */

static struct transport *resume(int fd, const struct transport_seed *seed,
				struct keeper_reply *reply)
{
	g_autoptr(GError) err = NULL;
	struct transport *transport = NULL;

	reply->res = -EINVAL;
	if (seed->driver < TRANSPORT_DRIVERS && transports[seed->driver]->resume) {
		transport = transports[seed->driver]->resume(seed, fd, &err);
		reply->res = transport ? 0 : -err->code;
	} else if (fd >= 0) {
		close(fd);
	}
	if (err)
		g_strlcpy(reply->error, err->message, sizeof(reply->error));
	return transport;
}

/* The server's socket of a handle for the device, or -errno. */
static int keep(struct transport *transport, bool is_added)
{
	struct device *device = g_new0(struct device, 1);
	int sock;

	pthread_mutex_init(&device->setting_up, NULL);
	device->handles = 1;
	device->is_added = is_added;
	count_devices(1);
	sock = make_handle(device, transport, true);
	if (sock < 0)
		count_devices(-1);
	return sock;
}

static int take_seed(const struct transport_seed *seed, int fd, struct keeper_reply *reply)
{
	struct transport *transport = resume(fd, seed, reply);

	return transport ? keep(transport, false) : reply->res;
}

/* An untrusted server chooses what udev would read, and how long that takes. */
static int hide(const struct transport *transport, const struct transport_info *info, GError **err)
{
	return info->unprivileged ? 0 : disk_mark_write(transport->path, NULL, true, err);
}

static int take_up(struct transport *transport, const struct transport_info *info, GError **err)
{
	int res = transport->ops->keep(transport, server);

	return res < 0 ? error_set(err, res, "%s", transport->path) : hide(transport, info, err);
}

/* NULL with @err set. */
static struct transport *add(const struct keeper_order *order, struct transport_info *ret_info,
			     GError **err)
{
	const struct transport_ops *ops = transports[order->driver];
	struct transport_info info = order->info;
	struct transport *transport = transport_add(ops, order->ways, &info, &order->identity, err);

	if (!transport)
		return NULL;
	if (take_up(transport, &info, err) == 0) {
		*ret_info = info;
		return transport;
	}
	ops->delete (transport);
	transport_free(transport);
	return NULL;
}

static int carry_out(enum transport_driver driver, int fd, struct keeper_reply *reply)
{
	g_autoptr(GError) err = NULL;
	struct transport *transport = NULL;
	struct keeper_order order;
	int res = keeper_order_take(fd, server, &order, &err);

	if (res == 0 && (order.driver != driver || !transports[driver]->keep))
		res = error_refuse(&err, -EINVAL, "it was ordered for another driver");
	else if (res == 0 && count_devices(0) >= MAX_DEVICES)
		res = error_refuse(&err, -EMFILE, "too many devices in a server");
	if (res == 0)
		transport = add(&order, &reply->info, &err);
	if (transport)
		return keep(transport, true);
	g_strlcpy(reply->error, err->message, sizeof(reply->error));
	return -err->code;
}

/* The server gets the socket of a handle for the device. */
static void take_gift(const struct keeper_gift *gift, int fd)
{
	struct keeper_reply reply;
	int sock = -EPERM;

	memset(&reply, 0, sizeof(reply));
	if (gift->kind == KEEPER_GIVE && !is_sealed)
		sock = take_seed(&gift->seed, fd, &reply);
	else if (gift->kind == KEEPER_ORDER && is_sealed)
		sock = carry_out(gift->seed.driver, fd, &reply);
	else if (fd >= 0)
		close(fd);
	reply.res = MIN(sock, 0);
	keeper_send(STDIN_FILENO, &reply, sizeof(reply), sock);
	if (sock >= 0)
		close(sock);
}

static void wait_for_devices(void)
{
	pthread_mutex_lock(&lock);
	while (devices)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

int keeper_main(void)
{
	static const int ignored[] = { SIGINT, SIGHUP, SIGPIPE };
	struct keeper_gift gift;
	sigset_t told;
	int fd;

	/*
	 * A service manager ends it together with the server, which may take its time. These stay
	 * pending until then; see nbd_orphan.h.
	 */
	sigemptyset(&told);
	sigaddset(&told, SIGTERM);
	sigaddset(&told, TRANSPORT_LEAVE_SIGNAL);
	sigprocmask(SIG_BLOCK, &told, NULL);
	for (unsigned i = 0; i < G_N_ELEMENTS(ignored); i++)
		signal(ignored[i], SIG_IGN);
	/* Nothing that the server was started with stays in use because of the keeper. */
	if (close_range(STDERR_FILENO + 1, ~0u, 0) < 0 || chdir("/") < 0)
		return EXIT_FAILURE;
	server = getppid();
	while (keeper_receive(STDIN_FILENO, &gift, sizeof(gift), &fd) == 0) {
		if (gift.kind != KEEPER_SEAL)
			take_gift(&gift, fd);
		else if (fd >= 0)
			close(fd);
		is_sealed |= gift.kind == KEEPER_SEAL;
	}
	wait_for_devices();
	return EXIT_SUCCESS;
}
