// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Connecting to an NBD export.
 *
 * libnbd resolves names, connects and negotiates, step by step. A step does not wait for the
 * server, but may wait for a resolver, read certificates or compute a handshake: steps run on
 * threads, and the loop only waits for the socket between them.
 *
 * libnbd must connect to TCP servers itself: it checks a certificate against the name that it was
 * given for that.
 */
#include "nbd_connect.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "align.h"
#include "error.h"
#include "keepalive.h"

#define MAX_MIN_BLOCK (64u << 10)
/* Of a request, as in QEMU; a server may say less. */
#define MAX_BLOCK     (32u << 20)
/* Room to round up, as in image_io.c. */
#define MAX_SIZE      ((uint64_t)INT64_MAX - (1 << 21))

struct step {
	struct nbd_handle *h;
	const struct nbd_place *place;
	bool is_write;
	char *message; /* of a failure */
};

/* ---- steps, on a thread ---- */

/* libnbd's message, without the name of its function. */
static int failure(struct step *step)
{
	const char *message = libnbd.get_error() ?: "unknown error", *colon = strstr(message, ": ");
	int error = libnbd.get_errno();

	g_free(step->message);
	step->message = g_strdup(colon ? colon + 2 : message);
	return error ? -error : -EPROTO;
}

static int set_up_tls(struct nbd_handle *h, const struct nbd_place *place)
{
	if (!place->tls)
		return 0;
	if (libnbd.set_tls(h, LIBNBD_TLS_REQUIRE) < 0 ||
	    libnbd.set_tls_verify_peer(h, !place->any_peer) < 0 ||
	    (place->certificates && libnbd.set_tls_certificates(h, place->certificates) < 0) ||
	    (place->psk_file && libnbd.set_tls_psk_file(h, place->psk_file) < 0) ||
	    (place->username && libnbd.set_tls_username(h, place->username) < 0))
		return -1;
	return 0;
}

static int start_on_thread(void *arg)
{
	struct step *step = arg;
	const struct nbd_place *place = step->place;
	struct nbd_handle *h = step->h;
	int ret = -1;

	if (libnbd.set_export_name(h, place->export_name) == 0 &&
	    libnbd.add_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION) == 0 &&
	    set_up_tls(h, place) == 0)
		ret = place->path ? libnbd.aio_connect_unix(h, place->path)
				  : libnbd.aio_connect_tcp(h, place->host, place->port);
	return ret < 0 ? failure(step) : 0;
}

static int continue_on_worker(void *arg)
{
	struct step *step = arg;
	int ret =
		step->is_write ? libnbd.aio_notify_write(step->h) : libnbd.aio_notify_read(step->h);

	return ret < 0 ? failure(step) : 0;
}

/* ---- waiting between them ---- */

static int co_wait_for_server(struct step *step, struct aio_limit *limit)
{
	unsigned direction = libnbd.aio_get_direction(step->h);
	short events = (direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
		       (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0);
	int ret = co_poll(libnbd.aio_get_fd(step->h), events, limit);

	step->is_write = !(direction & LIBNBD_AIO_DIRECTION_READ) ||
			 (direction & LIBNBD_AIO_DIRECTION_WRITE && !(ret & POLLIN));
	return MIN(ret, 0);
}

static int co_negotiate(struct step *step, struct aio_limit *limit)
{
	/* It may wait for a resolver for long. */
	int ret = step->place->path ? co_block_on_worker(start_on_thread, step)
				    : co_run_on_thread("ubd-nbd", start_on_thread, step);

	while (!ret && libnbd.aio_is_connecting(step->h)) {
		ret = co_wait_for_server(step, limit);
		if (!ret)
			ret = co_run_on_worker(continue_on_worker, step);
	}
	if (!ret && !libnbd.aio_is_ready(step->h))
		ret = -ECONNRESET;
	return ret;
}

/* ---- what the server says ---- */

static int check_sizes(const struct nbd_facts *facts, GError **err)
{
	if (facts->size > MAX_SIZE)
		return error_refuse(err, -EFBIG,
				    "the export has %" PRIu64 " bytes, more than %" PRIu64,
				    facts->size, MAX_SIZE);
	if (!is_power_of_2(facts->min_block) || facts->min_block > MAX_MIN_BLOCK)
		return error_refuse(err, -EPROTO,
				    "minimum block size is %u, must be a power of two up to %u",
				    facts->min_block, MAX_MIN_BLOCK);
	if (facts->max_block < facts->min_block)
		return error_refuse(err, -EPROTO,
				    "maximum block size is %u, less than the minimum of %u",
				    facts->max_block, facts->min_block);
	if (!is_aligned(facts->size, facts->min_block))
		return error_refuse(err, -EPROTO,
				    "export size %" PRIu64 " is not multiple of minimum block "
				    "size %u",
				    facts->size, facts->min_block);
	return 0;
}

static uint32_t block_size(struct nbd_handle *h, int which, uint32_t otherwise)
{
	int64_t size = libnbd.get_block_size(h, which);

	return size > 0 ? MIN(size, UINT32_MAX) : otherwise;
}

static int get_facts(struct nbd_handle *h, struct nbd_facts *facts, GError **err)
{
	int64_t size = libnbd.get_size(h);

	*facts = (struct nbd_facts){
		.size = size < 0 ? UINT64_MAX : (uint64_t)size,
		.min_block = block_size(h, LIBNBD_SIZE_MINIMUM, 1),
		.max_block = MIN(block_size(h, LIBNBD_SIZE_MAXIMUM, MAX_BLOCK), MAX_BLOCK),
		.read_only = libnbd.is_read_only(h) > 0,
		.multi_conn = libnbd.can_multi_conn(h) > 0,
		.flush = libnbd.can_flush(h) > 0,
		.fua = libnbd.can_fua(h) > 0,
		.trim = libnbd.can_trim(h) > 0,
		.zero = libnbd.can_zero(h) > 0,
		.fast_zero = libnbd.can_fast_zero(h) > 0,
		.block_status = libnbd.can_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0,
	};
	if (is_power_of_2(facts->min_block))
		facts->max_block = align_down(facts->max_block, facts->min_block);
	return check_sizes(facts, err);
}

int nbd_co_connect(const struct nbd_place *place, struct aio_limit *limit,
		   struct nbd_handle **ret_handle, struct nbd_facts *ret_facts, GError **err)
{
	struct step step = { .h = libnbd.create(), .place = place };
	struct nbd_facts facts;
	int ret;

	if (!step.h)
		return error_refuse(err, -ENOMEM, "out of memory");
	ret = co_negotiate(&step, limit);
	if (ret && step.message)
		error_refuse(err, ret, "%s", step.message);
	else if (ret == -ETIME)
		error_refuse(err, ret, "the server does not answer");
	else if (ret)
		error_refuse(err, ret, "%s", g_strerror(-ret));
	g_free(step.message);
	ret = ret ?: get_facts(step.h, &facts, err);
	if (ret) {
		libnbd.close(step.h);
		return ret;
	}
	keepalive_begin(libnbd.aio_get_fd(step.h));
	*ret_handle = step.h;
	*ret_facts = facts;
	return 0;
}
