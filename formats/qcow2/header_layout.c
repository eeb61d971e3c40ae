// SPDX-License-Identifier: GPL-2.0-or-later
/* How a header lies in the first cluster, and how it is replaced; see header_layout.h. */
#include "header_layout.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "align.h"
#include "error.h"
#include "iobuf.h"

static const struct qcow2_disk_feature_name feature_names[] = {
	{ 0, 0, "dirty bit" },
	{ 0, 1, "corrupt bit" },
	{ 0, 2, "external data file" },
	{ 0, 3, "compression type" },
	{ 0, 4, "extended L2 entries" },
	{ 1, 0, "lazy refcounts" },
	{ 2, 0, "bitmaps" },
	{ 2, 1, "raw external data" },
};

#define EXTENSION_HEAD sizeof(struct qcow2_disk_extension)
#define NAMES_BYTES    (EXTENSION_HEAD + sizeof(feature_names))

/* ---- lists of extensions ---- */

GPtrArray *qcow2_header_extensions_new(void)
{
	return g_ptr_array_new_with_free_func(g_free);
}

static bool find_index(const GPtrArray *list, uint32_t type, guint *ret_index)
{
	for (guint i = 0; i < list->len; i++) {
		const struct header_extension *ext = list->pdata[i];

		if (ext->type == type) {
			*ret_index = i;
			return true;
		}
	}
	return false;
}

const struct header_extension *qcow2_header_extensions_find(const GPtrArray *list, uint32_t type)
{
	guint index;

	return find_index(list, type, &index) ? list->pdata[index] : NULL;
}

static struct header_extension *extension_new(uint32_t type, const void *data, uint32_t bytes)
{
	struct header_extension *ext = g_malloc(sizeof(*ext) + bytes);

	ext->type = type;
	ext->bytes = bytes;
	memcpy(ext->data, data, bytes);
	return ext;
}

void qcow2_header_extensions_add(GPtrArray *list, uint32_t type, const void *data, uint32_t bytes)
{
	g_ptr_array_add(list, extension_new(type, data, bytes));
}

void qcow2_header_extensions_set(GPtrArray *list, uint32_t type, const void *data, uint32_t bytes)
{
	guint index;

	if (!find_index(list, type, &index)) {
		if (data)
			qcow2_header_extensions_add(list, type, data, bytes);
		return;
	}
	if (data)
		g_ptr_array_insert(list, index, extension_new(type, data, bytes));
	g_ptr_array_remove_index(list, data ? index + 1 : index);
}

/* ---- walking through a header ---- */

int qcow2_header_next_extension(struct header_cursor *cursor, struct qcow2_disk_extension *ret_ext,
				size_t *ret_data)
{
	size_t left;

	if (cursor->off > cursor->end || cursor->end - cursor->off < EXTENSION_HEAD)
		return 0;
	memcpy(ret_ext, cursor->buf + cursor->off, EXTENSION_HEAD);
	ret_ext->type = be32toh(ret_ext->type);
	ret_ext->length = be32toh(ret_ext->length);
	cursor->off += EXTENSION_HEAD;
	if (ret_ext->type == QCOW2_EXT_END)
		return 0;
	left = cursor->end - cursor->off;
	if (ret_ext->length > left)
		return -EINVAL;
	*ret_data = cursor->off;
	cursor->off += MIN(align_up(ret_ext->length, 8), left);
	return 1;
}

int qcow2_header_find_extent(const uint8_t *cluster, size_t cluster_size, struct header_extent *ret)
{
	const struct qcow2_disk_header *disk = (const void *)cluster;
	uint64_t name_off = be64toh(disk->backing_file_offset);
	uint32_t name_bytes = be32toh(disk->backing_file_size);
	struct qcow2_disk_extension ext;
	struct header_cursor cursor;
	size_t data;
	int found;

	*ret = (struct header_extent){ .length = QCOW2_V2_HEADER_LENGTH };
	if (be32toh(disk->version) >= 3)
		ret->length = be32toh(disk->header_length);
	if (name_off) {
		if (name_off > cluster_size || name_bytes > cluster_size - name_off)
			return -EINVAL;
		ret->name_off = name_off;
		ret->name_bytes = name_bytes;
	}
	if (ret->length > cluster_size)
		return -EINVAL;
	cursor = (struct header_cursor){ cluster, ret->length, ret->name_off ?: cluster_size };
	do {
		found = qcow2_header_next_extension(&cursor, &ext, &data);
	} while (found > 0);
	ret->extensions_end = cursor.off;
	return found;
}

/* ---- one header ---- */

static uint32_t version_of(const struct header_content *content)
{
	return be32toh(content->fixed.version);
}

static size_t known_bytes(const struct header_content *content)
{
	size_t all = qcow2_header_known_length(version_of(content));

	return version_of(content) < 3 || !content->fixed_bytes ? all : content->fixed_bytes;
}

static size_t fields_bytes(const struct header_content *content)
{
	return known_bytes(content) + (version_of(content) < 3 ? 0 : content->unknown_bytes);
}

/* The bytes of the extensions that are needed. */
static size_t needed_bytes(const struct header_content *content)
{
	size_t bytes = 0;

	for (guint i = 0; i < content->extensions->len; i++) {
		const struct header_extension *ext = content->extensions->pdata[i];

		bytes += EXTENSION_HEAD + align_up(ext->bytes, 8);
	}
	return bytes;
}

static size_t name_bytes(const struct header_content *content)
{
	return content->backing_filename ? strlen(content->backing_filename) : 0;
}

/* Where the parts of a header lie. */
struct placement {
	bool names;	 /* with the feature name table */
	size_t jump_to;	 /* the extensions start here; 0: behind the fields */
	size_t area_end; /* of the extensions, behind the end marker */
	size_t name_off;
	bool name_is_there; /* the name is already there on disk */
};

static size_t put_extension(uint8_t *buf, size_t off, uint32_t type, const void *data,
			    uint32_t bytes)
{
	struct qcow2_disk_extension head = { htobe32(type), htobe32(bytes) };

	memcpy(buf + off, &head, sizeof(head));
	if (data)
		memcpy(buf + off + sizeof(head), data, bytes);
	return off + sizeof(head) + align_up(bytes, 8);
}

static void build(const struct header_content *content, const struct placement *where, bool names,
		  uint8_t *buf)
{
	struct qcow2_disk_header *disk = (void *)buf;
	size_t known = known_bytes(content);
	size_t off = fields_bytes(content);

	memcpy(buf, &content->fixed, known);
	if (off > known)
		memcpy(buf + known, content->unknown_fields, off - known);
	if (version_of(content) >= 3)
		disk->header_length = htobe32(off);
	disk->backing_file_offset = htobe64(name_bytes(content) ? where->name_off : 0);
	disk->backing_file_size = htobe32(name_bytes(content));
	if (where->jump_to) {
		put_extension(buf, off, QCOW2_EXT_PADDING, NULL,
			      where->jump_to - off - EXTENSION_HEAD);
		off = where->jump_to;
	}
	for (guint i = 0; i < content->extensions->len; i++) {
		const struct header_extension *ext = content->extensions->pdata[i];

		off = put_extension(buf, off, ext->type, ext->data, ext->bytes);
	}
	if (names)
		off = put_extension(buf, off, QCOW2_EXT_FEATURE_NAMES, feature_names,
				    sizeof(feature_names));
	put_extension(buf, off, QCOW2_EXT_END, NULL, 0);
	memcpy(buf + where->name_off, content->backing_filename ?: "", name_bytes(content));
}

/* ---- finding room ---- */

struct range {
	size_t start;
	size_t end;
};

/* The first place for @bytes at or after @from that touches neither range; 0 if there is none. */
static size_t find_room(size_t from, size_t bytes, size_t cluster_size, const struct range *taken,
			unsigned nr_taken)
{
	size_t pos = align_up(from, 8);

	for (unsigned i = 0; i < nr_taken; i++) {
		if (pos >= taken[i].end || pos + bytes <= taken[i].start)
			continue;
		pos = align_up(taken[i].end, 8);
		i = -1;
	}
	return pos + bytes <= cluster_size ? pos : 0;
}

static bool same_bytes(const uint8_t *a, const uint8_t *b, size_t start, size_t end)
{
	return end <= start || memcmp(a + start, b + start, end - start) == 0;
}

/* Finds a place for the name behind the extensions; false if there is none. */
static bool place_name(const struct header_content *content, const uint8_t *old,
		       const struct header_extent *extent, size_t cluster_size,
		       struct placement *where)
{
	size_t bytes = name_bytes(content);
	struct range taken[] = {
		{ 0, extent->extensions_end },
		{ extent->name_off, extent->name_off + extent->name_bytes },
	};

	if (!bytes) {
		where->name_is_there = true;
		return true;
	}
	if (bytes == extent->name_bytes && extent->name_off >= where->area_end &&
	    memcmp(old + extent->name_off, content->backing_filename, bytes) == 0) {
		where->name_off = extent->name_off;
		where->name_is_there = true;
		return true;
	}
	where->name_off = find_room(MAX(where->area_end, HEADER_SECTOR), bytes, cluster_size, taken,
				    G_N_ELEMENTS(taken));
	if (where->name_off)
		return true;
	/* In the first sector it is written with the rest. */
	where->name_off = where->area_end;
	where->name_is_there = true;
	return !where->jump_to && where->area_end + bytes <= HEADER_SECTOR;
}

/* Places the extensions behind the fields, or elsewhere; false if there is no room. */
static bool place(const struct header_content *content, bool names, bool jump, const uint8_t *old,
		  const struct header_extent *extent, size_t cluster_size, struct placement *where)
{
	size_t fields = fields_bytes(content);
	size_t area = needed_bytes(content) + (names ? NAMES_BYTES : 0) + EXTENSION_HEAD;
	struct range taken[] = {
		{ 0, extent->extensions_end },
		{ extent->name_off, extent->name_off + extent->name_bytes },
	};

	*where = (struct placement){ .names = names };
	if (!jump) {
		where->area_end = fields + area;
	} else {
		if (fields + EXTENSION_HEAD > HEADER_SECTOR)
			return false;
		where->jump_to =
			find_room(HEADER_SECTOR, area, cluster_size, taken, G_N_ELEMENTS(taken));
		if (!where->jump_to)
			return false;
		where->area_end = where->jump_to + area;
	}
	return where->area_end <= cluster_size &&
	       place_name(content, old, extent, cluster_size, where);
}

/* ---- the steps ---- */

static void add_step(struct header_plan *plan, size_t off, size_t end, const uint8_t *data)
{
	if (end > off)
		plan->steps[plan->nr_steps++] = (struct header_step){ off, end - off, data + off };
}

/*
 * False: this placement would change several sectors at once. The name, and what the padding leads
 * to, mean nothing before the first sector is written; what lies behind the end marker of the short
 * header means nothing before the second write.
 */
static bool plan_steps(const struct header_content *content, const struct placement *where,
		       const uint8_t *old, struct header_plan *plan)
{
	size_t short_end = where->area_end - (where->names ? NAMES_BYTES : 0);
	bool short_first = false;

	build(content, where, where->names, plan->last);
	build(content, where, false, plan->first);
	plan->nr_steps = 0;
	if (!where->jump_to && !same_bytes(old, plan->last, HEADER_SECTOR, where->area_end)) {
		if (short_end > HEADER_SECTOR)
			return false;
		short_first = true;
	}
	if (where->jump_to)
		add_step(plan, where->jump_to, where->area_end, plan->last);
	if (!where->name_is_there)
		add_step(plan, where->name_off, where->name_off + name_bytes(content), plan->last);
	if (short_first) {
		add_step(plan, 0, HEADER_SECTOR, plan->first);
		add_step(plan, HEADER_SECTOR, where->area_end, plan->last);
	}
	add_step(plan, 0, HEADER_SECTOR, plan->last);
	return true;
}

static int too_long(const struct header_content *content, size_t cluster_size, GError **err)
{
	size_t fixed = fields_bytes(content) + needed_bytes(content) + EXTENSION_HEAD;

	if (name_bytes(content))
		g_set_error(err, UBD_ERROR, ENOSPC,
			    "the backing file's name has %zu bytes, but the header has room for "
			    "only %zu",
			    name_bytes(content),
			    fixed < cluster_size ? MIN(cluster_size - fixed, QCOW2_MAX_BACKING_NAME)
						 : 0);
	else
		g_set_error(err, UBD_ERROR, ENOSPC,
			    "the header's fields and extensions have %zu bytes, at most %zu fit",
			    fixed, cluster_size);
	return -ENOSPC;
}

int qcow2_header_plan(const struct header_content *content, const uint8_t *old,
		      const struct header_extent *old_extent, size_t cluster_size,
		      struct header_plan *ret_plan, GError **err)
{
	bool can_name = version_of(content) >= 3;
	struct header_plan plan = {
		.first = try_iobuf_alloc0(cluster_size),
		.last = try_iobuf_alloc0(cluster_size),
	};
	struct placement where;

	if (!plan.first || !plan.last) {
		qcow2_header_plan_clear(&plan);
		return error_refuse(err, -ENOMEM, "no memory for the header");
	}
	/* With the feature names if possible; with a jump only if it is needed. */
	for (unsigned i = 0; i < 4; i++) {
		bool names = i % 2 == 0, jump = i >= 2;

		if ((names && !can_name) || name_bytes(content) > QCOW2_MAX_BACKING_NAME)
			continue;
		memset(plan.first, 0, cluster_size);
		memset(plan.last, 0, cluster_size);
		if (place(content, names, jump, old, old_extent, cluster_size, &where) &&
		    plan_steps(content, &where, old, &plan)) {
			*ret_plan = plan;
			return 0;
		}
	}
	qcow2_header_plan_clear(&plan);
	return too_long(content, cluster_size, err);
}

void qcow2_header_plan_clear(struct header_plan *plan)
{
	iobuf_free(plan->first);
	iobuf_free(plan->last);
	*plan = (struct header_plan){ 0 };
}

int qcow2_header_fill(const struct header_content *content, size_t cluster_size, uint8_t *buf,
		      GError **err)
{
	struct placement where = { 0 };
	size_t end = fields_bytes(content) + needed_bytes(content) + EXTENSION_HEAD;
	size_t name = name_bytes(content);

	where.names = version_of(content) >= 3 && end + NAMES_BYTES + name <= cluster_size;
	where.area_end = where.name_off = end + (where.names ? NAMES_BYTES : 0);
	if (name > QCOW2_MAX_BACKING_NAME || where.area_end + name > cluster_size)
		return too_long(content, cluster_size, err);
	if (buf)
		build(content, &where, where.names, buf);
	return 0;
}
