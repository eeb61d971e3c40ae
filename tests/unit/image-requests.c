// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The checked entry: what it refuses, that a node only sees requests aligned as it asked, and that
 * concurrent changes are not lost.
 */
#include "image-test.h"

#define ALIGN 4096
#define SIZE  (64 * ALIGN)

/* ---- a disk in memory that wants everything aligned ---- */

struct disk {
	struct thread_lock lock; /* each block is read or written atomically */
	uint8_t *data;
	_Atomic unsigned reads, writes, zeroes, discards, flushes;
	uint64_t discard_off, discard_bytes;
	bool refuse_zeroes;
	int write_error;
};

static void check_aligned(uint64_t off, uint64_t bytes)
{
	g_assert_cmpuint(bytes, >, 0);
	g_assert_cmpuint(off % ALIGN, ==, 0);
	g_assert_cmpuint(bytes % ALIGN, ==, 0);
	g_assert_cmpuint(off + bytes, <=, SIZE);
}

static int disk_co_open(struct image *img, const struct image_open_opts *opts, GError **err)
{
	img->size = SIZE;
	img->limits.request_alignment = ALIGN;
	img->limits.memory_alignment = 512;
	return 0;
}

static int disk_co_close(struct image *img)
{
	return 0;
}

/* One sector at a time, so that requests that are not locked out come in between. */
static int disk_co_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	struct disk *disk = img->opaque;

	check_aligned(off, bytes);
	g_assert_true(iobuf_is_aligned(mem, bytes, 512));
	disk->reads++;
	for (uint64_t i = 0; i < bytes; i += ALIGN) {
		thread_lock(&disk->lock);
		iobuf_copy_in(iobuf_advance(mem, i), disk->data + off + i, ALIGN);
		thread_unlock(&disk->lock);
		co_reschedule();
	}
	return 0;
}

static int disk_co_pwritev(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
			   unsigned flags)
{
	struct disk *disk = img->opaque;

	check_aligned(off, bytes);
	g_assert_true(iobuf_is_aligned(mem, bytes, 512));
	g_assert_cmpuint(flags, ==, 0);
	disk->writes++;
	if (disk->write_error)
		return disk->write_error;
	for (uint64_t i = 0; i < bytes; i += ALIGN) {
		co_reschedule();
		thread_lock(&disk->lock);
		iobuf_copy_out(disk->data + off + i, iobuf_advance(mem, i), ALIGN);
		thread_unlock(&disk->lock);
	}
	return 0;
}

static int disk_co_flush(struct image *img)
{
	((struct disk *)img->opaque)->flushes++;
	return 0;
}

static int disk_co_pdiscard(struct image *img, uint64_t off, uint64_t bytes)
{
	struct disk *disk = img->opaque;

	check_aligned(off, bytes);
	disk->discards++;
	disk->discard_off = off;
	disk->discard_bytes = bytes;
	return -ENOTSUP;
}

static int disk_co_pwrite_zeroes(struct image *img, uint64_t off, uint64_t bytes, unsigned flags)
{
	struct disk *disk = img->opaque;

	check_aligned(off, bytes);
	g_assert_cmpuint(flags & (IMAGE_REQ_FUA | IMAGE_REQ_MAY_UNMAP), ==, 0);
	disk->zeroes++;
	if (disk->refuse_zeroes)
		return -ENOTSUP;
	thread_lock(&disk->lock);
	memset(disk->data + off, 0, bytes);
	thread_unlock(&disk->lock);
	return 0;
}

static const struct bottom_ops disk_ops = {
	.io = {
		.name = "disk",
		.grows = true,
		.co_close = disk_co_close,
		.co_preadv = disk_co_preadv,
		.co_pwritev = disk_co_pwritev,
		.co_flush = disk_co_flush,
		.co_pdiscard = disk_co_pdiscard,
		.co_pwrite_zeroes = disk_co_pwrite_zeroes,
	},
	.co_open = disk_co_open,
};

/* Opens it as a raw image. */
static struct image *disk_co_image(struct disk *disk, unsigned flags)
{
	struct image_open_opts opts = { .format = "raw", .flags = flags };
	struct image *img = NULL;

	disk->data = try_iobuf_alloc(SIZE);
	memset(disk->data, 'o', SIZE);
	g_assert_cmpint(image_co_new_bottom(&disk_ops, "disk", flags, disk, &img, NULL), ==, 0);
	g_assert_cmpint(image_co_open_on(img, &opts, &img, NULL), ==, 0);
	return img;
}

static void disk_co_end(struct disk *disk, struct image *img)
{
	g_assert_cmpint(image_co_close(img), ==, 0);
	iobuf_free(disk->data);
}

/* Checks that the disk is all 'o' except [off, off + bytes), which is all @byte. */
static void check_only_changed(struct disk *disk, uint64_t off, uint64_t bytes, uint8_t byte)
{
	for (uint64_t i = 0; i < SIZE; i++) {
		uint8_t expected = i >= off && i < off + bytes ? byte : 'o';

		if (disk->data[i] != expected)
			g_error("byte %" PRIu64 " is '%c', not '%c'", i, disk->data[i], expected);
	}
}

/* ---- refusals ---- */

CO_TEST(test_out_of_range)
{
	static const struct {
		uint64_t off, bytes;
	} bad[] = {
		{ SIZE, 1 },	   { SIZE - 1, 2 },  { 0, SIZE + 1 },		{ UINT64_MAX, 2 },
		{ 1, UINT64_MAX }, { INT64_MAX, 1 }, { UINT64_MAX - 511, 512 },
	};
	struct disk disk = {};
	struct image *img = disk_co_image(&disk, IMAGE_RDWR | IMAGE_UNMAP);
	struct image_extent extent;
	char byte = 0;

	for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
		uint64_t off = bad[i].off, bytes = bad[i].bytes;

		g_assert_cmpint(image_co_pread(img, off, bytes, &byte), ==, -EIO);
		g_assert_cmpint(image_co_pwrite(img, off, bytes, &byte, 0), ==, -EIO);
		g_assert_cmpint(image_co_pwrite_zeroes(img, off, bytes, 0), ==, -EIO);
		g_assert_cmpint(image_co_pdiscard(img, off, bytes), ==, -EIO);
		g_assert_cmpint(image_co_block_status(img, off, bytes, &extent), ==, -EIO);
		g_assert_cmpint(image_co_block_status_chain(img, off, bytes, &extent), ==, -EIO);
	}
	/* A bottom node has no end for reads and writes, but numbers do. */
	g_assert_cmpint(image_co_pread(image_file(img), INT64_MAX, 1, &byte), ==, -EIO);
	g_assert_cmpint(image_co_pwrite(image_file(img), UINT64_MAX, 1, &byte, 0), ==, -EIO);
	g_assert_cmpuint(disk.reads + disk.writes + disk.zeroes + disk.discards, ==, 0);
	disk_co_end(&disk, img);
}

CO_TEST(test_empty_requests_do_nothing)
{
	struct disk disk = {};
	struct image *img = disk_co_image(&disk, IMAGE_RDWR | IMAGE_UNMAP);
	struct image_extent extent;

	g_assert_cmpint(image_co_pread(img, SIZE, 0, NULL), ==, 0);
	g_assert_cmpint(image_co_pwrite(img, 1, 0, NULL, 0), ==, 0);
	g_assert_cmpint(image_co_pwrite_zeroes(img, 1, 0, 0), ==, 0);
	g_assert_cmpint(image_co_pdiscard(img, 1, 0), ==, 0);
	g_assert_cmpint(image_co_block_status(img, 0, 0, &extent), ==, -EINVAL);
	g_assert_cmpuint(disk.reads + disk.writes + disk.zeroes + disk.discards, ==, 0);
	disk_co_end(&disk, img);
}

CO_TEST(test_read_only_is_not_changed)
{
	struct disk disk = {};
	struct image *img = disk_co_image(&disk, IMAGE_UNMAP);
	char byte = 0;

	g_assert_cmpint(image_co_pwrite(img, 0, 1, &byte, 0), ==, -EPERM);
	g_assert_cmpint(image_co_pwrite_zeroes(img, 0, 1, 0), ==, -EPERM);
	g_assert_cmpint(image_co_pdiscard(img, 0, ALIGN), ==, -EPERM);
	g_assert_cmpint(image_co_truncate(img, 0), ==, -EPERM);
	g_assert_cmpint(image_co_flush(img), ==, 0);
	check_only_changed(&disk, 0, 0, 0);
	disk_co_end(&disk, img);
}

CO_TEST(test_unknown_flags_are_refused)
{
	struct disk disk = {};
	struct image *img = disk_co_image(&disk, IMAGE_RDWR);
	char byte = 0;

	g_assert_cmpint(image_co_pwrite(img, 0, 1, &byte, 1 << 20), ==, -EINVAL);
	g_assert_cmpint(image_co_pwrite(img, 0, 1, &byte, IMAGE_REQ_MAY_UNMAP), ==, -EINVAL);
	g_assert_cmpint(image_co_pwrite_zeroes(img, 0, 1, 1 << 20), ==, -EINVAL);
	disk_co_end(&disk, img);
}

/* ---- alignment ---- */

CO_TEST(test_any_range_is_written_and_read)
{
	static const uint64_t offs[] = { 0, 1, 511, 4095, 4096, 4097, 8191 };
	static const uint64_t lens[] = { 1, 511, 4095, 4096, 4097, 8192, 12289, 40000 };
	struct disk disk = {};
	struct image *img = disk_co_image(&disk, IMAGE_RDWR);
	g_autofree char *data = g_malloc(40001), *back = g_malloc(40001);

	memset(data, 'n', 40001);
	for (unsigned i = 0; i < G_N_ELEMENTS(offs); i++) {
		for (unsigned j = 0; j < G_N_ELEMENTS(lens); j++) {
			memset(disk.data, 'o', SIZE);
			g_assert_cmpint(image_co_pwrite(img, offs[i], lens[j], data + 1, 0), ==, 0);
			check_only_changed(&disk, offs[i], lens[j], 'n');
			memset(back, 0, 40001);
			g_assert_cmpint(image_co_pread(img, offs[i], lens[j], back + 1), ==, 0);
			g_assert_cmpmem(back + 1, lens[j], data + 1, lens[j]);
		}
	}
	disk_co_end(&disk, img);
}

CO_TEST(test_aligned_requests_are_not_copied)
{
	struct disk disk = {};
	struct image *img = disk_co_image(&disk, IMAGE_RDWR);
	char *buf = try_iobuf_alloc0(2 * ALIGN);
	struct iovec iov[] = { { buf + ALIGN, ALIGN }, { buf, ALIGN } };

	g_assert_cmpint(image_co_pwritev(img, ALIGN, 2 * ALIGN, (struct iobuf){ .iov = iov }, 0),
			==, 0);
	g_assert_cmpuint(disk.reads, ==, 0);
	g_assert_cmpuint(disk.writes, ==, 1);
	check_only_changed(&disk, ALIGN, 2 * ALIGN, 0);
	iobuf_free(buf);
	disk_co_end(&disk, img);
}

/* Only the two blocks at its ends are read, however long it is. */
CO_TEST(test_a_write_reads_its_edges_only)
{
	struct disk disk = {};
	struct image *img = disk_co_image(&disk, IMAGE_RDWR);
	char *buf = try_iobuf_alloc0(SIZE);

	g_assert_cmpint(image_co_pwrite(img, 100, SIZE - 200, buf, 0), ==, 0);
	g_assert_cmpuint(disk.reads, ==, 2);
	check_only_changed(&disk, 100, SIZE - 200, 0);
	iobuf_free(buf);
	disk_co_end(&disk, img);
}

CO_TEST(test_a_failed_write_says_so)
{
	struct disk disk = { .write_error = -ENOSPC };
	struct image *img = disk_co_image(&disk, IMAGE_RDWR);

	g_assert_cmpint(image_co_pwrite(img, 100, 5, "hello", IMAGE_REQ_FUA), ==, -ENOSPC);
	g_assert_cmpuint(disk.flushes, ==, 0);
	/* No lock was left held. */
	disk.write_error = 0;
	g_assert_cmpint(image_co_pwrite(img, 100, 5, "hello", 0), ==, 0);
	disk_co_end(&disk, img);
}

CO_TEST(test_fua_flushes_behind_the_write)
{
	struct disk disk = {};
	struct image *img = disk_co_image(&disk, IMAGE_RDWR);

	g_assert_cmpint(image_co_pwrite(img, 0, 5, "hello", 0), ==, 0);
	g_assert_cmpuint(disk.flushes, ==, 0);
	g_assert_cmpint(image_co_pwrite(img, 0, 5, "hello", IMAGE_REQ_FUA), ==, 0);
	g_assert_cmpuint(disk.flushes, ==, 1);
	g_assert_cmpint(image_co_pwrite_zeroes(img, 0, ALIGN, IMAGE_REQ_FUA), ==, 0);
	g_assert_cmpuint(disk.flushes, ==, 2);
	disk_co_end(&disk, img);
}

CO_TEST(test_no_flush_never_flushes)
{
	struct disk disk = {};
	struct image *img = disk_co_image(&disk, IMAGE_RDWR | IMAGE_NO_FLUSH);

	g_assert_cmpint(image_co_pwrite(img, 0, 5, "hello", IMAGE_REQ_FUA), ==, 0);
	g_assert_cmpint(image_co_flush(img), ==, 0);
	disk_co_end(&disk, img);
	g_assert_cmpuint(disk.flushes, ==, 0);
}

/* ---- zeroes and discard ---- */

CO_TEST(test_zeroes_of_any_range)
{
	for (int refuse = 0; refuse < 2; refuse++) {
		struct disk disk = { .refuse_zeroes = refuse };
		struct image *img = disk_co_image(&disk, IMAGE_RDWR);

		g_assert_cmpint(image_co_pwrite_zeroes(img, 100, 5 * ALIGN, 0), ==, 0);
		check_only_changed(&disk, 100, 5 * ALIGN, 0);
		g_assert_cmpuint(disk.zeroes, >=, 1);
		memset(disk.data, 'o', SIZE);
		g_assert_cmpint(image_co_pwrite_zeroes(img, ALIGN - 1, 2, 0), ==, 0);
		check_only_changed(&disk, ALIGN - 1, 2, 0);
		disk_co_end(&disk, img);
	}
}

CO_TEST(test_zeroes_without_fallback)
{
	struct disk disk = { .refuse_zeroes = true };
	struct image *img = disk_co_image(&disk, IMAGE_RDWR);

	g_assert_cmpint(image_co_pwrite_zeroes(img, 100, 5 * ALIGN, IMAGE_REQ_NO_FALLBACK), ==,
			-ENOTSUP);
	check_only_changed(&disk, 0, 0, 0);
	disk_co_end(&disk, img);
}

CO_TEST(test_discard_is_cut_inwards_and_may_be_refused)
{
	struct disk disk = {};
	struct image *img = disk_co_image(&disk, IMAGE_RDWR | IMAGE_UNMAP);

	g_assert_cmpint(image_co_pdiscard(img, 1, 3 * ALIGN), ==, 0);
	g_assert_cmpuint(disk.discard_off, ==, ALIGN);
	g_assert_cmpuint(disk.discard_bytes, ==, 2 * ALIGN);
	g_assert_cmpint(image_co_pdiscard(img, 1, ALIGN), ==, 0);
	g_assert_cmpuint(disk.discards, ==, 1);
	disk_co_end(&disk, img);
}

CO_TEST(test_discard_is_ignored_unless_wanted)
{
	struct disk disk = {};
	struct image *img = disk_co_image(&disk, IMAGE_RDWR);

	g_assert_cmpint(image_co_pdiscard(img, 0, SIZE), ==, 0);
	g_assert_cmpuint(disk.discards, ==, 0);
	disk_co_end(&disk, img);
}

/* ---- many loops ---- */

#define LOOPS	4
#define WRITERS 16
#define RUN	125
#define RUNS	(SIZE / (WRITERS * RUN))
#define WRITES	100

struct writer {
	struct image *img;
	unsigned number;
	GRand *rand;
	uint8_t mine[RUNS * RUN]; /* what this writer's bytes are */
	struct team *team;
};

/* The writers of one loop. */
struct team {
	struct writer *writers[WRITERS / LOOPS];
	unsigned at_work;
	struct coroutine *boss;
};

/*
 * Runs of bytes alternate between the writers: all of them share every block, so a lost update
 * shows.
 */
static uint64_t guest_off_of(const struct writer *w, uint64_t run)
{
	return (run * WRITERS + w->number) * RUN;
}

static void write_own_runs(void *arg)
{
	struct writer *w = arg;

	for (unsigned i = 0; i < WRITES; i++) {
		uint64_t run = g_rand_int_range(w->rand, 0, RUNS);
		uint64_t off = guest_off_of(w, run);
		uint8_t *mine = w->mine + run * RUN, back[RUN];

		if (i % 5 == 0) {
			memset(mine, 0, RUN);
			g_assert_cmpint(image_co_pwrite_zeroes(w->img, off, RUN, 0), ==, 0);
		} else {
			memset(mine, g_rand_int(w->rand), RUN);
			g_assert_cmpint(image_co_pwrite(w->img, off, RUN, mine, 0), ==, 0);
		}
		g_assert_cmpint(image_co_pread(w->img, off, RUN, back), ==, 0);
		g_assert_cmpmem(back, RUN, mine, RUN);
	}
	if (--w->team->at_work == 0)
		co_wake(w->team->boss);
}

static void run_team(void *arg)
{
	struct team *team = arg;

	team->boss = co_self();
	team->at_work = G_N_ELEMENTS(team->writers);
	for (unsigned i = 0; i < G_N_ELEMENTS(team->writers); i++)
		co_start(write_own_runs, team->writers[i]);
	co_yield();
}

static void *team_thread(void *arg)
{
	run_co(run_team, arg);
	return NULL;
}

static struct writer *writer_new(struct image *img, unsigned number, struct team *team)
{
	struct writer *w = g_new0(struct writer, 1);

	w->img = img;
	w->number = number;
	w->rand = g_rand_new_with_seed(number);
	memset(w->mine, 'o', sizeof(w->mine));
	w->team = team;
	return w;
}

static void writer_end(struct writer *w, const struct disk *disk)
{
	for (uint64_t run = 0; run < RUNS; run++)
		g_assert_cmpmem(disk->data + guest_off_of(w, run), RUN, w->mine + run * RUN, RUN);
	g_rand_free(w->rand);
	g_free(w);
}

CO_TEST(test_neighbours_on_many_loops_lose_nothing)
{
	struct disk disk = {};
	struct image *img = disk_co_image(&disk, IMAGE_RDWR);
	struct team teams[LOOPS] = {};
	GThread *threads[LOOPS];

	for (unsigned i = 0; i < WRITERS; i++)
		teams[i % LOOPS].writers[i / LOOPS] = writer_new(img, i, &teams[i % LOOPS]);
	for (unsigned i = 0; i < LOOPS; i++)
		threads[i] = g_thread_new("team", team_thread, &teams[i]);
	for (unsigned i = 0; i < LOOPS; i++)
		g_thread_join(threads[i]);
	for (unsigned i = 0; i < WRITERS; i++)
		writer_end(teams[i % LOOPS].writers[i / LOOPS], &disk);
	disk_co_end(&disk, img);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/requests/out-of-range", test_out_of_range);
	g_test_add_func("/requests/empty-ones-do-nothing", test_empty_requests_do_nothing);
	g_test_add_func("/requests/read-only-is-not-changed", test_read_only_is_not_changed);
	g_test_add_func("/requests/unknown-flags-are-refused", test_unknown_flags_are_refused);
	g_test_add_func("/requests/any-range-is-written-and-read",
			test_any_range_is_written_and_read);
	g_test_add_func("/requests/aligned-ones-are-not-copied",
			test_aligned_requests_are_not_copied);
	g_test_add_func("/requests/a-write-reads-its-edges-only",
			test_a_write_reads_its_edges_only);
	g_test_add_func("/requests/a-failed-write-says-so", test_a_failed_write_says_so);
	g_test_add_func("/requests/fua-flushes-behind-the-write",
			test_fua_flushes_behind_the_write);
	g_test_add_func("/requests/no-flush-never-flushes", test_no_flush_never_flushes);
	g_test_add_func("/requests/zeroes-of-any-range", test_zeroes_of_any_range);
	g_test_add_func("/requests/zeroes-without-fallback", test_zeroes_without_fallback);
	g_test_add_func("/requests/discard-is-cut-inwards-and-may-be-refused",
			test_discard_is_cut_inwards_and_may_be_refused);
	g_test_add_func("/requests/discard-is-ignored-unless-wanted",
			test_discard_is_ignored_unless_wanted);
	g_test_add_func("/requests/neighbours-on-many-loops-lose-nothing",
			test_neighbours_on_many_loops_lose_nothing);
	return g_test_run();
}
