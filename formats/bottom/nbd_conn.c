// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A connection to an NBD export; see nbd_conn.h.
 *
 * No coroutine exists only to wait for the socket. Of those whose commands are in flight, one is
 * the reader: it waits for the socket, and lets libnbd take what has come, which completes commands
 * of others and at some time its own. Then another one becomes the reader. A command that the
 * socket has no room for makes its coroutine the writer, if there is none.
 *
 * A lost connection fails all commands in flight; each is run again when there is a new one. That
 * is safe: nobody was told about them, and they do the same twice. While some wait for the others
 * to notice, nothing is sent, so no command is overtaken by its own repetition.
 *
 * A server that is connected but silent would hold commands for ever. If they have a limit, the
 * reader looks at it, and gives up the connection; all commands in flight fail.
 *
 * libnbd closes its socket when a connection is lost. Those who wait for the socket have a
 * duplicate of the descriptor, which is shut down to wake them, and closed when all have left.
 */
#include "nbd_conn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "error.h"
#include "keepalive.h"

#define NS_PER_MS     UINT64_C(1000000)
/* Between attempts: the first pause, which doubles up to the longest one. */
#define FIRST_PAUSE   (50 * NS_PER_MS)
#define LONGEST_PAUSE (1000 * NS_PER_MS)
/* For an attempt, if the patience is over. */
#define ATTEMPT_NS    (5000 * NS_PER_MS)

/* A command in flight, in its coroutine. */
struct call {
	struct call *next, **prev;
	struct nbd_cmd *cmd;
	struct coroutine *waiting; /* in a yield; woken by whoever clears it */
	uint64_t end_ns;	   /* when it is given up */
	bool late;		   /* it was */
	bool done;
	int error; /* errno; ENOTCONN: the connection was lost */
};

struct nbd_conn {
	const struct nbd_place *place;
	struct nbd_patience patience;
	const struct nbd_conn_ops *ops;
	void *arg;

	struct thread_lock lock;
	struct co_queue changed; /* waits for calls to leave, or for a connection */
	struct nbd_handle *h GUARDED_BY(lock);
	int fd GUARDED_BY(lock); /* the duplicate */
	bool usable GUARDED_BY(lock);
	bool renew GUARDED_BY(lock);
	bool connecting GUARDED_BY(lock);
	struct call *calls GUARDED_BY(lock);
	struct call *reader GUARDED_BY(lock);
	struct call *writer GUARDED_BY(lock);
	uint64_t look_ns GUARDED_BY(lock);     /* no call is late before */
	uint64_t lost_ns GUARDED_BY(lock);     /* when the connection was lost */
	uint64_t next_try_ns GUARDED_BY(lock); /* earliest attempt */
	bool failed GUARDED_BY(lock);	       /* the last attempt */
	unsigned attempts GUARDED_BY(lock);    /* since a command succeeded */
};

struct nbd_conn *nbd_conn_new(const struct nbd_place *place, const struct nbd_patience *patience,
			      const struct nbd_conn_ops *ops, void *arg)
{
	struct nbd_conn *conn = g_new(struct nbd_conn, 1);

	*conn = (struct nbd_conn){
		.place = place,
		.patience = *patience,
		.ops = ops,
		.arg = arg,
		.fd = -1,
		.look_ns = AIO_NEVER,
		.lost_ns = aio_now_ns(),
	};
	thread_lock_init(&conn->lock);
	co_queue_init(&conn->changed);
	return conn;
}

/* ---- calls ---- */

/* libnbd does not look whether the pieces of an answer to a read are all of it. */
static bool is_incomplete(const struct nbd_cmd *cmd)
{
	return cmd->type == NBD_CMD_READ && cmd->got_bytes != cmd->bytes;
}

/* libnbd calls it inside one of its functions, so with the lock held. */
static int on_completion(void *arg, int *error)
{
	struct call *call = arg;

	call->done = true;
	call->error = !*error && is_incomplete(call->cmd) ? EPROTO : *error;
	co_wake_at(&call->waiting);
	return 1;
}

static int on_chunk(void *arg, const void *data, size_t bytes, uint64_t off, unsigned status,
		    int *error)
{
	struct nbd_cmd *cmd = arg;

	if (status != LIBNBD_READ_ERROR)
		cmd->got_bytes += bytes;
	return 0;
}

static int on_extents(void *arg, const char *context, uint64_t off, uint32_t *entries,
		      size_t nr_entries, int *error)
{
	struct nbd_cmd *cmd = arg;

	if (nr_entries >= 2 && off == cmd->off) {
		cmd->status_bytes = entries[0];
		cmd->status_flags = entries[1];
	}
	return 0;
}

static int64_t issue(struct nbd_handle *h, struct call *call)
{
	struct nbd_cmd *cmd = call->cmd;
	nbd_completion_callback done = { .callback = on_completion, .user_data = call };
	nbd_chunk_callback chunks = { .callback = on_chunk, .user_data = cmd };
	nbd_extent_callback extents = { .callback = on_extents, .user_data = cmd };

	switch (cmd->type) {
	case NBD_CMD_READ:
		cmd->got_bytes = 0;
		return libnbd.aio_pread_structured(h, cmd->buf, cmd->bytes, cmd->off, chunks, done,
						   cmd->flags);
	case NBD_CMD_WRITE:
		return libnbd.aio_pwrite(h, cmd->buf, cmd->bytes, cmd->off, done, cmd->flags);
	case NBD_CMD_FLUSH:
		return libnbd.aio_flush(h, done, cmd->flags);
	case NBD_CMD_TRIM:
		return libnbd.aio_trim(h, cmd->bytes, cmd->off, done, cmd->flags);
	case NBD_CMD_ZERO:
		return libnbd.aio_zero(h, cmd->bytes, cmd->off, done, cmd->flags);
	case NBD_CMD_BLOCK_STATUS:
		return libnbd.aio_block_status(h, cmd->bytes, cmd->off, extents, done, cmd->flags);
	}
	g_assert_not_reached();
}

static void link_call(struct nbd_conn *conn, struct call *call) REQUIRES(conn->lock)
{
	call->next = conn->calls;
	call->prev = &conn->calls;
	if (conn->calls)
		conn->calls->prev = &call->next;
	conn->calls = call;
}

static void unlink_call(struct nbd_conn *conn, struct call *call) REQUIRES(conn->lock)
{
	*call->prev = call->next;
	if (call->next)
		call->next->prev = call->prev;
	if (!conn->calls && (!conn->usable || conn->renew))
		co_queue_wake_all(&conn->changed);
}

/* ---- the connection is lost ---- */

/* After each use of the handle. */
static void look_for_loss(struct nbd_conn *conn) REQUIRES(conn->lock)
{
	if (!conn->usable || !(libnbd.aio_is_dead(conn->h) || libnbd.aio_is_closed(conn->h)))
		return;
	conn->usable = false;
	conn->lost_ns = aio_now_ns();
	shutdown(conn->fd, SHUT_RDWR);
	conn->ops->lost(conn->arg);
}

/* All calls have left. */
static void drop_handle(struct nbd_conn *conn) REQUIRES(conn->lock)
{
	libnbd.close(conn->h);
	conn->h = NULL;
	conn->usable = false;
	conn->renew = false;
	if (conn->fd >= 0)
		close(conn->fd);
	conn->fd = -1;
}

void nbd_conn_co_free(struct nbd_conn *conn)
{
	if (!conn)
		return;
	thread_lock(&conn->lock);
	/* There is room for this much, or the server does not read. */
	if (conn->usable)
		libnbd.aio_disconnect(conn->h, 0);
	drop_handle(conn);
	thread_unlock(&conn->lock);
	co_queue_destroy(&conn->changed);
	thread_lock_destroy(&conn->lock);
	g_free(conn);
}

/* ---- the server is silent ---- */

static void set_end(struct nbd_conn *conn, struct call *call) REQUIRES(conn->lock)
{
	call->end_ns =
		conn->patience.answer_ns ? aio_ns_from_now(conn->patience.answer_ns) : AIO_NEVER;
	conn->look_ns = MIN(conn->look_ns, call->end_ns);
}

/* If a call is late, the connection ends as if the server had hung up. */
static void look_for_late_calls(struct nbd_conn *conn) REQUIRES(conn->lock)
{
	uint64_t now = aio_now_ns();
	bool any_late = false, any_changes = false;

	conn->look_ns = AIO_NEVER;
	for (struct call *call = conn->calls; call; call = call->next) {
		if (call->done)
			continue;
		call->late = call->end_ns <= now;
		if (!call->late)
			conn->look_ns = MIN(conn->look_ns, call->end_ns);
		any_late |= call->late;
		any_changes |= nbd_cmd_changes(call->cmd);
	}
	if (!any_late)
		return;
	if (any_changes)
		conn->ops->abandoned(conn->arg);
	shutdown(conn->fd, SHUT_RDWR);
}

/* The same if the host does not answer; but not if it only takes nothing. */
static void look_for_vanished_host(struct nbd_conn *conn) REQUIRES(conn->lock)
{
	if (keepalive_has_vanished(conn->fd))
		shutdown(conn->fd, SHUT_RDWR);
}

/* ---- waiting for the server ---- */

/* When to stop waiting for it, and look. A host on a UNIX socket is this one. */
static uint64_t next_look_ns(struct nbd_conn *conn) REQUIRES(conn->lock)
{
	if (conn->place->path)
		return conn->look_ns;
	return MIN(conn->look_ns, aio_ns_from_now(KEEPALIVE_LOOK_NS));
}

/* Waits until the socket is ready, and lets libnbd use it; or until it is time to look. */
static void co_serve_socket(struct nbd_conn *conn, short events) REQUIRES(conn->lock)
{
	struct aio_limit limit = { .end_ns = next_look_ns(conn) };
	int fd = conn->fd, found;
	unsigned direction;

	thread_unlock(&conn->lock);
	found = co_poll(fd, events, limit.end_ns == AIO_NEVER ? NULL : &limit);
	if (found < 0 && found != -ETIME)
		co_reschedule();
	thread_lock(&conn->lock);
	if (found == -ETIME && conn->usable) {
		look_for_late_calls(conn);
		look_for_vanished_host(conn);
	}
	if (!conn->usable || found < 0)
		return;
	/* Another one may have been here meanwhile. */
	direction = libnbd.aio_get_direction(conn->h);
	if (direction & LIBNBD_AIO_DIRECTION_READ && found & ~POLLOUT)
		libnbd.aio_notify_read(conn->h);
	else if (direction & LIBNBD_AIO_DIRECTION_WRITE && found & POLLOUT)
		libnbd.aio_notify_write(conn->h);
	look_for_loss(conn);
}

static bool wants_to_write(struct nbd_conn *conn) REQUIRES(conn->lock)
{
	return conn->usable && libnbd.aio_get_direction(conn->h) & LIBNBD_AIO_DIRECTION_WRITE;
}

static void co_be_reader(struct nbd_conn *conn, struct call *call) REQUIRES(conn->lock)
{
	conn->reader = call;
	while (!call->done)
		co_serve_socket(conn, wants_to_write(conn) ? POLLIN | POLLOUT : POLLIN);
	conn->reader = NULL;
}

static void co_be_writer(struct nbd_conn *conn, struct call *call) REQUIRES(conn->lock)
{
	conn->writer = call;
	while (wants_to_write(conn))
		co_serve_socket(conn, POLLOUT);
	conn->writer = NULL;
}

/* Somebody who waits takes the place of the reader. */
static void hand_over(struct nbd_conn *conn) REQUIRES(conn->lock)
{
	struct call *call = conn->calls;

	while (call && (call->done || !call->waiting))
		call = call->next;
	if (call && !conn->reader)
		co_wake_at(&call->waiting);
}

static void co_wait_for_answer(struct nbd_conn *conn, struct call *call) REQUIRES(conn->lock)
{
	while (!call->done) {
		if (!conn->reader) {
			co_be_reader(conn, call);
		} else if (!conn->writer && wants_to_write(conn)) {
			co_be_writer(conn, call);
		} else {
			call->waiting = co_self();
			thread_unlock(&conn->lock);
			co_yield();
			thread_lock(&conn->lock);
		}
	}
	hand_over(conn);
}

/* -ENOTCONN: the connection is, or was, lost; -ETIMEDOUT: because of this command. */
static int co_run_once(struct nbd_conn *conn, struct nbd_cmd *cmd) REQUIRES(conn->lock)
{
	struct call call = { .cmd = cmd };
	bool refused;

	set_end(conn, &call);
	link_call(conn, &call);
	refused = issue(conn->h, &call) < 0;
	if (refused) {
		call.done = true;
		call.error = libnbd.get_errno() ?: EIO;
	}
	look_for_loss(conn);
	co_wait_for_answer(conn, &call);
	if (!call.error)
		conn->attempts = 0;
	/*
	 * The answer of a server that is about to leave: it has not done this, and may take with it
	 * what it has not flushed.
	 */
	if (call.error == ESHUTDOWN && !conn->renew) {
		conn->renew = true;
		conn->ops->lost(conn->arg);
	}
	/* The last: the connection was lost before, or when this was to be sent. */
	if (call.error == ESHUTDOWN || (refused && !conn->usable))
		call.error = ENOTCONN;
	if (call.late && call.error == ENOTCONN)
		call.error = ETIMEDOUT;
	unlink_call(conn, &call);
	return -call.error;
}

/* ---- connecting ---- */

/* 0, or -errno with @err set and the handle closed. */
static int take_handle(struct nbd_conn *conn, struct nbd_handle *h, GError **err)
	REQUIRES(conn->lock)
{
	int fd = fcntl(libnbd.aio_get_fd(h), F_DUPFD_CLOEXEC, 0), ret;

	if (fd < 0) {
		ret = error_set(err, -errno, "cannot duplicate the socket");
		libnbd.close(h);
		return ret;
	}
	conn->h = h;
	conn->fd = fd;
	conn->usable = true;
	return 0;
}

/* Before another attempt, after so many since a command succeeded; none after the first. */
static uint64_t pause_ns(unsigned attempts)
{
	if (!attempts)
		return 0;
	return attempts > 5 ? LONGEST_PAUSE : MIN(FIRST_PAUSE << attempts, LONGEST_PAUSE);
}

/* Nobody notices that on a connection that is not used. */
static bool is_hung_up(int fd)
{
	struct pollfd wait = { .fd = fd, .events = POLLRDHUP };

	return poll(&wait, 1, 0) > 0;
}

/* One attempt, until @end_ns; the lock is dropped meanwhile. */
static int co_try_connect(struct nbd_conn *conn, uint64_t end_ns, GError **err) REQUIRES(conn->lock)
{
	struct aio_limit limit = { .end_ns = end_ns };
	struct nbd_handle *h;
	struct nbd_facts facts;
	bool was_usable = conn->usable, is_lost = was_usable && is_hung_up(conn->fd);
	int ret;

	drop_handle(conn);
	conn->connecting = true;
	thread_unlock(&conn->lock);
	ret = nbd_co_connect(conn->place, &limit, &h, &facts, err);
	thread_lock(&conn->lock);
	conn->connecting = false;
	conn->next_try_ns = aio_ns_from_now(pause_ns(conn->attempts++));
	/* A connection is not lost by being renewed, unless the server has gone before or since. */
	if (is_lost || (was_usable && ret))
		conn->ops->lost(conn->arg);
	if (!ret) {
		ret = conn->ops->accept(conn->arg, &facts, err);
		if (ret)
			libnbd.close(h);
		else
			ret = take_handle(conn, h, err);
	}
	conn->failed = ret;
	co_queue_wake_all(&conn->changed);
	return ret;
}

/*
 * Sleeps until the next attempt; false if the last one failed and the patience ends before. The
 * lock is dropped meanwhile.
 */
static bool co_pause(struct nbd_conn *conn, uint64_t end_ns) REQUIRES(conn->lock)
{
	uint64_t now = aio_now_ns(), next = conn->next_try_ns;

	if (next <= now)
		return true;
	if (next > end_ns && conn->failed)
		return false;
	thread_unlock(&conn->lock);
	co_sleep_ns(next - now);
	thread_lock(&conn->lock);
	return true;
}

static int co_ready(struct nbd_conn *conn) REQUIRES(conn->lock)
{
	while (!conn->usable || conn->renew) {
		uint64_t end_ns = conn->lost_ns + conn->patience.reconnect_ns;

		if (conn->connecting || conn->calls)
			co_queue_wait_thread(&conn->changed, &conn->lock);
		else if (!co_pause(conn, end_ns))
			return -EIO;
		else if (!conn->connecting && !conn->calls && (!conn->usable || conn->renew) &&
			 aio_now_ns() >= conn->next_try_ns)
			co_try_connect(conn, MAX(end_ns, aio_ns_from_now(ATTEMPT_NS)), NULL);
	}
	return 0;
}

int nbd_conn_co_ready(struct nbd_conn *conn)
{
	int ret;

	thread_lock(&conn->lock);
	ret = co_ready(conn);
	thread_unlock(&conn->lock);
	return ret;
}

void nbd_conn_renew(struct nbd_conn *conn)
{
	thread_lock(&conn->lock);
	conn->renew = true;
	if (conn->usable) {
		conn->lost_ns = aio_now_ns();
		conn->next_try_ns = 0;
	}
	thread_unlock(&conn->lock);
}

int nbd_conn_co_open(struct nbd_conn *conn, GError **err)
{
	const struct nbd_patience *patience = &conn->patience;
	uint64_t end_ns = aio_ns_from_now(patience->open_ns ?: patience->answer_ns);
	GError *reason = NULL;
	int ret = libnbd_co_load(err);

	if (ret)
		return ret;
	thread_lock(&conn->lock);
	do {
		g_clear_error(&reason);
		ret = co_try_connect(conn,
				     patience->open_ns || patience->answer_ns ? end_ns : AIO_NEVER,
				     &reason);
	} while (ret && patience->open_ns && co_pause(conn, end_ns));
	thread_unlock(&conn->lock);
	if (ret)
		g_propagate_error(err, reason);
	return ret;
}

/* ---- commands ---- */

static int co_run_or_refuse(struct nbd_conn *conn, struct nbd_cmd *cmd) REQUIRES(conn->lock)
{
	return conn->ops->may_run(conn->arg, cmd) ? co_run_once(conn, cmd) : -EIO;
}

/* *end_ns: until when it may be repeated; 0 before the first attempt. */
static bool may_repeat(struct nbd_conn *conn, const struct nbd_cmd *cmd, int ret, uint64_t *end_ns)
	REQUIRES(conn->lock)
{
	uint64_t more_ns = conn->patience.reconnect_ns;

	if ((ret != -ENOTCONN && ret != -ETIMEDOUT) || !conn->ops->may_run(conn->arg, cmd))
		return false;
	if (*end_ns)
		return aio_now_ns() < *end_ns;
	/* A server that loses each connection gets a second chance; one that is silent does not. */
	*end_ns = aio_ns_from_now(more_ns);
	return ret == -ENOTCONN || more_ns;
}

int nbd_conn_co_run(struct nbd_conn *conn, struct nbd_cmd *cmd)
{
	uint64_t end_ns = 0;
	int ret;

	thread_lock(&conn->lock);
	do
		ret = co_ready(conn) ?: co_run_or_refuse(conn, cmd);
	while (may_repeat(conn, cmd, ret, &end_ns));
	thread_unlock(&conn->lock);
	return ret == -ENOTCONN ? -EIO : ret;
}
