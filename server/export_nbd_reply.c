// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Answers to NBD options and requests.
 *
 * A request that has its answer waits in a list. The sender takes all that have gathered in a turn
 * of the loop, or while the answers before them were sent, and sends them with one system call.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "export_nbd_parts.h"

/* ---- the handshake ---- */

int nbd_client_co_reply_option(struct nbd_client *client, uint32_t option, uint32_t type,
			       const void *head, size_t head_bytes, const void *data, size_t bytes)
{
	struct nbd_option_reply reply = {
		.magic = htobe64(NBD_REP_MAGIC),
		.option = htobe32(option),
		.type = htobe32(type),
		.length = htobe32(head_bytes + bytes),
	};
	struct iovec iov[] = {
		{ &reply, sizeof(reply) },
		{ (void *)head, head_bytes },
		{ (void *)data, bytes },
	};

	return channel_co_send_all(&client->channel, iov, G_N_ELEMENTS(iov), &client->handshake);
}

/* ---- requests ---- */

static bool has_stack(struct nbd_client *client)
{
	if (client->in_flight < client->stacks)
		return true;
	if (co_reserve_more(1) < 0)
		return false;
	client->stacks++;
	return true;
}

/* Without memory for another stack, a request waits for one of the client's to end. */
struct nbd_client_request *nbd_client_co_get_request(struct nbd_client *client)
{
	struct nbd_client_request *req;

	while (!client->free || !has_stack(client))
		co_wait_at(&client->receiver);
	req = client->free;
	client->free = req->next;
	client->in_flight++;
	req->niov = req->nr_heads = 0;
	req->buf = NULL;
	return req;
}

static void put_request(struct nbd_client_request *req)
{
	struct nbd_client *client = req->client;

	if (req->buf)
		nbd_client_put_buffer(req);
	req->next = client->free;
	client->free = req;
	client->in_flight--;
	co_wake_at(&client->receiver);
}

void nbd_client_co_wait_answered(struct nbd_client *client)
{
	while (client->in_flight)
		co_wait_at(&client->receiver);
}

/* ---- answers ---- */

static void add_iovec(struct nbd_client_request *req, void *base, size_t bytes)
{
	if (bytes)
		req->iov[req->niov++] = (struct iovec){ base, bytes };
}

/* Before each chunk; returns how long it is. */
static size_t put_chunk_header(const struct nbd_client_request *req, uint8_t *to, uint16_t type,
			       bool is_last, uint32_t length)
{
	const struct nbd_extended_reply wide = {
		.magic = htobe32(NBD_EXTENDED_REPLY_MAGIC),
		.flags = htobe16(is_last ? NBD_REPLY_FLAG_DONE : 0),
		.type = htobe16(type),
		.cookie = req->cookie,
		.offset = htobe64(req->desc.guest_off),
		.length = htobe64(length),
	};
	const struct nbd_structured_reply compact = {
		.magic = htobe32(NBD_STRUCTURED_REPLY_MAGIC),
		.flags = wide.flags,
		.type = wide.type,
		.cookie = req->cookie,
		.length = htobe32(length),
	};

	if (req->client->extended)
		memcpy(to, &wide, sizeof(wide));
	else
		memcpy(to, &compact, sizeof(compact));
	return req->client->extended ? sizeof(wide) : sizeof(compact);
}

void nbd_client_add_chunk(struct nbd_client_request *req, uint16_t type, bool is_last,
			  const void *head, size_t head_bytes, void *data, size_t bytes)
{
	uint8_t *to = req->heads[req->nr_heads++];
	size_t header_bytes = put_chunk_header(req, to, type, is_last, head_bytes + bytes);

	if (head_bytes)
		memcpy(to + header_bytes, head, head_bytes);
	add_iovec(req, to, header_bytes + head_bytes);
	add_iovec(req, data, bytes);
}

void nbd_client_add_simple(struct nbd_client_request *req, int res, void *data, size_t bytes)
{
	const struct nbd_simple_reply reply = {
		.magic = htobe32(NBD_SIMPLE_REPLY_MAGIC),
		.error = htobe32(nbd_error_of(res)),
		.cookie = req->cookie,
	};
	uint8_t *to = req->heads[req->nr_heads++];

	memcpy(to, &reply, sizeof(reply));
	add_iovec(req, to, sizeof(reply));
	add_iovec(req, data, bytes);
}

void nbd_client_add_success(struct nbd_client_request *req)
{
	if (req->client->extended)
		nbd_client_add_chunk(req, NBD_REPLY_TYPE_NONE, true, NULL, 0, NULL, 0);
	else
		nbd_client_add_simple(req, 0, NULL, 0);
}

void nbd_client_add_error(struct nbd_client_request *req, int res)
{
	const struct nbd_chunk_error error = { .error = htobe32(nbd_error_of(res)) };

	if (req->client->extended ||
	    (req->client->structured &&
	     (req->type == NBD_CMD_READ || req->type == NBD_CMD_BLOCK_STATUS)))
		nbd_client_add_chunk(req, NBD_REPLY_TYPE_ERROR, true, &error, sizeof(error), NULL,
				     0);
	else
		nbd_client_add_simple(req, res, NULL, 0);
}

void nbd_client_send(struct nbd_client_request *req)
{
	struct nbd_client *client = req->client;

	req->next = NULL;
	*client->to_send_end = req;
	client->to_send_end = &req->next;
	co_wake_at(&client->sender);
}

/* ---- the sender ---- */

/* Takes requests from the list for as long as their iovecs have room; the first of them. */
static struct nbd_client_request *take_batch(struct nbd_client *client, unsigned *ret_niov)
{
	struct nbd_client_request *first = client->to_send, **end = &client->to_send;
	unsigned niov = 0;

	while (*end && niov + (*end)->niov <= NBD_SEND_IOVECS) {
		memcpy(client->send_iov + niov, (*end)->iov, (*end)->niov * sizeof(struct iovec));
		niov += (*end)->niov;
		end = &(*end)->next;
	}
	client->to_send = *end;
	if (!client->to_send)
		client->to_send_end = &client->to_send;
	*end = NULL;
	*ret_niov = niov;
	return first;
}

static void co_send_batch(struct nbd_client *client)
{
	unsigned niov;
	struct nbd_client_request *req = take_batch(client, &niov), *next;

	client->sending = true;
	if (!client->gone &&
	    channel_co_send_all(&client->channel, client->send_iov, niov, NULL) < 0) {
		nbd_client_be_gone(client);
		/* The receiver ends, too. */
		shutdown(client->channel.fd, SHUT_RDWR);
	}
	client->sending = false;
	for (; req; req = next) {
		next = req->next;
		put_request(req);
	}
	nbd_client_answers_sent(client);
}

void nbd_client_sender_co(void *arg)
{
	struct nbd_client *client = arg;

	while (!client->sender_must_end || client->to_send) {
		if (client->to_send)
			co_send_batch(client);
		else
			co_wait_at(&client->sender);
	}
}

void nbd_client_end_sender(struct nbd_client *client)
{
	client->sender_must_end = true;
	co_wake_at(&client->sender);
}
