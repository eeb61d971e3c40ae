/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The layout of a header with its extensions and the backing file's name in the first cluster, and
 * the writes by which one header replaces another. Pure code: no I/O, no locks.
 *
 * The order: the fields; unknown fields, as they were; the extensions that the image needs; the
 * feature name table, which is only informative; the end; the backing file's name somewhere after
 * that.
 *
 * A write may be torn at 512 bytes, so the new header takes effect by one write of the first
 * sector. Before that write, only bytes are written that mean nothing to the old header, and after
 * it only bytes that mean nothing to the new one. If the needed extensions do not end in the first
 * sector and change, they go to a free place in the cluster, and a padding extension in the first
 * sector leads there.
 */
#ifndef UBD_QCOW2_HEADER_LAYOUT_H
#define UBD_QCOW2_HEADER_LAYOUT_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

#include "layout.h"

#define HEADER_SECTOR 512u

/* For an image that does not use the fields of later versions. */
static inline size_t qcow2_header_known_length(uint32_t version)
{
	return version < 3 ? QCOW2_V2_HEADER_LENGTH : sizeof(struct qcow2_disk_header);
}

struct header_extension {
	uint32_t type;
	uint32_t bytes;
	uint8_t data[];
};

/* A list of struct header_extension *; free it with g_ptr_array_unref(). */
GPtrArray *qcow2_header_extensions_new(void);
/* NULL if there is none. */
const struct header_extension *qcow2_header_extensions_find(const GPtrArray *list, uint32_t type);
/* Replaces an extension in its place, or appends it. @data NULL: removes it. */
void qcow2_header_extensions_set(GPtrArray *list, uint32_t type, const void *data, uint32_t bytes);
/* Appends an extension, even if there is one of this type. */
void qcow2_header_extensions_add(GPtrArray *list, uint32_t type, const void *data, uint32_t bytes);

/* The content of a header. */
struct header_content {
	/* As on disk, but header_length and the place of the backing file's name are not set. */
	struct qcow2_disk_header fixed;
	/*
	 * How many of its bytes version 3 uses: a header of 104 bytes keeps that length, because
	 * some programs accept no other; 0: all.
	 */
	size_t fixed_bytes;
	const uint8_t *unknown_fields; /* after ours; version 3 only */
	size_t unknown_bytes;
	const GPtrArray *extensions; /* in order, without feature names */
	const char *backing_filename;
};

/* What a header occupies in the first cluster. */
struct header_extent {
	size_t length;	       /* of the fields */
	size_t extensions_end; /* with the end marker */
	size_t name_off;       /* 0: no backing file */
	size_t name_bytes;
};

/* Iterates over the extensions of a header. */
struct header_cursor {
	const uint8_t *buf;
	size_t off; /* initially the header's length */
	size_t end; /* upper bound for the end of the extensions */
};

/*
 * 1: *ret_ext is the next extension, in host order, with its data at *ret_data. 0: there is none,
 * and @off is after the end marker. -EINVAL: *ret_ext is longer than what is left.
 */
int qcow2_header_next_extension(struct header_cursor *cursor, struct qcow2_disk_extension *ret_ext,
				size_t *ret_data);

/* What the header in a first cluster occupies. -EINVAL: it is invalid. */
int qcow2_header_find_extent(const uint8_t *cluster, size_t cluster_size,
			     struct header_extent *ret);

/*
 * Writes everything to @buf, @cluster_size bytes of zeroes, for a new image; NULL: only checks
 * whether it fits. Leaves the feature names out if there is no room. -ENOSPC with @err: it does not
 * fit.
 */
int qcow2_header_fill(const struct header_content *content, size_t cluster_size, uint8_t *buf,
		      GError **err);

/* One write, which must be durable before the next. */
struct header_step {
	size_t off;
	size_t bytes;
	const uint8_t *data; /* in the plan's buffers */
};

#define HEADER_MAX_STEPS 5

struct header_plan {
	struct header_step steps[HEADER_MAX_STEPS];
	unsigned nr_steps;
	uint8_t *first; /* the header that takes effect */
	uint8_t *last;	/* the same with the feature names */
};

/*
 * Plans the steps from the header in @old, a first cluster of @cluster_size bytes, to the new one.
 * Errors: -ENOSPC, -ENOTSUP with what does not fit, -ENOMEM.
 */
int qcow2_header_plan(const struct header_content *content, const uint8_t *old,
		      const struct header_extent *old_extent, size_t cluster_size,
		      struct header_plan *ret_plan, GError **err);
void qcow2_header_plan_clear(struct header_plan *plan);

#endif
