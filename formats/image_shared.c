// SPDX-License-Identifier: GPL-2.0-or-later
/* Backing files that several chains have in common; see image_shared.h. */
#include "image_shared.h"

#include <string.h>

#include "colock.h"
#include "image_int.h"
#include "node_options.h"

struct image_share {
	struct image_shared *shared;
	struct image_share_key key;
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

struct image_share_key image_share_key(const struct node_options *options,
				       const struct node_options *below, unsigned flags,
				       const struct image_policy *policy)
{
	g_autofree char *upper = node_options_to_json(options);
	g_autofree char *lower = node_options_to_json(below);

	/* What may be written to has one user. */
	return (struct image_share_key){
		.text = flags & IMAGE_RDWR ? NULL : g_strconcat(upper, lower, NULL),
		.flags = flags,
		.policy = policy,
	};
}

void image_share_key_clear(struct image_share_key *key)
{
	g_clear_pointer(&key->text, g_free);
}

static bool are_equal_names(const struct image_names *a, const struct image_names *b)
{
	if (a->from != b->from || !a->places != !b->places)
		return false;
	return !a->places ||
	       g_strv_equal((const char *const *)a->places, (const char *const *)b->places);
}

static bool are_equal_policies(const struct image_policy *a, const struct image_policy *b)
{
	if (a == b || !a || !b)
		return a == b;
	return are_equal_names(&a->backing, &b->backing) &&
	       are_equal_names(&a->data_file, &b->data_file) && a->servers == b->servers &&
	       a->formats_given == b->formats_given && a->places_only == b->places_only;
}

static bool are_equal_keys(const struct image_share_key *a, const struct image_share_key *b)
{
	return a->flags == b->flags && strcmp(a->text, b->text) == 0 &&
	       are_equal_policies(a->policy, b->policy);
}

/* ---- layers ---- */

struct image *image_shared_find(struct image_shared *shared, const struct image_share_key *key,
				const struct image *file)
{
	struct file_id id = image_file_id(file);

	for (unsigned i = 0; key->text && id.known && i < shared->shares->len; i++) {
		struct image_share *share = shared->shares->pdata[i];
		struct file_id other = image_file_id(share->img);

		if (!file_id_equal(&id, &other) || !are_equal_keys(key, &share->key))
			continue;
		share->users++;
		return share->img;
	}
	return NULL;
}

void image_shared_add(struct image_shared *shared, struct image_share_key *key, struct image *img)
{
	struct image_share *share;

	if (!key->text || !image_file_id(img).known)
		return;
	share = g_new(struct image_share, 1);
	*share = (struct image_share){ shared, *key, img, 1 };
	key->text = NULL;
	img->share = share;
	g_ptr_array_add(shared->shares, share);
}

bool image_share_put(struct image *img)
{
	struct image_share *share = img->share;

	if (!share || --share->users)
		return share;
	g_ptr_array_remove_fast(share->shared->shares, share);
	image_share_key_clear(&share->key);
	g_free(share);
	img->share = NULL;
	return false;
}
