// SPDX-License-Identifier: GPL-2.0-or-later
/* The metadata contexts of an export, which NBD_CMD_BLOCK_STATUS reports on, and their selection.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "export_nbd_parts.h"

#define BITMAP_PREFIX "qemu:dirty-bitmap:"

/* The data of the option that is left. */
struct rest {
	const uint8_t *at;
	uint32_t bytes;
};

static bool take_be32(struct rest *rest, uint32_t *ret_value)
{
	uint32_t value;

	if (rest->bytes < sizeof(value))
		return false;
	memcpy(&value, rest->at, sizeof(value));
	*ret_value = be32toh(value);
	rest->at += sizeof(value);
	rest->bytes -= sizeof(value);
	return true;
}

/* A string with its length before it. */
static bool take_text(struct rest *rest, struct rest *ret_text)
{
	uint32_t bytes;

	if (!take_be32(rest, &bytes) || bytes > rest->bytes || bytes > NBD_MAX_STRING)
		return false;
	*ret_text = (struct rest){ rest->at, bytes };
	rest->at += bytes;
	rest->bytes -= bytes;
	return true;
}

static bool is_text(const struct rest *text, const char *what)
{
	return text->bytes == strlen(what) && !memcmp(text->at, what, text->bytes);
}

/* ---- contexts ---- */

/* Of its export. */
static unsigned nr_contexts(const struct nbd_client *client)
{
	return NBD_CONTEXT_BITMAPS + client->export->nr_bitmaps;
}

static bool is_offered(const struct nbd_client *client, unsigned context)
{
	return context != NBD_CONTEXT_DEPTH || client->export->allocation_depth;
}

/* The caller frees it. */
static char *context_name(const struct nbd_client *client, unsigned context)
{
	if (context == NBD_CONTEXT_ALLOCATION)
		return g_strdup("base:allocation");
	if (context == NBD_CONTEXT_DEPTH)
		return g_strdup("qemu:allocation-depth");
	return g_strconcat(BITMAP_PREFIX,
			   client->export->bitmaps[context - NBD_CONTEXT_BITMAPS].name, NULL);
}

/* Whether a query is a name space, all of which a list shows. */
static bool is_prefix_of(const struct rest *query, const char *name)
{
	static const char *const prefixes[] = { "base:", "qemu:", BITMAP_PREFIX };

	for (size_t i = 0; i < G_N_ELEMENTS(prefixes); i++)
		if (is_text(query, prefixes[i]))
			return g_str_has_prefix(name, prefixes[i]);
	return false;
}

static void select_contexts(const struct nbd_client *client, bool is_list, const struct rest *query,
			    bool *selected)
{
	for (unsigned i = 0; i < nr_contexts(client); i++) {
		g_autofree char *name = context_name(client, i);

		if (is_offered(client, i) &&
		    (!query || is_text(query, name) || (is_list && is_prefix_of(query, name))))
			selected[i] = true;
	}
}

/* ---- the option ---- */

static int co_refuse(struct nbd_client *client, uint32_t option, uint32_t type, const char *why)
{
	return nbd_client_co_reply_option(client, option, type, why, strlen(why), NULL, 0);
}

static int co_reply(struct nbd_client *client, uint32_t option, const bool *selected)
{
	int res = 0;

	for (unsigned i = 0; i < nr_contexts(client) && !res; i++) {
		g_autofree char *name = context_name(client, i);
		/* A list has no numbers. */
		uint32_t nr = option == NBD_OPT_SET_META_CONTEXT ? htobe32(i) : 0;

		if (selected[i])
			res = nbd_client_co_reply_option(client, option, NBD_REP_META_CONTEXT, &nr,
							 sizeof(nr), name, strlen(name));
	}
	return res ?: nbd_client_co_reply_option(client, option, NBD_REP_ACK, NULL, 0, NULL, 0);
}

/* The queries, of which there are @nr; false if they are not what the data has. */
static bool take_queries(const struct nbd_client *client, bool is_list, struct rest *rest,
			 uint32_t nr, bool *selected)
{
	struct rest query;

	if (is_list && !nr)
		select_contexts(client, is_list, NULL, selected);
	for (uint32_t i = 0; i < nr; i++) {
		if (!take_text(rest, &query))
			return false;
		select_contexts(client, is_list, &query, selected);
	}
	return !rest->bytes;
}

static void keep_selection(struct nbd_client *client, bool *selected)
{
	g_free(client->contexts);
	client->contexts = selected;
	client->nr_contexts = nr_contexts(client);
	client->contexts_of = client->export->serial;
}

void nbd_client_settle_contexts(struct nbd_client *client)
{
	if (client->contexts_of != client->export->serial)
		client->nr_contexts = 0;
}

int nbd_client_co_meta_contexts(struct nbd_client *client, uint32_t option, const uint8_t *data,
				uint32_t bytes)
{
	g_autofree bool *selected = NULL;
	bool is_list = option == NBD_OPT_LIST_META_CONTEXT;
	struct rest rest = { data, bytes }, name;
	uint32_t nr;
	int res;

	/* The last selection counts, even if it is a bad one. */
	if (!is_list)
		client->contexts_of = 0;
	if (!client->structured)
		return co_refuse(client, option, NBD_REP_ERR_INVALID,
				 "structured replies must be negotiated first");
	if (!take_text(&rest, &name) || !take_be32(&rest, &nr))
		return co_refuse(client, option, NBD_REP_ERR_INVALID, "bad lengths");
	if (!nbd_client_choose(client, name.at, name.bytes))
		return co_refuse(client, option, NBD_REP_ERR_UNKNOWN, "there is no such export");
	selected = g_new0(bool, nr_contexts(client));
	if (!take_queries(client, is_list, &rest, nr, selected))
		return co_refuse(client, option, NBD_REP_ERR_INVALID, "bad lengths");
	res = co_reply(client, option, selected);
	if (!is_list)
		keep_selection(client, g_steal_pointer(&selected));
	return res;
}
