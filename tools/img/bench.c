// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ubd-img bench: measures how fast an image can be read or written.
 *
 * Like qemu-img's, with two more options: --queues uses the image from that many threads at a time,
 * each with its own loop, and --random uses random offsets.
 */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "align.h"
#include "cache_mode.h"
#include "colock.h"
#include "img.h"
#include "loops.h"
#include "progress.h"

#define MAX_DEPTH    4096
#define MAX_QUEUES   64
#define BUFFER_ALIGN 4096

struct bench {
	const char *filename;
	const char *format;
	unsigned open_flags;
	unsigned write_flags;
	bool write;
	bool random;
	bool no_drain;
	uint64_t count;
	uint64_t depth;
	uint64_t queues;
	uint64_t flush_interval;
	uint64_t pattern;
	uint64_t start;
	uint64_t step;
	uint64_t buffer_bytes;

	struct image *img;
	uint64_t size;
	_Atomic uint64_t next; /* number of the next request, over all queues */
	_Atomic int error;     /* the first one */
	_Atomic unsigned queues_starting, queues_left;
	struct coroutine *waiter;
	struct bench_queue *all_queues;
	struct progress progress;
};

/* One loop and what runs on it; only touched by its thread, and in cache lines of its own. */
struct bench_queue {
	_Alignas(128) struct bench *bench;
	_Atomic uint64_t remaining; /* read by others, to show the progress */
	unsigned in_flight;
	unsigned started, ended; /* workers */
	char *bufs;		 /* of all workers */
	uint64_t random_state;
	/* No request starts until those in flight have completed and been flushed. */
	bool draining;
	struct thread_lock lock; /* of drained, which needs one */
	struct co_queue drained;
};

static void fail(struct bench *bench, int error)
{
	int none = 0;

	atomic_compare_exchange_strong(&bench->error, &none, error);
}

/* ---- where the requests go ---- */

/* SplitMix64: the same sequence in each run. */
static uint64_t next_random(struct bench_queue *queue)
{
	uint64_t z = queue->random_state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static uint64_t next_off(struct bench_queue *queue)
{
	struct bench *bench = queue->bench;
	uint64_t number, off;

	if (bench->random) {
		uint64_t places = (bench->size - bench->start) / MAX(bench->buffer_bytes, 1);

		return bench->start + next_random(queue) % places * bench->buffer_bytes;
	}
	number = atomic_fetch_add_explicit(&bench->next, 1, memory_order_relaxed);
	off = (bench->start + number * bench->step) % bench->size;
	return off + bench->buffer_bytes <= bench->size ? off : 0;
}

/* ---- requests ---- */

static void co_wait_drained(struct bench_queue *queue)
{
	thread_lock(&queue->lock);
	while (queue->draining)
		co_queue_wait_thread(&queue->drained, &queue->lock);
	thread_unlock(&queue->lock);
}

static void co_flush(struct bench_queue *queue)
{
	int ret = image_co_flush(queue->bench->img);

	if (ret)
		fail(queue->bench, ret);
}

static void co_flush_drained(struct bench_queue *queue)
{
	co_flush(queue);
	thread_lock(&queue->lock);
	queue->draining = false;
	co_queue_wake_all(&queue->drained);
	thread_unlock(&queue->lock);
}

/*
 * Counts a request; sets *ret_flush if it is the last one before a flush. False if there are no
 * more.
 */
static bool co_begin_request(struct bench_queue *queue, bool *ret_flush)
{
	struct bench *bench = queue->bench;
	uint64_t remaining;

	if (bench->flush_interval)
		co_wait_drained(queue);
	remaining = atomic_load_explicit(&queue->remaining, memory_order_relaxed);
	if (!remaining || atomic_load_explicit(&bench->error, memory_order_relaxed))
		return false;
	remaining--;
	atomic_store_explicit(&queue->remaining, remaining, memory_order_relaxed);
	queue->in_flight++;
	*ret_flush = bench->flush_interval && remaining % bench->flush_interval == 0;
	if (*ret_flush && !bench->no_drain)
		queue->draining = true;
	return true;
}

static void co_end_request(struct bench_queue *queue, bool flush)
{
	queue->in_flight--;
	if (queue->draining && !queue->in_flight)
		co_flush_drained(queue);
	else if (flush && queue->bench->no_drain)
		co_flush(queue);
}

static int co_request(struct bench_queue *queue, void *buf)
{
	struct bench *bench = queue->bench;
	uint64_t off = next_off(queue);

	return bench->write ? image_co_pwrite(bench->img, off, bench->buffer_bytes, buf,
					      bench->write_flags)
			    : image_co_pread(bench->img, off, bench->buffer_bytes, buf);
}

static uint64_t buffer_room(const struct bench *bench)
{
	return align_up(MAX(bench->buffer_bytes, 1), BUFFER_ALIGN);
}

static void worker_co(void *arg)
{
	struct bench_queue *queue = arg;
	struct bench *bench = queue->bench;
	char *buf = queue->bufs + queue->started++ * buffer_room(bench);
	bool flush;
	int ret;

	while (co_begin_request(queue, &flush)) {
		ret = co_request(queue, buf);
		if (ret)
			fail(bench, ret);
		co_end_request(queue, flush);
	}
	if (++queue->ended == bench->depth && atomic_fetch_sub(&bench->queues_left, 1) == 1)
		co_wake(bench->waiter);
}

/* ---- queues ---- */

/* Requests that never wait would be over before the next queue begins. */
static void wait_for_other_queues(struct bench *bench)
{
	atomic_fetch_sub(&bench->queues_starting, 1);
	while (atomic_load(&bench->queues_starting))
		sched_yield();
}

static void queue_co(void *arg)
{
	struct bench_queue *queue = arg;

	wait_for_other_queues(queue->bench);
	for (unsigned i = 0; i < queue->bench->depth; i++)
		co_start(worker_co, queue);
}

static bool init_queue(struct bench *bench, unsigned number, struct bench_queue *queue)
{
	uint64_t bytes = bench->depth * buffer_room(bench);

	queue->bench = bench;
	queue->remaining = bench->count / bench->queues + (number < bench->count % bench->queues);
	queue->random_state = number;
	thread_lock_init(&queue->lock);
	co_queue_init(&queue->drained);
	queue->bufs = try_iobuf_alloc_huge(bytes);
	if (queue->bufs)
		memset(queue->bufs, bench->pattern, bytes);
	else
		tool_error("cannot allocate buffers of %" PRIu64 " bytes", bytes);
	return queue->bufs;
}

static void free_queues(struct bench_queue *queues, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		iobuf_free(queues[i].bufs);
		co_queue_destroy(&queues[i].drained);
		thread_lock_destroy(&queues[i].lock);
	}
	free(queues);
}

/* NULL if there is no memory, which was told. */
static struct bench_queue *new_queues(struct bench *bench)
{
	size_t bytes = bench->queues * sizeof(struct bench_queue);
	struct bench_queue *queues = aligned_alloc(_Alignof(struct bench_queue), bytes);

	if (!queues) {
		tool_error("cannot allocate %" PRIu64 " queues", bench->queues);
		return NULL;
	}
	memset(queues, 0, bytes);
	for (unsigned i = 0; i < bench->queues; i++) {
		if (init_queue(bench, i, &queues[i]))
			continue;
		free_queues(queues, i + 1);
		return NULL;
	}
	return queues;
}

/* The number of requests that have begun. Called in a signal handler. */
static uint64_t count_begun(void *arg)
{
	const struct bench *bench = arg;
	uint64_t begun = bench->count;

	for (unsigned i = 0; i < bench->queues; i++)
		begun -=
			atomic_load_explicit(&bench->all_queues[i].remaining, memory_order_relaxed);
	return begun;
}

/* Returns the elapsed time in microseconds. */
static int64_t co_run_queues(struct bench *bench, struct bench_queue *queues,
			     const struct loops *loops)
{
	int64_t begin;

	bench->all_queues = queues;
	progress_start_counted(&bench->progress, bench->count, count_begun, bench);
	begin = g_get_monotonic_time();
	atomic_store(&bench->queues_starting, bench->queues);
	atomic_store(&bench->queues_left, bench->queues);
	bench->waiter = co_self();
	for (unsigned i = 0; i < bench->queues; i++)
		co_start_on(loops_at(loops, i), queue_co, &queues[i]);
	co_yield();
	begin = g_get_monotonic_time() - begin;
	progress_end(&bench->progress, false);
	return begin;
}

/* ---- the command ---- */

static void print_plan(const struct bench *bench)
{
	printf("Sending %" PRIu64 " %s requests, %" PRIu64 " bytes each, %" PRIu64 " in parallel ",
	       bench->count, bench->write ? "write" : "read", bench->buffer_bytes, bench->depth);
	if (bench->random)
		printf("(at random from offset %" PRIu64 " on)\n", bench->start);
	else
		printf("(starting at offset %" PRIu64 ", step size %" PRIu64 ")\n", bench->start,
		       bench->step);
	if (bench->queues > 1)
		printf("Using %" PRIu64 " queues, each with that many in parallel\n",
		       bench->queues);
	if (bench->flush_interval)
		printf("Sending flush every %" PRIu64 " requests\n", bench->flush_interval);
	fflush(stdout);
}

static int co_measure(struct bench *bench)
{
	struct bench_queue *queues = new_queues(bench);
	struct loops *loops = queues ? loops_new(bench->queues) : NULL;
	int64_t microseconds = 0;
	bool ready = loops;

	if (loops)
		microseconds = co_run_queues(bench, queues, loops);
	loops_free(loops);
	if (queues)
		free_queues(queues, bench->queues);
	if (!ready)
		return -ENOMEM;
	if (bench->error)
		tool_error("Failed request: %s", g_strerror(-bench->error));
	else
		printf("Run completed in %3.3f seconds.\n", microseconds / 1e6);
	return bench->error;
}

static int co_bench_opened(struct bench *bench, struct image *img)
{
	bench->img = img;
	bench->size = image_size(img);
	print_plan(bench);
	if (!bench->count || (bench->size && bench->buffer_bytes <= bench->size &&
			      bench->start <= bench->size - bench->buffer_bytes))
		return co_measure(bench);
	tool_error("Failed request: Input/output error: %" PRIu64 " bytes at offset %" PRIu64
		   " do not fit into the image of %" PRIu64 " bytes",
		   bench->buffer_bytes, bench->start, bench->size);
	return -EIO;
}

static int co_bench(void *arg)
{
	struct bench *bench = arg;
	struct image *img;
	int ret = tool_co_open(bench->filename, bench->format, bench->open_flags, &img);

	if (!ret)
		ret = tool_co_close(img, co_bench_opened(bench, img));
	return ret ? 1 : 0;
}

/* ---- options ---- */

static bool parse_cache(struct bench *bench, const char *name)
{
	struct cache_mode mode = { 0 };

	if (name && !cache_mode_parse(name, &mode)) {
		tool_error("Invalid cache mode");
		return false;
	}
	bench->open_flags |= mode.open_flags;
	bench->write_flags = cache_mode_write_flags(&mode);
	return true;
}

static bool check_flush_interval(const struct bench *bench)
{
	if (!bench->flush_interval)
		return true;
	if (!bench->write)
		tool_error("--flush-interval is only available in write tests");
	else if (bench->flush_interval < bench->depth)
		tool_error("Flush interval can't be smaller than depth");
	else
		return true;
	return false;
}

int img_bench(const struct command *command, char **argv)
{
	g_autofree char *format = NULL, *cache = NULL, *aio = NULL, *count = NULL, *depth = NULL,
			*size = NULL, *start = NULL, *step = NULL, *interval = NULL,
			*pattern = NULL, *queues = NULL;
	g_auto(GStrv) filenames = NULL;
	gboolean image_opts = FALSE, write = FALSE, native = FALSE, no_drain = FALSE, quiet = FALSE,
		 force_share = FALSE, random = FALSE;
	const GOptionEntry entries[] = {
		{ "format", 'f', 0, G_OPTION_ARG_FILENAME, &format,
		  "Format of the image (default: probed)", "FMT" },
		{ "count", 'c', 0, G_OPTION_ARG_FILENAME, &count,
		  "Number of requests (default: 75000)", "N" },
		{ "depth", 'd', 0, G_OPTION_ARG_FILENAME, &depth,
		  "Requests in flight (default: 64)", "N" },
		{ "buffer-size", 's', 0, G_OPTION_ARG_FILENAME, &size,
		  "Size of a request (default: 4k)", "SIZE" },
		{ "offset", 'o', 0, G_OPTION_ARG_FILENAME, &start,
		  "Offset of the first request (default: 0)", "OFFSET" },
		{ "step-size", 'S', 0, G_OPTION_ARG_FILENAME, &step,
		  "Distance from one request to the next (default: its size)", "SIZE" },
		{ "write", 'w', 0, G_OPTION_ARG_NONE, &write, "Write (default: read)", NULL },
		{ "pattern", 0, 0, G_OPTION_ARG_FILENAME, &pattern, "Byte to write (default: 0)",
		  "BYTE" },
		{ "flush-interval", 0, 0, G_OPTION_ARG_FILENAME, &interval,
		  "Flush after every N writes", "N" },
		{ "no-drain", 0, 0, G_OPTION_ARG_NONE, &no_drain,
		  "Do not wait for requests in flight before a flush", NULL },
		{ "cache", 't', 0, G_OPTION_ARG_FILENAME, &cache, "Cache mode (default: writeback)",
		  "CACHE" },
		{ "aio", 'i', 0, G_OPTION_ARG_FILENAME, &aio,
		  "Use threads, io_uring or native: io_uring where it works (default)", "AIO" },
		{ "native", 'n', 0, G_OPTION_ARG_NONE, &native,
		  "Ignored; accepted for compatibility with qemu-img", NULL },
		{ "queues", 0, 0, G_OPTION_ARG_FILENAME, &queues,
		  "Number of threads that use the image (default: 1)", "N" },
		{ "random", 0, 0, G_OPTION_ARG_NONE, &random, "Use random offsets", NULL },
		{ "force-share", 'U', 0, G_OPTION_ARG_NONE, &force_share,
		  "Open the image even if another program is writing to it", NULL },
		{ "quiet", 'q', 0, G_OPTION_ARG_NONE, &quiet,
		  "Ignored; accepted for compatibility with qemu-img", NULL },
		TOOL_OPEN_OPTIONS(&image_opts),
		TOOL_NO_LOCK_OPTION,
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &filenames, NULL,
		  "FILENAME" },
		{},
	};
	struct bench bench = { .count = 75000, .depth = 64, .queues = 1, .buffer_bytes = 4096 };

	if (!command_parse(command, entries, argv) ||
	    !img_parse_number("request count", count, 0, INT32_MAX, &bench.count) ||
	    !img_parse_number("queue depth", depth, 1, MAX_DEPTH, &bench.depth) ||
	    !img_parse_number("number of queues", queues, 1, MAX_QUEUES, &bench.queues) ||
	    !img_parse_number("flush interval", interval, 0, INT32_MAX, &bench.flush_interval) ||
	    !img_parse_number("pattern byte", pattern, 0, UINT8_MAX, &bench.pattern) ||
	    !img_parse_size("buffer size", size, INT32_MAX, &bench.buffer_bytes) ||
	    !img_parse_size("offset", start, INT64_MAX, &bench.start) ||
	    !img_parse_size("step_size", step, INT32_MAX, &bench.step) || !tool_set_aio(aio) ||
	    !parse_cache(&bench, cache))
		return 1;
	bench.step = bench.step ?: bench.buffer_bytes;
	bench.write = write;
	bench.random = random;
	bench.no_drain = no_drain;
	bench.open_flags |= (write ? IMAGE_RDWR | IMAGE_UNMAP : IMAGE_BEAR_WRITERS) |
			    (force_share ? IMAGE_FORCE_SHARE : 0);
	bench.format = format;
	bench.filename = img_only_image(command, filenames, image_opts, format);
	if (!bench.filename || !check_flush_interval(&bench))
		return 1;
	return tool_run_co(co_bench, &bench);
}
