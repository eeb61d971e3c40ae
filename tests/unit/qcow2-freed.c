// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The life of freed clusters: how runs are merged, how many holes and flushes there are, what waits
 * for what. A request in flight is one that was begun and not ended.
 */
#include "image-test.h"
#include "memnode.h"
#include "qcow2/qcow2.h"

#define KIB			 1024ull
#define MIB			 (1024 * KIB)
#define ROUNDS_WITH_ANOTHER_LOOP 8

/* ---- sets of runs ---- */

static void add(struct freed_runs *set, uint64_t cluster, uint64_t nr, bool is_l2)
{
	struct freed_run run = { cluster, nr, 1, is_l2 };

	qcow2_freed_runs_add(set, &run);
}

static void assert_run(const struct freed_runs *set, guint index, uint64_t cluster, uint64_t nr,
		       uint64_t references, bool is_l2)
{
	const struct freed_run *run;

	g_assert_cmpuint(index, <, set->runs->len);
	run = &g_array_index(set->runs, struct freed_run, index);
	g_assert_cmpuint(run->cluster, ==, cluster);
	g_assert_cmpuint(run->nr_clusters, ==, nr);
	g_assert_cmpuint(run->references, ==, references);
	g_assert_cmpint(run->is_l2, ==, is_l2);
}

static void test_merge(void)
{
	struct freed_runs set;

	qcow2_freed_runs_init(&set);
	add(&set, 20, 2, false);
	add(&set, 18, 2, false);
	add(&set, 21, 3, false); /* 21 for the second time */
	add(&set, 24, 1, true);
	add(&set, 24, 1, false);
	add(&set, 30, 1, false);
	add(&set, 30, 1, false);
	add(&set, 31, 1, true);
	add(&set, 25, 1, true);
	qcow2_freed_runs_merge(&set);
	g_assert_cmpuint(set.runs->len, ==, 6);
	assert_run(&set, 0, 18, 3, 1, false);
	assert_run(&set, 1, 21, 1, 2, false);
	assert_run(&set, 2, 22, 3, 1, false);
	assert_run(&set, 3, 30, 1, 2, false);
	assert_run(&set, 4, 24, 2, 1, true);
	assert_run(&set, 5, 31, 1, 1, true);
	qcow2_freed_runs_destroy(&set);
}

/* Every second cluster, then those in between: only as many runs as necessary are kept. */
static void test_merge_by_itself(void)
{
	struct freed_runs set, other;

	qcow2_freed_runs_init(&set);
	qcow2_freed_runs_init(&other);
	for (uint64_t i = 0; i < 100000; i++)
		add(&set, 2 * i, 1, false);
	for (uint64_t i = 0; i < 100000; i++)
		add(i % 2 ? &set : &other, 2 * i + 1, 1, false);
	qcow2_freed_runs_move(&set, &other);
	g_assert_cmpuint(other.runs->len, ==, 0);
	qcow2_freed_runs_merge(&set);
	g_assert_cmpuint(set.runs->len, ==, 1);
	assert_run(&set, 0, 0, 200000, 1, false);
	for (uint64_t i = 0; i < 1000000; i++)
		add(&set, 300000 - i % 2, 1, false);
	g_assert_cmpuint(set.runs->len, <, 5000);
	qcow2_freed_runs_destroy(&other);
	qcow2_freed_runs_destroy(&set);
}

/* ---- an image on a disk in memory ---- */

static struct memdisk *disk;
static struct memnode node;

static struct image *co_open(unsigned cluster_size, uint64_t size, const char *preallocation)
{
	struct image_open_opts opts = { .format = "qcow2", .flags = IMAGE_RDWR | IMAGE_UNMAP };
	g_autoptr(GHashTable) options = g_hash_table_new(g_str_hash, g_str_equal);
	g_autofree char *value = g_strdup_printf("%u", cluster_size);
	struct image_create_opts create = { .size = size, .size_given = true, .options = options };
	g_autoptr(GError) err = NULL;
	struct image *img = NULL;

	g_hash_table_insert(options, "cluster_size", value);
	g_hash_table_insert(options, "preallocation", (void *)preallocation);
	image_co_create("disk", "qcow2", &create, NULL, &err);
	g_assert_no_error(err);
	disk = memdisk_new(NULL);
	g_assert_cmpint(memdisk_load(disk, "disk"), ==, 0);
	memnode_init(&node, disk, 1);
	memnode_co_open_image(&node, "disk", &opts, &img, &err);
	g_assert_no_error(err);
	return img;
}

/* Freed clusters are gone: a check finds no leak. */
static void co_close(struct image *img)
{
	struct image_check_result result;

	g_assert_cmpint(image_co_close(img), ==, 0);
	g_assert_cmpint(memdisk_save(disk, "disk"), ==, 0);
	memnode_destroy(&node);
	memdisk_free(disk);
	img = co_open_ok("disk", "qcow2", IMAGE_FOR_CHECK);
	g_assert_cmpint(image_co_check(img, NULL, NULL, &result), ==, 0);
	g_assert_cmpuint(result.leaks + result.corruptions, ==, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

static void co_write(struct image *img, uint64_t off, uint64_t bytes)
{
	g_autofree uint8_t *buf = g_malloc(bytes);

	memset(buf, 1, bytes);
	g_assert_cmpint(image_co_pwrite(img, off, bytes, buf, 0), ==, 0);
}

static void co_flush(struct image *img)
{
	g_assert_cmpint(image_co_flush(img), ==, 0);
}

/* Lets one coroutine begin several requests. */
static uint64_t co_begin(struct qcow2 *q) NO_THREAD_SAFETY_ANALYSIS
{
	return qcow2_co_request_begin(q);
}

static void end(struct qcow2 *q, uint64_t epoch) NO_THREAD_SAFETY_ANALYSIS
{
	qcow2_request_end(q, epoch);
}

/* Waits until the reclaimer has punched that many holes. */
static void co_wait_for_discards(uint64_t nr)
{
	while (atomic_load(&node.discards) < nr)
		co_reschedule();
}

/* ---- how much work it is ---- */

/* 2048 clusters in 5 runs, because 3 L2 tables and a refcount block lie in between. */
CO_TEST(test_one_hole_for_a_run)
{
	struct image *img = co_open(4 * KIB, 64 * MIB, "off");

	co_write(img, 0, 8 * MIB);
	co_flush(img);
	g_assert_cmpint(image_co_pdiscard(img, 0, 8 * MIB), ==, 0);
	co_flush(img);
	co_close(img);
	g_assert_cmpuint(node.discards, ==, 5);
}

/* A run of 80 MiB: the size of a hole is bounded. */
CO_TEST(test_long_runs_in_parts)
{
	struct image *img = co_open(64 * KIB, 80 * MIB, "metadata");

	g_assert_cmpint(image_co_pdiscard(img, 0, 80 * MIB), ==, 0);
	co_close(img);
	g_assert_cmpuint(node.discards, ==, 3);
}

/* Holes are small beside flushes, which may have to wait for them, and large again afterwards. */
CO_TEST(test_small_parts_beside_flushes)
{
	struct image *img = co_open(64 * KIB, 320 * MIB, "metadata");
	uint64_t epoch = co_begin(img->opaque);

	g_assert_cmpint(image_co_pdiscard(img, 0, 320 * MIB), ==, 0);
	co_flush(img);
	end(img->opaque, epoch);
	for (uint64_t nr = 1; nr < 5; nr++) {
		co_wait_for_discards(nr);
		co_flush(img);
	}
	co_close(img);
	/* Without flushes there would be 10 or 11. */
	g_assert_cmpuint(node.discards, >=, 14);
	g_assert_cmpuint(node.discards, <, 24);
}

/* Most flushes follow another flush, not a hole. */
CO_TEST(test_flushes_go_first)
{
	struct image *img = co_open(64 * KIB, 320 * MIB, "metadata");
	unsigned flushes = 0;

	g_assert_cmpint(image_co_pdiscard(img, 0, 320 * MIB), ==, 0);
	co_flush(img);
	co_wait_for_discards(2);
	for (; atomic_load(&node.discards) < 12; flushes++) {
		co_flush(img);
		co_reschedule();
	}
	g_assert_cmpuint(flushes, >=, 3 * 8);
	co_close(img);
}

/* Several references to a cluster are dropped together. */
CO_TEST(test_compressed)
{
	struct image *img = co_open(64 * KIB, 64 * MIB, "off");
	g_autofree uint8_t *buf = g_malloc0(4 * MIB);
	struct iovec vec;

	/* A third of each cluster is noise. */
	for (size_t i = 0; i < 4 * MIB; i++)
		buf[i] = i % 3 ? 0 : g_random_int();
	g_assert_cmpint(image_co_pwrite_compressed(img, 0, 4 * MIB, IOBUF(&vec, buf, 4 * MIB)), ==,
			0);
	co_flush(img);
	g_assert_cmpint(image_co_pdiscard(img, 0, 4 * MIB), ==, 0);
	co_close(img);
	g_assert_cmpuint(node.discards, ==, 1);
}

/* A discard flushes when enough is freed, not because freed clusters wait for a request. */
CO_TEST(test_flushes_with_a_reader)
{
	struct image *img = co_open(64 * KIB, 256 * MIB, "metadata");
	struct qcow2 *q = img->opaque;
	uint64_t epoch, before = node.flushes;

	epoch = co_begin(q);
	for (uint64_t i = 0; i < 4000; i++)
		g_assert_cmpint(image_co_pdiscard(img, i * 64 * KIB, 64 * KIB), ==, 0);
	g_assert_cmpuint(node.flushes - before, <=, 8);
	g_assert_cmpuint(node.discards, ==, 0);
	end(q, epoch);
	co_close(img);
	g_assert_cmpuint(node.discards, <=, 10);
}

/* ---- what waits for what ---- */

/* C5; and when the request ends, the rest needs no flush. */
CO_TEST(test_waits_for_requests)
{
	struct image *img = co_open(64 * KIB, 64 * MIB, "off");
	struct qcow2 *q = img->opaque;
	uint64_t epoch, later;

	co_write(img, 0, 1 * MIB);
	co_flush(img);
	epoch = co_begin(q);
	g_assert_cmpint(image_co_pdiscard(img, 0, 1 * MIB), ==, 0);
	for (unsigned i = 0; i < 5; i++) {
		co_flush(img);
		co_reschedule();
	}
	later = co_begin(q);
	g_assert_cmpuint(node.discards, ==, 0);
	end(q, epoch);
	co_wait_for_discards(1);
	end(q, later);
	co_close(img);
}

CO_TEST(test_flush_does_not_wait)
{
	struct image *img = co_open(64 * KIB, 64 * MIB, "off");

	co_write(img, 0, 1 * MIB);
	co_flush(img);
	atomic_store(&node.hold_discards, true);
	g_assert_cmpint(image_co_pdiscard(img, 0, 1 * MIB), ==, 0);
	co_flush(img);
	co_wait_for_discards(1);
	/* The punch hangs; requests and flushes do not, and no new data goes there. */
	co_write(img, 0, 1 * MIB);
	co_flush(img);
	g_assert_cmpint(image_co_pdiscard(img, 0, 64 * KIB), ==, 0);
	co_flush(img);
	g_assert_cmpuint(node.discards, ==, 1);
	atomic_store(&node.hold_discards, false);
	co_close(img);
}

struct discarder {
	struct image *img;
	uint64_t done;
};

/* Every second cluster, so that nothing can be merged. */
static void discard_scattered(void *arg)
{
	struct discarder *d = arg;

	for (; d->done < 1000; d->done++)
		g_assert_cmpint(image_co_pdiscard(d->img, d->done * 8 * KIB, 4 * KIB), ==, 0);
}

/*
 * With a request in flight nothing can be reclaimed: a caller that frees more waits, then
 * continues.
 */
CO_TEST(test_memory_is_bounded)
{
	struct image *img = co_open(4 * KIB, 64 * MIB, "off");
	struct qcow2 *q = img->opaque;
	struct discarder d = { img, 0 };
	uint64_t epoch, before;

	q->max_freed_runs = 100;
	co_write(img, 0, 8 * MIB);
	co_flush(img);
	epoch = co_begin(q);
	before = node.flushes;
	co_start(discard_scattered, &d);
	for (unsigned i = 0; i < 1000; i++)
		co_reschedule();
	g_assert_cmpuint(d.done, ==, 99);
	g_assert_cmpuint(node.flushes - before, <=, 4);
	end(q, epoch);
	while (d.done < 1000)
		co_reschedule();
	co_close(img);
}

struct passer {
	struct aio_loop *loop;
	struct qcow2 *q;
	_Atomic bool stop, ended;
};

static void pass_co(void *arg)
{
	struct passer *p = arg;

	while (!atomic_load(&p->stop)) {
		for (unsigned i = 0; i < 1000; i++)
			end(p->q, co_begin(p->q));
		co_reschedule();
	}
}

static void *passer_thread(void *arg)
{
	struct passer *p = arg;

	aio_loop_run_co(p->loop, pass_co, p);
	atomic_store(&p->ended, true);
	return NULL;
}

/* A request that begins while the epoch advances is counted twice, and must not hold it up. */
CO_TEST(test_epoch_moves_while_requests_begin)
{
	struct image *img = co_open(4 * KIB, 64 * MIB, "off");
	struct passer p = { .loop = aio_loop_new(64, NULL), .q = img->opaque };
	GThread *thread;

	p.q->max_freed_runs = 2;
	co_write(img, 0, 8 * MIB);
	co_flush(img);
	thread = g_thread_new("passer", passer_thread, &p);
	for (unsigned n = 0; n < ROUNDS_WITH_ANOTHER_LOOP; n++) {
		struct discarder d = { img, 0 };

		discard_scattered(&d);
		co_write(img, 0, 8 * MIB);
	}
	atomic_store(&p.stop, true);
	while (!atomic_load(&p.ended))
		co_reschedule();
	g_thread_join(thread);
	aio_loop_free(p.loop);
	co_close(img);
}

/* 32 full tables, with no two neighbours adjacent in the file. */
static void co_write_scattered(struct image *img)
{
	for (uint64_t first = 0; first < 8 * KIB; first += 4 * KIB)
		for (uint64_t off = first; off < 64 * MIB; off += 8 * KIB)
			co_write(img, off, 4 * KIB);
	co_flush(img);
}

CO_TEST(test_memory_of_amend_is_bounded)
{
	struct image *img = co_open(4 * KIB, 64 * MIB, "off");
	g_autoptr(GHashTable) options = g_hash_table_new(g_str_hash, g_str_equal);
	uint64_t before;

	co_write_scattered(img);
	g_assert_cmpint(image_co_pwrite_zeroes(img, 0, 64 * MIB, 0), ==, 0);
	co_flush(img);
	((struct qcow2 *)img->opaque)->max_freed_runs = 100;
	before = node.flushes;
	g_hash_table_insert(options, (void *)"compat", (void *)"0.10");
	g_assert_cmpint(image_co_amend(img, options, NULL, NULL, NULL), ==, 0);
	g_assert_cmpuint(node.flushes - before, >=, 32);
	co_close(img);
}

/* What an interrupted shrink left beyond the end of the disk. */
CO_TEST(test_memory_of_growth_is_bounded)
{
	struct image_open_opts opts = { .format = "qcow2", .flags = IMAGE_RDWR | IMAGE_UNMAP };
	const uint64_t size = GUINT64_TO_BE(64 * KIB);
	struct image *img = co_open(4 * KIB, 64 * MIB, "off");
	uint64_t before;

	co_write_scattered(img);
	g_assert_cmpint(image_co_close(img), ==, 0);
	memdisk_write(disk, offsetof(struct qcow2_disk_header, size), sizeof(size), &size);
	memnode_destroy(&node);
	memnode_init(&node, disk, 1);
	g_assert_cmpint(memnode_co_open_image(&node, "disk", &opts, &img, NULL), ==, 0);
	((struct qcow2 *)img->opaque)->max_freed_runs = 100;
	before = node.flushes;
	g_assert_cmpint(image_co_resize(img, 64 * MIB, IMAGE_PREALLOC_OFF, NULL), ==, 0);
	g_assert_cmpuint(node.flushes - before, >=, 32);
	co_close(img);
}

/* With no space left and every flush failing, requests fail instead of hanging. */
CO_TEST(test_no_room_and_no_flush)
{
	struct image *img = co_open(4 * KIB, 64 * MIB, "off");
	struct qcow2 *q = img->opaque;
	int ret = 0;

	q->max_freed_runs = 10;
	co_write(img, 0, 8 * MIB);
	co_flush(img);
	atomic_store(&node.fault_permille, 1000);
	for (uint64_t i = 0; i < 10; i++) {
		g_assert_cmpint(ret, ==, 0);
		ret = image_co_pdiscard(img, i * 8 * KIB, 4 * KIB);
	}
	g_assert_cmpint(ret, <, 0);
	g_assert_cmpint(image_co_pwrite_zeroes(img, 4 * MIB, 4 * KIB, IMAGE_REQ_MAY_UNMAP), <, 0);
	atomic_store(&node.fault_permille, 0);
	g_assert_cmpint(image_co_pdiscard(img, 6 * MIB, 4 * KIB), ==, 0);
	co_close(img);
}

/* P3: a cluster that has become a table since it was freed is not punched. */
CO_TEST(test_checks_overlap)
{
	struct image *img = co_open(64 * KIB, 64 * MIB, "off");
	struct qcow2 *q = img->opaque;
	uint64_t epoch;

	co_write(img, 0, 1 * MIB);
	co_flush(img);
	epoch = co_begin(q);
	g_assert_cmpint(image_co_pdiscard(img, 512 * KIB, 64 * KIB), ==, 0);
	co_flush(img);
	co_mutex_lock(&q->alloc_lock);
	for (uint64_t i = 0; i < 32; i++)
		qcow2_add_metadata(q, METADATA_OTHER, i, 1);
	co_mutex_unlock(&q->alloc_lock);
	end(q, epoch);
	g_assert_cmpint(image_co_close(img), ==, -EIO);
	g_assert_cmpuint(node.discards, ==, 0);
	memnode_destroy(&node);
	memdisk_free(disk);
}

/* ---- threads that allocate no stacks; last: see no_stacks_begin() ---- */

/* For freed clusters; the first 8 MiB of the disk are allocated. */
static struct image *co_open_with_little_room(void)
{
	struct image *img = co_open(4 * KIB, 64 * MIB, "off");
	struct qcow2 *q = img->opaque;

	q->max_freed_runs = 100;
	co_write(img, 0, 8 * MIB);
	co_flush(img);
	return img;
}

CO_TEST(test_room_without_stacks)
{
	struct image *img = co_open_with_little_room();
	struct discarder d = { img, 0 };
	struct no_stacks none;

	no_stacks_begin(&none);
	discard_scattered(&d);
	no_stacks_end(&none, 0);
	co_close(img);
}

/* Requests that need room wait for one in flight, which does not wait for them. */
CO_TEST(test_room_comes_without_stacks)
{
	struct image *img = co_open_with_little_room();
	struct qcow2 *q = img->opaque;
	struct discarder ds[3] = { { img, 0 }, { img, 300 }, { img, 600 } };
	struct no_stacks none;
	uint64_t epoch;

	epoch = co_begin(q);
	for (unsigned i = 0; i < 3; i++)
		co_start(discard_scattered, &ds[i]);
	no_stacks_begin(&none);
	for (unsigned i = 0; i < 1000; i++)
		co_reschedule();
	g_assert_cmpuint(ds[0].done, <, 1000);
	g_assert_cmpuint(co_spare(), ==, 0);
	end(q, epoch);
	while (ds[0].done < 1000 || ds[1].done < 1000 || ds[2].done < 1000)
		co_reschedule();
	no_stacks_end(&none, 3);
	co_close(img);
}

/* ---- a stream of discards ---- */

#define STREAMS 4
#define LENGTH	2000u /* requests of a stream */
#define ROOM	100u  /* for freed clusters */

struct stream {
	struct image *img;
	unsigned nr, done;
	unsigned *all_done;
	unsigned most; /* requests of all streams that ended during one of this stream */
};

static unsigned co_count_freed_runs(struct qcow2 *q)
{
	unsigned nr;

	co_mutex_lock(&q->alloc_lock);
	nr = q->unlinked.runs->len + q->freed[0].runs->len + q->freed[1].runs->len +
	     q->reclaimable.runs->len;
	co_mutex_unlock(&q->alloc_lock);
	return nr;
}

/* No two clusters of all streams adjacent in the file. */
static void stream_co(void *arg)
{
	struct stream *s = arg;

	for (; s->done < LENGTH; s->done++) {
		uint64_t off = (s->done * STREAMS + s->nr) * 8 * KIB;
		unsigned before = *s->all_done;

		g_assert_cmpint(image_co_pdiscard(s->img, off, 4 * KIB), ==, 0);
		g_assert_cmpuint(co_count_freed_runs(s->img->opaque), <=, 2 * ROOM);
		s->most = MAX(s->most, *s->all_done - before);
		++*s->all_done;
	}
}

/* However many requests free clusters meanwhile, each ends: none does the work of all. */
CO_TEST(test_no_request_reclaims_for_others)
{
	struct image *img = co_open(4 * KIB, 64 * MIB, "off");
	struct qcow2 *q = img->opaque;
	struct stream streams[STREAMS];
	struct no_stacks none;
	unsigned all_done = 0;

	q->max_freed_runs = ROOM;
	co_write_scattered(img);
	for (unsigned i = 0; i < STREAMS; i++) {
		streams[i] = (struct stream){ img, .nr = i, .all_done = &all_done };
		co_start(stream_co, &streams[i]);
	}
	no_stacks_begin(&none);
	while (all_done < STREAMS * LENGTH)
		co_reschedule();
	for (unsigned i = 0; i < STREAMS; i++)
		g_assert_cmpuint(streams[i].most, <, 1000);
	no_stacks_end(&none, STREAMS);
	co_close(img);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/freed/merge", test_merge);
	g_test_add_func("/freed/merge-by-itself", test_merge_by_itself);
	g_test_add_func("/freed/one-hole-for-a-run", test_one_hole_for_a_run);
	g_test_add_func("/freed/long-runs-in-parts", test_long_runs_in_parts);
	g_test_add_func("/freed/small-parts-beside-flushes", test_small_parts_beside_flushes);
	g_test_add_func("/freed/flushes-go-first", test_flushes_go_first);
	g_test_add_func("/freed/compressed", test_compressed);
	g_test_add_func("/freed/flushes-with-a-reader", test_flushes_with_a_reader);
	g_test_add_func("/freed/waits-for-requests", test_waits_for_requests);
	g_test_add_func("/freed/flush-does-not-wait", test_flush_does_not_wait);
	g_test_add_func("/freed/memory-is-bounded", test_memory_is_bounded);
	g_test_add_func("/freed/epoch-moves-while-requests-begin",
			test_epoch_moves_while_requests_begin);
	g_test_add_func("/freed/memory-of-amend-is-bounded", test_memory_of_amend_is_bounded);
	g_test_add_func("/freed/memory-of-growth-is-bounded", test_memory_of_growth_is_bounded);
	g_test_add_func("/freed/no-room-and-no-flush", test_no_room_and_no_flush);
	g_test_add_func("/freed/checks-overlap", test_checks_overlap);
	g_test_add_func("/freed/room-without-stacks", test_room_without_stacks);
	g_test_add_func("/freed/room-comes-without-stacks", test_room_comes_without_stacks);
	g_test_add_func("/freed/no-request-reclaims-for-others",
			test_no_request_reclaims_for_others);
	return leave_scratch(folder, g_test_run());
}
