// SPDX-License-Identifier: GPL-2.0-or-later
/* Reads the header and checks it field by field. Every number comes from an untrusted file. */
#include "qcow2.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "align.h"

/* How much is read: the header and its extensions end in the first cluster. */
struct raw_header {
	uint8_t *buf;
	size_t bytes; /* of the first cluster, as far as the file goes */
	uint32_t header_length;
};

static int co_read_first_cluster(struct qcow2 *q, struct raw_header *raw, GError **err)
{
	uint64_t file_size = image_size(q->file);
	uint8_t fixed[sizeof(struct qcow2_disk_header)] = { 0 };
	struct qcow2_disk_header *disk = (void *)fixed;
	int ret;

	ret = image_co_pread(q->file, 0, MIN(file_size, sizeof(fixed)), fixed);
	if (ret)
		return error_set(err, ret, "%s: cannot read the header", q->img->filename);
	q->magic = be32toh(disk->magic);
	if (q->magic == QCOW2_MAGIC_UNFINISHED && !(q->img->flags & IMAGE_UNFINISHED))
		return qcow2_refuse(q, err, -EINVAL,
				    "it is an unfinished copy: the program that wrote it was "
				    "interrupted; copy it again");
	if (q->magic != QCOW2_MAGIC && q->magic != QCOW2_MAGIC_UNFINISHED)
		return qcow2_refuse(q, err, -EINVAL, "Image is not in qcow2 format");
	if (file_size < QCOW2_V2_HEADER_LENGTH)
		return qcow2_refuse(q, err, -EINVAL,
				    "qcow2 header too short: the file has %" PRIu64 " bytes",
				    file_size);
	q->version = be32toh(disk->version);
	if (q->version < 2 || q->version > 3)
		return qcow2_refuse(q, err, -ENOTSUP,
				    "Unsupported qcow2 version %u, must be 2 or 3", q->version);
	q->cluster_bits = be32toh(disk->cluster_bits);
	if (q->cluster_bits < QCOW2_MIN_CLUSTER_BITS || q->cluster_bits > QCOW2_MAX_CLUSTER_BITS)
		return qcow2_refuse(q, err, -EINVAL, "cluster_bits is %u, must be %u to %u",
				    q->cluster_bits, QCOW2_MIN_CLUSTER_BITS,
				    QCOW2_MAX_CLUSTER_BITS);
	q->cluster_size = 1u << q->cluster_bits;

	raw->bytes = MIN(file_size, q->cluster_size);
	raw->buf = try_iobuf_alloc0(MAX(q->cluster_size, sizeof(fixed)));
	if (!raw->buf)
		return qcow2_refuse(q, err, -ENOMEM, "no memory for the header");
	ret = image_co_pread(q->file, 0, raw->bytes, raw->buf);
	if (ret)
		return error_set(err, ret, "%s: cannot read the header", q->img->filename);
	return 0;
}

/* The fields of version 3; in version 2 they are implied. */
static int parse_v3_fields(struct qcow2 *q, struct raw_header *raw, GError **err)
{
	const struct qcow2_disk_header *disk = (void *)raw->buf;

	q->refcount_order = 4;
	raw->header_length = QCOW2_V2_HEADER_LENGTH;
	if (q->version < 3)
		return 0;
	raw->header_length = q->header_length = be32toh(disk->header_length);
	if (raw->header_length < QCOW2_V3_HEADER_LENGTH || raw->header_length % 8 ||
	    raw->header_length > raw->bytes)
		return qcow2_refuse(q, err, -EINVAL,
				    "header_length is %u, must be a multiple of 8 from %u to %zu",
				    raw->header_length, QCOW2_V3_HEADER_LENGTH, raw->bytes);
	q->refcount_order = be32toh(disk->refcount_order);
	if (q->refcount_order > QCOW2_MAX_REFCOUNT_ORDER)
		return qcow2_refuse(q, err, -EINVAL, "refcount_order is %u, must be 0 to %u",
				    q->refcount_order, QCOW2_MAX_REFCOUNT_ORDER);
	q->incompatible_features = be64toh(disk->incompatible_features);
	q->compatible_features = be64toh(disk->compatible_features);
	q->autoclear_features = be64toh(disk->autoclear_features);
	q->extended_l2 = q->incompatible_features & QCOW2_INCOMPAT_EXTENDED_L2;
	if (raw->header_length > offsetof(struct qcow2_disk_header, compression_type))
		q->compression_type = disk->compression_type;
	if (raw->header_length > sizeof(*disk))
		q->unknown_fields =
			g_bytes_new(raw->buf + sizeof(*disk), raw->header_length - sizeof(*disk));
	return 0;
}

/* The name of an incompatible feature in the image's own table, or NULL. */
static char *find_feature_name(const struct raw_header *raw, size_t table, uint32_t bytes,
			       unsigned bit)
{
	struct qcow2_disk_feature_name entry;

	for (uint32_t off = 0; off + sizeof(entry) <= bytes; off += sizeof(entry)) {
		memcpy(&entry, raw->buf + table + off, sizeof(entry));
		if (entry.type == 0 && entry.bit == bit)
			return g_strndup(entry.name, sizeof(entry.name));
	}
	return NULL;
}

static int refuse_feature(struct qcow2 *q, GError **err, const struct raw_header *raw, size_t names,
			  uint32_t names_bytes, unsigned bit)
{
	g_autofree char *name = names ? find_feature_name(raw, names, names_bytes, bit) : NULL;
	g_autofree char *safe = name ? g_strescape(name, NULL) : NULL;

	return qcow2_refuse(q, err, -ENOTSUP, "incompatible feature bit %u (%s) is not supported",
			    bit, safe && *safe ? safe : "unnamed");
}

static int check_features(struct qcow2 *q, const struct raw_header *raw, size_t names,
			  uint32_t names_bytes, GError **err)
{
	uint64_t known = QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT |
			 QCOW2_INCOMPAT_COMPRESSION | QCOW2_INCOMPAT_EXTENDED_L2 |
			 QCOW2_INCOMPAT_DATA_FILE;
	uint64_t unknown;

	unknown = q->incompatible_features & ~known;
	if (unknown)
		return refuse_feature(q, err, raw, names, names_bytes, __builtin_ctzll(unknown));
	if (q->extended_l2 && q->cluster_bits < QCOW2_MIN_EXTENDED_L2_CLUSTER_BITS)
		return qcow2_refuse(
			q, err, -EINVAL,
			"cluster_bits is %u, must be at least %u with extended L2 entries",
			q->cluster_bits, QCOW2_MIN_EXTENDED_L2_CLUSTER_BITS);
	if (!!(q->incompatible_features & QCOW2_INCOMPAT_COMPRESSION) != !!q->compression_type)
		return qcow2_refuse(q, err, -EINVAL,
				    "compression_type is %u, but the compression type bit is %s",
				    q->compression_type, q->compression_type ? "not set" : "set");
	if (q->compression_type > QCOW2_COMPRESSION_ZSTD)
		return qcow2_refuse(q, err, -ENOTSUP, "compression type %u is not supported",
				    q->compression_type);
	return 0;
}

/* Its contents are checked when the bitmaps are read, if they are valid at all. */
static void parse_bitmaps_extension(struct qcow2 *q, const struct raw_header *raw, size_t data,
				    const struct qcow2_disk_extension *ext)
{
	struct qcow2_disk_bitmaps disk = { 0 };

	memcpy(&disk, raw->buf + data, MIN(ext->length, sizeof(disk)));
	q->bitmaps_ext = (struct bitmaps_extension){
		.present = true,
		.bytes = ext->length,
		.nr = be32toh(disk.nb_bitmaps),
		.reserved = be32toh(disk.reserved),
		.directory_bytes = be64toh(disk.bitmap_directory_size),
		.directory_off = be64toh(disk.bitmap_directory_offset),
	};
}

/* Unknown extensions "can be safely ignored", but are kept when the header is written. */
static int parse_extension(struct qcow2 *q, const struct raw_header *raw, size_t data,
			   const struct qcow2_disk_extension *ext,
			   GError **err) NO_THREAD_SAFETY_ANALYSIS /* nobody else knows @q yet */
{
	switch (ext->type) {
	case QCOW2_EXT_BACKING_FORMAT:
		if (ext->length > 15)
			return qcow2_refuse(
				q, err, -EINVAL,
				"the backing format's name has %u bytes, at most 15 are valid",
				ext->length);
		g_free(q->img->backing_format);
		q->img->backing_format = NULL;
		if (ext->length && raw->buf[data])
			q->img->backing_format =
				g_strndup((const char *)raw->buf + data, ext->length);
		return 0;
	case QCOW2_EXT_FEATURE_NAMES:
	case QCOW2_EXT_PADDING:
		return 0;
	case QCOW2_EXT_DATA_FILE:
		g_free(q->data_filename);
		q->data_filename = g_strndup((const char *)raw->buf + data, ext->length);
		if (!ext->length || strlen(q->data_filename) != ext->length)
			return qcow2_refuse(
				q, err, -EINVAL,
				"the data file's name is empty or contains a zero byte");
		break;
	case QCOW2_EXT_BITMAPS:
		parse_bitmaps_extension(q, raw, data, ext);
		break;
	default:
		break;
	}
	qcow2_header_extensions_add(q->extensions, ext->type, raw->buf + data, ext->length);
	return 0;
}

/*
 * Walks over the extensions up to @end; *ret_names and *ret_names_bytes say where the feature name
 * table is, 0 if there is none.
 */
static int parse_extensions(struct qcow2 *q, const struct raw_header *raw, size_t end,
			    size_t *ret_names, uint32_t *ret_names_bytes, GError **err)
{
	struct header_cursor cursor = { raw->buf, raw->header_length, end };
	struct qcow2_disk_extension ext;
	size_t data;
	int found, ret;

	*ret_names = 0;
	*ret_names_bytes = 0;
	while ((found = qcow2_header_next_extension(&cursor, &ext, &data)) > 0) {
		if (ext.type == QCOW2_EXT_FEATURE_NAMES) {
			*ret_names = data;
			*ret_names_bytes = ext.length;
		}
		ret = parse_extension(q, raw, data, &ext, err);
		if (ret)
			return ret;
	}
	if (found < 0)
		return qcow2_refuse(q, err, -EINVAL,
				    "header extension 0x%08x has %u bytes, only %zu are left",
				    ext.type, ext.length, cursor.end - cursor.off);
	return 0;
}

static int parse_backing_name(struct qcow2 *q, const struct raw_header *raw, GError **err)
{
	const struct qcow2_disk_header *disk = (void *)raw->buf;
	uint64_t off = be64toh(disk->backing_file_offset);
	uint32_t bytes = be32toh(disk->backing_file_size);

	if (!off)
		return 0;
	if (bytes > QCOW2_MAX_BACKING_NAME)
		return qcow2_refuse(q, err, -EINVAL, "backing_file_size is %u, must be 0 to %u",
				    bytes, QCOW2_MAX_BACKING_NAME);
	if (off < raw->header_length || off > raw->bytes || bytes > raw->bytes - off)
		return qcow2_refuse(q, err, -EINVAL,
				    "the backing file's name lies at %" PRIu64
				    ", must be in the first cluster, after the header",
				    off);
	/* Some writers count a trailing zero byte; and an empty name means no name. */
	if (bytes && raw->buf[off])
		q->img->backing_filename = g_strndup((const char *)raw->buf + off, bytes);
	return 0;
}

bool qcow2_is_behind_end(const struct qcow2 *q, uint64_t off, uint64_t bytes)
{
	/* The last cluster may be incomplete. */
	uint64_t end = qcow2_clusters_for(q, image_size(q->file)) << q->cluster_bits;

	return bytes && (off >= end || bytes > end - off);
}

static int refuse_behind_end(struct qcow2 *q, const char *name, uint64_t off, uint64_t bytes,
			     GError **err)
{
	return qcow2_refuse(q, err, -EINVAL,
			    "the %s (0x%" PRIx64 ", %" PRIu64
			    " bytes) lies outside the file of %" PRIu64
			    " bytes; the image can only be read, or repaired by check -r all",
			    name, off, bytes, image_size(q->file));
}

/* Checks the alignment and the size of a table that the header points to. */
static int check_table(struct qcow2 *q, const char *name, uint64_t off, uint64_t bytes,
		       uint64_t max_bytes, GError **err)
{
	if (bytes > max_bytes)
		return qcow2_refuse(q, err, -EFBIG,
				    "the %s has %" PRIu64 " bytes, at most %" PRIu64
				    " are supported",
				    name, bytes, max_bytes);
	if (qcow2_in_cluster(q, off))
		return qcow2_refuse(q, err, -EINVAL,
				    "the %s lies at 0x%" PRIx64
				    ", must be a multiple of the cluster size %u",
				    name, off, q->cluster_size);
	return 0;
}

static int check_l1(struct qcow2 *q,
		    GError **err) NO_THREAD_SAFETY_ANALYSIS /* nobody else knows @q yet */
{
	uint64_t bytes = (uint64_t)q->l1_size * sizeof(uint64_t);
	int ret = check_table(q, "L1 table", q->l1_off, bytes, QCOW2_MAX_L1_BYTES, err);

	if (ret)
		return ret;
	if (bytes && !q->l1_off)
		return qcow2_refuse(q, err, -EINVAL,
				    "the L1 table lies at offset 0, where the header is");
	if (q->img->flags & IMAGE_RDWR && qcow2_is_behind_end(q, q->l1_off, bytes))
		return refuse_behind_end(q, "L1 table", q->l1_off, bytes, err);
	return 0;
}

static int check_reftable(struct qcow2 *q, uint64_t clusters,
			  GError **err) NO_THREAD_SAFETY_ANALYSIS /* nobody else knows @q yet */
{
	if (!clusters)
		return qcow2_refuse(q, err, -EINVAL,
				    "refcount_table_clusters is 0, must be at least 1");
	return check_table(q, "refcount table", q->reftable_off, q->reftable_size * 8,
			   QCOW2_MAX_REFTABLE_BYTES, err);
}

/* Readers do not need a refcount table, and a repair makes a new one. */
static int parse_reftable(struct qcow2 *q, uint64_t clusters,
			  GError **err) NO_THREAD_SAFETY_ANALYSIS /* as above */
{
	uint64_t off = q->reftable_off, bytes = q->reftable_size * 8;
	g_autoptr(GError) why = NULL;
	int ret = check_reftable(q, clusters, &why);

	if (!ret && (!off || qcow2_is_behind_end(q, off, bytes))) {
		if (q->img->flags & IMAGE_RDWR)
			return refuse_behind_end(q, "refcount table", off, bytes, err);
		q->reftable_bad = true;
		return 0;
	}

	if (ret && q->img->flags & IMAGE_FOR_CHECK) {
		q->reftable_bad = true;
		return 0;
	}
	if (ret)
		g_propagate_error(err, g_steal_pointer(&why));
	return ret;
}

static int parse_tables(struct qcow2 *q, const struct qcow2_disk_header *disk,
			GError **err) NO_THREAD_SAFETY_ANALYSIS /* nobody else knows @q yet */
{
	uint64_t size = be64toh(disk->size);
	uint64_t l1_covers = 1ull << (q->cluster_bits + q->l2_bits);
	uint64_t l1_needed = size / l1_covers + (size % l1_covers != 0);
	uint64_t reftable_clusters = be32toh(disk->refcount_table_clusters);
	int ret;

	q->l1_size = be32toh(disk->l1_size);
	q->l1_off = be64toh(disk->l1_table_offset);
	q->reftable_off = be64toh(disk->refcount_table_offset);
	q->reftable_size = (reftable_clusters << q->cluster_bits) / sizeof(uint64_t);
	q->nr_snapshots = be32toh(disk->nb_snapshots);
	q->snapshots_off = be64toh(disk->snapshots_offset);

	ret = check_l1(q, err);
	if (ret)
		return ret;
	if (q->l1_size < l1_needed)
		return qcow2_refuse(q, err, -EINVAL,
				    "the L1 table has %u entries, but a disk of %" PRIu64
				    " bytes needs %" PRIu64,
				    q->l1_size, size, l1_needed);
	ret = parse_reftable(q, reftable_clusters, err);
	if (ret)
		return ret;
	if (q->nr_snapshots > QCOW2_MAX_SNAPSHOTS)
		return qcow2_refuse(q, err, -EFBIG, "nb_snapshots is %u, at most %u are supported",
				    q->nr_snapshots, QCOW2_MAX_SNAPSHOTS);
	if (size > INT64_MAX)
		return qcow2_refuse(q, err, -EFBIG,
				    "the size is %" PRIu64 " bytes, at most %" PRId64
				    " are supported",
				    size, INT64_MAX);
	/* The disk does not have an incomplete sector at its end, as in QEMU. */
	atomic_store(&q->img->size, align_down(size, SECTOR_SIZE));
	return 0;
}

void qcow2_set_slice_bytes(struct qcow2 *q, uint32_t bytes)
{
	q->cache.slice_bytes = bytes;
	q->slice_bits = __builtin_ctz(bytes) - (q->extended_l2 ? 4 : 3);
}

static void set_geometry(struct qcow2 *q)
{
	uint32_t slice_bytes = MIN(q->cluster_size, 4096);
	unsigned entry_bits = q->extended_l2 ? 4 : 3;

	q->subcluster_bits = q->cluster_bits - (q->extended_l2 ? QCOW2_SUBCLUSTER_BITS : 0);
	q->l2_bits = q->cluster_bits - entry_bits;
	q->refblock_bits = q->cluster_bits + 3 - q->refcount_order;
	qcow2_set_slice_bytes(q, slice_bytes);
}

int qcow2_co_read_header(struct qcow2 *q, const struct image_open_opts *opts, GError **err)
{
	const struct qcow2_disk_header *disk;
	struct raw_header raw = { 0 };
	uint32_t names_bytes = 0;
	uint64_t end;
	size_t names = 0;
	int ret;

	ret = co_read_first_cluster(q, &raw, err);
	if (ret)
		goto out;
	disk = (void *)raw.buf;
	q->crypt_method = be32toh(disk->crypt_method);
	if (q->crypt_method && !(q->img->flags & IMAGE_INFO_ONLY)) {
		ret = qcow2_refuse(q, err, -ENOTSUP,
				   "encryption (crypt_method %u) is not supported yet",
				   q->crypt_method);
		goto out;
	}
	ret = parse_v3_fields(q, &raw, err);
	if (ret)
		goto out;
	set_geometry(q);
	end = be64toh(disk->backing_file_offset);
	if (!end || end > raw.bytes)
		end = raw.bytes;
	ret = parse_extensions(q, &raw, end, &names, &names_bytes, err) ?:
	      check_features(q, &raw, names, names_bytes, err) ?:
	      parse_backing_name(q, &raw, err) ?:
	      parse_tables(q, disk, err);
out:
	iobuf_free(raw.buf);
	return ret;
}

int qcow2_check_writable(struct qcow2 *q, GError **err)
{
	if (q->incompatible_features & QCOW2_INCOMPAT_CORRUPT)
		return qcow2_refuse(q, err, -EROFS,
				    "qcow2: Image is corrupt; cannot be opened read/write "
				    "(check -r all repairs it)");
	return 0;
}
