// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Structural operations on dirty bitmaps. What a bitmap must hold is remembered by sectors: those
 * that had changed when it was disabled or merged and, while it is enabled, those that differ from
 * what the disk held when that began.
 *
 * After a cut, a bitmap that is not marked as in use must have all of it, as of the last operation
 * on it; or of the one before, if that was under way.
 */
#include "structural.h"

#include <string.h>

#include "stamp.h"

#define MAX_AT_A_TIME 3
#define MAX_EVER      200

/* What is known of a bitmap from an operation on. Flat: the test frees it. */
struct state {
	uint64_t start, end; /* of the operation, in ticks */
	bool exists;
	bool enabled;
	bool unknown; /* the operation failed, and may have been done or not */
	uint64_t sectors;
	unsigned nr_sizes; /* of the disk, recorded by then */
	uint32_t data[];   /* see began_at() and dirty() */
};

/* What the disk held when the bitmap was added, cleared or enabled. */
static uint32_t *began_at(struct state *state)
{
	return state->data;
}

/* Sectors that were dirty by then. */
static uint32_t *dirty(struct state *state)
{
	return state->data + state->sectors;
}

/* Of all bitmaps that ever existed: how many states each has had. */
struct book {
	unsigned nr;
	unsigned nr_states[MAX_EVER];
};

static struct book *book_of(struct structural *s)
{
	struct book *book = structural_recall(s, "bitmaps");

	if (!book) {
		book = g_new0(struct book, 1);
		structural_remember(s, "bitmaps", book);
	}
	return book;
}

static char *bitmap_name(unsigned number)
{
	return g_strdup_printf("bitmap-%u", number);
}

static struct state *state_of(const struct structural *s, unsigned number, unsigned index)
{
	g_autofree char *key = g_strdup_printf("bitmap-%u/%u", number, index);

	return structural_recall(s, key);
}

static struct state *newest_state(struct structural *s, unsigned number)
{
	unsigned nr = book_of(s)->nr_states[number];

	return nr ? state_of(s, number, nr - 1) : NULL;
}

/* Sectors that were on the disk all the time from the state until @cut. */
static uint64_t sectors_that_stayed(const struct structural *s, const struct state *state,
				    uint64_t cut)
{
	return structural_fewest_sectors(s, state->nr_sizes, state->sectors, cut);
}

/*
 * Whether the bitmap had to have the sector when the disk held @version there. A sector that was
 * cut off and added again is zero and clean, as in QEMU, until it is written to.
 */
static bool must_have(struct state *state, uint64_t stayed, uint64_t sector, uint32_t version)
{
	uint32_t began = sector < state->sectors ? began_at(state)[sector] : VERSION_ZERO;

	if (sector < stayed && dirty(state)[sector])
		return true;
	return state->enabled && version != began && (sector < stayed || version != VERSION_ZERO);
}

/* What is left of @old: its sectors that stayed and, of the others, those that are not zero. */
static void carry_over(const struct structural *s, struct state *old, struct state *new,
		       const uint32_t *versions)
{
	uint64_t stayed = sectors_that_stayed(s, old, UINT64_MAX);

	new->exists = old->exists;
	new->enabled = old->enabled;
	for (uint64_t i = 0; i < MIN(old->sectors, new->sectors); i++) {
		if (i < stayed || versions[i] != VERSION_ZERO)
			began_at(new)[i] = began_at(old)[i];
		if (i < stayed)
			dirty(new)[i] = dirty(old)[i];
	}
}

/* A copy of the newest state, for the operation that is about to begin. */
static struct state *begin_state(struct structural *s, unsigned number, const uint32_t *versions)
{
	uint64_t sectors = image_size(s->img) / SECTOR_SIZE;
	struct state *old = newest_state(s, number);
	struct state *new = g_malloc0(sizeof(*new) + 2 * sectors * sizeof(uint32_t));
	g_autofree char *key =
		g_strdup_printf("bitmap-%u/%u", number, book_of(s)->nr_states[number]++);

	new->sectors = sectors;
	new->nr_sizes = s->sizes->len;
	if (old)
		carry_over(s, old, new, versions);
	new->start = structural_now(s);
	new->end = UINT64_MAX;
	structural_remember(s, key, new);
	return new;
}

static int end_state(struct structural *s, struct state *state, int ret)
{
	state->end = structural_now(s);
	state->unknown = ret < 0;
	return ret;
}

/* ---- operations ---- */

static void begin_anew(struct state *state, const uint32_t *versions)
{
	memcpy(began_at(state), versions, state->sectors * sizeof(uint32_t));
}

static int co_add(struct structural *s, const uint32_t *versions)
{
	unsigned number = book_of(s)->nr++;
	g_autofree char *name = bitmap_name(number);
	uint64_t granularity = 1ull << rng_between(&s->rng, 9, 17);
	struct state *state = begin_state(s, number, versions);

	state->exists = true;
	state->enabled = true;
	begin_anew(state, versions);
	return end_state(s, state,
			 image_co_bitmap_change(s->img, IMAGE_BITMAP_ADD, name, granularity, NULL));
}

static int co_change(struct structural *s, unsigned number, enum image_bitmap_action action,
		     const uint32_t *versions)
{
	g_autofree char *name = bitmap_name(number);
	struct state *state = begin_state(s, number, versions);

	for (uint64_t i = 0; i < state->sectors; i++)
		dirty(state)[i] = action != IMAGE_BITMAP_CLEAR &&
				  must_have(state, state->sectors, i, versions[i]);
	begin_anew(state, versions);
	state->exists = action != IMAGE_BITMAP_REMOVE;
	if (action == IMAGE_BITMAP_ENABLE || action == IMAGE_BITMAP_DISABLE)
		state->enabled = action == IMAGE_BITMAP_ENABLE;
	return end_state(s, state, image_co_bitmap_change(s->img, action, name, 0, NULL));
}

static int co_merge(struct structural *s, unsigned from, unsigned to, const uint32_t *versions)
{
	g_autofree char *name = bitmap_name(to), *source = bitmap_name(from);
	struct state *src = newest_state(s, from);
	uint64_t stayed = sectors_that_stayed(s, src, UINT64_MAX);
	struct state *state = begin_state(s, to, versions);

	for (uint64_t i = 0; i < state->sectors; i++)
		dirty(state)[i] |= must_have(src, stayed, i, versions[i]);
	return end_state(s, state, image_co_bitmap_merge(s->img, name, s->img, source, NULL));
}

/* Numbers of the usable bitmaps; a fault may have left others behind. */
static GArray *usable_bitmaps(struct structural *s, GPtrArray *list)
{
	GArray *usable = g_array_new(FALSE, FALSE, sizeof(unsigned));

	for (guint i = 0; i < list->len; i++) {
		const struct image_bitmap *bitmap = list->pdata[i];
		unsigned number = atoi(bitmap->name + strlen("bitmap-"));
		const struct state *state = newest_state(s, number);

		if (!bitmap->inconsistent && state && !state->unknown)
			g_array_append_val(usable, number);
	}
	return usable;
}

static unsigned draw_bitmap(struct structural *s, const GArray *usable)
{
	return g_array_index(usable, unsigned, rng_below(&s->rng, usable->len));
}

static int co_act(struct structural *s, const GArray *usable, const uint32_t *versions)
{
	static const enum image_bitmap_action actions[] = {
		IMAGE_BITMAP_REMOVE, IMAGE_BITMAP_CLEAR,  IMAGE_BITMAP_DISABLE,
		IMAGE_BITMAP_ENABLE, IMAGE_BITMAP_ENABLE,
	};

	if (usable->len < MAX_AT_A_TIME && book_of(s)->nr < MAX_EVER)
		return co_add(s, versions);
	if (rng_percent(&s->rng, 30))
		return co_merge(s, draw_bitmap(s, usable), draw_bitmap(s, usable), versions);
	return co_change(s, draw_bitmap(s, usable),
			 actions[rng_below(&s->rng, G_N_ELEMENTS(actions))], versions);
}

/* Another operation may have turned it into version 2. */
static bool co_can_have_bitmaps(struct structural *s)
{
	struct image_info info = { 0 };
	bool can = image_co_get_info(s->img, &info, NULL) == 0 && !structural_is_version_2(&info);

	image_info_clear(&info);
	return can;
}

static int co_bitmaps(struct structural *s)
{
	g_autofree uint32_t *versions = NULL;
	g_autofree char *failure = NULL;
	g_autoptr(GPtrArray) list = NULL;
	g_autoptr(GArray) usable = NULL;
	int ret;

	if (!co_can_have_bitmaps(s))
		return 0;
	/* This stores what was tracked, and reads it again. */
	if (rng_percent(&s->rng, 30))
		return s->co_reopen(s);
	versions = structural_co_versions(s->img, &failure);
	if (!versions)
		return s->faults ? 0 : -EIO;
	ret = image_co_bitmap_list(s->img, &list, NULL);
	if (ret)
		return ret;
	usable = usable_bitmaps(s, list);
	return co_act(s, usable, versions);
}

/* ---- afterwards ---- */

struct found {
	const struct structural *s;
	struct image *img;
	GPtrArray *list;
	uint32_t *versions;
	uint64_t sectors;
	uint64_t cut;
};

static const struct image_bitmap *find_bitmap(const struct found *found, const char *name)
{
	for (guint i = 0; i < found->list->len; i++) {
		const struct image_bitmap *bitmap = found->list->pdata[i];

		if (g_str_equal(bitmap->name, name))
			return bitmap;
	}
	return NULL;
}

static char *check_bits(const struct found *found, struct state *state, const char *name,
			const struct dirty_bits *bits)
{
	uint64_t stayed = sectors_that_stayed(found->s, state, found->cut);

	for (uint64_t i = 0; i < found->sectors; i++) {
		bool is_dirty;

		if (!must_have(state, stayed, i, found->versions[i]))
			continue;
		dirty_bits_extent(bits, i * SECTOR_SIZE, &is_dirty);
		if (!is_dirty)
			return g_strdup_printf("%s does not have sector %u, which changed", name,
					       (unsigned)i);
	}
	return NULL;
}

/* Whether the bitmap can be the state's. */
static char *co_check_state(const struct found *found, struct state *state, const char *name)
{
	const struct image_bitmap *bitmap = find_bitmap(found, name);
	struct dirty_bits *bits;
	char *failure;

	if (!bitmap)
		return state && state->exists ? g_strdup_printf("%s is missing", name) : NULL;
	if (!state || !state->exists)
		return g_strdup_printf("%s is there", name);
	if (bitmap->inconsistent)
		return NULL;
	if (bitmap->enabled != state->enabled)
		return g_strdup_printf("%s is %s", name, bitmap->enabled ? "enabled" : "disabled");
	if (image_co_bitmap_load(found->img, name, &bits, NULL))
		return g_strdup_printf("%s cannot be read", name);
	failure = check_bits(found, state, name, bits);
	dirty_bits_free(bits);
	return failure;
}

static char *co_verify_one(const struct found *found, unsigned number, unsigned nr_states,
			   uint64_t cut)
{
	g_autofree char *name = bitmap_name(number), *failure = NULL;
	struct state *settled = NULL, *under_way = NULL;

	for (unsigned i = 0; i < nr_states; i++) {
		struct state *state = state_of(found->s, number, i);

		if (state->start > cut)
			break;
		if (state->unknown)
			return NULL;
		if (state->end > cut)
			under_way = state;
		else
			settled = state;
	}
	failure = co_check_state(found, settled, name);
	if (failure && under_way) {
		g_autofree char *other = co_check_state(found, under_way, name);

		if (!other)
			return NULL;
	}
	return g_steal_pointer(&failure);
}

static char *co_verify(struct structural *s, const struct structural_view *view)
{
	struct found found = { .s = s, .img = view->img, .cut = view->cut };
	const struct book *book = book_of(s);
	char *failure = NULL;

	if (!book->nr)
		return NULL;
	if (image_co_bitmap_list(view->img, &found.list, NULL))
		return g_strdup("the bitmaps cannot be listed");
	found.versions = structural_co_versions(view->img, &failure);
	found.sectors = image_size(view->img) / SECTOR_SIZE;
	for (unsigned i = 0; i < book->nr && !failure; i++)
		failure = co_verify_one(&found, i, book->nr_states[i], view->cut);
	g_free(found.versions);
	g_ptr_array_unref(found.list);
	return failure;
}

static bool has_bitmaps(const struct image_spec *spec)
{
	return g_str_equal(spec->format, "qcow2") && spec->compat != 2;
}

const struct structural_op structural_bitmaps = {
	.name = "bitmaps",
	.exclusive = true,
	.fits = has_bitmaps,
	.co_perform = co_bitmaps,
	.co_verify = co_verify,
};
