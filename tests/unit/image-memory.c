// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The memory that images use: no more than the limit for a chain, whatever their headers say, and
 * hardly any for layers that are only read.
 */
#include <sys/resource.h>
#include <unistd.h>

#include "image-test.h"
#include "qcow2/qcow2.h"

#define KIB    1024ull
#define MIB    (1024 * KIB)
#define GIB    (1024 * MIB)

#define LAYERS 20

static void co_create(const char *name, const char *backing, uint64_t size,
		      const char *cluster_size)
{
	g_autoptr(GHashTable) options = g_hash_table_new(g_str_hash, g_str_equal);
	struct image_create_opts opts = {
		.size = size,
		.size_given = true,
		.backing_filename = backing,
		.backing_format = backing ? "qcow2" : NULL,
		.backing_unchecked = true,
		.options = options,
	};
	g_autoptr(GError) err = NULL;

	g_hash_table_insert(options, (char *)"cluster_size", (char *)cluster_size);
	image_co_create(name, "qcow2", &opts, NULL, &err);
	g_assert_no_error(err);
}

static struct image *co_open_limited(const char *name, unsigned flags, uint64_t limit)
{
	struct image_open_opts opts = { .format = "qcow2", .flags = flags, .memory_limit = limit };
	g_autoptr(GError) err = NULL;
	struct image *img = NULL;

	image_co_open(name, &opts, &img, &err);
	g_assert_no_error(err);
	return img;
}

/*
 * Expects an error of one line with what needs memory, how much (begins with @needs), and the
 * limit.
 */
static void co_open_needs(const char *name, const struct image_open_opts *opts, const char *needs)
{
	g_autofree char *limit =
		g_strdup_printf("of the limit of %" G_GUINT64_FORMAT, opts->memory_limit);
	g_autoptr(GError) err = NULL;
	struct image *img = NULL;

	g_assert_cmpint(image_co_open(name, opts, &img, &err), ==, -EFBIG);
	g_assert_true(g_str_has_prefix(err->message, name));
	g_assert_nonnull(strstr(err->message, needs));
	g_assert_nonnull(strstr(err->message, limit));
}

static uint64_t peak_bytes(void)
{
	struct rusage usage;

	g_assert_cmpint(getrusage(RUSAGE_SELF, &usage), ==, 0);
	return usage.ru_maxrss * KIB;
}

static void co_read_all_zero(struct image *img, uint64_t off)
{
	uint8_t buf[512];

	memset(buf, 1, sizeof(buf));
	g_assert_cmpint(image_co_pread(img, off, sizeof(buf), buf), ==, 0);
	g_assert_true(buffer_is_zero(buf, sizeof(buf)));
}

/* Each layer's L1 table has 32 MiB; only that of the top, which is writable, is loaded. */
CO_TEST(test_many_sparse_layers)
{
	uint64_t before = peak_bytes();
	g_autofree char *top = NULL;
	struct image *img;

	for (unsigned i = 0; i < LAYERS; i++) {
		g_autofree char *name = g_strdup_printf("layer-%u", i);

		co_create(name, top, 128 * GIB, "512");
		g_free(top);
		top = g_steal_pointer(&name);
	}
	img = co_open_limited(top, 0, MIB);
	co_read_all_zero(img, 0);
	co_read_all_zero(img, 100 * GIB);
	g_assert_cmpint(image_co_close(img), ==, 0);
	img = co_open_limited(top, IMAGE_RDWR, 0);
	co_read_all_zero(img, 128 * GIB - 512);
	g_assert_cmpint(image_co_close(img), ==, 0);
	g_assert_cmpuint(peak_bytes() - before, <, 300 * MIB);
}

/* Mappings are found although the L1 table is not in memory. */
CO_TEST(test_long_l1_table)
{
	static const uint64_t places[] = { 0, 3 * GIB + 512, 64 * GIB, 128 * GIB - 4 * KIB };
	struct image *img;
	char buf[4];

	co_create("long", NULL, 128 * GIB, "512");
	co_create("overlay", "long", 128 * GIB, "64k");
	img = co_open_limited("long", IMAGE_RDWR, 0);
	for (unsigned i = 0; i < G_N_ELEMENTS(places); i++)
		g_assert_cmpint(image_co_pwrite(img, places[i], 4, "data", 0), ==, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
	img = co_open_limited("overlay", IMAGE_RDWR, MIB);
	for (unsigned i = 0; i < G_N_ELEMENTS(places); i++) {
		g_assert_cmpint(image_co_pread(img, places[i], 4, buf), ==, 0);
		g_assert_cmpmem(buf, 4, "data", 4);
		co_read_all_zero(img, places[i] + 1 * KIB);
	}
	g_assert_cmpint(image_co_close(img), ==, 0);
}

CO_TEST(test_l1_table_refused)
{
	struct image_open_opts opts = { .flags = IMAGE_RDWR, .memory_limit = 16 * MIB };

	co_create("disk", NULL, 128 * GIB, "512");
	co_open_needs("disk", &opts, "the L1 table needs 67108864 bytes");
	co_create("disk", NULL, GIB, "64k");
	opts.cache_bytes = 32 * MIB;
	co_open_needs("disk", &opts, "the metadata cache needs 6");
}

/* 256 Ki L2 tables in a file of a few MiB. */
CO_TEST(test_too_many_tables)
{
	struct image_open_opts opts = { .flags = IMAGE_RDWR, .memory_limit = 8 * MIB };
	uint32_t nr = 256 * KIB;
	g_autofree uint64_t *l1 = g_new(uint64_t, nr);
	struct qcow2_disk_header disk;
	struct image *file;

	co_create("disk", NULL, (uint64_t)nr * 32 * KIB, "512");
	file = co_open_ok("disk", "raw", IMAGE_RDWR);
	g_assert_cmpint(image_co_pread(file, 0, sizeof(disk), &disk), ==, 0);
	for (uint32_t i = 0; i < nr; i++)
		l1[i] = htobe64((64 * MIB + i * 512ull) | QCOW2_COPIED);
	g_assert_cmpint(image_co_pwrite(file, be64toh(disk.l1_table_offset), nr * 8ull, l1, 0), ==,
			0);
	g_assert_cmpint(image_co_close(file), ==, 0);
	co_open_needs("disk", &opts, "the list of its tables needs 245760 bytes");
}

static void co_add_bitmap(const char *name)
{
	struct image *img = co_open_limited("disk", IMAGE_RDWR, 4 * GIB);
	g_autoptr(GError) err = NULL;

	image_co_bitmap_change(img, IMAGE_BITMAP_ADD, name, 512, &err);
	g_assert_no_error(err);
	image_co_bitmap_change(img, IMAGE_BITMAP_DISABLE, name, 0, &err);
	g_assert_no_error(err);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

/* 16 MiB of bits exist once, even while they are being stored. */
CO_TEST(test_bitmaps)
{
	struct image_open_opts opts = { .flags = IMAGE_RDWR, .memory_limit = 8 * MIB };
	g_autoptr(GError) err = NULL;
	struct image *img;

	co_create("disk", NULL, 64 * GIB, "64k");
	co_add_bitmap("one");
	co_add_bitmap("two");
	img = co_open_limited("disk", IMAGE_RDWR, 28 * MIB);
	image_co_bitmap_change(img, IMAGE_BITMAP_ENABLE, "one", 0, &err);
	g_assert_no_error(err);
	g_assert_cmpint(image_co_pwrite(img, 5 * GIB, 4, "data", 0), ==, 0);
	/* There is no room for a second bitmap; the first keeps working. */
	g_assert_cmpint(image_co_bitmap_change(img, IMAGE_BITMAP_ENABLE, "two", 0, &err), ==,
			-EFBIG);
	g_assert_nonnull(strstr(err->message, "bitmap 'two' needs 16777216 bytes"));
	g_assert_cmpint(image_co_pwrite(img, 6 * GIB, 4, "data", 0), ==, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
	co_open_needs("disk", &opts, "bitmap 'one' needs 16777216 bytes");
}

/* The memory of an operation is counted before it begins, and given back. */
CO_TEST(test_operations)
{
	g_autoptr(GError) err = NULL;
	struct image *img;
	uint64_t rest;

	co_create("disk", NULL, MIB, "64k");
	img = co_open_limited("disk", IMAGE_RDWR, 128 * MIB);
	rest = image_memory_left(img);
	g_assert_cmpint(image_memory_take(img, rest - 10 * KIB, "the test", NULL), ==, 0);
	g_assert_cmpint(image_co_snapshot_create(img, "one", &err), ==, -EFBIG);
	g_assert_nonnull(strstr(err->message, "a copy of all refcounts needs"));
	g_clear_error(&err);
	g_assert_cmpint(image_co_resize(img, 1024 * GIB, IMAGE_PREALLOC_OFF, &err), ==, -EFBIG);
	g_assert_nonnull(strstr(err->message, "the L1 table needs 32768 bytes"));
	g_clear_error(&err);
	image_memory_put(img, rest - 10 * KIB);

	for (unsigned i = 0; i < 2; i++) {
		image_co_snapshot_create(img, "one", &err);
		g_assert_no_error(err);
		image_co_snapshot_apply(img, "one", &err);
		g_assert_no_error(err);
		image_co_snapshot_delete(img, "one", &err);
		g_assert_no_error(err);
	}
	g_assert_cmpuint(image_memory_left(img), ==, rest);
	image_co_resize(img, 1024 * GIB, IMAGE_PREALLOC_OFF, &err);
	g_assert_no_error(err);
	g_assert_cmpuint(image_memory_left(img), ==, rest - 32 * KIB + 16);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/image-memory/many-sparse-layers", test_many_sparse_layers);
	g_test_add_func("/image-memory/long-l1-table", test_long_l1_table);
	g_test_add_func("/image-memory/l1-table-refused", test_l1_table_refused);
	g_test_add_func("/image-memory/too-many-tables", test_too_many_tables);
	g_test_add_func("/image-memory/bitmaps", test_bitmaps);
	g_test_add_func("/image-memory/operations", test_operations);
	return leave_scratch(folder, g_test_run());
}
