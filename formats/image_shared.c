// SPDX-License-Identifier: GPL-2.0-or-later
/* Backing files that several chains have in common; see image_shared.h. */
#include "image_shared.h"

#include <inttypes.h>
#include <string.h>

#include "aio.h"
#include "image_int.h"
#include "node_options.h"

struct image_share {
	struct image_shared *shared;
	char *key;
	struct image *img;
	GArray *patience; /* uint64_t, of each user */
};

/* A layer that is not complete yet. */
struct opening {
	struct image_opener *opener;
	char *key;
	struct file_id id;
};

struct image_shared {
	GPtrArray *shares;   /* struct image_share */
	GPtrArray *openings; /* struct opening */
	GPtrArray *waiting;  /* struct image_opener */
};

static void free_opening(void *arg)
{
	struct opening *opening = arg;

	g_free(opening->key);
	g_free(opening);
}

struct image_shared *image_shared_new(void)
{
	struct image_shared *shared = g_new0(struct image_shared, 1);

	shared->shares = g_ptr_array_new();
	shared->openings = g_ptr_array_new_with_free_func(free_opening);
	shared->waiting = g_ptr_array_new();
	return shared;
}

void image_shared_free(struct image_shared *shared)
{
	if (!shared)
		return;
	g_assert(!shared->shares->len && !shared->openings->len && !shared->waiting->len);
	g_ptr_array_unref(shared->shares);
	g_ptr_array_unref(shared->openings);
	g_ptr_array_unref(shared->waiting);
	g_free(shared);
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

/* ---- users ---- */

/* Just opened: nobody is in a hurry yet. */
static void add_user(struct image_share *share)
{
	const uint64_t patience_ns = IMAGE_PATIENT;

	g_array_append_val(share->patience, patience_ns);
}

/* The index of one with this patience. Which one it is makes no difference. */
static unsigned user_with(const struct image_share *share, uint64_t patience_ns)
{
	unsigned i = 0;

	while (g_array_index(share->patience, uint64_t, i) != patience_ns)
		g_assert_cmpuint(++i, <, share->patience->len);
	return i;
}

static uint64_t most_patient(const struct image_share *share)
{
	uint64_t most_ns = 0;

	for (unsigned i = 0; i < share->patience->len; i++)
		most_ns = MAX(most_ns, g_array_index(share->patience, uint64_t, i));
	return most_ns;
}

/* ---- layers ---- */

static struct image_share *find_share(const struct image_shared *shared, const char *key,
				      const struct file_id *id)
{
	for (unsigned i = 0; i < shared->shares->len; i++) {
		struct image_share *share = shared->shares->pdata[i];
		struct file_id other = image_file_id(share->img);

		if (file_id_equal(id, &other) && strcmp(key, share->key) == 0)
			return share;
	}
	return NULL;
}

/* NULL: nobody is opening it. */
static struct image_opener *find_opener(const struct image_shared *shared, const char *key,
					const struct file_id *id)
{
	for (unsigned i = 0; i < shared->openings->len; i++) {
		const struct opening *opening = shared->openings->pdata[i];

		if (file_id_equal(id, &opening->id) && strcmp(key, opening->key) == 0)
			return opening->opener;
	}
	return NULL;
}

static bool waits_for(const struct image_opener *one, const struct image_opener *other)
{
	while (one && one != other)
		one = one->waits_for;
	return one;
}

static void co_wait_for(struct image_shared *shared, struct image_opener *opener,
			const struct image_opener *other)
{
	opener->waits_for = other;
	opener->waiter = co_self();
	g_ptr_array_add(shared->waiting, opener);
	co_yield();
}

static void begin_opening(struct image_shared *shared, struct image_opener *opener, const char *key,
			  const struct file_id *id)
{
	struct opening *opening = g_new(struct opening, 1);

	*opening = (struct opening){ opener, g_strdup(key), *id };
	g_ptr_array_add(shared->openings, opening);
}

struct image *image_shared_co_find(struct image_shared *shared, struct image_opener *opener,
				   const char *key, const struct image *file)
{
	struct file_id id = image_file_id(file);
	struct image_opener *other;
	struct image_share *share;

	if (!key || !id.known)
		return NULL;
	while (!(share = find_share(shared, key, &id)) && (other = find_opener(shared, key, &id)) &&
	       !waits_for(other, opener))
		co_wait_for(shared, opener, other);
	if (share) {
		add_user(share);
		/* There may be more patience now, but not less. */
		image_set_patience(share->img, IMAGE_PATIENT);
		return share->img;
	}
	if (!other)
		begin_opening(shared, opener, key, &id);
	return NULL;
}

void image_shared_end(struct image_shared *shared, const struct image_opener *opener)
{
	for (unsigned i = shared->openings->len; i--;) {
		const struct opening *opening = shared->openings->pdata[i];

		if (opening->opener == opener)
			g_ptr_array_remove_index_fast(shared->openings, i);
	}
	for (unsigned i = shared->waiting->len; i--;) {
		struct image_opener *one = shared->waiting->pdata[i];

		if (one->waits_for != opener)
			continue;
		one->waits_for = NULL;
		g_ptr_array_remove_index_fast(shared->waiting, i);
		co_wake(one->waiter);
	}
}

void image_shared_add(struct image_shared *shared, const char *key, struct image *img)
{
	struct image_share *share;

	if (!key || !image_file_id(img).known)
		return;
	share = g_new(struct image_share, 1);
	*share = (struct image_share){
		shared,
		g_strdup(key),
		img,
		g_array_new(FALSE, FALSE, sizeof(uint64_t)),
	};
	add_user(share);
	img->share = share;
	g_ptr_array_add(shared->shares, share);
}

bool image_share_put(struct image *img, uint64_t patience_ns)
{
	struct image_share *share = img->share;

	if (!share)
		return false;
	g_array_remove_index_fast(share->patience, user_with(share, patience_ns));
	if (share->patience->len) {
		image_set_patience(img, most_patient(share));
		return true;
	}
	g_ptr_array_remove_fast(share->shared->shares, share);
	g_array_unref(share->patience);
	g_free(share->key);
	g_free(share);
	img->share = NULL;
	return false;
}

/* ---- patience ---- */

/* One user of the layer, which had @old_ns, has @ns now. Returns what the layer has. */
static uint64_t change_patience(struct image_share *share, uint64_t old_ns, uint64_t ns)
{
	g_array_index(share->patience, uint64_t, user_with(share, old_ns)) = ns;
	return most_patient(share);
}

void image_set_patience(struct image *img, uint64_t ns)
{
	while (img) {
		uint64_t old_ns = atomic_exchange(&img->patience_ns, ns);

		image_set_patience(img->file, ns);
		image_set_patience(img->data_file, ns);
		img = img->backing;
		if (img && img->share)
			ns = change_patience(img->share, old_ns, ns);
	}
}
