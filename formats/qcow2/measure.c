// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How large a new image gets. As QEMU counts it: all tables that the disk can need are there, and
 * data in an external file counts, too. So a copy never needs more, and one with
 * preallocation=metadata exactly that.
 */
#include <errno.h>
#include <string.h>

#include "align.h"
#include "create.h"
#include "extents.h"
#include "qcow2.h"

/* What the bitmaps of the source take in a copy that has all bits in clusters. */
static uint64_t bitmap_clusters(const struct layout *l, GPtrArray *bitmaps)
{
	uint64_t clusters = 0, directory_bytes = 0;

	for (guint i = 0; i < bitmaps->len; i++) {
		const struct image_bitmap *bitmap = bitmaps->pdata[i];
		uint64_t bits = div_round_up(l->size, bitmap->granularity);
		uint64_t data = div_round_up(div_round_up(bits, 8), l->cluster_size);

		if (bitmap->inconsistent)
			continue;
		clusters += data + div_round_up(data * sizeof(uint64_t), l->cluster_size);
		directory_bytes += align_up(sizeof(struct qcow2_disk_bitmap) + strlen(bitmap->name),
					    sizeof(uint64_t));
	}
	return clusters + div_round_up(directory_bytes, l->cluster_size);
}

static int co_measure_bitmaps(const struct layout *l, struct image *source,
			      struct image_measurement *measurement, GError **err)
{
	g_autoptr(GPtrArray) bitmaps = NULL;
	int ret;

	if (l->version < 3 || !image_can_hold_bitmaps(source))
		return 0;
	ret = image_co_bitmap_list(source, &bitmaps, err);
	if (ret)
		return ret;
	measurement->has_bitmaps = true;
	measurement->bitmaps = bitmap_clusters(l, bitmaps) << l->cluster_bits;
	return 0;
}

/* The clusters of the disk that hold data from the start. */
static int co_count_data(const struct layout *l, const struct image_create_opts *opts,
			 struct image *source, uint64_t *ret_clusters, GError **err)
{
	int ret;

	*ret_clusters = 0;
	/* Which data a backing file provides is not known: it may be all of the source. */
	if (l->preallocation == IMAGE_PREALLOC_FALLOC || l->preallocation == IMAGE_PREALLOC_FULL ||
	    (source && opts->backing_filename)) {
		*ret_clusters = l->guest_clusters;
		return 0;
	}
	ret = source ? extents_co_count_data(source, l->cluster_size, ret_clusters) : 0;
	return ret ? error_set(err, ret, "Unable to get block status") : 0;
}

int qcow2_co_measure(const struct image_create_opts *opts, struct image *source,
		     struct image_measurement *ret_measurement, GError **err)
{
	struct image_measurement measurement = {};
	uint64_t clusters, data_clusters;
	struct layout l;
	int ret = qcow2_layout_from_options(&l, opts, err) ?:
		  qcow2_count_layout(&l, opts->size, &clusters, err) ?:
		  co_count_data(&l, opts, source, &data_clusters, err);

	if (!ret && source)
		ret = co_measure_bitmaps(&l, source, &measurement, err);
	if (ret)
		return ret;
	measurement.fully_allocated = clusters << l.cluster_bits;
	measurement.required = (clusters - l.guest_clusters + data_clusters) << l.cluster_bits;
	*ret_measurement = measurement;
	return 0;
}
