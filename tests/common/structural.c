// SPDX-License-Identifier: GPL-2.0-or-later
/* Structural operations; see structural.h. */
#include "structural.h"

#include <stdio.h>
#include <string.h>

#include "stamp.h"
#include "watchdog.h"

#define READ_BYTES (64u << 10)

/* Each with the weight with which it is drawn. */
static const struct {
	const struct structural_op *op;
	unsigned weight;
} operations[] = {
	{ &structural_reopen, 1 },	    { &structural_map, 1 },
	{ &structural_truncate, 1 },	    { &structural_snapshot, 2 },
	{ &structural_snapshot_beside, 2 }, { &structural_bitmaps, 2 },
	{ &structural_resize, 1 },	    { &structural_grow_beside, 1 },
	{ &structural_amend, 1 },	    { &structural_vm_state, 2 },
};

void structural_init(struct structural *s, const struct image_spec *spec, uint64_t seed)
{
	*s = (struct structural){ .spec = spec };
	s->rng = rng_of(seed, 0x737472756374);
	co_rwlock_init(&s->lock);
	s->memory = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	s->sizes = g_array_new(FALSE, FALSE, sizeof(struct structural_size));
}

void structural_destroy(struct structural *s)
{
	g_hash_table_unref(s->memory);
	g_array_unref(s->sizes);
	co_rwlock_destroy(&s->lock);
}

/* ---- what to do next ---- */

bool structural_is_known(const char *name)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(operations); i++) {
		if (g_str_equal(operations[i].op->name, name))
			return true;
	}
	return false;
}

bool structural_op_fits(const struct structural_op *op, const struct image_spec *spec)
{
	return op->fits ? op->fits(spec) : g_str_equal(spec->format, "qcow2");
}

const struct structural_op *structural_op_at(unsigned index)
{
	return index < G_N_ELEMENTS(operations) ? operations[index].op : NULL;
}

static bool fits(const struct structural_op *op, const struct image_spec *spec, const char *only)
{
	return (!only || g_str_equal(only, op->name)) && structural_op_fits(op, spec);
}

static unsigned weight_of_all(const struct image_spec *spec, const char *only)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < G_N_ELEMENTS(operations); i++)
		sum += fits(operations[i].op, spec, only) ? operations[i].weight : 0;
	return sum;
}

bool structural_fits(const struct image_spec *spec, const char *only)
{
	return weight_of_all(spec, only);
}

static const struct structural_op *draw_operation(struct structural *s)
{
	unsigned ticket = rng_below(&s->rng, weight_of_all(s->spec, s->only));

	for (unsigned i = 0;; i++) {
		if (!fits(operations[i].op, s->spec, s->only))
			continue;
		if (ticket < operations[i].weight)
			return operations[i].op;
		ticket -= operations[i].weight;
	}
}

/* ---- doing it ---- */

/* Users of s->img share the lock, the guest's requests among them. */
int structural_co_perform(struct structural *s, const struct structural_op *op)
	NO_THREAD_SAFETY_ANALYSIS /* one lock or the other */
{
	int ret;

	if (op->exclusive)
		co_rwlock_wrlock(&s->lock);
	else
		co_rwlock_rdlock(&s->lock);
	s->running = op;
	ret = s->img ? op->co_perform(s) : 0;
	s->running = NULL;
	if (op->exclusive)
		co_rwlock_wrunlock(&s->lock);
	else
		co_rwlock_rdunlock(&s->lock);
	return ret;
}

char *structural_co_run(struct structural *s, const _Atomic bool *stop)
{
	for (unsigned i = 0; i < s->count && !s->failure && !atomic_load(stop); i++) {
		const struct structural_op *op = draw_operation(s);
		int ret;

		for (unsigned j = rng_below(&s->rng, s->max_pause + 1); j && !atomic_load(stop);
		     j--)
			co_reschedule();
		ret = structural_co_perform(s, op);
		atomic_fetch_add(&s->performed, 1);
		s->failed += ret < 0;
		if (ret < 0 && !s->faults && !s->failure)
			s->failure = g_strdup_printf("operation %s: %s", op->name, strerror(-ret));
		watchdog_kick();
	}
	return g_steal_pointer(&s->failure);
}

char *structural_co_verify(struct structural *s, const struct structural_view *view)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(operations); i++) {
		const struct structural_op *op = operations[i].op;
		g_autofree char *failure = op->co_verify ? op->co_verify(s, view) : NULL;

		if (failure)
			return g_strdup_printf("of operation %s: %s", op->name, failure);
	}
	return NULL;
}

void structural_dump(const struct structural *s)
{
	const struct structural_op *op = s->running;

	if (op)
		fprintf(stderr, "operation: %s\n", op->name);
}

/* ---- for operations ---- */

bool structural_is_version_2(const struct image_info *info)
{
	const char *compat;

	return info->specific && g_variant_lookup(info->specific, "compat", "^&ay", &compat) &&
	       g_str_equal(compat, "0.10");
}

uint64_t structural_draw_size(struct structural *s)
{
	return rng_between(&s->rng, s->spec->size / 2 / SECTOR_SIZE,
			   structural_max_size(s->spec) / SECTOR_SIZE) *
	       SECTOR_SIZE;
}

void structural_begin(struct structural *s, const uint32_t *versions, uint64_t size)
{
	struct structural_size noted = { structural_now(s), size / SECTOR_SIZE };

	g_array_append_val(s->sizes, noted);
	s->begin(s, versions, size);
}

void structural_end(struct structural *s, int ret)
{
	s->end(s, ret < 0);
}

uint64_t structural_now(struct structural *s)
{
	return s->now(s);
}

uint64_t structural_fewest_sectors(const struct structural *s, unsigned nr_sizes, uint64_t sectors,
				   uint64_t cut)
{
	for (unsigned i = nr_sizes; i < s->sizes->len; i++) {
		const struct structural_size *size =
			&g_array_index(s->sizes, struct structural_size, i);

		if (size->since <= cut)
			sectors = MIN(sectors, size->sectors);
	}
	return sectors;
}

uint32_t *structural_co_versions(struct image *img, char **ret_failure)
{
	uint64_t size = image_size(img);
	g_autofree uint32_t *versions = g_new(uint32_t, size / SECTOR_SIZE);
	g_autofree char *buf = g_malloc(READ_BYTES);

	for (uint64_t off = 0; off < size; off += READ_BYTES) {
		uint64_t bytes = MIN(READ_BYTES, size - off);
		int ret = image_co_pread(img, off, bytes, buf);

		if (ret < 0) {
			*ret_failure = g_strdup_printf("read failed: %s", strerror(-ret));
			return NULL;
		}
		for (uint64_t done = 0; done < bytes; done += SECTOR_SIZE) {
			g_autofree char *found = NULL;

			if (stamp_parse(buf + done, off + done,
					&versions[(off + done) / SECTOR_SIZE]))
				continue;
			found = stamp_describe(buf + done);
			*ret_failure =
				g_strdup_printf("sector %u holds %s",
						(unsigned)((off + done) / SECTOR_SIZE), found);
			return NULL;
		}
	}
	return g_steal_pointer(&versions);
}

char *structural_new_name(struct structural *s, const char *prefix)
{
	return g_strdup_printf("%s-%u", prefix, s->next_number++);
}

void structural_remember(struct structural *s, const char *name, void *what)
{
	g_hash_table_insert(s->memory, g_strdup(name), what);
}

void *structural_recall(const struct structural *s, const char *name)
{
	return g_hash_table_lookup(s->memory, name);
}
