// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * NBD requests: the connection's coroutine receives them, and each is served by its own.
 *
 * Small requests are received together, as much as there is; the data of a large write goes
 * directly into its buffer. A request ends once, in nbd_client_send().
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "align.h"
#include "export_nbd_parts.h"
#include "keepalive.h"

/* From this on, the data of a write is not worth copying: no more than a little is received early.
 */
#define LARGE_WRITE_BYTES   (32u << 10)
#define SMALL_INPUT_BYTES   4096
/* What NBD_CMD_CACHE reads at a time. */
#define CACHE_BYTES	    (1u << 20)
/*
 * What is trimmed or zeroed at a time. A piece begins and ends where a cluster does, of whatever
 * size.
 */
#define DATALESS_BYTES	    (UINT64_C(256) << 20)
/* How often to look whether a client that has closed its half has closed the other one. */
#define HALF_CLOSED_LOOK_NS UINT64_C(100000000)

static bool is_block_status(const struct nbd_client_request *req)
{
	return req->type == NBD_CMD_BLOCK_STATUS;
}

/* ---- checks ---- */

/* The flags that a command may have. FUA may be set on any. */
static uint16_t allowed_flags(const struct nbd_client_request *req)
{
	switch (req->type) {
	case NBD_CMD_WRITE:
		return NBD_CMD_FLAG_FUA | (req->client->extended ? NBD_CMD_FLAG_PAYLOAD_LEN : 0);
	case NBD_CMD_READ:
		return NBD_CMD_FLAG_FUA | (req->client->structured ? NBD_CMD_FLAG_DF : 0);
	case NBD_CMD_WRITE_ZEROES:
		return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO;
	case NBD_CMD_BLOCK_STATUS:
		return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_REQ_ONE;
	default:
		return NBD_CMD_FLAG_FUA;
	}
}

static bool changes_disk(const struct nbd_client_request *req)
{
	return req->type == NBD_CMD_WRITE || req->type == NBD_CMD_TRIM ||
	       req->type == NBD_CMD_WRITE_ZEROES;
}

static bool has_context(const struct nbd_client *client)
{
	for (unsigned i = 0; i < client->nr_contexts; i++)
		if (client->contexts[i])
			return true;
	return false;
}

static bool is_within(const struct request_desc *desc, uint64_t size)
{
	return desc->guest_off <= size && desc->bytes <= size - desc->guest_off;
}

static int co_check_range(struct nbd_client_request *req)
{
	/* The disk may have grown since the last look. */
	if (is_within(&req->desc, req->client->size) ||
	    is_within(&req->desc, nbd_client_co_size(req->client)))
		return 0;
	return changes_disk(req) ? -ENOSPC : -EINVAL;
}

/* What the protocol forbids is not a failure of the disk: nobody is told, and nothing is held. */
static int co_check(struct nbd_client_request *req)
{
	const struct nbd_export *export = req->client->export;

	if (req->type > NBD_CMD_BLOCK_STATUS || req->type == NBD_CMD_DISC ||
	    req->flags & ~allowed_flags(req))
		return -EINVAL;
	if (changes_disk(req) && export->read_only)
		return -EPERM;
	if (req->type == NBD_CMD_TRIM && !export->discard)
		return -EINVAL;
	if (is_block_status(req) && (!req->desc.bytes || !has_context(req->client)))
		return -EINVAL;
	if ((req->type == NBD_CMD_READ || req->type == NBD_CMD_CACHE) &&
	    req->desc.bytes > NBD_MAX_PAYLOAD)
		return -EINVAL;
	return req->type == NBD_CMD_FLUSH ? 0 : co_check_range(req);
}

/* ---- NBD_CMD_READ ---- */

struct read_job {
	struct nbd_client_request *req;
	struct nbd_client_piece pieces[NBD_MAX_CHUNKS];
	int nr;
};

static int read_try(void *arg, struct image *image)
{
	struct read_job *job = arg;
	const struct request_desc *desc = &job->req->desc;
	int res = 0;

	if (!job->req->client->structured || job->req->flags & NBD_CMD_FLAG_DF) {
		job->pieces[0] = (struct nbd_client_piece){ .bytes = desc->bytes };
		job->nr = 1;
	} else {
		job->nr = res = nbd_client_co_split_read(desc, image, job->pieces);
	}
	for (int i = 0; i < job->nr && res >= 0; i++) {
		const struct nbd_client_piece *piece = &job->pieces[i];

		if (!piece->is_hole)
			res = image_co_pread(image, desc->guest_off + piece->off, piece->bytes,
					     job->req->buf + piece->off);
	}
	return MIN(res, 0);
}

static void add_piece(struct nbd_client_request *req, const struct nbd_client_piece *piece,
		      bool is_last)
{
	const struct nbd_chunk_hole hole = {
		.offset = htobe64(req->desc.guest_off + piece->off),
		.length = htobe32(piece->bytes),
	};
	const struct nbd_chunk_data data = { .offset = hole.offset };

	if (piece->is_hole)
		nbd_client_add_chunk(req, NBD_REPLY_TYPE_OFFSET_HOLE, is_last, &hole, sizeof(hole),
				     NULL, 0);
	else
		nbd_client_add_chunk(req, NBD_REPLY_TYPE_OFFSET_DATA, is_last, &data, sizeof(data),
				     req->buf + piece->off, piece->bytes);
}

static void add_read(struct nbd_client_request *req, const struct read_job *job)
{
	if (!req->client->structured)
		nbd_client_add_simple(req, 0, req->buf, req->desc.bytes);
	else if (!req->desc.bytes)
		nbd_client_add_chunk(req, NBD_REPLY_TYPE_NONE, true, NULL, 0, NULL, 0);
	for (int i = 0; req->client->structured && req->desc.bytes && i < job->nr; i++)
		add_piece(req, &job->pieces[i], i == job->nr - 1);
}

static int co_read(struct nbd_client_request *req)
{
	struct read_job job = { .req = req };
	struct serve_result result = { 0 };

	if (req->desc.bytes)
		result = serve_co_request(&req->client->serve, &req->desc, req->begin_ns, read_try,
					  &job);
	if (result.res >= 0)
		add_read(req, &job);
	return result.res;
}

/* ---- other commands ---- */

/* Reads, so that caches have the data. */
static int co_cache(struct nbd_client_request *req, struct image *image)
{
	const struct request_desc *desc = &req->desc;
	int res = 0;

	for (uint64_t done = 0; done < desc->bytes && !res; done += req->buf_bytes)
		res = image_co_pread(image, desc->guest_off + done,
				     MIN(req->buf_bytes, desc->bytes - done), req->buf);
	return res;
}

/* In pieces: all of a large disk may take hours, and nobody may be waiting for that any more. */
static int co_dataless(const struct nbd_client_request *req, struct image *image)
{
	const struct request_desc *desc = &req->desc;
	uint64_t off = desc->guest_off, end = off + desc->bytes;
	struct request_desc piece = *desc;
	int res = 0;

	if (desc->bytes <= DATALESS_BYTES)
		return serve_co_dataless(image, desc);
	piece.fua = false;
	for (; off < end && !res; off += piece.bytes) {
		if (nbd_client_must_end(req->client))
			return -ESHUTDOWN;
		piece.guest_off = off;
		piece.bytes = MIN(end, align_down(off, DATALESS_BYTES) + DATALESS_BYTES) - off;
		res = serve_co_dataless(image, &piece);
	}
	return res < 0 || !desc->fua ? res : image_co_flush(image);
}

static int other_try(void *arg, struct image *image)
{
	struct nbd_client_request *req = arg;
	const struct request_desc *desc = &req->desc;

	switch (req->type) {
	case NBD_CMD_WRITE:
		return image_co_pwrite(image, desc->guest_off, desc->bytes, req->buf,
				       serve_request_flags(desc));
	case NBD_CMD_CACHE:
		return co_cache(req, image);
	case NBD_CMD_BLOCK_STATUS:
		return nbd_client_co_block_status(req, image);
	default:
		return co_dataless(req, image);
	}
}

static int co_other(struct nbd_client_request *req)
{
	struct serve_result result =
		serve_co_request(&req->client->serve, &req->desc, req->begin_ns, other_try, req);

	if (result.res >= 0 && !is_block_status(req))
		nbd_client_add_success(req);
	return result.res;
}

/* What it needs beside the request; a write has its data. */
static size_t more_memory(const struct nbd_client_request *req)
{
	if (req->type == NBD_CMD_READ)
		return req->desc.bytes;
	if (req->type == NBD_CMD_CACHE)
		return MIN(req->desc.bytes, CACHE_BYTES);
	if (!is_block_status(req))
		return 0;
	return req->client->nr_contexts * NBD_STATUS_EXTENTS *
	       sizeof(struct nbd_block_descriptor_ext);
}

/* Its only effect would be an answer to a client that is gone. */
static bool is_pointless(const struct nbd_client_request *req)
{
	return req->client->gone && !changes_disk(req) && req->type != NBD_CMD_FLUSH;
}

/* -ESHUTDOWN: nobody needs the request. */
static int co_get_memory(struct nbd_client_request *req)
{
	size_t bytes = is_pointless(req) ? 0 : more_memory(req);
	int res = 0;

	if (bytes && req->type == NBD_CMD_READ)
		nbd_client_co_pace(req->client, bytes);
	if (bytes)
		res = nbd_client_co_get_buffer(req, bytes);
	return is_pointless(req) ? -ESHUTDOWN : res;
}

/*
 * Counts a request that has come, waits for its turn, and calls @co_get for its memory and data:
 * how long the client or other clients make it wait is not the disk's latency. On failure it has
 * come to nothing.
 */
static int co_prepare(struct nbd_client_request *req, int (*co_get)(struct nbd_client_request *req))
{
	struct serve *serve = &req->client->serve;
	struct request_desc limited = req->desc;
	uint64_t start_ns;
	int res;

	req->begin_ns = serve_begin(serve, &req->desc);
	/* To the storage it is a read. */
	if (req->type == NBD_CMD_CACHE)
		limited.op = REQUEST_READ;
	res = serve_co_wait_turn(serve, &limited, req->begin_ns);
	start_ns = aio_turn_ns();
	res = res ?: co_get(req);
	req->begin_ns += aio_turn_ns() - start_ns;
	if (res < 0)
		serve_left(serve);
	return res;
}

/* Its loop is the only one that does. */
static void count(_Atomic uint64_t *counter)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
			      memory_order_release);
}

static void co_serve(struct nbd_client_request *req)
{
	int res;

	count(&req->client->asked);
	res = req->type == NBD_CMD_READ ? co_read(req) : co_other(req);
	count(&req->client->done);
	/* It was cut short, which is not a failure of the disk. */
	if (res == -ESHUTDOWN && nbd_client_must_end(req->client))
		serve_left(&req->client->serve);
	else
		serve_done(&req->client->serve, &req->desc, req->begin_ns, res);
	if (res < 0)
		nbd_client_add_error(req, res);
}

/* That of a write has its data, and has waited for its turn. */
static void request_co(void *arg)
{
	struct nbd_client_request *req = arg;

	if (!req->error && req->type != NBD_CMD_WRITE)
		req->error = co_prepare(req, co_get_memory);
	if (req->error)
		nbd_client_add_error(req, req->error);
	else
		co_serve(req);
	nbd_client_send(req);
}

/* ---- receiving ---- */

/* Waits for @bytes of input; -ECONNRESET: the client has gone. */
static int co_fill(struct nbd_client *client, size_t bytes)
{
	size_t has = client->input_end - client->input_at;

	if (has >= bytes)
		return 0;
	memmove(client->input, client->input + client->input_at, has);
	client->input_at = 0;
	client->input_end = has;
	while (client->input_end < bytes) {
		size_t room = client->expects_much ? SMALL_INPUT_BYTES : NBD_INPUT_BYTES;
		ssize_t got = channel_co_recv(&client->channel, client->input + client->input_end,
					      room - client->input_end, NULL);

		if (got <= 0)
			return got < 0 ? got : -ECONNRESET;
		client->input_end += got;
	}
	return 0;
}

/* What follows the data of a write is received with it. */
static int co_receive_rest(struct nbd_client *client, uint8_t *to, size_t bytes)
{
	client->input_at = client->input_end = 0;
	while (bytes) {
		const struct iovec iov[2] = {
			{ to, bytes },
			{ client->input,
			  client->expects_much ? SMALL_INPUT_BYTES : NBD_INPUT_BYTES },
		};
		ssize_t got = channel_co_recv2(&client->channel, iov, NULL);

		if (got <= 0)
			return got < 0 ? got : -ECONNRESET;
		if ((size_t)got > bytes)
			client->input_end = got - bytes;
		to += MIN((size_t)got, bytes);
		bytes -= MIN((size_t)got, bytes);
	}
	return 0;
}

static int co_receive_data(struct nbd_client_request *req)
{
	struct nbd_client *client = req->client;
	size_t bytes = req->desc.bytes, has;
	int res;

	if (!bytes)
		return 0;
	res = nbd_client_co_get_buffer(req, bytes);
	if (res < 0)
		return res;
	has = MIN(bytes, client->input_end - client->input_at);
	memcpy(req->buf, client->input + client->input_at, has);
	client->input_at += has;
	client->expects_much = bytes >= LARGE_WRITE_BYTES;
	if (has == bytes)
		return 0;
	client->receiving_data = true;
	res = co_receive_rest(client, req->buf + has, bytes - has);
	client->receiving_data = false;
	return res;
}

/* Waits for the header of a request, and makes it a wide one if it is not. */
static int co_take_header(struct nbd_client *client, struct nbd_extended_request *header)
{
	bool wide = client->extended;
	struct nbd_request compact;
	size_t bytes = wide ? sizeof(*header) : sizeof(compact);
	int res = co_fill(client, bytes);

	if (res < 0)
		return res;
	memcpy(wide ? (void *)header : &compact, client->input + client->input_at, bytes);
	client->input_at += bytes;
	if (!wide)
		*header = (struct nbd_extended_request){
			.magic = compact.magic,
			.flags = compact.flags,
			.type = compact.type,
			.cookie = compact.cookie,
			.offset = compact.offset,
			.length = htobe64(be32toh(compact.length)),
		};
	if (be32toh(header->magic) != (wide ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC))
		return -EPROTO;
	return be16toh(header->type) == NBD_CMD_DISC ? -ECONNABORTED : 0;
}

/*
 * Whether data follows. In a wide header a flag must say so, but QEMU (11.1) does not set it for
 * its writes.
 */
static bool has_payload(const struct nbd_client *client, const struct nbd_extended_request *header)
{
	return be16toh(header->type) == NBD_CMD_WRITE ||
	       (client->extended && be16toh(header->flags) & NBD_CMD_FLAG_PAYLOAD_LEN);
}

static void take_request(struct nbd_client_request *req, const struct nbd_extended_request *header)
{
	req->cookie = header->cookie;
	req->type = be16toh(header->type);
	req->flags = be16toh(header->flags);
	req->desc = nbd_extended_request_desc(header);
	req->desc.may_unmap &= req->client->export->discard;
}

/* Receives a request and starts it; -errno: there will be no more. */
static int co_receive(struct nbd_client *client)
{
	struct nbd_client_request *req;
	struct nbd_extended_request header;
	int res = co_take_header(client, &header);
	bool has_data;

	if (res < 0)
		return res;
	has_data = has_payload(client, &header);
	/* Nobody knows where the next request begins, unless all of this is received. */
	if (has_data && be64toh(header.length) > NBD_MAX_PAYLOAD)
		return -EMSGSIZE;
	req = nbd_client_co_get_request(client);
	take_request(req, &header);
	req->error = co_check(req);
	if (!req->error && req->type == NBD_CMD_WRITE)
		res = co_prepare(req, co_receive_data);
	else if (has_data)
		res = co_receive_data(req);
	/* What images have started may use the stack that was there for it. */
	if (res < 0)
		nbd_client_send(req);
	else if (co_spare())
		co_start(request_co, req);
	else
		request_co(req);
	return res;
}

/* ---- the connection ---- */

/* The events of a hang-up, or -errno if the connection has ended before. */
static int co_wait_for_hangup(struct nbd_client *client)
{
	int fd = client->channel.fd, found;

	do {
		client->hangup.end_ns =
			client->is_local ? AIO_NEVER : aio_ns_from_now(KEEPALIVE_LOOK_NS);
		found = co_poll(fd, POLLRDHUP, &client->hangup);
		if (found == -ETIME && keepalive_has_vanished(fd))
			shutdown(fd, SHUT_RDWR);
	} while (found == -ETIME);
	return found;
}

/*
 * Nobody waits for the held requests of a client that hangs up. If it has only closed its half, it
 * waits for answers, and requests must not gain a turn by that; once it is gone, those that have
 * not started never do.
 */
static void hangup_co(void *arg)
{
	struct nbd_client *client = arg;
	int found = co_wait_for_hangup(client);

	if (found > 0)
		serve_release(&client->serve, SERVE_FAILS);
	while (found > 0 && !(found & (POLLHUP | POLLERR))) {
		client->hangup.end_ns = aio_ns_from_now(HALF_CLOSED_LOOK_NS);
		found = co_wait_limit(&client->hangup);
		if (found == -ETIME)
			found = co_wait_for_hangup(client);
	}
	if (found < 0)
		return;
	nbd_client_be_gone(client);
	serve_set_turns(&client->serve, SERVE_DROPS);
}

void nbd_client_co_transmit(struct nbd_client *client)
{
	/* What images have started may use those that were there. */
	if (co_reserve(2) < 0)
		return;
	co_group_start(&client->group, nbd_client_sender_co, client);
	co_group_start(&client->group, hangup_co, client);
	while (!atomic_load(&client->stopping) && co_receive(client) == 0)
		;
	serve_release(&client->serve, SERVE_FAILS);
	nbd_client_co_wait_answered(client);
	nbd_client_end_sender(client);
	aio_limit_cancel(&client->hangup);
	aio_limit_cancel(&client->stalling);
	co_group_wait(&client->group);
}
