// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Changes the header of an open image: as a whole, or a few bytes of its first sector. All of it
 * happens under alloc_lock, so there is one change at a time.
 */
#include "qcow2.h"

#include <stddef.h>
#include <string.h>

#include "align.h"
#include "rules.h"

/* ---- a few bytes ---- */

/* Changes bytes of whichever header is on disk, all in one 512-byte sector, durably. */
static int co_patch_sector(struct qcow2 *q, size_t off, const void *data, size_t bytes)
	REQUIRES(q->alloc_lock)
{
	bool was_unsettled = q->header_unsettled;
	uint8_t *sector = try_iobuf_alloc(512);
	int ret;

	if (!sector)
		return -ENOMEM;
	ret = image_co_pread(q->file, 0, 512, sector);
	if (!ret) {
		memcpy(sector + off, data, bytes);
		q->header_unsettled = true;
		ret = image_co_pwrite(q->file, 0, 512, sector, 0) ?: image_co_flush(q->file);
	}
	if (!ret)
		q->header_unsettled = was_unsettled;
	iobuf_free(sector);
	return ret;
}

static int co_patch_header(struct qcow2 *q, size_t off, const void *data, size_t bytes)
	REQUIRES(q->alloc_lock)
{
	return qcow2_co_settle_header(q) ?: co_patch_sector(q, off, data, bytes);
}

int qcow2_co_clear_autoclear(struct qcow2 *q)
{
	uint64_t known = q->autoclear_features & QCOW2_AUTOCLEAR_KNOWN;
	uint64_t disk;
	int ret;

	/* Without the extension there are no bitmaps, whatever the bit says. */
	if (!q->bitmaps_ext.present)
		known &= ~QCOW2_AUTOCLEAR_BITMAPS;
	disk = htobe64(known);
	if (q->autoclear_features == known)
		return 0;
	co_mutex_lock(&q->alloc_lock);
	ret = co_patch_header(q, offsetof(struct qcow2_disk_header, autoclear_features), &disk,
			      sizeof(disk));
	co_mutex_unlock(&q->alloc_lock);
	if (!ret)
		q->autoclear_features = known;
	return ret;
}

int qcow2_co_write_incompatible(struct qcow2 *q, uint64_t features)
{
	uint64_t disk = htobe64(features);
	int ret = co_patch_header(q, offsetof(struct qcow2_disk_header, incompatible_features),
				  &disk, sizeof(disk));

	if (!ret)
		q->incompatible_features = features;
	return ret;
}

/* Other programs refuse a file that does not end on a sector. */
static int co_end_on_sector(struct qcow2 *q)
{
	uint64_t size = image_size(q->file), end = align_up(size, SECTOR_SIZE);

	return size == end ? 0 : image_co_truncate(q->file, end);
}

int qcow2_co_finish(struct image *img)
{
	struct qcow2 *q = img->opaque;
	uint32_t disk = htobe32(QCOW2_MAGIC);
	int ret = co_end_on_sector(q);

	if (ret || q->magic == QCOW2_MAGIC)
		return ret;
	ret = image_co_flush(img);
	co_mutex_lock(&q->alloc_lock);
	ret = ret ?: co_patch_header(q, 0, &disk, sizeof(disk));
	if (!ret)
		q->magic = QCOW2_MAGIC;
	co_mutex_unlock(&q->alloc_lock);
	return ret;
}

/* In either header, if it is not known which one is on disk. */
int qcow2_co_set_corrupt_bit(struct qcow2 *q)
{
	uint64_t features = q->incompatible_features | QCOW2_INCOMPAT_CORRUPT;
	uint64_t disk = htobe64(features);
	int ret;

	if (q->version < 3)
		return 0;
	ret = co_patch_sector(q, offsetof(struct qcow2_disk_header, incompatible_features), &disk,
			      sizeof(disk));
	if (!ret)
		q->incompatible_features = features;
	return ret;
}

int qcow2_co_write_reftable_pointer(struct qcow2 *q, uint64_t reftable_off, uint32_t clusters)
{
	struct {
		uint64_t off;
		uint32_t clusters;
	} __attribute__((packed)) fields = { htobe64(reftable_off), htobe32(clusters) };

	return qcow2_co_check_metadata(q, METADATA_HEADER, 0, 512)
		       ?: co_patch_header(q,
					  offsetof(struct qcow2_disk_header, refcount_table_offset),
					  &fields, sizeof(fields));
}

void qcow2_get_roots(const struct qcow2 *q, struct qcow2_roots *roots)
{
	*roots = (struct qcow2_roots){
		.size = image_size(q->img),
		.l1_size = q->l1_size,
		.l1_off = q->l1_off,
		.reftable_off = q->reftable_off,
		.reftable_clusters = qcow2_clusters_for(q, q->reftable_size * sizeof(uint64_t)),
		.nr_snapshots = q->nr_snapshots,
		.snapshots_off = q->snapshots_off,
	};
}

int qcow2_co_write_roots(struct qcow2 *q, const struct qcow2_roots *roots)
{
	size_t start = offsetof(struct qcow2_disk_header, size);
	/* Encryption, which lies in between, is refused when the image is opened. */
	struct qcow2_disk_header disk = {
		.size = htobe64(roots->size),
		.l1_size = htobe32(roots->l1_size),
		.l1_table_offset = htobe64(roots->l1_off),
		.refcount_table_offset = htobe64(roots->reftable_off),
		.refcount_table_clusters = htobe32(roots->reftable_clusters),
		.nb_snapshots = htobe32(roots->nr_snapshots),
		.snapshots_offset = htobe64(roots->snapshots_off),
	};

	return qcow2_co_check_metadata(q, METADATA_HEADER, 0, 512)
		       ?: co_patch_header(q, start, (uint8_t *)&disk + start,
					  QCOW2_V2_HEADER_LENGTH - start);
}

/* ---- all of it ---- */

void qcow2_set_extension(struct qcow2 *q, uint32_t type, const void *data, uint32_t bytes)
{
	qcow2_header_extensions_set(q->extensions, type, data, bytes);
}

static void fill_fixed(struct qcow2 *q, struct qcow2_disk_header *disk) REQUIRES(q->alloc_lock)
{
	*disk = (struct qcow2_disk_header){
		.magic = htobe32(q->magic),
		.version = htobe32(q->version),
		.cluster_bits = htobe32(q->cluster_bits),
		.size = htobe64(image_size(q->img)),
		.l1_size = htobe32(q->l1_size),
		.l1_table_offset = htobe64(q->l1_off),
		.refcount_table_offset = htobe64(q->reftable_off),
		.refcount_table_clusters =
			htobe32(qcow2_clusters_for(q, q->reftable_size * sizeof(uint64_t))),
		.nb_snapshots = htobe32(q->nr_snapshots),
		.snapshots_offset = htobe64(q->snapshots_off),
	};
	if (q->version < 3)
		return;
	disk->incompatible_features = htobe64(q->incompatible_features);
	disk->compatible_features = htobe64(q->compatible_features);
	disk->autoclear_features = htobe64(q->autoclear_features);
	disk->refcount_order = htobe32(q->refcount_order);
	disk->compression_type = q->compression_type;
}

/* The extensions in the order in which they are written; free them with g_ptr_array_unref(). */
static GPtrArray *all_extensions(struct qcow2 *q) REQUIRES(q->alloc_lock)
{
	static const uint32_t small_ones[] = { QCOW2_EXT_BITMAPS, QCOW2_EXT_DATA_FILE };
	const char *format = q->img->backing_format;
	GPtrArray *list = qcow2_header_extensions_new();

	/* Our own extensions that change come first: there is most room in the first sector. */
	if (format)
		qcow2_header_extensions_add(list, QCOW2_EXT_BACKING_FORMAT, format, strlen(format));
	for (unsigned i = 0; i < G_N_ELEMENTS(small_ones); i++) {
		const struct header_extension *ext =
			qcow2_header_extensions_find(q->extensions, small_ones[i]);

		if (ext)
			qcow2_header_extensions_add(list, ext->type, ext->data, ext->bytes);
	}
	for (guint i = 0; i < q->extensions->len; i++) {
		const struct header_extension *ext = q->extensions->pdata[i];

		if (ext->type != QCOW2_EXT_BITMAPS && ext->type != QCOW2_EXT_DATA_FILE)
			qcow2_header_extensions_add(list, ext->type, ext->data, ext->bytes);
	}
	return list;
}

static int co_plan(struct qcow2 *q, struct header_plan *plan, GError **err) REQUIRES(q->alloc_lock)
{
	g_autoptr(GPtrArray) extensions = all_extensions(q);
	struct header_content content = {
		.extensions = extensions,
		.backing_filename = q->img->backing_filename,
	};
	uint8_t *old = try_iobuf_alloc0(q->cluster_size);
	struct header_extent extent;
	int ret;

	fill_fixed(q, &content.fixed);
	content.fixed_bytes = MIN(q->header_length, sizeof(content.fixed));
	if (q->unknown_fields)
		content.unknown_fields =
			g_bytes_get_data(q->unknown_fields, &content.unknown_bytes);
	ret = old ? image_co_pread(q->file, 0, q->cluster_size, old) : -ENOMEM;
	if (!ret)
		ret = qcow2_header_find_extent(old, q->cluster_size, &extent);
	if (ret)
		error_set(err, ret, "cannot read the header");
	else
		ret = qcow2_header_plan(&content, old, &extent, q->cluster_size, plan, err);
	iobuf_free(old);
	return ret;
}

static int co_run_plan(struct qcow2 *q, const struct header_plan *plan) REQUIRES(q->alloc_lock)
{
	int ret = qcow2_co_check_metadata(q, METADATA_HEADER, 0, q->cluster_size);

	for (unsigned i = 0; i < plan->nr_steps && !ret; i++) {
		const struct header_step *step = &plan->steps[i];

		q->header_unsettled = true;
		ret = image_co_pwrite(q->file, step->off, step->bytes, step->data, 0)
			      ?: image_co_flush(q->file);
	}
	if (!ret)
		q->header_unsettled = false;
	return ret;
}

int qcow2_co_update_header(struct qcow2 *q, GError **err)
{
	struct header_plan plan;
	int ret;

	ret = image_co_flush(q->file);
	if (ret)
		return error_set(err, ret, "cannot flush the image");
	ret = co_plan(q, &plan, err);
	if (ret)
		return ret;
	ret = co_run_plan(q, &plan);
	if (ret)
		error_set(err, ret, "cannot write the header");
	qcow2_header_plan_clear(&plan);
	return ret;
}

int qcow2_co_settle_header(struct qcow2 *q)
{
	if (q->broken || !q->header_unsettled || RULE_BROKEN(RULE_C6_HEADER))
		return q->broken;
	return qcow2_co_update_header(q, NULL);
}
