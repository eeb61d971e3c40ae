// SPDX-License-Identifier: GPL-2.0-or-later
/* Backing files that several chains have in common; see image_shared.h. */
#include "image_shared.h"

#include <inttypes.h>
#include <string.h>

#include "colock.h"
#include "image_int.h"
#include "node_options.h"

struct image_share {
	struct image_shared *shared;
	char *key;
	struct image *img;
	unsigned users;
};

struct image_shared {
	struct co_mutex lock;
	GPtrArray *shares; /* struct image_share */
};

struct image_shared *image_shared_new(void)
{
	struct image_shared *shared = g_new0(struct image_shared, 1);

	co_mutex_init(&shared->lock);
	shared->shares = g_ptr_array_new();
	return shared;
}

void image_shared_free(struct image_shared *shared)
{
	if (!shared)
		return;
	g_assert(!shared->shares->len);
	g_ptr_array_unref(shared->shares);
	co_mutex_destroy(&shared->lock);
	g_free(shared);
}

/* Taken and dropped in different functions. */
void image_shared_co_lock(struct image_shared *shared) NO_THREAD_SAFETY_ANALYSIS
{
	co_mutex_lock(&shared->lock);
}

void image_shared_unlock(struct image_shared *shared) NO_THREAD_SAFETY_ANALYSIS
{
	co_mutex_unlock(&shared->lock);
}

/* ---- keys ---- */

static void add_name(GString *key, const char *name)
{
	g_autofree char *escaped = g_strescape(name, NULL);

	g_string_append_printf(key, " \"%s\"", escaped);
}

static void add_names(GString *key, const struct image_names *names)
{
	g_string_append_printf(key, " %d", names->from);
	for (char **place = names->places; place && *place; place++)
		add_name(key, *place);
}

static void add_policy(GString *key, const struct image_policy *policy)
{
	if (!policy)
		return;
	g_string_append(key, " backing");
	add_names(key, &policy->backing);
	g_string_append(key, " data-file");
	add_names(key, &policy->data_file);
	g_string_append_printf(key, " others %d %d %d", policy->servers, policy->formats_given,
			       policy->places_only);
}

static void add_options(GString *key, const struct node_options *options)
{
	g_autofree char *json = node_options_to_json(options);

	g_string_append(key, json);
}

/*
 * Which images have named the options that are checked when the layer itself, or what is below it,
 * is opened: what the user, or an image in another folder, may name may be refused here. The driver
 * is checked before the layer is looked for, and so is its file.
 */
static void add_namers(GString *key, const struct node_options *options)
{
	const struct node_value *value;

	for (unsigned i = 0; (value = node_options_at(options, i)); i++)
		if (value->named_by && strcmp(value->name, "driver") != 0) {
			add_name(key, value->name);
			add_name(key, value->named_by);
		}
}

char *image_share_key(const struct node_options *options, const struct node_options *below,
		      const struct image_open_opts *opts)
{
	GString *key;

	/* What may be written to has one user. */
	if (opts->flags & IMAGE_RDWR)
		return NULL;
	key = g_string_new(NULL);
	g_string_printf(key, "%x %" PRIu64 " %" PRIu64, opts->flags, opts->cache_bytes,
			opts->memory_limit);
	add_options(key, options);
	add_options(key, below);
	add_namers(key, options);
	add_policy(key, opts->policy);
	return g_string_free(key, FALSE);
}

/* ---- layers ---- */

struct image *image_shared_find(struct image_shared *shared, const char *key,
				const struct image *file)
{
	struct file_id id = image_file_id(file);

	for (unsigned i = 0; key && id.known && i < shared->shares->len; i++) {
		struct image_share *share = shared->shares->pdata[i];
		struct file_id other = image_file_id(share->img);

		if (!file_id_equal(&id, &other) || strcmp(key, share->key) != 0)
			continue;
		share->users++;
		return share->img;
	}
	return NULL;
}

void image_shared_add(struct image_shared *shared, const char *key, struct image *img)
{
	struct image_share *share;

	if (!key || !image_file_id(img).known)
		return;
	share = g_new(struct image_share, 1);
	*share = (struct image_share){ shared, g_strdup(key), img, 1 };
	img->share = share;
	g_ptr_array_add(shared->shares, share);
}

bool image_share_put(struct image *img)
{
	struct image_share *share = img->share;

	if (!share || --share->users)
		return share;
	g_ptr_array_remove_fast(share->shared->shares, share);
	g_free(share->key);
	g_free(share);
	img->share = NULL;
	return false;
}
