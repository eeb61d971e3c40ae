// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How much of the file is read and written for metadata, and how often it is flushed: on a node
 * that counts and forgets the guest's data, which is written in pieces larger than any table.
 */
#include "image-test.h"
#include "qcow2/qcow2.h"

#define KIB	   1024ull
#define MIB	   (1024 * KIB)
#define GIB	   (1024 * MIB)
#define TIB	   (1024 * GIB)

#define DATA_PIECE MIB
#define MAX_TABLE  (64 * KIB)

struct counter {
	struct image *inner; /* a raw image */
	uint64_t end;	     /* of what was written; the file is longer */
	uint64_t read, written, writes, flushes, asked;
	bool grows; /* ahead */
	bool slow;  /* metadata writes let others go first */
	unsigned in_flight, most_in_flight;
	struct qcow2 *q;	 /* NULL: unknown */
	uint64_t flushes_locked; /* with alloc_lock */
};

static int counter_co_open(struct image *img, const struct image_open_opts *opts, GError **err)
{
	struct counter *counter = img->opaque;

	img->size = counter->end = image_size(counter->inner);
	return 0;
}

static int counter_co_close(struct image *img)
{
	return 0;
}

static int counter_co_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	struct counter *counter = img->opaque;
	uint64_t size = image_size(counter->inner), there = off < size ? size - off : 0;

	counter->read += bytes;
	there = MIN(there, bytes);
	if (there < bytes)
		iobuf_zero(mem, bytes);
	return there ? image_co_preadv(counter->inner, off, there, mem) : 0;
}

static int counter_co_pwritev(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
			      unsigned flags)
{
	struct counter *counter = img->opaque;

	counter->end = MAX(counter->end, off + bytes);
	if (counter->end > image_size(counter->inner))
		g_assert_cmpint(image_co_truncate(counter->inner, counter->end + 64 * MIB), ==, 0);
	img->size = counter->end;
	if (bytes > MAX_TABLE)
		return 0;
	counter->written += bytes;
	counter->writes++;
	counter->in_flight++;
	counter->most_in_flight = MAX(counter->most_in_flight, counter->in_flight);
	for (unsigned i = 0; counter->slow && i < 10; i++)
		co_reschedule();
	counter->in_flight--;
	return image_co_pwritev(counter->inner, off, bytes, mem, 0);
}

static int counter_co_block_status(struct image *img, uint64_t off, uint64_t bytes,
				   struct image_extent *extent)
{
	struct counter *counter = img->opaque;

	counter->asked++;
	return image_co_block_status(counter->inner, off, bytes, extent);
}

static int counter_co_truncate(struct image *img, uint64_t size)
{
	struct counter *counter = img->opaque;

	img->size = counter->end = size;
	return image_co_truncate(counter->inner, size);
}

static int counter_co_flush(struct image *img)
{
	struct counter *counter = img->opaque;

	counter->flushes++;
	counter->flushes_locked += counter->q && co_mutex_is_mine(&counter->q->alloc_lock);
	return 0;
}

static bool counter_grow_ahead(struct image *img)
{
	const struct counter *counter = img->opaque;

	return counter->grows;
}

static const struct bottom_ops counter_ops = {
	.io = {
		.name = "counter",
		.grows = true,
		.co_close = counter_co_close,
		.co_preadv = counter_co_preadv,
		.co_pwritev = counter_co_pwritev,
		.co_flush = counter_co_flush,
		.co_block_status = counter_co_block_status,
		.co_truncate = counter_co_truncate,
	},
	.co_open = counter_co_open,
	.grow_ahead = counter_grow_ahead,
};

static void co_create(uint64_t size, const char *name, const char *value)
{
	g_autoptr(GHashTable) options = g_hash_table_new(g_str_hash, g_str_equal);
	struct image_create_opts opts = { .size = size, .size_given = true, .options = options };
	g_autoptr(GError) err = NULL;

	if (name)
		g_hash_table_insert(options, (char *)name, (char *)value);
	image_co_create("disk", "qcow2", &opts, NULL, &err);
	g_assert_no_error(err);
}

static struct image *co_open_counted(struct counter *counter, unsigned flags, uint64_t cache_bytes)
{
	struct image_open_opts opts = { .format = "qcow2",
					.flags = flags,
					.cache_bytes = cache_bytes };
	g_autoptr(GError) err = NULL;
	struct image *bottom, *img;

	*counter = (struct counter){
		.inner = co_open_ok("disk", "raw", IMAGE_RDWR),
		.grows = counter->grows,
	};
	image_co_new_bottom(&counter_ops, "disk", flags, counter, &bottom, &err);
	g_assert_no_error(err);
	image_co_open_on(bottom, &opts, &img, &err);
	g_assert_no_error(err);
	return img;
}

static void co_close_counted(struct counter *counter, struct image *img)
{
	g_assert_cmpint(image_co_close(img), ==, 0);
	g_assert_cmpint(image_co_truncate(counter->inner, counter->end), ==, 0);
	g_assert_cmpint(image_co_close(counter->inner), ==, 0);
}

/* Its L1 table has 1 MiB. */
CO_TEST(test_opening_64_tib)
{
	struct counter counter = { 0 };

	co_create(64 * TIB, NULL, NULL);
	co_close_counted(&counter, co_open_counted(&counter, 0, 0));
	g_assert_cmpuint(counter.read, <=, MIB + 128 * KIB);
	co_close_counted(&counter, co_open_counted(&counter, IMAGE_RDWR, 0));
	g_assert_cmpuint(counter.read, <=, MIB + 256 * KIB);
	g_assert_cmpuint(counter.written, ==, 0);
}

static void co_fill(struct image *img, uint64_t bytes, uint64_t flush_every)
{
	g_autofree uint8_t *buf = g_malloc0(DATA_PIECE);

	for (uint64_t off = 0; off < bytes; off += DATA_PIECE) {
		g_assert_cmpint(image_co_pwrite(img, off, DATA_PIECE, buf, 0), ==, 0);
		if ((off + DATA_PIECE) % flush_every == 0)
			g_assert_cmpint(image_co_flush(img), ==, 0);
	}
}

CO_TEST(test_sequential_fill)
{
	struct counter counter = { 0 };
	struct image *img;

	co_create(GIB, NULL, NULL);
	img = co_open_counted(&counter, IMAGE_RDWR, 0);
	co_fill(img, GIB, GIB);
	co_close_counted(&counter, img);
	g_test_message("%" G_GUINT64_FORMAT " bytes of metadata, one flush", counter.written);
	/* Two L2 tables of 64 KiB, and 32 KiB of refcounts. */
	g_assert_cmpuint(counter.written, <, 180 * KIB);
}

CO_TEST(test_sequential_fill_with_flushes)
{
	struct counter eager = { 0 }, lazy = { 0 };
	struct image *img;

	co_create(GIB, NULL, NULL);
	img = co_open_counted(&eager, IMAGE_RDWR, 0);
	co_fill(img, GIB, 16 * MIB);
	co_close_counted(&eager, img);
	g_assert_cmpuint(eager.written, <, MIB);

	co_create(GIB, "lazy_refcounts", "on");
	img = co_open_counted(&lazy, IMAGE_RDWR, 0);
	co_fill(img, GIB, 16 * MIB);
	co_close_counted(&lazy, img);
	g_test_message("64 flushes: %" G_GUINT64_FORMAT " writes of %" G_GUINT64_FORMAT
		       " bytes, lazy %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT,
		       eager.writes, eager.written, lazy.writes, lazy.written);
	/* Each flush saves one write of refcounts. */
	g_assert_cmpuint(lazy.writes + 56, <=, eager.writes);
}

/* What a flush may write in any order is in flight together; what lies together is one write. */
CO_TEST(test_flush_writes_together)
{
	enum { NR_SLICES = 6 };
	g_autofree uint8_t *buf = g_malloc0(DATA_PIECE);
	struct counter counter = { 0 };
	struct image *img;

	/* With these, 4 KiB of refcounts are for 32 MiB. */
	co_create(TIB, "refcount_bits", "64");
	img = co_open_counted(&counter, IMAGE_RDWR, 0);
	co_fill(img, 96 * MIB, GIB);
	/* Another L2 table each. */
	for (unsigned i = 1; i < NR_SLICES; i++)
		g_assert_cmpint(image_co_pwrite(img, i * GIB, DATA_PIECE, buf, 0), ==, 0);
	counter.writes = 0;
	counter.slow = true;
	g_assert_cmpint(image_co_flush(img), ==, 0);
	g_assert_cmpuint(counter.most_in_flight, >=, NR_SLICES);
	/* All refcounts in one, and the L1 table in one. */
	g_assert_cmpuint(counter.writes, <=, NR_SLICES + 2);
	co_close_counted(&counter, img);
}

/* What a crash would leak now; other findings fail the test. */
static uint64_t co_count_leaks(void)
{
	struct image_check_result result;
	struct image *img = co_open_ok("disk", "qcow2", IMAGE_FORCE_SHARE);

	g_assert_cmpint(image_co_check(img, NULL, NULL, &result), ==, 0);
	g_assert_cmpuint(result.corruptions + result.check_errors, ==, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
	return result.leaks;
}

/*
 * Refcounts are raised ahead, by at most an eighth of what was allocated, and 256 clusters. Then a
 * flush of clusters that held zeroes is one of the file. Close leaves no leak.
 */
CO_TEST(test_reserve)
{
	struct counter counter = { .grows = true };
	g_autofree uint8_t *buf = g_malloc0(DATA_PIECE);
	uint64_t most = 0, alone = 0, leaks;
	struct image *img;

	co_create(GIB, NULL, NULL);
	img = co_open_counted(&counter, IMAGE_RDWR, 0);
	for (uint64_t i = 0; i < 256; i++) {
		uint64_t flushes = counter.flushes;

		g_assert_cmpint(image_co_pwrite(img, i * DATA_PIECE, DATA_PIECE, buf, 0), ==, 0);
		g_assert_cmpint(image_co_flush(img), ==, 0);
		alone += counter.flushes - flushes == 1;
		leaks = co_count_leaks();
		g_assert_cmpuint(leaks, <=, MIN(256, (i + 1) * DATA_PIECE / (64 * KIB) / 8 + 1));
		most = MAX(most, leaks);
	}
	g_assert_cmpuint(most, >, 200);
	g_assert_cmpuint(alone, >, 220);
	co_close_counted(&counter, img);
	g_assert_cmpuint(co_count_leaks(), ==, 0);
}

/* Requests need not wait for a flush of the file when there are new refcount blocks. */
CO_TEST(test_refcount_blocks)
{
	struct counter counter = { 0 };
	struct image *img;
	struct qcow2 *q;

	/* A block is for 16 MiB. */
	co_create(256 * MIB, "cluster_size", "8192");
	img = co_open_counted(&counter, IMAGE_RDWR, 0);
	counter.q = q = img->opaque;
	co_fill(img, 128 * MIB, 8 * MIB);
	co_mutex_lock(&q->alloc_lock);
	g_assert_cmpuint(q->blocks_made, >=, 3);
	co_mutex_unlock(&q->alloc_lock);
	g_assert_cmpuint(counter.flushes_locked, ==, 0);
	counter.q = NULL;
	co_close_counted(&counter, img);
}

/* An empty L2 table is only written where something may have been before. */
CO_TEST(test_empty_table)
{
	g_autofree uint8_t *buf = g_malloc(DATA_PIECE);
	struct counter counter = { 0 };
	struct image *img;

	memset(buf, 0xff, DATA_PIECE);
	co_create(8 * GIB, NULL, NULL);
	img = co_open_counted(&counter, IMAGE_RDWR | IMAGE_UNMAP, 0);
	g_assert_cmpint(image_co_pwrite(img, 0, MAX_TABLE, buf, 0), ==, 0);
	g_assert_cmpuint(counter.written, <, MAX_TABLE + 4 * KIB);
	g_assert_cmpint(image_co_pdiscard(img, 0, MAX_TABLE), ==, 0);
	co_close_counted(&counter, img);

	img = co_open_counted(&counter, IMAGE_RDWR, 0);
	/* In the cluster that was discarded. */
	g_assert_cmpint(image_co_pwrite(img, 4 * GIB, 512, buf, 0), ==, 0);
	g_assert_cmpuint(counter.written, >=, MAX_TABLE);
	g_assert_cmpint(image_co_pread(img, 4 * GIB + DATA_PIECE, DATA_PIECE, buf), ==, 0);
	for (uint64_t i = 0; i < DATA_PIECE; i++)
		g_assert_cmpuint(buf[i], ==, 0);
	co_close_counted(&counter, img);
}

/*
 * For a device that outlives its server: only what would be lost with the server's memory is
 * written.
 */
CO_TEST(test_write_back)
{
	g_autofree uint8_t *buf = g_malloc0(DATA_PIECE);
	struct counter counter = { 0 };
	struct image *img;

	co_create(GIB, NULL, NULL);
	img = co_open_counted(&counter, IMAGE_RDWR, 0);
	g_assert_cmpint(image_co_write_back(img, 0, DATA_PIECE), ==, 0);
	g_assert_cmpuint(counter.writes, ==, 0);
	g_assert_cmpint(image_co_pwrite(img, 0, DATA_PIECE, buf, 0), ==, 0);
	g_assert_cmpint(image_co_write_back(img, 0, DATA_PIECE), ==, 0);
	/* C1 and C2 hold, although nothing is durable. */
	g_assert_cmpuint(counter.flushes, ==, 1);
	counter.writes = counter.flushes = 0;
	/* An overwrite needs neither metadata nor a flush. */
	g_assert_cmpint(image_co_pwrite(img, 0, DATA_PIECE, buf, 0), ==, 0);
	g_assert_cmpint(image_co_write_back(img, 0, DATA_PIECE), ==, 0);
	g_assert_cmpuint(counter.writes, ==, 0);
	g_assert_cmpuint(counter.flushes, ==, 0);
	/* One flush makes what was written back before durable. */
	g_assert_cmpint(image_co_flush(img), ==, 0);
	g_assert_cmpuint(counter.writes, ==, 0);
	g_assert_cmpuint(counter.flushes, ==, 1);
	co_close_counted(&counter, img);
}

/* What is held of other ranges does not matter, unless it is what an overwrite relies on. */
CO_TEST(test_write_back_of_a_range)
{
	g_autofree uint8_t *buf = g_malloc0(DATA_PIECE);
	struct counter counter = { 0 };
	struct image *img;

	co_create(GIB, NULL, NULL);
	img = co_open_counted(&counter, IMAGE_RDWR, 0);
	g_assert_cmpint(image_co_pwrite(img, 0, DATA_PIECE, buf, 0), ==, 0);
	g_assert_cmpint(image_co_write_back(img, 0, DATA_PIECE), ==, 0);
	/* In another slice of the same L2 table. */
	g_assert_cmpint(image_co_pwrite(img, 64 * MIB, DATA_PIECE, buf, 0), ==, 0);
	counter.writes = counter.flushes = 0;
	g_assert_cmpint(image_co_pwrite(img, 0, DATA_PIECE, buf, 0), ==, 0);
	g_assert_cmpint(image_co_write_back(img, 0, DATA_PIECE), ==, 0);
	g_assert_cmpuint(counter.writes, ==, 0);
	g_assert_cmpuint(counter.flushes, ==, 0);
	/* In the same slice as the new cluster, but that is enough. */
	g_assert_cmpint(image_co_write_back(img, 80 * MIB, DATA_PIECE), ==, 0);
	g_assert_cmpuint(counter.writes, >, 0);
	counter.writes = 0;
	g_assert_cmpint(image_co_write_back(img, 0, UINT64_MAX), ==, 0);
	g_assert_cmpuint(counter.writes, ==, 0);
	co_close_counted(&counter, img);
}

/* Sets all refcounts to 1: opening the image must not read all of them to find that out. */
static void co_make_full(void)
{
	struct counter counter = { 0 };
	struct image *img = co_open_counted(&counter, IMAGE_RDWR, 0);

	co_fill(img, 256 * MIB, GIB);
	co_close_counted(&counter, img);
}

CO_TEST(test_first_allocation_in_a_full_image)
{
	struct counter counter = { 0 };
	struct image *img;
	uint8_t buf[512] = { 1 };
	uint64_t opened;

	/* 256 Ki clusters of 1 KiB and some tables: 520 KiB of refcounts. */
	co_create(512 * MIB, "cluster_size", "1024");
	co_make_full();
	img = co_open_counted(&counter, IMAGE_RDWR, 0);
	opened = counter.read;
	g_assert_cmpint(image_co_pwrite(img, 300 * MIB, sizeof(buf), buf, 0), ==, 0);
	g_assert_cmpuint(counter.read - opened, <, 320 * KIB);
	co_close_counted(&counter, img);
}

/* A hole that the scan has not reached yet is found in the end: the file does not grow forever. */
CO_TEST(test_holes_are_found)
{
	g_autofree uint8_t *buf = g_malloc0(DATA_PIECE);
	struct counter counter = { 0 };
	struct image *img;
	uint64_t size;

	co_create(512 * MIB, "cluster_size", "1024");
	co_make_full();
	img = co_open_counted(&counter, IMAGE_RDWR, 0);
	g_assert_cmpint(image_co_pdiscard(img, 128 * MIB, 64 * MIB), ==, 0);
	co_close_counted(&counter, img);

	img = co_open_counted(&counter, IMAGE_RDWR, 0);
	size = counter.end;
	for (unsigned i = 0; i < 64; i++)
		g_assert_cmpint(
			image_co_pwrite(img, 128 * MIB + i * DATA_PIECE, DATA_PIECE, buf, 0), ==,
			0);
	g_assert_cmpuint(counter.end, <, size + 16 * MIB);
	co_close_counted(&counter, img);
}

/* Reads all over a disk whose tables do not fit into the cache. */
CO_TEST(test_small_cache)
{
	enum { NR = 600, CACHE = 64 * 1024 };
	struct counter counter = { 0 };
	struct image *img = NULL;
	struct qcow2 *q;

	co_create(TIB, NULL, NULL);
	for (unsigned pass = 0; pass < 2; pass++) {
		img = co_open_counted(&counter, IMAGE_RDWR, CACHE);
		q = img->opaque;
		g_assert_cmpuint((uint64_t)q->cache.nr_slices * q->cache.slice_bytes, <=, CACHE);
		for (uint64_t i = 0; i < NR; i++) {
			uint64_t off = i * 7919 % NR * (TIB / NR) & ~4095ull, buf[64] = { i + 1 };

			if (!pass) {
				g_assert_cmpint(image_co_pwrite(img, off, sizeof(buf), buf, 0), ==,
						0);
				continue;
			}
			g_assert_cmpint(image_co_pread(img, off, sizeof(buf), buf), ==, 0);
			g_assert_cmpuint(buf[0], ==, i + 1);
		}
		co_close_counted(&counter, img);
	}
}

/*
 * A file of a few KiB whose L1 and refcount tables name 16 Ki tables each, all of them in one hole:
 * shrinking the disk reads none of them. The file is not cut there, where the refcount blocks are,
 * and finding that out does not mean looking at every cluster.
 */
CO_TEST(test_shrinking_over_a_hole)
{
	enum { NR = 16384 };
	g_autofree uint64_t *table = g_new0(uint64_t, NR);
	struct image *raw;
	struct counter counter = { 0 };
	struct image *img;
	uint64_t opened, l1_off;
	g_autoptr(GError) err = NULL;

	co_create(NR * 512 * MIB, NULL, NULL);
	img = co_open_ok("disk", "qcow2", 0);
	l1_off = ((struct qcow2 *)img->opaque)->l1_off;
	g_assert_cmpint(image_co_close(img), ==, 0);
	for (uint64_t i = 1; i < NR; i++)
		table[i] = htobe64(GIB + i * 64 * KIB);
	raw = co_open_ok("disk", "raw", IMAGE_RDWR);
	g_assert_cmpint(image_co_truncate(raw, 4 * GIB), ==, 0);
	g_assert_cmpint(image_co_pwrite(raw, l1_off, NR * sizeof(uint64_t), table, 0), ==, 0);
	for (uint64_t i = 0; i < 8191; i++)
		table[i] = htobe64(2 * GIB + i * 64 * KIB);
	/* The first refcount block is real. */
	g_assert_cmpint(image_co_pwrite(raw, 64 * KIB + 8, 8191 * sizeof(uint64_t), table, 0), ==,
			0);
	g_assert_cmpint(image_co_close(raw), ==, 0);

	img = co_open_counted(&counter, IMAGE_RDWR, 0);
	opened = counter.read;
	image_co_resize(img, MIB, IMAGE_PREALLOC_OFF, &err);
	g_assert_error(err, UBD_ERROR, EIO);
	g_assert_cmpuint(counter.read - opened, <, 256 * KIB);
	g_assert_cmpuint(counter.asked, <, 64);
	g_assert_cmpint(image_co_close(img), ==, -EIO);
	g_assert_cmpint(image_co_close(counter.inner), ==, 0);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/frugal/opening-64-tib", test_opening_64_tib);
	g_test_add_func("/frugal/sequential-fill", test_sequential_fill);
	g_test_add_func("/frugal/sequential-fill-with-flushes", test_sequential_fill_with_flushes);
	g_test_add_func("/frugal/flush-writes-together", test_flush_writes_together);
	g_test_add_func("/frugal/reserve", test_reserve);
	g_test_add_func("/frugal/refcount-blocks", test_refcount_blocks);
	g_test_add_func("/frugal/empty-table", test_empty_table);
	g_test_add_func("/frugal/write-back", test_write_back);
	g_test_add_func("/frugal/write-back-of-a-range", test_write_back_of_a_range);
	g_test_add_func("/frugal/first-allocation-in-a-full-image",
			test_first_allocation_in_a_full_image);
	g_test_add_func("/frugal/holes-are-found", test_holes_are_found);
	g_test_add_func("/frugal/small-cache", test_small_cache);
	g_test_add_func("/frugal/shrinking-over-a-hole", test_shrinking_over_a_hole);
	return leave_scratch(folder, g_test_run());
}
