// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Headers are written, read back, and replaced by each other; every state that a power cut can
 * leave during a replacement must be the old or the new header.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "qcow2/header_layout.h"

#define MAX_CLUSTER 8192u

static const char unknown_data[] = "an extension that nobody knows, with every byte kept\xff\x01";

struct spec {
	uint32_t version;
	uint64_t size;
	const char *format;  /* of the backing file */
	const char *backing; /* its name */
	uint32_t bitmaps;    /* bytes of a bitmaps extension, 0: none */
	uint32_t data_file;
	uint32_t unknown;  /* the first of two unknown extensions; the second one is small */
	uint32_t fields;   /* bytes of unknown header fields */
	bool short_fields; /* 104 bytes of known ones */
};

static const struct spec plain = { .version = 3, .size = 1 << 20 };

/* ---- making one ---- */

struct made {
	struct header_content content;
	GPtrArray *extensions;
	uint8_t fields[1024];
};

static void add_filled(GPtrArray *list, uint32_t type, uint32_t bytes)
{
	g_autofree uint8_t *data = g_malloc(bytes);

	for (uint32_t i = 0; i < bytes; i++)
		data[i] = type + i * 7 + 1;
	if (bytes)
		qcow2_header_extensions_add(list, type, data, bytes);
}

static void make(struct made *made, const struct spec *spec)
{
	*made = (struct made){ .extensions = qcow2_header_extensions_new() };
	made->content = (struct header_content){
		.fixed = { .magic = htobe32(QCOW2_MAGIC),
			   .version = htobe32(spec->version),
			   .size = htobe64(spec->size) },
		.fixed_bytes = spec->short_fields ? QCOW2_V3_HEADER_LENGTH : 0,
		.unknown_fields = made->fields,
		.unknown_bytes = spec->fields,
		.extensions = made->extensions,
		.backing_filename = spec->backing,
	};
	memset(made->fields, 0x5a, sizeof(made->fields));
	if (spec->format)
		qcow2_header_extensions_add(made->extensions, QCOW2_EXT_BACKING_FORMAT,
					    spec->format, strlen(spec->format));
	add_filled(made->extensions, QCOW2_EXT_BITMAPS, spec->bitmaps);
	add_filled(made->extensions, QCOW2_EXT_DATA_FILE, spec->data_file);
	add_filled(made->extensions, 0x12345678, spec->unknown);
	if (spec->unknown)
		qcow2_header_extensions_add(made->extensions, 0x9abcdef0, unknown_data,
					    sizeof(unknown_data));
}

static void made_clear(struct made *made)
{
	g_ptr_array_unref(made->extensions);
}

/* Everything a header says, except for the feature names, which must be complete if present. */
static char *describe(const uint8_t *cluster, size_t cluster_size)
{
	const struct qcow2_disk_header *disk = (const void *)cluster;
	struct header_extent extent;
	struct qcow2_disk_extension ext;
	struct header_cursor cursor;
	GString *text = g_string_new(NULL);
	size_t data;
	int found;

	if (qcow2_header_find_extent(cluster, cluster_size, &extent))
		return g_string_free(g_string_append(text, "broken"), FALSE);
	g_string_append_printf(text, "version %u size %" G_GUINT64_FORMAT " fields %zu",
			       be32toh(disk->version), be64toh(disk->size), extent.length);
	for (size_t i = qcow2_header_known_length(be32toh(disk->version)); i < extent.length; i++)
		g_string_append_printf(text, " %02x", cluster[i]);
	cursor = (struct header_cursor){ cluster, extent.length, extent.name_off ?: cluster_size };
	while ((found = qcow2_header_next_extension(&cursor, &ext, &data)) > 0) {
		if (ext.type == QCOW2_EXT_PADDING)
			continue;
		if (ext.type == QCOW2_EXT_FEATURE_NAMES) {
			g_assert_cmpuint(ext.length, ==, 8 * 48);
			g_assert_cmpstr((const char *)cluster + data + 2, ==, "dirty bit");
			g_assert_cmpstr((const char *)cluster + data + 7 * 48 + 2, ==,
					"raw external data");
			continue;
		}
		g_string_append_printf(text, " ext %08x:", ext.type);
		for (size_t i = 0; i < ext.length; i++)
			g_string_append_printf(text, "%02x", cluster[data + i]);
	}
	g_assert_cmpint(found, ==, 0);
	g_string_append_printf(text, " name %.*s", (int)extent.name_bytes,
			       (const char *)cluster + extent.name_off);
	return g_string_free(text, FALSE);
}

static bool has_names(const uint8_t *cluster, size_t cluster_size)
{
	struct header_extent extent;
	struct qcow2_disk_extension ext;
	struct header_cursor cursor;
	size_t data;

	g_assert_cmpint(qcow2_header_find_extent(cluster, cluster_size, &extent), ==, 0);
	cursor = (struct header_cursor){ cluster, extent.length, extent.name_off ?: cluster_size };
	while (qcow2_header_next_extension(&cursor, &ext, &data) > 0)
		if (ext.type == QCOW2_EXT_FEATURE_NAMES)
			return true;
	return false;
}

/* ---- cutting ---- */

/* Tries every subset of the sectors of one write on top of the old contents. */
static void cut_step(const uint8_t *before, const struct header_step *step, size_t cluster_size,
		     const char *old, const char *new)
{
	size_t first = step->off / HEADER_SECTOR;
	size_t nr = (step->off + step->bytes - 1) / HEADER_SECTOR - first + 1;

	for (unsigned subset = 0; subset < 1u << nr; subset++) {
		g_autofree uint8_t *torn = g_memdup2(before, cluster_size);
		g_autofree char *said = NULL;

		for (size_t i = 0; i < nr; i++) {
			size_t start = MAX(step->off, (first + i) * HEADER_SECTOR);
			size_t end = MIN(step->off + step->bytes, (first + i + 1) * HEADER_SECTOR);

			if (subset >> i & 1)
				memcpy(torn + start, step->data + start - step->off, end - start);
		}
		said = describe(torn, cluster_size);
		if (!g_str_equal(said, old))
			g_assert_cmpstr(said, ==, new);
	}
}

/* Replaces the header in @cluster by another one, which must be there afterwards. */
static int replace(uint8_t *cluster, const struct spec *to, size_t cluster_size)
{
	g_autofree char *old = describe(cluster, cluster_size);
	g_autofree uint8_t *wanted = g_malloc0(MAX_CLUSTER * 2);
	g_autofree char *new = NULL;
	g_autofree char *said = NULL;
	struct header_extent extent;
	struct header_plan plan;
	struct made made;
	int ret;

	make(&made, to);
	g_assert_cmpint(qcow2_header_find_extent(cluster, cluster_size, &extent), ==, 0);
	ret = qcow2_header_plan(&made.content, cluster, &extent, cluster_size, &plan, NULL);
	if (!ret) {
		g_assert_cmpint(qcow2_header_fill(&made.content, MAX_CLUSTER * 2, wanted, NULL), ==,
				0);
		new = describe(wanted, MAX_CLUSTER * 2);
		for (unsigned i = 0; i < plan.nr_steps; i++) {
			const struct header_step *step = &plan.steps[i];

			g_assert_cmpuint(step->off + step->bytes, <=, cluster_size);
			cut_step(cluster, step, cluster_size, old, new);
			memcpy(cluster + step->off, step->data, step->bytes);
		}
		said = describe(cluster, cluster_size);
		g_assert_cmpstr(said, ==, new);
		qcow2_header_plan_clear(&plan);
	}
	made_clear(&made);
	return ret;
}

static void fill(uint8_t *cluster, const struct spec *spec, size_t cluster_size)
{
	struct made made;

	memset(cluster, 0, cluster_size);
	make(&made, spec);
	g_assert_cmpint(qcow2_header_fill(&made.content, cluster_size, cluster, NULL), ==, 0);
	made_clear(&made);
}

/* ---- the tests ---- */

static char name_of_700[701], name_of_1023[1024];

static const struct spec specs[] = {
	{ .version = 3, .size = 1 << 20 },
	{ .version = 3, .size = 2 << 20 },
	{ .version = 2, .size = 1 << 20 },
	{ .version = 2, .size = 1 << 20, .format = "qcow2", .backing = "base" },
	{ .version = 2, .size = 1 << 20, .format = "raw", .backing = "another", .unknown = 21 },
	{ .version = 3, .size = 1 << 20, .format = "qcow2", .backing = "base" },
	{ .version = 3, .size = 1 << 20, .format = "raw", .backing = "esab" },
	{ .version = 3, .size = 1 << 20, .format = "raw", .backing = "a longer name" },
	{ .version = 3, .size = 1 << 20, .backing = name_of_700 },
	{ .version = 3, .size = 1 << 20, .format = "raw", .backing = name_of_1023 },
	{ .version = 3, .size = 1 << 20, .bitmaps = 24 },
	{ .version = 3, .size = 1 << 20, .format = "raw", .backing = "base", .bitmaps = 24 },
	{ .version = 3, .size = 1 << 20, .data_file = 9 },
	{ .version = 3, .size = 1 << 20, .data_file = 900, .bitmaps = 24 },
	{ .version = 3, .size = 1 << 20, .unknown = 1 },
	{ .version = 3, .size = 1 << 20, .unknown = 333, .bitmaps = 24 },
	{ .version = 3, .size = 1 << 20, .unknown = 1111, .backing = "base" },
	{ .version = 3, .size = 1 << 20, .unknown = 1111, .backing = "base", .bitmaps = 24 },
	{ .version = 3, .size = 1 << 20, .short_fields = true },
	{ .version = 3, .size = 1 << 20, .short_fields = true, .unknown = 333, .bitmaps = 24 },
	{ .version = 3, .size = 1 << 20, .fields = 8 },
	{ .version = 3, .size = 1 << 20, .fields = 64, .unknown = 77, .bitmaps = 24 },
	{ .version = 3, .size = 1 << 20, .fields = 384, .format = "raw", .backing = "base" },
};

/* From each header to each, and on to a third; all of them fit into 8 KiB. */
static void test_every_cut(void)
{
	g_autofree uint8_t *cluster = g_malloc(MAX_CLUSTER);

	for (unsigned i = 0; i < G_N_ELEMENTS(specs); i++) {
		for (unsigned j = 0; j < G_N_ELEMENTS(specs); j++) {
			fill(cluster, &specs[i], MAX_CLUSTER);
			g_assert_cmpint(replace(cluster, &specs[j], MAX_CLUSTER), ==, 0);
			g_assert_cmpint(replace(cluster, &specs[(i + j) % G_N_ELEMENTS(specs)],
						MAX_CLUSTER),
					==, 0);
			g_assert_cmpint(replace(cluster, &specs[i], MAX_CLUSTER), ==, 0);
		}
	}
}

/* Much does not fit into the smallest clusters; what does is just as safe. */
static void test_small_clusters(void)
{
	g_autofree uint8_t *cluster = g_malloc(MAX_CLUSTER);
	unsigned done = 0;

	for (size_t size = 512; size < MAX_CLUSTER; size *= 2) {
		for (unsigned i = 0; i < G_N_ELEMENTS(specs); i++) {
			for (unsigned j = 0; j < G_N_ELEMENTS(specs); j++) {
				struct made made;

				make(&made, &specs[i]);
				memset(cluster, 0, MAX_CLUSTER);
				if (qcow2_header_fill(&made.content, size, cluster, NULL) == 0)
					done += replace(cluster, &specs[j], size) == 0;
				made_clear(&made);
			}
		}
	}
	g_assert_cmpuint(done, >, 500);
}

/* Changing only fields takes one write, wherever the extensions end. */
static void test_one_sector(void)
{
	g_autofree uint8_t *cluster = g_malloc(MAX_CLUSTER);
	struct header_extent extent;
	struct header_plan plan;
	struct made made;

	for (unsigned i = 0; i < G_N_ELEMENTS(specs); i++) {
		struct spec to = specs[i];

		to.size += 512;
		fill(cluster, &specs[i], MAX_CLUSTER);
		make(&made, &to);
		g_assert_cmpint(qcow2_header_find_extent(cluster, MAX_CLUSTER, &extent), ==, 0);
		g_assert_cmpint(qcow2_header_plan(&made.content, cluster, &extent, MAX_CLUSTER,
						  &plan, NULL),
				==, 0);
		g_assert_cmpuint(plan.nr_steps, ==, 1);
		g_assert_cmpuint(plan.steps[0].off, ==, 0);
		g_assert_cmpuint(plan.steps[0].bytes, ==, HEADER_SECTOR);
		qcow2_header_plan_clear(&plan);
		made_clear(&made);
	}
}

/* Version 3 has the feature names if they fit without padding, version 2 never. */
static void test_feature_names(void)
{
	g_autofree uint8_t *cluster = g_malloc(MAX_CLUSTER);

	for (unsigned i = 0; i < G_N_ELEMENTS(specs); i++) {
		fill(cluster, &plain, MAX_CLUSTER);
		g_assert_true(has_names(cluster, MAX_CLUSTER));
		g_assert_cmpint(replace(cluster, &specs[i], MAX_CLUSTER), ==, 0);
		if (specs[i].fields < 300)
			g_assert_cmpint(has_names(cluster, MAX_CLUSTER), ==, specs[i].version == 3);
	}
	fill(cluster, &plain, 512);
	g_assert_true(has_names(cluster, 512));
	g_assert_cmpint(replace(cluster, &(struct spec){ .version = 3, .backing = "base" }, 512),
			==, 0);
	g_assert_false(has_names(cluster, 512));
}

static void assert_too_long(const struct spec *to, size_t cluster_size, const char *said)
{
	g_autofree uint8_t *cluster = g_malloc(MAX_CLUSTER);
	g_autoptr(GError) err = NULL;
	struct header_extent extent;
	struct header_plan plan;
	struct made made;

	fill(cluster, &plain, cluster_size);
	make(&made, to);
	g_assert_cmpint(qcow2_header_find_extent(cluster, cluster_size, &extent), ==, 0);
	g_assert_cmpint(
		qcow2_header_plan(&made.content, cluster, &extent, cluster_size, &plan, &err), ==,
		-ENOSPC);
	g_assert_cmpstr(err->message, ==, said);
	g_clear_error(&err);
	made_clear(&made);
}

static void test_too_long(void)
{
	assert_too_long(
		&(struct spec){ .version = 3, .backing = name_of_700 }, 512,
		"the backing file's name has 700 bytes, but the header has room for only 392");
	assert_too_long(&(struct spec){ .version = 3, .data_file = 900 }, 512,
			"the header's fields and extensions have 1032 bytes, at most 512 fit");
	/* The extensions would fit here, but not beside the old ones. */
	assert_too_long(&(struct spec){ .version = 3, .fields = 500, .bitmaps = 24 }, 512,
			"the header's fields and extensions have 652 bytes, at most 512 fit");
}

/* Extensions are found, replaced in place and removed; others do not change. */
static void test_extension_list(void)
{
	g_autoptr(GPtrArray) list = qcow2_header_extensions_new();
	const struct header_extension *ext;

	qcow2_header_extensions_set(list, 1, "one", 3);
	qcow2_header_extensions_set(list, 2, "two", 3);
	qcow2_header_extensions_set(list, 3, "", 0);
	qcow2_header_extensions_set(list, 2, "another", 7);
	g_assert_cmpuint(list->len, ==, 3);
	ext = list->pdata[1];
	g_assert_cmpmem(ext->data, ext->bytes, "another", 7);
	g_assert_cmpuint(qcow2_header_extensions_find(list, 3)->bytes, ==, 0);
	qcow2_header_extensions_set(list, 1, NULL, 0);
	qcow2_header_extensions_set(list, 4, NULL, 0);
	g_assert_cmpuint(list->len, ==, 2);
	g_assert_null(qcow2_header_extensions_find(list, 1));
	g_assert_true(qcow2_header_extensions_find(list, 2) == ext);
}

/* An impossible header is detected, whatever its bytes are. */
static void test_hostile(void)
{
	g_autofree uint8_t *cluster = g_malloc0(MAX_CLUSTER);
	struct qcow2_disk_header *disk = (void *)cluster;
	struct header_extent extent;

	fill(cluster, &specs[5], MAX_CLUSTER);
	disk->backing_file_offset = htobe64(UINT64_MAX);
	g_assert_cmpint(qcow2_header_find_extent(cluster, MAX_CLUSTER, &extent), ==, -EINVAL);
	disk->backing_file_offset = htobe64(MAX_CLUSTER - 1);
	g_assert_cmpint(qcow2_header_find_extent(cluster, MAX_CLUSTER, &extent), ==, -EINVAL);
	disk->backing_file_offset = 0;
	disk->header_length = htobe32(MAX_CLUSTER + 8);
	g_assert_cmpint(qcow2_header_find_extent(cluster, MAX_CLUSTER, &extent), ==, -EINVAL);
	disk->header_length = htobe32(MAX_CLUSTER);
	g_assert_cmpint(qcow2_header_find_extent(cluster, MAX_CLUSTER, &extent), ==, 0);
	g_assert_cmpuint(extent.extensions_end, ==, MAX_CLUSTER);
	disk->header_length = htobe32(112);
	memset(cluster + 112, 0xff, 8);
	g_assert_cmpint(qcow2_header_find_extent(cluster, MAX_CLUSTER, &extent), ==, -EINVAL);
	/* Without an end marker, the list ends where no further extension fits. */
	memset(cluster + 112, 0, MAX_CLUSTER - 112);
	for (size_t off = 112; off < MAX_CLUSTER; off += 8)
		cluster[off] = 0x77;
	g_assert_cmpint(qcow2_header_find_extent(cluster, MAX_CLUSTER, &extent), ==, 0);
	g_assert_cmpuint(extent.extensions_end, ==, MAX_CLUSTER);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	memset(name_of_700, 'n', sizeof(name_of_700) - 1);
	memset(name_of_1023, 'm', sizeof(name_of_1023) - 1);
	g_test_add_func("/qcow2/header/every-cut", test_every_cut);
	g_test_add_func("/qcow2/header/small-clusters", test_small_clusters);
	g_test_add_func("/qcow2/header/one-sector", test_one_sector);
	g_test_add_func("/qcow2/header/feature-names", test_feature_names);
	g_test_add_func("/qcow2/header/too-long", test_too_long);
	g_test_add_func("/qcow2/header/extension-list", test_extension_list);
	g_test_add_func("/qcow2/header/hostile", test_hostile);
	return g_test_run();
}
