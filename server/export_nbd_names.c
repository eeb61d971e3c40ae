// SPDX-License-Identifier: GPL-2.0-or-later
/* The exports that clients can ask for, and which one a client has; see export_nbd.h. */
#include <string.h>

#include "export_nbd_parts.h"

void nbd_exports_init(struct nbd_exports *exports)
{
	*exports = (struct nbd_exports){ .lock = THREAD_LOCK_INIT };
}

void nbd_exports_destroy(struct nbd_exports *exports)
{
	thread_lock_destroy(&exports->lock);
}

static bool has_name(const struct nbd_export *export, const void *name, size_t bytes)
{
	return bytes == strlen(export->name) && !memcmp(name, export->name, bytes);
}

static struct nbd_export *find(struct nbd_exports *exports, const void *name, size_t bytes)
	REQUIRES(exports->lock)
{
	struct nbd_export *export = exports->first;

	while (export && !has_name(export, name, bytes))
		export = export->next;
	return export;
}

/* In the order in which they were offered, which is that of a list. */
bool nbd_exports_offer(struct nbd_exports *exports, struct nbd_export *export)
{
	struct nbd_export **end = &exports->first;
	bool is_new;

	thread_lock(&exports->lock);
	is_new = !find(exports, export->name, strlen(export->name));
	while (*end)
		end = &(*end)->next;
	export->next = NULL;
	if (is_new) {
		export->serial = ++exports->last_serial;
		*end = export;
	}
	thread_unlock(&exports->lock);
	return is_new;
}

void nbd_exports_withdraw(struct nbd_exports *exports, struct nbd_export *export)
{
	struct nbd_export **at = &exports->first;

	thread_lock(&exports->lock);
	while (*at && *at != export)
		at = &(*at)->next;
	if (*at)
		*at = export->next;
	thread_unlock(&exports->lock);
}

GPtrArray *nbd_exports_list(struct nbd_exports *exports)
{
	GPtrArray *list = g_ptr_array_new_with_free_func(g_free);

	thread_lock(&exports->lock);
	for (const struct nbd_export *export = exports->first; export; export = export->next) {
		g_ptr_array_add(list, g_strdup(export->name));
		g_ptr_array_add(list, g_strdup(export->description ?: ""));
	}
	thread_unlock(&exports->lock);
	return list;
}

bool nbd_client_choose(struct nbd_client *client, const void *name, size_t bytes)
{
	struct nbd_exports *exports = client->settings->exports;
	const struct nbd_export *export;

	thread_lock(&exports->lock);
	export = find(exports, name, bytes);
	if (!export && !bytes && exports->first && !exports->first->next)
		export = exports->first;
	if (export)
		client->export = export;
	thread_unlock(&exports->lock);
	return export;
}

const struct nbd_export *nbd_client_export(struct nbd_client *client)
{
	struct nbd_exports *exports = client->settings->exports;
	const struct nbd_export *export;

	thread_lock(&exports->lock);
	export = client->export;
	thread_unlock(&exports->lock);
	return export;
}
