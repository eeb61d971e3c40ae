// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Copy on read. Above all: a copy never takes the place of what somebody has written meanwhile.
 *
 * Several loops write and read the same clusters at the same time. Each unit of the disk has one
 * owner, which alone writes it and knows what it must contain; so neighbours in a cluster belong to
 * others. Reads of files take long, so that much happens between a read and what is made of it.
 */
#include <unistd.h>

#include "image-test.h"
#include "qcow2/qcow2.h"

#define MIB	(1024u * 1024)
#define UNIT	2048u /* a subcluster, and a small cluster */
#define CLUSTER 65536
#define DISK	MIB
#define UNITS	(DISK / UNIT)
#define LOOPS	2
#define WORKERS 8 /* on all loops */
#define ROUNDS	120
#define BASE	'b'

/* So that much happens between a read and what is made of it. */
ssize_t __real_co_preadv(int fd, const struct iovec *iov, unsigned niov, uint64_t off);
ssize_t __wrap_co_preadv(int fd, const struct iovec *iov, unsigned niov, uint64_t off);

ssize_t __wrap_co_preadv(int fd, const struct iovec *iov, unsigned niov, uint64_t off)
{
	ssize_t ret = __real_co_preadv(fd, iov, niov, off);

	for (unsigned turns = off / UNIT % 40; turns; turns--)
		co_reschedule();
	return ret;
}

int __real_qcow2_co_get_writable_slice(struct qcow2 *q, uint64_t off, struct slice **ret_slice);
int __wrap_qcow2_co_get_writable_slice(struct qcow2 *q, uint64_t off, struct slice **ret_slice);

/* Nor does what was looked up stay true for long. */
int __wrap_qcow2_co_get_writable_slice(struct qcow2 *q, uint64_t off, struct slice **ret_slice)
{
	for (unsigned turns = off / UNIT % 20; turns; turns--)
		co_reschedule();
	return __real_qcow2_co_get_writable_slice(q, off, ret_slice);
}

static void co_make(const char *name, uint64_t size, uint64_t base_size, const char *options)
{
	struct image_create_opts opts = {
		.size = size,
		.size_given = true,
		.backing_filename = "base",
		.backing_format = "raw",
		.options = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free),
	};
	g_autofree char *data = g_malloc(base_size);
	g_auto(GStrv) pairs = g_strsplit(options, ",", -1);
	g_autoptr(GError) err = NULL;

	memset(data, BASE, base_size);
	write_file("base", data, base_size);
	for (char **pair = pairs; *pair; pair++) {
		g_auto(GStrv) words = g_strsplit(*pair, "=", 2);

		g_hash_table_replace(opts.options, g_strdup(words[0]), g_strdup(words[1]));
	}
	image_co_create(name, "qcow2", &opts, NULL, &err);
	g_assert_no_error(err);
	g_hash_table_unref(opts.options);
}

static void co_check_clean(const char *name)
{
	struct image *img = co_open_ok(name, "qcow2", IMAGE_FOR_CHECK);
	struct image_check_result result = {};

	g_assert_cmpint(image_co_check(img, NULL, NULL, &result), ==, 0);
	g_assert_cmpuint(result.corruptions + result.leaks + result.check_errors, ==, 0);
	image_co_close(img);
}

static void co_assert_all(struct image *img, uint64_t off, uint64_t bytes, uint8_t byte)
{
	g_autofree uint8_t *data = g_malloc(bytes);

	g_assert_cmpint(image_co_pread(img, off, bytes, data), ==, 0);
	for (uint64_t i = 0; i < bytes; i++)
		g_assert_cmpuint(data[i], ==, byte);
}

static bool co_is_allocated(struct image *img, uint64_t off, uint64_t bytes)
{
	struct image_extent extent;

	g_assert_cmpint(image_co_block_status(img, off, bytes, &extent), ==, 0);
	return extent.flags & IMAGE_EXTENT_ALLOCATED && extent.bytes == bytes;
}

/* ---- one loop ---- */

#define RDWR_COPYING (IMAGE_RDWR | IMAGE_COPY_ON_READ)

CO_TEST(test_reads_copy_whole_clusters)
{
	struct image *img;

	co_make("top", DISK, DISK, "cluster_size=65536");
	img = co_open_ok("top", "qcow2", RDWR_COPYING);
	co_assert_all(img, CLUSTER + 100, 10, BASE);
	g_assert_false(co_is_allocated(img, 0, CLUSTER));
	g_assert_true(co_is_allocated(img, CLUSTER, CLUSTER));
	g_assert_false(co_is_allocated(img, 2 * CLUSTER, CLUSTER));
	g_assert_cmpint(image_co_close(img), ==, 0);
	co_check_clean("top");
	img = co_open_ok("top", "qcow2", IMAGE_NO_BACKING);
	co_assert_all(img, CLUSTER, CLUSTER, BASE);
	co_assert_all(img, 0, CLUSTER, 0);
	image_co_close(img);
}

CO_TEST(test_a_short_backing_file_ends_in_zeroes)
{
	struct image *img;

	co_make("top", DISK + 512, CLUSTER + 512, "cluster_size=65536");
	img = co_open_ok("top", "qcow2", RDWR_COPYING);
	co_assert_all(img, 0, CLUSTER + 512, BASE);
	co_assert_all(img, CLUSTER + 512, DISK - CLUSTER, 0);
	g_assert_true(co_is_allocated(img, 0, 2 * CLUSTER));
	g_assert_false(co_is_allocated(img, 2 * CLUSTER, CLUSTER));
	g_assert_cmpint(image_co_close(img), ==, 0);
	co_check_clean("top");
	img = co_open_ok("top", "qcow2", IMAGE_NO_BACKING);
	co_assert_all(img, CLUSTER, 512, BASE);
	co_assert_all(img, CLUSTER + 512, DISK - CLUSTER, 0);
	image_co_close(img);
}

/* Zeroes of the backing file take no space, and are not looked for again. */
CO_TEST(test_zeroes_are_not_stored)
{
	struct image *img;
	g_autofree char *data = g_malloc0(DISK);
	int64_t before;

	co_make("top", DISK, DISK, "cluster_size=65536");
	memset(data, BASE, CLUSTER);
	write_file("base", data, DISK);
	img = co_open_ok("top", "qcow2", RDWR_COPYING);
	before = image_co_allocated_bytes(img);
	co_assert_all(img, CLUSTER, DISK - CLUSTER, 0);
	g_assert_true(co_is_allocated(img, CLUSTER, DISK - CLUSTER));
	g_assert_cmpint(image_co_allocated_bytes(img) - before, <, 4 * CLUSTER);
	co_assert_all(img, 0, CLUSTER, BASE);
	g_assert_cmpint(image_co_close(img), ==, 0);
	co_check_clean("top");
}

CO_TEST(test_subclusters_beside_data_are_copied)
{
	struct image *img;
	uint8_t data[4096];

	memset(data, 'w', sizeof(data));
	co_make("top", DISK, DISK, "cluster_size=65536,extended_l2=on");
	img = co_open_ok("top", "qcow2", RDWR_COPYING);
	g_assert_cmpint(image_co_pwrite(img, 8192, 4096, data, 0), ==, 0);
	g_assert_cmpint(image_co_pwrite_zeroes(img, 16384, 4096, 0), ==, 0);
	co_assert_all(img, 0, 8192, BASE);
	co_assert_all(img, 8192, 4096, 'w');
	co_assert_all(img, 16384, 4096, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
	co_check_clean("top");
	img = co_open_ok("top", "qcow2", IMAGE_NO_BACKING);
	co_assert_all(img, 0, 8192, BASE);
	co_assert_all(img, 8192, 4096, 'w');
	co_assert_all(img, 12288, 4096, BASE);
	co_assert_all(img, 16384, 4096, 0);
	co_assert_all(img, 20480, CLUSTER - 20480, BASE);
	image_co_close(img);
}

CO_TEST(test_the_disk_does_not_become_dirty)
{
	g_autoptr(GError) err = NULL;
	struct dirty_bits *bits;
	struct image *img;

	co_make("top", DISK, DISK, "cluster_size=65536");
	img = co_open_ok("top", "qcow2", RDWR_COPYING);
	g_assert_cmpint(image_co_bitmap_change(img, IMAGE_BITMAP_ADD, "b", 0, &err), ==, 0);
	co_assert_all(img, 0, DISK, BASE);
	g_assert_cmpint(image_co_close(img), ==, 0);
	img = co_open_ok("top", "qcow2", 0);
	g_assert_cmpint(image_co_bitmap_load(img, "b", &bits, &err), ==, 0);
	g_assert_cmpuint(dirty_bits_count(bits), ==, 0);
	dirty_bits_free(bits);
	image_co_close(img);
}

CO_TEST(test_the_filter_copies)
{
	struct image *img;

	co_make("top", DISK, DISK, "cluster_size=65536");
	img = co_open_ok("json:{\"driver\":\"copy-on-read\",\"file\":{\"driver\":\"qcow2\","
			 "\"file\":{\"driver\":\"file\",\"filename\":\"top\"}}}",
			 NULL, IMAGE_RDWR);
	co_assert_all(img, 0, CLUSTER, BASE);
	g_assert_true(co_is_allocated(image_file(img), 0, CLUSTER));
	g_assert_false(co_is_allocated(image_file(img), CLUSTER, CLUSTER));
	g_assert_cmpint(image_co_pwrite_zeroes(img, 0, CLUSTER, 0), ==, 0);
	co_assert_all(img, 0, CLUSTER, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
	co_check_clean("top");
}

CO_TEST(test_read_only_is_refused)
{
	co_make("top", DISK, DISK, "cluster_size=65536");
	co_open_fails("top", "qcow2", IMAGE_COPY_ON_READ, EINVAL,
		      "Can't use copy-on-read on read-only device");
	co_open_fails("json:{\"driver\":\"copy-on-read\",\"file\":{\"driver\":\"qcow2\","
		      "\"file\":{\"driver\":\"file\",\"filename\":\"top\"}}}",
		      NULL, 0, EACCES, "Block node is read-only");
}

/* ---- several loops ---- */

struct team {
	struct image *img;
	unsigned first; /* of its workers, which have every LOOPS-th number */
};

/* What a unit of one's own contains: one byte, which tells whose it is and how old. */
struct worker {
	struct image *img;
	unsigned number;
	GRand *rand;
	uint8_t contents[UNITS];
};

static bool is_own(const struct worker *w, unsigned unit)
{
	return unit % WORKERS == w->number;
}

/* All workers go through the disk side by side, so that they meet where nothing is copied yet. */
static unsigned random_unit(struct worker *w, unsigned round)
{
	return (round * UNITS / ROUNDS + g_rand_int_range(w->rand, 0, 4 * WORKERS)) % UNITS;
}

static void co_write_own(struct worker *w, unsigned round)
{
	unsigned unit = random_unit(w, round) / WORKERS * WORKERS + w->number;
	uint8_t data[UNIT], byte = round % 2 ? 0 : 1 + (round * WORKERS + w->number) % 90;
	int ret;

	memset(data, byte, sizeof(data));
	ret = byte ? image_co_pwrite(w->img, (uint64_t)unit * UNIT, UNIT, data, 0)
		   : image_co_pwrite_zeroes(w->img, (uint64_t)unit * UNIT, UNIT, 0);
	g_assert_cmpint(ret, ==, 0);
	w->contents[unit] = byte;
}

/* Reads anything; what is one's own must be as it was left. */
static void co_read_any(struct worker *w, unsigned round, uint8_t *data)
{
	unsigned from = random_unit(w, round), nr = g_rand_int_range(w->rand, 1, 2 * WORKERS);

	nr = MIN(nr, UNITS - from);
	g_assert_cmpint(image_co_pread(w->img, (uint64_t)from * UNIT, nr * UNIT, data), ==, 0);
	for (unsigned i = 0; i < nr; i++)
		if (is_own(w, from + i))
			g_assert_cmpuint(data[i * UNIT], ==, w->contents[from + i]);
}

static void work(void *arg)
{
	struct worker *w = arg;
	g_autofree uint8_t *data = g_malloc(DISK);

	for (unsigned round = 1; round <= ROUNDS; round++) {
		co_write_own(w, round);
		co_read_any(w, round, data);
	}
}

static void run_team(void *arg)
{
	struct team *team = arg;
	struct co_group group = {};
	struct worker *workers[WORKERS] = {};

	for (unsigned i = team->first; i < WORKERS; i += LOOPS) {
		workers[i] = g_new0(struct worker, 1);
		workers[i]->img = team->img;
		workers[i]->number = i;
		workers[i]->rand = g_rand_new_with_seed(g_test_rand_int());
		memset(workers[i]->contents, BASE, UNITS / 2);
		co_group_start(&group, work, workers[i]);
	}
	co_group_wait(&group);
	for (unsigned i = team->first; i < WORKERS; i += LOOPS) {
		for (unsigned unit = i; unit < UNITS; unit += WORKERS)
			co_assert_all(team->img, (uint64_t)unit * UNIT, UNIT,
				      workers[i]->contents[unit]);
		g_rand_free(workers[i]->rand);
		g_free(workers[i]);
	}
}

static void *team_thread(void *arg)
{
	run_co(run_team, arg);
	return NULL;
}

static void co_race(const char *options)
{
	struct team teams[LOOPS] = {};
	GThread *threads[LOOPS];
	struct image *img;

	for (unsigned turn = 0; turn < 3; turn++) {
		co_make("top", DISK, DISK, options);
		/* The second half of the backing file is zeroes. */
		g_assert_cmpint(truncate("base", DISK / 2), ==, 0);
		g_assert_cmpint(truncate("base", DISK), ==, 0);
		img = co_open_ok("top", "qcow2", RDWR_COPYING);
		for (unsigned i = 0; i < LOOPS; i++) {
			teams[i] = (struct team){ img, i };
			threads[i] = g_thread_new("team", team_thread, &teams[i]);
		}
		for (unsigned i = 0; i < LOOPS; i++)
			g_thread_join(threads[i]);
		g_assert_cmpint(image_co_close(img), ==, 0);
		co_check_clean("top");
	}
}

CO_TEST(test_copies_lose_no_writes)
{
	co_race("cluster_size=65536");
}

CO_TEST(test_copies_lose_no_writes_to_small_clusters)
{
	co_race("cluster_size=2048");
}

CO_TEST(test_copies_lose_no_writes_to_subclusters)
{
	co_race("cluster_size=65536,extended_l2=on");
}

CO_TEST(test_copies_lose_no_writes_of_version_2)
{
	co_race("cluster_size=65536,compat=0.10");
}

int main(int argc, char **argv)
{
	char *folder;

	g_test_init(&argc, &argv, NULL);
	folder = enter_scratch();
	g_test_add_func("/copy-on-read/whole-clusters", test_reads_copy_whole_clusters);
	g_test_add_func("/copy-on-read/short-backing-file",
			test_a_short_backing_file_ends_in_zeroes);
	g_test_add_func("/copy-on-read/zeroes", test_zeroes_are_not_stored);
	g_test_add_func("/copy-on-read/subclusters", test_subclusters_beside_data_are_copied);
	g_test_add_func("/copy-on-read/not-dirty", test_the_disk_does_not_become_dirty);
	g_test_add_func("/copy-on-read/filter", test_the_filter_copies);
	g_test_add_func("/copy-on-read/read-only", test_read_only_is_refused);
	g_test_add_func("/copy-on-read/race", test_copies_lose_no_writes);
	g_test_add_func("/copy-on-read/race-small-clusters",
			test_copies_lose_no_writes_to_small_clusters);
	g_test_add_func("/copy-on-read/race-subclusters",
			test_copies_lose_no_writes_to_subclusters);
	g_test_add_func("/copy-on-read/race-version-2", test_copies_lose_no_writes_of_version_2);
	return leave_scratch(folder, g_test_run());
}
