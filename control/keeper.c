// SPDX-License-Identifier: GPL-2.0-or-later
/* The server's side of its keeper: a handle whose operations are requests; see keeper.h. */
#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "error.h"
#include "keeper_wire.h"

#define PROGRAM "/proc/self/exe"

struct kept {
	struct transport transport;
	/* What this process itself has of the device; NULL: nothing, or this is a clone. */
	struct transport *own;
	int sock;
};

static struct kept *kept_of(const struct transport *transport)
{
	return (struct kept *)transport;
}

/* ---- requests ---- */

/* The reply's res, or -errno. @ret_fd may be NULL: none is expected. */
static int call(const struct transport *transport, const struct keeper_request *request,
		struct keeper_reply *ret_reply, int *ret_fd)
{
	int sock = kept_of(transport)->sock, fd = -1, res;

	ret_reply->error[0] = 0;
	res = keeper_send(sock, request, sizeof(*request), -1);
	res = res ?: keeper_receive(sock, ret_reply, sizeof(*ret_reply), &fd);
	ret_reply->error[sizeof(ret_reply->error) - 1] = 0;
	if (ret_fd)
		*ret_fd = fd;
	else if (fd >= 0)
		close(fd);
	return res ?: ret_reply->res;
}

static int call_simply(struct transport *transport, enum keeper_op op)
{
	const struct keeper_request request = { .op = op };
	struct keeper_reply reply;

	return call(transport, &request, &reply, NULL);
}

/* For a descriptor. -EAGAIN goes without @err. */
static int call_for_fd(const struct transport *transport, const struct keeper_request *request,
		       GError **err)
{
	struct keeper_reply reply;
	int fd = -1, res = call(transport, request, &reply, &fd);

	if (res >= 0 && fd >= 0)
		return fd;
	if (fd >= 0)
		close(fd);
	res = res < 0 ? res : -EIO;
	if (res == -EAGAIN)
		return res;
	return reply.error[0] ? error_refuse(err, res, "%s", reply.error)
			      : error_set(err, res, "%s", transport->path);
}

/* ---- operations ---- */

static int get_info(struct transport *transport, struct transport_info *ret_info)
{
	const struct keeper_request request = { .op = KEEPER_GET_INFO };
	struct keeper_reply reply;
	int res = call(transport, &request, &reply, NULL);

	if (res == 0)
		*ret_info = reply.info;
	return res;
}

static int set_params(struct transport *transport, const struct device_params *params)
{
	const struct keeper_request request = { .op = KEEPER_SET_PARAMS, .params = *params };
	struct keeper_reply reply;

	return call(transport, &request, &reply, NULL);
}

static int get_params(struct transport *transport, struct device_params *ret_params)
{
	const struct keeper_request request = { .op = KEEPER_GET_PARAMS };
	struct keeper_reply reply;
	int res = call(transport, &request, &reply, NULL);

	if (res == 0)
		*ret_params = reply.params;
	return res;
}

static int get_queue_cpus(struct transport *transport, uint16_t q_id, cpu_set_t *ret_cpus)
{
	const struct keeper_request request = { .op = KEEPER_GET_QUEUE_CPUS, .q_id = q_id };
	struct keeper_reply reply;
	int res = call(transport, &request, &reply, NULL);

	if (res == 0)
		*ret_cpus = reply.cpus;
	return res;
}

static int open_server_file(struct transport *transport, GError **err)
{
	const struct keeper_request request = { .op = KEEPER_OPEN_SERVER_FILE };
	struct transport *own = kept_of(transport)->own;
	int fd, res = 0;

	if (own)
		return own->ops->open_server_file(own, err);
	fd = call_for_fd(transport, &request, err);
	if (fd >= 0 && transport->ops->take_server_file)
		res = transport->ops->take_server_file(transport, fd, err);
	if (res == 0)
		return fd;
	close(fd);
	return res;
}

static int open_queue(struct transport *transport, uint16_t q_id, GError **err)
{
	const struct keeper_request request = { .op = KEEPER_OPEN_QUEUE, .q_id = q_id };

	return call_for_fd(transport, &request, err);
}

static int start(struct transport *transport)
{
	return call_simply(transport, KEEPER_START);
}

static int stop(struct transport *transport)
{
	return call_simply(transport, KEEPER_STOP);
}

static int stop_if_unused(struct transport *transport)
{
	return call_simply(transport, KEEPER_STOP_IF_UNUSED);
}

static int delete (struct transport *transport)
{
	return call_simply(transport, KEEPER_DELETE);
}

static int resize(struct transport *transport, uint64_t sectors)
{
	const struct keeper_request request = { .op = KEEPER_RESIZE, .sectors = sectors };
	struct keeper_reply reply;

	return call(transport, &request, &reply, NULL);
}

static int end_recovery(struct transport *transport)
{
	return call_simply(transport, KEEPER_END_RECOVERY);
}

/* ---- handles ---- */

static struct transport *new_handle(const struct transport *of, struct transport *own, int sock)
{
	struct kept *kept = g_new(struct kept, 1);

	*kept = (struct kept){ .transport = *of, .own = own, .sock = sock };
	return &kept->transport;
}

static struct transport *clone_handle(const struct transport *transport, GError **err)
{
	const struct keeper_request request = { .op = KEEPER_CLONE };
	int sock = call_for_fd(transport, &request, err);

	return sock < 0 ? NULL : new_handle(transport, NULL, sock);
}

static void free_handle(struct transport *transport)
{
	struct kept *kept = kept_of(transport);

	close(kept->sock);
	transport_free(kept->own);
	g_free(kept);
}

/*
 * What the driver does not have, the keeper has not either; what is only for ubdctl is left out.
 * One thread at a time.
 */
static const struct transport_ops *ops_of(const struct transport_ops *driver)
{
	static struct transport_ops all[TRANSPORT_DRIVERS];
	struct transport_ops *ops = &all[driver->driver];

	if (ops->name)
		return ops;
	*ops = *driver;
	ops->clone = clone_handle;
	ops->free = free_handle;
	ops->get_info = get_info;
	ops->set_params = set_params;
	ops->get_params = get_params;
	ops->get_queue_cpus = driver->get_queue_cpus ? get_queue_cpus : NULL;
	ops->open_server_file = open_server_file;
	ops->open_queue = driver->open_queue ? open_queue : NULL;
	ops->start = start;
	ops->stop = stop;
	ops->stopped = NULL;
	ops->stop_if_unused = stop_if_unused;
	ops->delete = delete;
	ops->resize = driver->resize ? resize : NULL;
	ops->end_recovery = driver->end_recovery ? end_recovery : NULL;
	ops->set_identity = NULL;
	ops->get_identity = NULL;
	ops->quiesce = NULL;
	ops->take_over = NULL;
	ops->give = NULL;
	return ops;
}

/* ---- the start ---- */

/*
 * It has no terminal, and keeps no descriptor of the server's. Its name is the server's, which may
 * be marked for systemd.
 */
static int spawn(int sock)
{
	char *argv[] = { program_invocation_name, (char *)KEEPER, NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	pid_t pid;
	int res;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, sock, STDIN_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_RDWR, 0);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID);
	res = posix_spawn(&pid, PROGRAM, &actions, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return -res;
}

/* By which the keeper gets devices; -1: there is none, or it gets no more. */
static int seeds_fd = -1;

static int begin_keeper(void)
{
	int fds[2], res;

	if (seeds_fd >= 0)
		return 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	res = spawn(fds[1]);
	close(fds[1]);
	if (res == 0)
		seeds_fd = fds[0];
	else
		close(fds[0]);
	return res;
}

/* The socket of a handle for the device, or -errno. */
static int send_gift(const struct keeper_gift *gift, int fd, struct keeper_reply *ret_reply)
{
	int res;

	ret_reply->error[0] = 0;
	res = keeper_send(seeds_fd, gift, sizeof(*gift), fd);
	res = res ?: keeper_receive(seeds_fd, ret_reply, sizeof(*ret_reply), &fd);
	ret_reply->error[sizeof(ret_reply->error) - 1] = 0;
	res = res ?: ret_reply->res;
	return res ?: fd;
}

/* As the last one. */
static int give_device(const struct transport *transport, struct keeper_reply *ret_reply)
{
	struct keeper_gift gift = {
		.kind = KEEPER_GIVE,
		.seed = { .driver = transport->ops->driver, .server_pid = getpid() },
	};
	int fd = transport->ops->give(transport, &gift.seed);

	return send_gift(&gift, fd, ret_reply);
}

struct transport *keeper_start(struct transport *transport, GError **err)
{
	const struct transport_ops *ops = transport->ops;
	struct keeper_reply reply;
	struct transport *kept;
	int res;

	if (!ops->give)
		return transport;
	res = begin_keeper();
	if (res < 0) {
		error_set(err, res, "%s: cannot start its keeper", transport->path);
		return NULL;
	}
	res = give_device(transport, &reply);
	if (res < 0) {
		error_refuse(err, res, "%s: its keeper cannot start: %s", transport->path,
			     reply.error[0] ? reply.error : g_strerror(-res));
		return NULL;
	}
	ops->give_up(transport);
	kept = new_handle(transport, transport, res);
	kept->ops = ops_of(ops);
	return kept;
}

/* ---- devices that are added later ---- */

int keeper_seal(const struct transport_ops *adds, GError **err)
{
	const struct keeper_gift seal = { .kind = KEEPER_SEAL };
	int res;

	if (adds && adds->give) {
		res = begin_keeper();
		res = res ?: keeper_send(seeds_fd, &seal, sizeof(seal), -1);
		return res < 0 ? error_set(err, res, "cannot start a keeper of devices") : 0;
	}
	if (seeds_fd >= 0)
		close(seeds_fd);
	seeds_fd = -1;
	return 0;
}

struct transport *keeper_add(const struct transport_ops *driver, int order_fd,
			     struct transport_info *ret_info, GError **err)
{
	static GMutex one_at_a_time;
	const struct keeper_gift gift = { .kind = KEEPER_ORDER, .seed.driver = driver->driver };
	const struct transport_ops *ops;
	struct keeper_reply reply;
	struct transport added;
	int res;

	g_mutex_lock(&one_at_a_time);
	ops = ops_of(driver);
	res = send_gift(&gift, order_fd, &reply);
	g_mutex_unlock(&one_at_a_time);
	close(order_fd);
	if (res < 0) {
		error_refuse(err, res, "%s",
			     reply.error[0] ? reply.error : "the keeper of its devices has ended");
		return NULL;
	}
	*ret_info = reply.info;
	transport_init(&added, ops, reply.info.id);
	return new_handle(&added, NULL, res);
}
