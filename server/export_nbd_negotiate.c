// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The handshake with an NBD client, and its options.
 *
 * Nothing is received beyond an option, so that what a client sends before TLS is not taken for
 * something that was sent with TLS.
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "export_nbd_parts.h"
#include "memory_budget.h"
#include "tls.h"

/* What no client needs: more options than this, or data of an option that is drained. */
#define MAX_OPTIONS	     1000
#define MAX_DRAINED	     (1u << 20)

/* Below this, requests are read-modify-write for many formats. */
#define PREFERRED_BLOCK_SIZE 4096

struct option {
	uint32_t nr;
	uint32_t bytes;
	const uint8_t *data;
};

static int co_take(struct nbd_client *client, void *buf, size_t bytes)
{
	return channel_co_recv_all(&client->channel, buf, bytes, &client->handshake);
}

static int co_say(struct nbd_client *client, const void *buf, size_t bytes)
{
	struct iovec iov = { (void *)buf, bytes };

	return channel_co_send_all(&client->channel, &iov, 1, &client->handshake);
}

/* ---- replies to options ---- */

static int co_ack(struct nbd_client *client, const struct option *option)
{
	return nbd_client_co_reply_option(client, option->nr, NBD_REP_ACK, NULL, 0, NULL, 0);
}

static int co_refuse(struct nbd_client *client, const struct option *option, uint32_t type,
		     const char *why)
{
	return nbd_client_co_reply_option(client, option->nr, type, why, strlen(why), NULL, 0);
}

/* ---- a place among the clients of the export ---- */

struct place_wait {
	struct nbd_client *client;
	struct budget_waiter waiter;
	struct aio_limit limit;
	bool waits, must_end;
};

/* When the client hangs up, when its handshake lasts too long, and when the export ends. */
static void end_wait_co(void *arg)
{
	struct place_wait *wait = arg;

	co_poll(wait->client->channel.fd, POLLRDHUP, &wait->limit);
	wait->must_end = true;
	if (wait->waits)
		memory_budget_cancel(wait->client->export->places, &wait->waiter);
}

static int co_take_place(struct nbd_client *client)
{
	struct place_wait wait = {
		.client = client,
		.limit = { .end_ns = client->handshake.end_ns },
	};
	struct co_group group = { 0 };

	if (!client->export->places)
		return 0;
	if (co_reserve(1) < 0)
		return -ENOMEM;
	co_group_start(&group, end_wait_co, &wait);
	if (!wait.must_end) {
		wait.waits = true;
		client->has_place = memory_budget_co_take(client->export->places, 1, &wait.waiter);
		wait.waits = false;
	}
	aio_limit_cancel(&wait.limit);
	co_group_wait(&group);
	return client->has_place ? 0 : -ECONNABORTED;
}

/* ---- the export ---- */

static uint16_t transmission_flags(const struct nbd_client *client)
{
	const struct nbd_export *export = client->export;
	/* All connections use the same image, so a flush is one of all that they have written. */
	unsigned flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_CAN_MULTI_CONN | NBD_FLAG_SEND_FLUSH |
			 NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_CACHE;

	if (export->read_only)
		flags |= NBD_FLAG_READ_ONLY;
	else
		flags |= NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO;
	if (!export->read_only && export->discard)
		flags |= NBD_FLAG_SEND_TRIM;
	if (client->structured)
		flags |= NBD_FLAG_SEND_DF;
	return flags;
}

/* The only option without a reply that can be an error. 1: the handshake is over. */
static int co_export_name(struct nbd_client *client, const struct option *option)
{
	struct nbd_export_name_reply reply = { 0 };
	size_t bytes = sizeof(reply) - (client->no_zeroes ? sizeof(reply.zeroes) : 0);
	int res;

	if (!nbd_client_choose(client, option->data, option->bytes))
		return -ENOENT;
	/* Clients that know them know NBD_OPT_GO, and must use it. */
	if (client->extended)
		return -EPROTO;
	res = co_take_place(client);
	if (res < 0)
		return res;
	reply.size = htobe64(nbd_client_co_size(client));
	reply.flags = htobe16(transmission_flags(client));
	return co_say(client, &reply, bytes) ?: 1;
}

static int co_list_one(struct nbd_client *client, const struct option *option, const char *name,
		       const char *description)
{
	size_t name_bytes = strlen(name);
	g_autofree uint8_t *head = g_malloc(sizeof(uint32_t) + name_bytes);
	uint32_t be_bytes = htobe32(name_bytes);

	memcpy(head, &be_bytes, sizeof(be_bytes));
	memcpy(head + sizeof(be_bytes), name, name_bytes);
	return nbd_client_co_reply_option(client, option->nr, NBD_REP_SERVER, head,
					  sizeof(be_bytes) + name_bytes, description,
					  strlen(description));
}

static int co_list(struct nbd_client *client, const struct option *option)
{
	g_autoptr(GPtrArray) list = NULL;
	int res = 0;

	if (option->bytes)
		return co_refuse(client, option, NBD_REP_ERR_INVALID, "unexpected data");
	list = nbd_exports_list(client->settings->exports);
	for (unsigned i = 0; i < list->len && !res; i += 2)
		res = co_list_one(client, option, list->pdata[i], list->pdata[i + 1]);
	return res ?: co_ack(client, option);
}

/* ---- NBD_OPT_INFO and NBD_OPT_GO ---- */

static int co_info(struct nbd_client *client, const struct option *option, const void *info,
		   size_t bytes, const char *text)
{
	return nbd_client_co_reply_option(client, option->nr, NBD_REP_INFO, info, bytes, text,
					  text ? strlen(text) : 0);
}

static int co_info_export(struct nbd_client *client, const struct option *option)
{
	const struct nbd_info_export info = {
		.type = htobe16(NBD_INFO_EXPORT),
		.size = htobe64(nbd_client_co_size(client)),
		.flags = htobe16(transmission_flags(client)),
	};

	return co_info(client, option, &info, sizeof(info), NULL);
}

/* What the client has asked for, if it is known. */
static int co_info_asked(struct nbd_client *client, const struct option *option, uint16_t type)
{
	const struct nbd_export *export = client->export;
	const uint16_t be_type = htobe16(type);
	const struct nbd_info_block_size block_size = {
		.type = be_type,
		.minimum = htobe32(1),
		.preferred = htobe32(PREFERRED_BLOCK_SIZE),
		.maximum = htobe32(NBD_MAX_PAYLOAD),
	};

	switch (type) {
	case NBD_INFO_NAME:
		return co_info(client, option, &be_type, sizeof(be_type), export->name);
	case NBD_INFO_DESCRIPTION:
		if (!export->description)
			return 0;
		return co_info(client, option, &be_type, sizeof(be_type), export->description);
	case NBD_INFO_BLOCK_SIZE:
		return co_info(client, option, &block_size, sizeof(block_size), NULL);
	default:
		return 0;
	}
}

/* A number of the option's data; the caller has checked that it is there. */
static uint32_t get_be32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return be32toh(value);
}

static uint16_t get_be16(const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return be16toh(value);
}

/* The data is: the length of the name, the name, the number of types, the types. */
static bool info_is_valid(const struct option *option, uint32_t *ret_name_bytes,
			  uint16_t *ret_types)
{
	uint32_t name_bytes;

	if (option->bytes < 6)
		return false;
	name_bytes = get_be32(option->data);
	if (name_bytes > option->bytes - 6 || name_bytes > NBD_MAX_STRING)
		return false;
	*ret_name_bytes = name_bytes;
	*ret_types = get_be16(option->data + 4 + name_bytes);
	return option->bytes - 6 - name_bytes == 2u * *ret_types;
}

/* The types that were asked for, each once. */
static int co_info_all(struct nbd_client *client, const struct option *option, const uint8_t *types,
		       uint16_t nr)
{
	bool done[NBD_INFO_BLOCK_SIZE + 1] = { [NBD_INFO_EXPORT] = true };
	int res = co_info_export(client, option);

	for (unsigned i = 0; i < nr && !res; i++) {
		uint16_t type = get_be16(types + 2 * i);

		if (type >= G_N_ELEMENTS(done) || done[type])
			continue;
		done[type] = true;
		res = co_info_asked(client, option, type);
	}
	return res;
}

static int co_info_or_go(struct nbd_client *client, const struct option *option)
{
	uint32_t name_bytes;
	uint16_t types;
	int res = 0;

	if (!info_is_valid(option, &name_bytes, &types))
		return co_refuse(client, option, NBD_REP_ERR_INVALID, "bad lengths");
	if (!nbd_client_choose(client, option->data + 4, name_bytes))
		return co_refuse(client, option, NBD_REP_ERR_UNKNOWN, "there is no such export");
	if (option->nr == NBD_OPT_GO)
		res = co_take_place(client);
	res = res ?: co_info_all(client, option, option->data + 6 + name_bytes, types);
	res = res ?: co_ack(client, option);
	return res ?: option->nr == NBD_OPT_GO;
}

/* ---- other options ---- */

static int co_structured_reply(struct nbd_client *client, const struct option *option)
{
	if (option->bytes)
		return co_refuse(client, option, NBD_REP_ERR_INVALID, "unexpected data");
	if (client->extended)
		return co_refuse(client, option, NBD_REP_ERR_INVALID,
				 "extended headers are in use, which include that");
	client->structured = true;
	return co_ack(client, option);
}

static int co_extended_headers(struct nbd_client *client, const struct option *option)
{
	if (option->bytes)
		return co_refuse(client, option, NBD_REP_ERR_INVALID, "unexpected data");
	client->extended = client->structured = true;
	return co_ack(client, option);
}

/* Nothing that was agreed on in plain text counts. */
static void forget_agreements(struct nbd_client *client)
{
	client->structured = client->extended = false;
	client->contexts_of = 0;
}

static int co_start_tls(struct nbd_client *client, const struct option *option)
{
	int res;

	if (!client->settings->tls)
		return co_refuse(client, option, NBD_REP_ERR_POLICY, "TLS is not configured");
	if (option->bytes || client->channel.tls)
		return co_refuse(client, option, NBD_REP_ERR_INVALID,
				 client->channel.tls ? "TLS is in use" : "unexpected data");
	res = co_ack(client, option);
	if (res < 0)
		return res;
	forget_agreements(client);
	return tls_co_begin(client->settings->tls, &client->channel, &client->handshake);
}

/* 0: the next option. 1: the handshake is over. */
static int co_answer(struct nbd_client *client, const struct option *option)
{
	bool needs_tls = client->settings->tls && !client->channel.tls;

	switch (option->nr) {
	case NBD_OPT_ABORT:
		return co_ack(client, option) ?: -ECONNABORTED;
	case NBD_OPT_STARTTLS:
		return co_start_tls(client, option);
	case NBD_OPT_EXPORT_NAME:
		return needs_tls ? -EACCES : co_export_name(client, option);
	}
	if (needs_tls)
		return co_refuse(client, option, NBD_REP_ERR_TLS_REQD, "TLS is required");
	switch (option->nr) {
	case NBD_OPT_LIST:
		return co_list(client, option);
	case NBD_OPT_INFO:
	case NBD_OPT_GO:
		return co_info_or_go(client, option);
	case NBD_OPT_STRUCTURED_REPLY:
		return co_structured_reply(client, option);
	case NBD_OPT_EXTENDED_HEADERS:
		return co_extended_headers(client, option);
	case NBD_OPT_LIST_META_CONTEXT:
	case NBD_OPT_SET_META_CONTEXT:
		return nbd_client_co_meta_contexts(client, option->nr, option->data, option->bytes);
	default:
		return co_refuse(client, option, NBD_REP_ERR_UNSUP, "this option is not supported");
	}
}

/* ---- from begin to end ---- */

/* True if the client knows options other than NBD_OPT_EXPORT_NAME. */
static int co_greet(struct nbd_client *client, bool *ret_is_fixed)
{
	const struct nbd_handshake greeting = {
		.magic = htobe64(NBD_MAGIC),
		.opts_magic = htobe64(NBD_OPTS_MAGIC),
		.flags = htobe16(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES),
	};
	uint32_t flags;
	int res = co_say(client, &greeting, sizeof(greeting))
			  ?: co_take(client, &flags, sizeof(flags));

	if (res < 0)
		return res;
	flags = be32toh(flags);
	if (flags & ~(uint32_t)(NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES))
		return -EPROTO;
	client->no_zeroes = flags & NBD_FLAG_C_NO_ZEROES;
	*ret_is_fixed = flags & NBD_FLAG_C_FIXED_NEWSTYLE;
	return 0;
}

/* Skips an option that is too long. */
static int co_drain(struct nbd_client *client, const struct option *option)
{
	uint32_t left = option->bytes;
	int res = left > MAX_DRAINED ? -EMSGSIZE : 0;

	while (left && !res) {
		uint32_t piece = MIN(left, NBD_INPUT_BYTES);

		res = co_take(client, client->input, piece);
		left -= piece;
	}
	return res ?: co_refuse(client, option, NBD_REP_ERR_TOO_BIG, "too much data");
}

static int co_next_option(struct nbd_client *client, bool is_fixed)
{
	struct nbd_option header;
	struct option option = { .data = client->input };
	int res = co_take(client, &header, sizeof(header));

	if (res < 0)
		return res;
	option.nr = be32toh(header.option);
	option.bytes = be32toh(header.length);
	if (be64toh(header.magic) != NBD_OPTS_MAGIC ||
	    (!is_fixed && option.nr != NBD_OPT_EXPORT_NAME))
		return -EPROTO;
	if (option.bytes > NBD_INPUT_BYTES)
		return co_drain(client, &option);
	return co_take(client, client->input, option.bytes) ?: co_answer(client, &option);
}

int nbd_client_co_negotiate(struct nbd_client *client)
{
	bool is_fixed;
	int res;

	client->handshake.end_ns = client->settings->handshake_ns == AIO_NEVER
					   ? AIO_NEVER
					   : aio_ns_from_now(client->settings->handshake_ns);
	res = co_greet(client, &is_fixed);
	for (unsigned nr = 0; !res; nr++)
		res = nr < MAX_OPTIONS ? co_next_option(client, is_fixed) : -E2BIG;
	return MIN(res, 0);
}
