// SPDX-License-Identifier: GPL-2.0-or-later
/* One stress test; see scenario.h. */
#include "scenario.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "memnode.h"
#include "scratch.h"
#include "stamp.h"
#include "watchdog.h"

#define READ_BYTES	 (1u << 20)
#define MAX_DELAY	 4
#define PERCENT_LATE	 2
/* Turns of the loop between two structural operations: caches get warm meanwhile. */
#define MAX_PAUSE	 3000
/* After so many, a file must have grown ahead. */
#define REQUESTS_TO_GROW 1000

/* A running scenario. */
struct run {
	const struct scenario *scenario;
	struct crew *crew;
	char *folder;
	char *filename;
	struct memdisk *disk; /* if it is in memory */
	struct memnode node;  /* the same, while it is open */
	struct structural structural;
	struct model model;
	struct claims claims;
	struct job_set jobs;
	_Atomic uint32_t next_version;
	uint64_t size; /* of the guest's disk */
	/* What it will be, while an operation changes it. */
	const uint32_t *next_versions;
	uint64_t next_size;
	uint64_t requests;
	bool has_grown_ahead;
	char *failure;
};

static void dump(void *arg)
{
	struct run *run = arg;

	fprintf(stderr, "scenario %s, seed %" G_GUINT64_FORMAT "\n", run->scenario->name,
		run->scenario->seed);
	guest_dump(&run->jobs.guest);
	if (run->disk)
		memnode_dump(&run->node);
}

static char *explain(const char *what, int error)
{
	return g_strdup_printf("%s failed: %s", what, strerror(-error));
}

/* ---- opening ---- */

static int co_open_file(struct run *run, const struct image_open_opts *opts, struct image **ret_img,
			GError **err)
{
	g_autofree char *name = NULL;

	if (run->scenario->slice_bytes)
		name = g_strdup_printf("json:{\"l2-cache-entry-size\":%u,"
				       "\"file\":{\"driver\":\"file\",\"filename\":\"%s\"}}",
				       run->scenario->slice_bytes, run->filename);
	return image_co_open(name ?: run->filename, opts, ret_img, err);
}

static char *co_open(struct run *run, unsigned flags, struct image **ret_img)
{
	const struct scenario *scenario = run->scenario;
	g_autoptr(GError) err = NULL;
	struct image_open_opts opts = {
		.format = scenario->spec.format,
		.flags = flags | (scenario->disk == DISK_DIRECT ? IMAGE_DIRECT : 0),
		.cache_bytes = scenario->cache_bytes,
	};
	int ret;

	if (run->disk)
		ret = memnode_co_open_image(&run->node, run->filename, &opts, ret_img, &err);
	else
		ret = co_open_file(run, &opts, ret_img, &err);
	return ret < 0 ? g_strdup_printf("the image does not open: %s", err->message) : NULL;
}

/* Takes over @failure, which may be NULL. */
static char *co_close(struct image *img, char *failure)
{
	int ret = image_co_close(img);

	return !failure && ret < 0 ? explain("close", ret) : failure;
}

static char *co_open_for_use(struct run *run)
{
	unsigned flags = IMAGE_RDWR | (run->scenario->unmap ? IMAGE_UNMAP : 0);

	run->structural.img = NULL;
	return co_open(run, flags, &run->structural.img);
}

/* ---- what structural operations ask for ---- */

static int co_reopen(struct structural *s)
{
	struct run *run = s->arg;
	int ret = image_co_close(g_steal_pointer(&s->img));

	s->failure = co_open_for_use(run);
	return ret;
}

static void begin_become(struct structural *s, const uint32_t *versions, uint64_t size)
{
	struct run *run = s->arg;

	run->next_versions = versions;
	run->next_size = size;
}

/* There are no faults: an operation that failed for lack of wider refcounts has changed nothing. */
static void end_become(struct structural *s, bool failed)
{
	struct run *run = s->arg;
	const uint32_t *versions = run->next_versions;
	uint64_t sectors = run->next_size / SECTOR_SIZE;
	uint64_t kept = MIN(sectors, run->size / SECTOR_SIZE);

	if (failed)
		return;
	if (versions)
		model_set(&run->model, 0, sectors, versions);
	/* What is added is already zero, and may have been written to by now. */
	if (versions || kept == sectors)
		model_set(&run->model, sectors, run->model.sectors, NULL);
	run->size = run->next_size;
}

static uint64_t now(struct structural *s)
{
	return 0;
}

static void init_structural(struct run *run)
{
	const struct scenario *scenario = run->scenario;
	struct structural *s = &run->structural;

	structural_init(s, &scenario->spec, scenario->seed);
	s->only = scenario->operation;
	s->count = structural_fits(&scenario->spec, s->only) ? UINT_MAX : 0;
	s->max_pause = MAX_PAUSE;
	s->co_reopen = co_reopen;
	s->begin = begin_become;
	s->end = end_become;
	s->now = now;
	s->arg = run;
}

/* ---- looking at it ---- */

static void print_finding(void *arg, const char *line)
{
	printf("  check: %s\n", line);
}

static char *co_check_metadata(struct image *img)
{
	struct image_check_result result;
	int ret = image_co_check(img, print_finding, NULL, &result);

	if (ret == -ENOTSUP)
		return NULL;
	if (ret < 0)
		return explain("check", ret);
	if (result.corruptions || result.leaks || result.check_errors)
		return g_strdup_printf("check found %" G_GUINT64_FORMAT
				       " corruptions, %" G_GUINT64_FORMAT
				       " leaks, %" G_GUINT64_FORMAT " errors",
				       result.corruptions, result.leaks, result.check_errors);
	return NULL;
}

static char *co_check_contents(struct run *run, struct image *img)
{
	g_autofree uint8_t *buf = g_malloc(READ_BYTES);
	char *failure = NULL;

	for (uint64_t off = 0; !failure && off < image_size(img); off += READ_BYTES) {
		uint64_t bytes = MIN(READ_BYTES, image_size(img) - off);
		int ret = image_co_pread(img, off, bytes, buf);

		failure =
			ret < 0 ? explain("read", ret) : model_check(&run->model, off, bytes, buf);
		watchdog_kick();
	}
	return failure;
}

static int co_open_once_more(const struct structural_view *view, const struct image_open_opts *opts,
			     struct image **ret_img, GError **err)
{
	struct run *run = view->arg;

	if (run->disk)
		return memnode_co_open_image(&run->node, run->filename, opts, ret_img, err);
	return co_open_file(run, opts, ret_img, err);
}

static char *co_look(struct run *run)
{
	struct image *img = NULL;
	char *failure = co_open(run, 0, &img);
	struct structural_view view = { img, UINT64_MAX, co_open_once_more, run };

	if (failure)
		return failure;
	failure = co_check_metadata(img);
	if (!failure && image_size(img) != run->size)
		failure = g_strdup_printf("the size of the disk is %" G_GUINT64_FORMAT,
					  image_size(img));
	if (!failure)
		failure = co_check_contents(run, img);
	if (!failure)
		failure = structural_co_verify(&run->structural, &view);
	return co_close(img, failure);
}

/* qemu-img also reads what was written. */
static char *compare_by_qemu_img(struct run *run)
{
	g_autofree char *raw = scratch_file(run->folder, "by-qemu-img.raw");
	g_autofree uint8_t *buf = g_malloc(READ_BYTES);
	struct memdisk *copy = memdisk_new(NULL);
	char *failure = NULL;

	run_or_die("qemu-img", "convert", "-f", run->scenario->spec.format, "-O", "raw",
		   run->filename, raw, NULL);
	if (memdisk_load(copy, raw) < 0)
		failure = g_strdup_printf("%s cannot be read", raw);
	for (uint64_t off = 0; !failure && off < run->size; off += READ_BYTES) {
		uint64_t bytes = MIN(READ_BYTES, run->size - off);

		memdisk_read(copy, off, bytes, buf);
		failure = model_check(&run->model, off, bytes, buf);
	}
	memdisk_free(copy);
	return failure;
}

static char *look_by_qemu_img(struct run *run)
{
	char *failure = NULL;
	char *reason;

	if (run->disk && memdisk_save(run->disk, run->filename) < 0)
		return g_strdup_printf("%s cannot be written", run->filename);
	if (g_str_equal(run->scenario->spec.format, "qcow2"))
		qemu_img_check(run->filename, false, &failure);
	if (!failure)
		failure = compare_by_qemu_img(run);
	reason = failure ? g_strconcat("qemu-img: ", failure, NULL) : NULL;
	g_free(failure);
	return reason;
}

/* ---- growing ahead ---- */

static uint64_t file_size(const struct run *run)
{
	struct stat st;

	return stat(run->filename, &st) < 0 ? 0 : st.st_size;
}

/* Closing cuts off what the file has grown ahead. */
static char *co_close_used(struct run *run, char *failure)
{
	uint64_t before = file_size(run);

	failure = co_close(run->structural.img, failure);
	run->has_grown_ahead |= before > file_size(run);
	return failure;
}

/* After few requests, on a slow machine, it may have had no reason. */
static char *check_growth(const struct run *run)
{
	if (!run->scenario->grows_ahead || run->has_grown_ahead || run->requests < REQUESTS_TO_GROW)
		return NULL;
	return g_strdup("the file has never grown ahead of its data");
}

/* ---- a round ---- */

static char *co_use(struct run *run, unsigned round)
{
	const struct scenario *scenario = run->scenario;
	char *failure = co_open_for_use(run);

	if (failure)
		return failure;
	run->jobs = (struct job_set){
		.structural = &run->structural,
		.model = &run->model,
		.claims = &run->claims,
		.mix = &scenario->mix,
		.seed = scenario->seed * 1000 + round,
		.count = scenario->loops * scenario->depth,
		.seconds = scenario->seconds / scenario->rounds,
		.next_version = &run->next_version,
	};
	failure = jobs_co_run(&run->jobs, run->crew);
	run->requests += run->jobs.requests;
	return co_close_used(run, failure);
}

static void run_co(void *arg)
{
	struct run *run = arg;

	for (unsigned i = 0; !run->failure && i < run->scenario->rounds; i++) {
		run->failure = co_use(run, i);
		if (!run->failure)
			run->failure = co_look(run);
		if (!run->failure)
			run->failure = look_by_qemu_img(run);
	}
	if (!run->failure)
		run->failure = check_growth(run);
}

/* ---- from the beginning to the end ---- */

static void run_init(struct run *run, const struct scenario *scenario)
{
	struct rng rng = rng_of(scenario->seed, 0x696d616765);
	g_autofree uint32_t *initial = NULL;

	*run = (struct run){ .scenario = scenario, .folder = scratch_new() };
	run->next_version = VERSION_FIRST;
	run->size = scenario->spec.size;
	run->filename = prepare_image(run->folder, &scenario->spec, &rng, &initial);
	model_init(&run->model, scenario->spec.size, structural_max_size(&scenario->spec), initial);
	init_structural(run);
	claims_init(&run->claims, structural_max_size(&scenario->spec));
	if (scenario->disk == DISK_IN_MEMORY) {
		run->disk = memdisk_new(NULL);
		if (memdisk_load(run->disk, run->filename) < 0)
			g_error("%s: cannot be read", run->filename);
		memnode_init(&run->node, run->disk, scenario->seed);
		run->node.max_delay = MAX_DELAY;
		run->node.percent_late = PERCENT_LATE;
		run->node.alignment = scenario->alignment;
	}
	run->crew = crew_new(scenario->loops);
}

static void run_destroy(struct run *run)
{
	crew_free(run->crew);
	if (run->disk)
		memnode_destroy(&run->node);
	memdisk_free(run->disk);
	structural_destroy(&run->structural);
	claims_destroy(&run->claims);
	model_destroy(&run->model);
	g_free(run->filename);
	g_free(run->folder);
}

/* Takes over @failure. */
static char *report(struct run *run, char *failure)
{
	g_autofree char *reason = failure;

	if (run->scenario->broken) {
		scratch_remove(run->folder);
		return g_steal_pointer(&reason);
	}
	if (run->disk)
		memdisk_save(run->disk, run->filename);
	return g_strdup_printf("%s\nthe image is kept as %s", reason, run->filename);
}

char *scenario_run(const struct scenario *scenario, uint64_t *ret_requests,
		   uint64_t *ret_operations)
{
	struct run run;
	char *failure;

	run_init(&run, scenario);
	watchdog_start(scenario->name, SECONDS_TO_HANG, dump, &run);
	crew_run_co(run.crew, run_co, &run);
	watchdog_stop();
	failure = run.failure;
	if (failure)
		failure = report(&run, failure);
	else
		scratch_remove(run.folder);
	*ret_requests = run.requests;
	*ret_operations = run.structural.performed;
	run_destroy(&run);
	return failure;
}
