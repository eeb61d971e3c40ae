// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The snapshot table: reads it, checks it field by field, and builds it anew. It is never changed
 * in place: every change writes another table and lets the header name that (rewrite.h).
 */
#include "snapshot.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "align.h"

#define READ_BYTES	 (64u << 10)

/* All L1 tables of snapshots together: they are read when the image is opened for writing. */
#define MAX_ALL_L1_BYTES (1ull << 30)

/* ---- reading ---- */

/* The part of the table that has been read. */
struct reader {
	struct qcow2 *q;
	GByteArray *bytes;
	uint64_t all_l1_bytes;
};

static int bad_entry(const struct reader *r, guint number, GError **err, int ret,
		     const char *format, ...) G_GNUC_PRINTF(5, 6);

static int bad_entry(const struct reader *r, guint number, GError **err, int ret,
		     const char *format, ...)
{
	va_list args;

	va_start(args, format);
	error_vrefuse(err, ret, format, args);
	va_end(args);
	g_prefix_error(err, "%s: snapshot table entry %u: ", r->q->img->filename, number);
	return ret;
}

/* Makes sure that the first @end bytes of the table have been read. */
static int reader_co_get(struct reader *r, uint64_t end)
{
	uint64_t file_size = image_size(r->q->file), off = r->q->snapshots_off;

	if (end <= r->bytes->len)
		return 0;
	if (end > QCOW2_MAX_SNAPSHOT_TABLE)
		return -EFBIG;
	if (off >= file_size || end > file_size - off)
		return -EINVAL;
	while (r->bytes->len < end) {
		guint len = r->bytes->len;
		uint64_t more = MIN(READ_BYTES, file_size - off - len);
		int ret;

		g_byte_array_set_size(r->bytes, len + more);
		ret = image_co_pread(r->q->file, off + len, more, r->bytes->data + len);
		if (ret)
			return ret;
	}
	return 0;
}

static uint64_t load_be64(const uint8_t *data)
{
	uint64_t value;

	memcpy(&value, data, sizeof(value));
	return be64toh(value);
}

/* Parses the fields of a complete entry. */
static struct snapshot *parse_entry(const struct reader *r, const uint8_t *raw, size_t bytes)
{
	const uint8_t *extra = raw + sizeof(struct qcow2_disk_snapshot);
	struct snapshot *s = g_new0(struct snapshot, 1);
	struct qcow2_disk_snapshot disk;
	uint32_t extra_bytes;

	memcpy(&disk, raw, sizeof(disk));
	extra_bytes = be32toh(disk.extra_data_size);
	s->raw = g_memdup2(raw, bytes);
	s->raw_bytes = bytes;
	s->l1_off = be64toh(disk.l1_table_offset);
	s->l1_size = be32toh(disk.l1_size);
	s->date_sec = be32toh(disk.date_sec);
	s->date_nsec = be32toh(disk.date_nsec);
	s->vm_clock_nsec = be64toh(disk.vm_clock_nsec);
	s->vm_state_size = be32toh(disk.vm_state_size);
	/* Unless something else is said, the disk has not changed its size since. */
	s->disk_size = image_size(r->q->img);
	s->icount = UINT64_MAX;
	if (extra_bytes >= offsetof(struct qcow2_disk_snapshot_extra, disk_size))
		s->vm_state_size = load_be64(extra);
	if (extra_bytes >= offsetof(struct qcow2_disk_snapshot_extra, icount))
		s->disk_size =
			load_be64(extra + offsetof(struct qcow2_disk_snapshot_extra, disk_size));
	s->disk_size &= ~511ull; /* as the image itself has them */
	if (extra_bytes >= sizeof(struct qcow2_disk_snapshot_extra))
		s->icount = load_be64(extra + offsetof(struct qcow2_disk_snapshot_extra, icount));
	s->id = g_strndup((const char *)extra + extra_bytes, be16toh(disk.id_size));
	s->name = g_strndup((const char *)extra + extra_bytes + be16toh(disk.id_size),
			    be16toh(disk.name_size));
	return s;
}

static int check_entry(struct reader *r, guint number, const struct snapshot *s, GError **err)
{
	uint64_t file_size = image_size(r->q->file), l1_bytes = s->l1_size * sizeof(uint64_t);
	uint64_t needed = qcow2_snapshot_l1_needed(r->q, s->disk_size);

	if (s->disk_size > INT64_MAX || needed * sizeof(uint64_t) > QCOW2_MAX_L1_BYTES)
		return bad_entry(r, number, err, -EFBIG,
				 "a disk of %" PRIu64 " bytes is not supported", s->disk_size);
	if (l1_bytes > QCOW2_MAX_L1_BYTES)
		return bad_entry(r, number, err, -EFBIG,
				 "the L1 table has %u entries, at most %u are supported",
				 s->l1_size, QCOW2_MAX_L1_BYTES / 8);
	if (qcow2_in_cluster(r->q, s->l1_off))
		return bad_entry(r, number, err, -EINVAL,
				 "the L1 table lies at 0x%" PRIx64
				 ", must be a multiple of the cluster size %u",
				 s->l1_off, r->q->cluster_size);
	if (l1_bytes && (!s->l1_off || s->l1_off >= file_size || l1_bytes > file_size - s->l1_off))
		return bad_entry(r, number, err, -EINVAL,
				 "the L1 table (0x%" PRIx64 ", %" PRIu64
				 " bytes) lies outside the file of %" PRIu64 " bytes",
				 s->l1_off, l1_bytes, file_size);
	r->all_l1_bytes += l1_bytes;
	if (r->all_l1_bytes > MAX_ALL_L1_BYTES)
		return bad_entry(r, number, err, -EFBIG,
				 "the L1 tables of all snapshots have more than %llu bytes",
				 MAX_ALL_L1_BYTES);
	return 0;
}

/* Reads the entry at *off, which moves behind it. */
static int co_read_entry(struct reader *r, guint number, uint64_t *off, GError **err)
{
	struct qcow2_disk_snapshot disk;
	struct snapshot *s;
	uint64_t bytes = sizeof(disk);
	uint32_t extra_bytes = 0;
	int ret = reader_co_get(r, *off + bytes);

	if (!ret) {
		memcpy(&disk, r->bytes->data + *off, sizeof(disk));
		extra_bytes = be32toh(disk.extra_data_size);
		bytes += (uint64_t)extra_bytes + be16toh(disk.id_size) + be16toh(disk.name_size);
	}
	if (!ret && extra_bytes > QCOW2_MAX_SNAPSHOT_EXTRA)
		return bad_entry(r, number, err, -EFBIG,
				 "extra_data_size is %u, at most %u are supported", extra_bytes,
				 QCOW2_MAX_SNAPSHOT_EXTRA);
	ret = ret ?: reader_co_get(r, *off + bytes);
	if (ret == -EINVAL)
		return bad_entry(r, number, err, -EINVAL, "it extends beyond the end of the file");
	if (ret == -EFBIG)
		return bad_entry(r, number, err, -EFBIG,
				 "the table has more than %u bytes, which is not supported",
				 QCOW2_MAX_SNAPSHOT_TABLE);
	if (ret)
		return error_set(err, ret, "%s: snapshot table entry %u: cannot be read",
				 r->q->img->filename, number);
	/* As it is in the table, in parts, and as it was read. */
	ret = qcow2_take_memory(r->q, sizeof(*s) + 3 * bytes, "the list of snapshots", err);
	if (ret)
		return ret;
	s = parse_entry(r, r->bytes->data + *off, bytes);
	g_ptr_array_add(r->q->snapshots, s);
	*off += align_up(bytes, 8);
	return check_entry(r, number, s, err);
}

static int co_load(struct qcow2 *q, GError **err)
{
	struct reader r = { .q = q, .bytes = g_byte_array_new() };
	uint64_t off = 0;
	int ret = 0;

	if (q->nr_snapshots && qcow2_in_cluster(q, q->snapshots_off)) {
		g_set_error(err, UBD_ERROR, EINVAL,
			    "%s: the snapshot table lies at 0x%" PRIx64
			    ", must be a multiple of the cluster size %u",
			    q->img->filename, q->snapshots_off, q->cluster_size);
		ret = -EINVAL;
	}
	for (guint i = 0; i < q->nr_snapshots && !ret; i++)
		ret = co_read_entry(&r, i, &off, err);
	g_byte_array_unref(r.bytes);
	return ret;
}

int qcow2_snapshot_table_co_load(struct qcow2 *q, const struct image_open_opts *opts, GError **err)
{
	g_autoptr(GError) why = NULL;
	int ret = co_load(q, &why);

	if (!ret)
		return 0;
	g_ptr_array_set_size(q->snapshots, 0);
	if (opts->flags & IMAGE_FOR_CHECK)
		return 0;
	g_propagate_error(err, g_steal_pointer(&why));
	return ret;
}

/* ---- building ---- */

static uint64_t table_bytes(const GPtrArray *snapshots)
{
	uint64_t bytes = 0;

	for (guint i = 0; i < snapshots->len; i++)
		bytes += align_up(((const struct snapshot *)snapshots->pdata[i])->raw_bytes, 8);
	return bytes;
}

uint64_t qcow2_snapshot_table_bytes(const struct qcow2 *q)
{
	return table_bytes(q->snapshots);
}

int qcow2_snapshot_table_build(const GPtrArray *snapshots, uint8_t **ret_table, uint64_t *ret_bytes)
{
	uint64_t bytes = table_bytes(snapshots);
	uint8_t *table, *next;

	if (bytes > QCOW2_MAX_SNAPSHOT_TABLE)
		return -EFBIG;
	table = next = try_iobuf_alloc0(MAX(bytes, 1));
	if (!table)
		return -ENOMEM;
	for (guint i = 0; i < snapshots->len; i++) {
		const struct snapshot *s = snapshots->pdata[i];

		memcpy(next, s->raw, s->raw_bytes);
		next += align_up(s->raw_bytes, 8);
	}
	*ret_table = table;
	*ret_bytes = bytes;
	return 0;
}

/* One more than the highest number used as an ID. */
static char *new_id(const struct qcow2 *q)
{
	uint64_t highest = 0;

	for (guint i = 0; i < q->snapshots->len; i++) {
		const struct snapshot *s = q->snapshots->pdata[i];

		highest = MAX(highest, g_ascii_strtoull(s->id, NULL, 10));
	}
	/* An absurd ID in the image must not make ours equal to an existing one. */
	for (uint64_t number = highest + 1;; number++) {
		g_autofree char *id = g_strdup_printf("%" PRIu64, number);

		if (!qcow2_snapshot_find(q, id, NULL))
			return g_steal_pointer(&id);
	}
}

struct snapshot *qcow2_snapshot_new(const struct qcow2 *q, const char *name, uint64_t disk_size)
{
	struct qcow2_disk_snapshot_extra extra = { .disk_size = htobe64(disk_size) };
	struct snapshot *s = g_new0(struct snapshot, 1);
	int64_t now = g_get_real_time();
	struct qcow2_disk_snapshot disk;
	uint8_t *next;

	*s = (struct snapshot){
		.id = new_id(q),
		.name = g_strdup(name),
		.date_sec = now / G_USEC_PER_SEC,
		.date_nsec = now % G_USEC_PER_SEC * 1000,
		.disk_size = disk_size,
	};
	disk = (struct qcow2_disk_snapshot){
		.id_size = htobe16(strlen(s->id)),
		.name_size = htobe16(strlen(name)),
		.date_sec = htobe32(s->date_sec),
		.date_nsec = htobe32(s->date_nsec),
		.extra_data_size = htobe32(sizeof(extra)),
	};
	s->raw_bytes = sizeof(disk) + sizeof(extra) + strlen(s->id) + strlen(name);
	s->raw = g_malloc(s->raw_bytes);
	next = mempcpy(s->raw, &disk, sizeof(disk));
	next = mempcpy(next, &extra, sizeof(extra));
	next = mempcpy(next, s->id, strlen(s->id));
	memcpy(next, name, strlen(name));
	return s;
}

void qcow2_snapshot_set_l1(struct snapshot *snapshot, uint64_t l1_off, uint32_t l1_size)
{
	struct qcow2_disk_snapshot disk;

	memcpy(&disk, snapshot->raw, sizeof(disk));
	disk.l1_table_offset = htobe64(l1_off);
	disk.l1_size = htobe32(l1_size);
	memcpy(snapshot->raw, &disk, sizeof(disk));
	snapshot->l1_off = l1_off;
	snapshot->l1_size = l1_size;
}

void qcow2_snapshot_free(void *arg)
{
	struct snapshot *snapshot = arg;

	g_free(snapshot->id);
	g_free(snapshot->name);
	g_free(snapshot->raw);
	g_free(snapshot);
}

/* ---- finding ---- */

struct snapshot *qcow2_snapshot_find(const struct qcow2 *q, const char *id, const char *name)
{
	for (guint i = 0; i < q->snapshots->len; i++) {
		struct snapshot *s = q->snapshots->pdata[i];

		if ((!id || strcmp(s->id, id) == 0) && (!name || strcmp(s->name, name) == 0))
			return s;
	}
	return NULL;
}

struct snapshot *qcow2_snapshot_find_any(const struct qcow2 *q, const char *id_or_name)
{
	return qcow2_snapshot_find(q, id_or_name, NULL) ?: qcow2_snapshot_find(q, NULL, id_or_name);
}

uint64_t qcow2_snapshot_l1_needed(const struct qcow2 *q, uint64_t disk_size)
{
	unsigned bits = q->cluster_bits + q->l2_bits;

	return (disk_size >> bits) + ((disk_size & ((1ull << bits) - 1)) != 0);
}

int qcow2_snapshot_co_load_l1(struct qcow2 *q, uint64_t l1_off, uint32_t l1_size, uint64_t **ret_l1)
{
	uint64_t *l1 = g_try_new0(uint64_t, MAX(l1_size, 1));
	int ret = l1 ? 0 : -ENOMEM;

	if (!ret && l1_size)
		ret = image_co_pread(q->file, l1_off, l1_size * sizeof(uint64_t), l1);
	if (ret) {
		g_free(l1);
		return ret;
	}
	for (uint32_t i = 0; i < l1_size; i++)
		l1[i] = be64toh(l1[i]);
	*ret_l1 = l1;
	return 0;
}

int qcow2_snapshot_select(struct qcow2 *q, const struct image_open_opts *opts, GError **err)
{
	const char *which = opts->snapshot ?: opts->snapshot_name ?: opts->snapshot_id;
	const struct snapshot *s;

	if (!which)
		return 0;
	s = opts->snapshot ? qcow2_snapshot_find_any(q, opts->snapshot)
			   : qcow2_snapshot_find(q, opts->snapshot_id, opts->snapshot_name);
	if (!s)
		return error_refuse(err, -ENOENT,
				    "%s: Failed to load snapshot: Can't find snapshot '%s'",
				    q->img->filename, which);
	q->l1_off = s->l1_off;
	q->l1_size = s->l1_size;
	atomic_store(&q->img->size, s->disk_size);
	return 0;
}
