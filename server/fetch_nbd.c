// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Fetching requests from nbd.ko: the kernel is an NBD client on the other end of a socket. Requests
 * arrive one after another, those that write followed by their data, and answers go back in any
 * order.
 *
 * What has arrived is received in chunks that hold many small requests, so that a turn of the loop
 * takes one system call for all of them; the rest of a large write goes straight into the tag's
 * buffer. The answers of a turn are sent together just before the loop enters the kernel, while
 * those of the turn before may still be on their way: one message at a time keeps them apart.
 *
 * 1. A tag belongs to a request from the arrival of its header until its answer has been sent,
 * since the data of a read is sent from the tag's buffer. Without a free tag nothing is received,
 * and further requests wait in the socket.
 * 2. There is at most one receive and one send in flight.
 * 3. The kernel says that it disconnects (NBD_CMD_DISC). If the connection ends without that, the
 *    queue is broken: the kernel may send its requests once more on another connection.
 * 4. The first bytes of the first answer, the magic number, are in the socket from the start
 *    (control/nbd_attach.c).
 * 5. The kernel sends requests of up to NBD_MAX_PAYLOAD if somebody has raised the disk's
 *    max_sectors_kb. Those for which a tag has no room get memory of their own, NBD_MAX_PAYLOAD in
 *    all. The next one waits in the chunk until it fits, and everything behind it in the socket.
 */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "container_of.h"
#include "data_memory.h"
#include "error.h"
#include "fetch_way.h"
#include "nbd_wire.h"

/* Requests of 4 KiB with data: 15 of them. Copying more than that would not be cheap. */
#define CHUNK_BYTES (64u << 10)
/* How many answers a message has at most: two pieces each, for the reply and for data. */
#define MAX_SENT    (IOV_MAX / 2)

struct tag {
	struct nbd_simple_reply reply;
	struct request_desc desc;
	size_t large_bytes; /* of its own memory; rule 5 */
	int refusal;	    /* -errno: it is not served, and its data is dropped */
};

struct nbd_fetch {
	struct fetch fetch;
	struct aio_op recv_op, send_op;
	struct tag *tags;
	uint16_t *free_tags;
	unsigned nr_free;
	size_t large_bytes; /* of all tags */
	bool lacks_memory;  /* the next request waits for it */

	/* What has been received and not taken yet: chunk[at] to chunk[end]. */
	uint8_t *chunk;
	size_t at, end;
	struct iovec recv_iov[2];
	struct msghdr recv_msg;
	bool receiving;
	bool ended; /* nothing more is received */

	/* The request whose data is arriving, and how many bytes of it are missing. */
	struct tag *writing;
	size_t missing;

	/* Tags with an answer: those that are gathered, and those that are being sent. */
	uint16_t *gathered, *sent;
	unsigned nr_gathered, nr_sent;
	struct aio_hook end_of_turn; /* added when there is something to send */
	bool sends_soon;	     /* it is */
	struct iovec *send_iov;
	struct msghdr send_msg;
	bool has_answered; /* at least once */
};

static const struct fetch_config *config_of(const struct nbd_fetch *nbd)
{
	return &nbd->fetch.config;
}

static uint16_t number_of(const struct nbd_fetch *nbd, const struct tag *tag)
{
	return tag - nbd->tags;
}

static uint8_t *buffer_of(const struct nbd_fetch *nbd, const struct tag *tag)
{
	return (uint8_t *)(uintptr_t)data_fetch_addr(config_of(nbd)->data, number_of(nbd, tag));
}

/* Errors after which the same may succeed. */
static bool passes(int32_t res)
{
	return res == -EINTR || res == -EAGAIN || res == -ENOMEM || res == -ENOBUFS;
}

/* ---- the end ---- */

/* @error: -errno if the kernel has not disconnected properly. */
static void end(struct nbd_fetch *nbd, int error)
{
	nbd->ended = true;
	if (error)
		config_of(nbd)->events->refused(config_of(nbd)->arg, error);
	fetch_end_one(&nbd->fetch);
}

/* ---- memory ---- */

static bool has_data(const struct request_desc *desc)
{
	return desc->op == REQUEST_READ || desc->op == REQUEST_WRITE;
}

static bool is_large(const struct nbd_fetch *nbd, const struct request_desc *desc)
{
	return has_data(desc) && desc->bytes > config_of(nbd)->max_io_bytes;
}

/* What is too large for all of the memory is refused, and does not wait. */
static bool must_wait(const struct nbd_fetch *nbd, const struct request_desc *desc)
{
	return is_large(nbd, desc) && desc->bytes <= NBD_MAX_PAYLOAD &&
	       nbd->large_bytes + desc->bytes > NBD_MAX_PAYLOAD;
}

/* 0 or -errno. */
static int make_room(struct nbd_fetch *nbd, struct tag *tag)
{
	int res;

	if (!is_large(nbd, &tag->desc))
		return 0;
	if (tag->desc.bytes > NBD_MAX_PAYLOAD)
		return -EINVAL;
	res = data_enlarge(config_of(nbd)->data, number_of(nbd, tag), tag->desc.bytes);
	if (res < 0)
		return res;
	tag->large_bytes = tag->desc.bytes;
	nbd->large_bytes += tag->large_bytes;
	return 0;
}

static void free_tag(struct nbd_fetch *nbd, uint16_t number)
{
	struct tag *tag = &nbd->tags[number];

	data_shrink(config_of(nbd)->data, number);
	nbd->large_bytes -= tag->large_bytes;
	tag->large_bytes = 0;
	nbd->free_tags[nbd->nr_free++] = number;
}

/* ---- answers ---- */

static void send_soon(struct nbd_fetch *nbd)
{
	if (nbd->sends_soon || !nbd->nr_gathered)
		return;
	nbd->sends_soon = true;
	aio_at_end_of_turn(&nbd->end_of_turn);
}

static void gather(struct nbd_fetch *nbd, struct tag *tag, int32_t result)
{
	assert(nbd->nr_gathered < config_of(nbd)->depth);
	tag->reply.error = htobe32(nbd_error_of(result));
	nbd->gathered[nbd->nr_gathered++] = number_of(nbd, tag);
	send_soon(nbd);
}

static void put_answer(struct nbd_fetch *nbd, struct tag *tag)
{
	struct iovec *iov = &nbd->send_iov[nbd->send_msg.msg_iovlen++];
	size_t skip;

	/* Rule 4. */
	skip = nbd->has_answered ? 0 : sizeof(tag->reply.magic);
	nbd->has_answered = true;
	*iov = (struct iovec){ (uint8_t *)&tag->reply + skip, sizeof(tag->reply) - skip };
	if (tag->desc.op != REQUEST_READ || tag->reply.error)
		return;
	iov = &nbd->send_iov[nbd->send_msg.msg_iovlen++];
	*iov = (struct iovec){ buffer_of(nbd, tag), tag->desc.bytes };
}

static void send_message(struct nbd_fetch *nbd)
{
	struct io_uring_sqe *sqe = aio_get_sqe(config_of(nbd)->loop);

	/* With MSG_WAITALL, the kernel itself goes on after a short send. */
	io_uring_prep_sendmsg(sqe, config_of(nbd)->char_fd, &nbd->send_msg,
			      MSG_NOSIGNAL | MSG_WAITALL);
	aio_sqe_set_op(sqe, &nbd->send_op);
}

/* Before the loop enters the kernel. */
static void send_answers(struct aio_hook *hook)
{
	struct nbd_fetch *nbd = container_of(hook, struct nbd_fetch, end_of_turn);
	uint16_t *tags = nbd->gathered;

	nbd->sends_soon = false;
	if (nbd->nr_sent || !nbd->nr_gathered)
		return;
	nbd->nr_sent = MIN(nbd->nr_gathered, MAX_SENT);
	nbd->send_msg = (struct msghdr){ .msg_iov = nbd->send_iov };
	for (unsigned i = 0; i < nbd->nr_sent; i++)
		put_answer(nbd, &nbd->tags[tags[i]]);
	memcpy(nbd->sent, tags, nbd->nr_sent * sizeof(*tags));
	nbd->nr_gathered -= nbd->nr_sent;
	memmove(tags, tags + nbd->nr_sent, nbd->nr_gathered * sizeof(*tags));
	send_message(nbd);
}

/* Takes the first @bytes out of the message; whether something is left. */
static bool advance(struct msghdr *msg, size_t bytes)
{
	while (msg->msg_iovlen && bytes >= msg->msg_iov->iov_len) {
		bytes -= msg->msg_iov->iov_len;
		msg->msg_iov++;
		msg->msg_iovlen--;
	}
	if (!msg->msg_iovlen)
		return false;
	msg->msg_iov->iov_base = (uint8_t *)msg->msg_iov->iov_base + bytes;
	msg->msg_iov->iov_len -= bytes;
	return true;
}

static void take(struct nbd_fetch *nbd);

static void answers_sent(struct aio_op *op, int32_t res, uint32_t flags)
{
	struct nbd_fetch *nbd = container_of(op, struct nbd_fetch, send_op);
	unsigned count = nbd->nr_sent;

	if (passes(res) || (res >= 0 && advance(&nbd->send_msg, res))) {
		send_message(nbd);
		return;
	}
	/* The answers are lost with the connection, whose end is received, too. */
	if (res < 0)
		shutdown(config_of(nbd)->char_fd, SHUT_RDWR);
	for (unsigned i = 0; i < count; i++)
		free_tag(nbd, nbd->sent[i]);
	nbd->nr_sent = 0;
	send_soon(nbd);
	/* It may have waited for a tag, or for memory. */
	take(nbd);
	while (count--)
		fetch_end_one(&nbd->fetch);
}

static void nbd_answer(struct fetch *fetch, uint16_t tag, int32_t result)
{
	struct nbd_fetch *nbd = (struct nbd_fetch *)fetch;

	gather(nbd, &nbd->tags[tag], result);
}

/*
 * The server leaves, so the tag does not become free. If the queue has stopped receiving for want
 * of tags or memory, it does not begin again.
 */
static void nbd_leave(struct fetch *fetch, uint16_t tag)
{
	struct nbd_fetch *nbd = (struct nbd_fetch *)fetch;

	if (!nbd->ended && !nbd->receiving)
		end(nbd, 0);
	fetch_end_one(fetch);
}

/* ---- requests ---- */

/* All of the request has arrived. */
static void hand_over(struct nbd_fetch *nbd, struct tag *tag)
{
	nbd->fetch.live++;
	if (tag->refusal) {
		gather(nbd, tag, tag->refusal);
		return;
	}
	fetch_request(&nbd->fetch, number_of(nbd, tag), &tag->desc);
	fetch_begin_requests(&nbd->fetch);
}

static void begin_request(struct nbd_fetch *nbd, uint64_t cookie, const struct request_desc *desc)
{
	struct tag *tag = &nbd->tags[nbd->free_tags[--nbd->nr_free]];

	tag->reply.cookie = cookie;
	tag->desc = *desc;
	tag->refusal = make_room(nbd, tag);
	if (tag->desc.op == REQUEST_WRITE && tag->desc.bytes) {
		nbd->writing = tag;
		nbd->missing = tag->desc.bytes;
	} else {
		hand_over(nbd, tag);
	}
}

/* Whether there was something to take. */
static bool take_header(struct nbd_fetch *nbd)
{
	struct nbd_request wire;
	struct request_desc desc;

	if (!nbd->nr_free || nbd->end - nbd->at < sizeof(wire))
		return false;
	memcpy(&wire, nbd->chunk + nbd->at, sizeof(wire));
	desc = nbd_request_desc(&wire);
	nbd->lacks_memory = must_wait(nbd, &desc);
	if (nbd->lacks_memory)
		return false;
	nbd->at += sizeof(wire);
	if (wire.magic != htobe32(NBD_REQUEST_MAGIC)) {
		/* So that the kernel does not wait for us. */
		shutdown(config_of(nbd)->char_fd, SHUT_RD);
		end(nbd, -EPROTO);
	} else if (wire.type == htobe16(NBD_CMD_DISC)) {
		end(nbd, 0);
	} else {
		begin_request(nbd, wire.cookie, &desc);
	}
	return true;
}

/* Where the missing data belongs; NULL: nowhere, the request is refused. */
static uint8_t *place_of_data(const struct nbd_fetch *nbd)
{
	if (nbd->writing->refusal)
		return NULL;
	return buffer_of(nbd, nbd->writing) + (nbd->writing->desc.bytes - nbd->missing);
}

static void note_data(struct nbd_fetch *nbd, size_t bytes)
{
	nbd->missing -= bytes;
	if (!nbd->missing)
		hand_over(nbd, nbd->writing);
}

/* Whether there was something to take. */
static bool take_data(struct nbd_fetch *nbd)
{
	size_t bytes = MIN(nbd->missing, nbd->end - nbd->at);
	uint8_t *place = place_of_data(nbd);

	if (!bytes)
		return false;
	if (place)
		memcpy(place, nbd->chunk + nbd->at, bytes);
	nbd->at += bytes;
	note_data(nbd, bytes);
	return true;
}

/* ---- receiving ---- */

static void receive(struct nbd_fetch *nbd)
{
	struct io_uring_sqe *sqe = aio_get_sqe(config_of(nbd)->loop);
	uint8_t *place = nbd->missing ? place_of_data(nbd) : NULL;
	unsigned niov = 0;

	memmove(nbd->chunk, nbd->chunk + nbd->at, nbd->end - nbd->at);
	nbd->end -= nbd->at;
	nbd->at = 0;
	if (place)
		nbd->recv_iov[niov++] = (struct iovec){ place, nbd->missing };
	nbd->recv_iov[niov++] = (struct iovec){ nbd->chunk + nbd->end, CHUNK_BYTES - nbd->end };
	nbd->recv_msg = (struct msghdr){ .msg_iov = nbd->recv_iov, .msg_iovlen = niov };
	io_uring_prep_recvmsg(sqe, config_of(nbd)->char_fd, &nbd->recv_msg, 0);
	aio_sqe_set_op(sqe, &nbd->recv_op);
	nbd->receiving = true;
}

/* Takes what is there, and asks for more. */
static void take(struct nbd_fetch *nbd)
{
	while (!nbd->ended && (nbd->missing ? take_data(nbd) : take_header(nbd)))
		;
	if (!nbd->ended && !nbd->receiving &&
	    (nbd->missing || (nbd->nr_free && !nbd->lacks_memory)))
		receive(nbd);
}

static void received(struct aio_op *op, int32_t res, uint32_t flags)
{
	struct nbd_fetch *nbd = container_of(op, struct nbd_fetch, recv_op);
	size_t placed = 0;

	nbd->receiving = false;
	if (res <= 0 && !passes(res)) {
		end(nbd, res ?: -ECONNRESET);
		return;
	}
	res = MAX(res, 0);
	if (nbd->recv_msg.msg_iovlen == 2)
		placed = MIN((size_t)res, nbd->missing);
	nbd->end += res - placed;
	if (placed)
		note_data(nbd, placed);
	take(nbd);
}

static int nbd_begin(struct fetch *fetch)
{
	receive((struct nbd_fetch *)fetch);
	return 0;
}

/* ---- begin and end ---- */

static void nbd_free(struct fetch *fetch)
{
	struct nbd_fetch *nbd = (struct nbd_fetch *)fetch;

	g_free(nbd->tags);
	g_free(nbd->free_tags);
	data_memory_free_buffer(nbd->chunk, CHUNK_BYTES);
	g_free(nbd->gathered);
	g_free(nbd->sent);
	g_free(nbd->send_iov);
	g_free(nbd);
}

static void init_tags(struct nbd_fetch *nbd, unsigned depth)
{
	nbd->tags = g_new0(struct tag, depth);
	nbd->free_tags = g_new(uint16_t, depth);
	nbd->nr_free = depth;
	for (unsigned tag = 0; tag < depth; tag++) {
		nbd->tags[tag].reply.magic = htobe32(NBD_SIMPLE_REPLY_MAGIC);
		/* The last one is used first, as its memory is warm. */
		nbd->free_tags[tag] = depth - 1 - tag;
	}
}

static struct fetch *nbd_new(const struct fetch_config *config, GError **err)
{
	uint8_t *chunk = data_memory_alloc_buffer(CHUNK_BYTES);
	struct nbd_fetch *nbd;

	if (!chunk) {
		error_set(err, -ENOMEM, "memory for a queue");
		return NULL;
	}
	nbd = g_new0(struct nbd_fetch, 1);
	nbd->chunk = chunk;
	nbd->fetch.config = *config;
	nbd->fetch.live = 1; /* until nothing more is received */
	nbd->recv_op.done = received;
	nbd->send_op.done = answers_sent;
	nbd->end_of_turn.fn = send_answers;
	init_tags(nbd, config->depth);
	nbd->gathered = g_new(uint16_t, config->depth);
	nbd->sent = g_new(uint16_t, config->depth);
	nbd->send_iov = g_new(struct iovec, 2 * MIN(config->depth, MAX_SENT));
	return &nbd->fetch;
}

static const struct fetch_way way = {
	.new = nbd_new,
	.free = nbd_free,
	.begin = nbd_begin,
	.answer = nbd_answer,
	.leave = nbd_leave,
};

const struct transport_queues transport_queues_nbd = {
	.fetch = &way,
	.ring_uses = RING_MESSAGES,
	.result_lost = -EIO,
};
