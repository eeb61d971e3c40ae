// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Structural operations on snapshots: with the guest halted, so that the contents of each are
 * known, and beside its requests.
 */
#include "structural.h"

#include <errno.h>
#include <string.h>

#include "stamp.h"

#define NEVER	 UINT64_MAX

/* No more are kept at a time. */
#define MAX_KEPT 4

/* What is known of a snapshot. */
struct kept {
	uint64_t create_began;
	uint64_t created; /* NEVER: it failed */
	uint64_t delete_began;
	uint64_t deleted;
	bool known; /* what it holds: versions */
	uint64_t sectors;
	uint32_t versions[];
};

static char *name_of(unsigned number)
{
	return g_strdup_printf("snapshot-%u", number);
}

/*
 * The snapshot of that number; NULL if the number is something else's; the caller frees *ret_name.
 */
static struct kept *find(struct structural *s, unsigned number, char **ret_name)
{
	char *name = name_of(number);
	struct kept *kept = structural_recall(s, name);

	if (kept)
		*ret_name = name;
	else
		g_free(name);
	return kept;
}

static bool is_there(const struct kept *kept)
{
	return kept->created != NEVER && kept->delete_began == NEVER;
}

static unsigned count_there(struct structural *s)
{
	unsigned count = 0;

	for (unsigned i = 0; i < s->next_number; i++) {
		g_autofree char *name = NULL;
		const struct kept *kept = find(s, i, &name);

		count += kept && is_there(kept);
	}
	return count;
}

/* An existing snapshot, or NULL; @known: only one of known contents. */
static struct kept *draw(struct structural *s, bool known, char **ret_name)
{
	unsigned start = rng_below(&s->rng, MAX(s->next_number, 1));

	for (unsigned i = 0; i < s->next_number; i++) {
		g_autofree char *name = NULL;
		struct kept *kept = find(s, (start + i) % s->next_number, &name);

		if (!kept || !is_there(kept) || (known && !kept->known))
			continue;
		*ret_name = g_steal_pointer(&name);
		return kept;
	}
	return NULL;
}

/* ---- what is done ---- */

static struct kept *kept_new(struct structural *s, const uint32_t *versions, uint64_t sectors)
{
	struct kept *kept = g_malloc0(sizeof(*kept) + sectors * sizeof(uint32_t));

	*kept = (struct kept){ .create_began = structural_now(s),
			       .created = NEVER,
			       .delete_began = NEVER,
			       .deleted = NEVER,
			       .known = versions,
			       .sectors = sectors };
	if (versions)
		memcpy(kept->versions, versions, sectors * sizeof(uint32_t));
	return kept;
}

/* @versions: what the image holds now; NULL: unknown. */
static int co_create(struct structural *s, const uint32_t *versions)
{
	g_autofree char *name = structural_new_name(s, "snapshot");
	struct kept *kept = kept_new(s, versions, versions ? image_size(s->img) / SECTOR_SIZE : 0);
	int ret;

	structural_remember(s, name, kept);
	ret = image_co_snapshot_create(s->img, name, NULL);
	if (!ret)
		kept->created = structural_now(s);
	/* Narrow refcounts cannot count many. */
	return ret == -EOVERFLOW ? 0 : ret;
}

static int co_create_known(struct structural *s)
{
	g_autofree char *failure = NULL;
	g_autofree uint32_t *versions = structural_co_versions(s->img, &failure);

	return versions ? co_create(s, versions) : -EIO;
}

static int co_delete(struct structural *s)
{
	g_autofree char *name = NULL;
	struct kept *kept = draw(s, false, &name);
	int ret;

	if (!kept)
		return 0;
	kept->delete_began = structural_now(s);
	ret = image_co_snapshot_delete(s->img, name, NULL);
	if (!ret)
		kept->deleted = structural_now(s);
	return ret;
}

static int co_apply(struct structural *s)
{
	g_autofree char *name = NULL;
	struct kept *kept = draw(s, true, &name);
	int ret;

	if (!kept)
		return 0;
	structural_begin(s, kept->versions, kept->sectors * SECTOR_SIZE);
	ret = image_co_snapshot_apply(s->img, name, NULL);
	structural_end(s, ret);
	/* Narrow refcounts: applying it may share with the snapshot what was not shared before. */
	return ret == -EOVERFLOW ? 0 : ret;
}

static int co_snapshot(struct structural *s)
{
	unsigned ticket = rng_below(&s->rng, 10), there = count_there(s);

	if (!there || (ticket < 4 && there < MAX_KEPT))
		return co_create_known(s);
	return ticket < 7 ? co_apply(s) : co_delete(s);
}

static int co_snapshot_beside(struct structural *s)
{
	unsigned there = count_there(s);

	if (!there || (rng_percent(&s->rng, 50) && there < MAX_KEPT))
		return co_create(s, NULL);
	return co_delete(s);
}

/* ---- what must be there afterwards ---- */

static char *compare(const struct kept *kept, const uint32_t *found, uint64_t sectors)
{
	if (sectors != kept->sectors)
		return g_strdup_printf("it has %u sectors instead of %u", (unsigned)sectors,
				       (unsigned)kept->sectors);
	for (uint64_t i = 0; i < sectors; i++) {
		if (found[i] != kept->versions[i])
			return g_strdup_printf("sector %u holds version %u instead of %u",
					       (unsigned)i, found[i], kept->versions[i]);
	}
	return NULL;
}

static char *co_look_into(const struct structural_view *view, const struct kept *kept,
			  const char *name)
{
	struct image_open_opts opts = { .format = "qcow2", .snapshot_name = name };
	g_autoptr(GError) err = NULL;
	struct image *img;
	uint32_t *found;
	char *failure = NULL;

	if (view->co_open(view, &opts, &img, &err) < 0)
		return g_strdup_printf("it does not open: %s", err->message);
	found = structural_co_versions(img, &failure);
	/* A snapshot whose creation failed may exist, but then complete. */
	if (found && kept->known)
		failure = compare(kept, found, image_size(img) / SECTOR_SIZE);
	g_free(found);
	image_co_close(img);
	return failure;
}

static bool is_listed(const GArray *list, const char *name)
{
	for (guint i = 0; i < list->len; i++) {
		if (g_str_equal(g_array_index(list, struct image_snapshot, i).name, name))
			return true;
	}
	return false;
}

static bool is_past(uint64_t when, const struct structural_view *view)
{
	return when != NEVER && when <= view->cut;
}

static char *co_verify_one(const struct structural_view *view, const GArray *list,
			   const struct kept *kept, const char *name)
{
	bool found = is_listed(list, name);

	if (!found && is_past(kept->created, view) && !is_past(kept->delete_began, view))
		return g_strdup("it is not there");
	if (found && (!is_past(kept->create_began, view) || is_past(kept->deleted, view)))
		return g_strdup("it is there");
	return found ? co_look_into(view, kept, name) : NULL;
}

static char *co_verify(struct structural *s, const struct structural_view *view)
{
	char *failure = NULL;
	GArray *list;

	if (image_co_snapshot_list(view->img, &list) < 0)
		return g_strdup("the snapshots cannot be listed");
	for (unsigned i = 0; i < s->next_number && !failure; i++) {
		g_autofree char *name = NULL, *wrong = NULL;
		const struct kept *kept = find(s, i, &name);

		if (kept)
			wrong = co_verify_one(view, list, kept, name);
		if (wrong)
			failure = g_strdup_printf("%s: %s", name, wrong);
	}
	g_array_unref(list);
	return failure;
}

/* An image with an external data file has no snapshots. */
static bool has_snapshots(const struct image_spec *spec)
{
	return g_str_equal(spec->format, "qcow2") && !spec->data_file;
}

const struct structural_op structural_snapshot = {
	.name = "snapshot",
	.fits = has_snapshots,
	.exclusive = true,
	.co_perform = co_snapshot,
	.co_verify = co_verify,
};

/* Verified with the others. */
const struct structural_op structural_snapshot_beside = {
	.name = "snapshot-beside",
	.fits = has_snapshots,
	.co_perform = co_snapshot_beside,
};
