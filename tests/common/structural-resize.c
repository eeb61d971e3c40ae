// SPDX-License-Identifier: GPL-2.0-or-later
/* Structural operations that change a qcow2 image's size or its version and refcounts. */
#include "structural.h"

#include <errno.h>

#include "stamp.h"

static bool is_qcow2(const struct image_spec *spec)
{
	return g_str_equal(spec->format, "qcow2");
}

/* Version 2 cannot be resized with snapshots: they do not record their size. */
static int co_may_resize(struct structural *s, bool *ret_may)
{
	g_autoptr(GArray) list = NULL;
	struct image_info info = { 0 };
	int ret = image_co_snapshot_list(s->img, &list) ?: image_co_get_info(s->img, &info, NULL);

	*ret_may = !ret && (!structural_is_version_2(&info) || !list->len);
	image_info_clear(&info);
	return ret;
}

static int co_resize(struct structural *s)
{
	uint64_t old = image_size(s->img), size = structural_draw_size(s);
	enum image_preallocation mode = IMAGE_PREALLOC_OFF;
	bool may;
	int ret = co_may_resize(s, &may);

	if (ret || !may)
		return ret;
	if (size > old && rng_percent(&s->rng, 40))
		mode = rng_between(&s->rng, IMAGE_PREALLOC_METADATA, IMAGE_PREALLOC_FULL);
	structural_begin(s, NULL, size);
	/* Tries again after an error, to meet what the error left behind. */
	ret = image_co_resize(s->img, size, mode, NULL);
	if (ret < 0 && s->faults)
		ret = image_co_resize(s->img, size, mode, NULL);
	structural_end(s, ret);
	return ret;
}

const struct structural_op structural_resize = {
	.name = "resize",
	.exclusive = true,
	.fits = is_qcow2,
	.co_perform = co_resize,
};

/* By little, so that the end lies within a cluster that others write to meanwhile. */
static int co_grow(struct structural *s)
{
	uint64_t old = image_size(s->img);
	uint64_t size = old + rng_between(&s->rng, 1, 40) * SECTOR_SIZE;
	bool may;
	int ret = co_may_resize(s, &may);

	if (ret || !may || size > structural_max_size(s->spec))
		return ret;
	structural_begin(s, NULL, size);
	ret = image_co_resize(s->img, size, IMAGE_PREALLOC_OFF, NULL);
	structural_end(s, ret);
	return ret;
}

const struct structural_op structural_grow_beside = {
	.name = "grow-beside",
	.fits = is_qcow2,
	.co_perform = co_grow,
};

/* Another refcount width; and from version 2 to 3 and back, if possible. */
static int co_amend(struct structural *s)
{
	static const char *const widths[] = { "16", "32", "64", "8" };
	GHashTable *options = g_hash_table_new(g_str_hash, g_str_equal);
	int ret;

	g_hash_table_insert(options, (void *)"compat", (void *)"1.1");
	g_hash_table_insert(options, (void *)"refcount_bits",
			    (void *)widths[rng_below(&s->rng, G_N_ELEMENTS(widths))]);
	if (rng_percent(&s->rng, 30)) {
		g_hash_table_insert(options, (void *)"compat", (void *)"0.10");
		g_hash_table_insert(options, (void *)"refcount_bits", (void *)"16");
	}
	ret = image_co_amend(s->img, options, NULL, NULL, NULL);
	g_hash_table_destroy(options);
	/* Not every image can have version 2. */
	return ret == -ENOTSUP ? 0 : ret;
}

const struct structural_op structural_amend = {
	.name = "amend",
	.exclusive = true,
	.fits = is_qcow2,
	.co_perform = co_amend,
};
