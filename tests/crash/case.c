// SPDX-License-Identifier: GPL-2.0-or-later
/* One crash test; see case.h. */
#include "case.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "afterwards.h"
#include "crew.h"
#include "history.h"
#include "memnode.h"
#include "replay.h"
#include "scratch.h"
#include "watchdog.h"
#include "workload.h"

/* One cut in this many is shown to qemu-img, or written to again. */
#define EVERY_BY_QEMU_IMG 40
#define EVERY_CONTINUED	  6

/* Turns of the loop between two structural operations. */
#define MAX_PAUSE	  400

/* A workload and all that it did. */
struct recording {
	const struct crash_case *c;
	struct crash_stats *stats;
	struct crew *crew;
	char *folder;
	char *filename; /* of the image before; names of backing files are relative to it */
	uint32_t *initial;
	uint32_t becoming; /* the number, in the history, of the operation under way */
	struct memdisk *before;
	struct memdisk *live;
	/* The same for the external data file; NULL if there is none. */
	struct memnode data_node;
	struct memdisk *data_before;
	struct memdisk *data_live;
	struct memnode node;
	struct history history;
	struct structural structural;
	struct workload workload;
	char *failure;
};

/* A moment at which the power is cut. */
struct cut {
	unsigned number;
	uint64_t tick;
};

/* ---- recording ---- */

static void dump(void *arg)
{
	struct recording *rec = arg;
	g_autofree char *text = crash_case_describe(rec->c);

	fprintf(stderr, "%s\n", text);
	guest_dump(&rec->workload.guest);
	memnode_dump(&rec->node);
}

static void set_faults(struct recording *rec, bool on)
{
	unsigned permille = on ? rec->c->fault_permille : 0;

	atomic_store(&rec->node.fault_permille, permille);
	atomic_store(&rec->data_node.fault_permille, permille);
	atomic_store(&rec->node.header_fault_percent, on ? rec->c->header_fault_percent : 0);
}

static bool has_faults(const struct crash_case *c)
{
	return c->fault_permille || c->header_fault_percent;
}

/* ---- what structural operations ask for ---- */

static char *co_open(struct recording *rec)
{
	g_autoptr(GError) err = NULL;
	struct image_open_opts opts = {
		.format = rec->c->spec.format,
		.flags = IMAGE_RDWR | (rec->c->unmap ? IMAGE_UNMAP : 0),
		.cache_bytes = rec->c->cache_bytes,
	};

	if (memnode_co_open_image(&rec->node, rec->filename, &opts, &rec->structural.img, &err) ==
	    0)
		return NULL;
	rec->structural.img = NULL;
	return g_strdup_printf("the image does not open: %s", err->message);
}

/* A flush of a disk failed, so all later ones must fail, too. */
static bool has_lost(struct recording *rec)
{
	return atomic_load(&rec->node.flush_failed) || atomic_load(&rec->data_node.flush_failed);
}

/* Without faults: what cannot be written at close is lost, and nobody knows what. */
static int co_reopen(struct structural *s)
{
	struct recording *rec = s->arg;
	int ret;

	if (has_lost(rec))
		return 0;
	set_faults(rec, false);
	ret = image_co_close(g_steal_pointer(&s->img));
	s->failure = co_open(rec);
	if (ret < 0 && !s->failure)
		s->failure = g_strdup_printf("close failed: %s", strerror(-ret));
	set_faults(rec, true);
	return ret;
}

static void begin_become(struct structural *s, const uint32_t *versions, uint64_t size)
{
	struct recording *rec = s->arg;

	rec->becoming =
		history_begin_become(&rec->history, versions, size, memnode_tick(&rec->node));
}

static void end_become(struct structural *s, bool failed)
{
	struct recording *rec = s->arg;

	history_end_become(&rec->history, rec->becoming, memnode_tick(&rec->node), failed,
			   image_size(s->img));
}

static uint64_t now(struct structural *s)
{
	struct recording *rec = s->arg;

	return memnode_tick(&rec->node);
}

static void init_structural(struct recording *rec)
{
	const struct crash_case *c = rec->c;
	struct structural *s = &rec->structural;

	structural_init(s, &c->spec, c->seed);
	s->only = c->operation;
	s->count = structural_fits(&c->spec, c->operation) ? c->operations : 0;
	s->faults = has_faults(c);
	s->max_pause = MAX_PAUSE;
	s->co_reopen = co_reopen;
	s->begin = begin_become;
	s->end = end_become;
	s->now = now;
	s->arg = rec;
}

/* ---- */

static void init_disk(struct recording *rec, struct memnode *node, const char *filename,
		      struct memdisk **ret_before, struct memdisk **ret_live)
{
	const struct crash_case *c = rec->c;

	*ret_before = memdisk_new(NULL);
	if (memdisk_load(*ret_before, filename) < 0)
		g_error("%s: cannot be read", filename);
	*ret_live = memdisk_new(*ret_before);

	memnode_init(node, *ret_live, c->seed);
	memnode_start_log(node);
	node->alignment = c->alignment;
	node->max_delay = c->max_delay;
	node->percent_late = c->percent_late;
	node->no_write_zeroes = c->no_write_zeroes;
	node->flush_does_nothing = c->flush_does_nothing;
	node->flush_error_stays = c->flush_error_stays;
}

/* Both are cut at the same time. */
static void init_data_disk(struct recording *rec)
{
	g_autofree char *filename = scratch_file(rec->folder, "image.data");

	init_disk(rec, &rec->data_node, filename, &rec->data_before, &rec->data_live);
	rec->data_node.clock = &rec->node;
	rec->node.data = &rec->data_node;
}

static void recording_init(struct recording *rec, const struct crash_case *c,
			   struct crash_stats *stats)
{
	struct rng rng = rng_of(c->seed, 0x696d616765);

	*rec = (struct recording){ .c = c, .stats = stats, .folder = scratch_new() };
	rec->filename = prepare_image(rec->folder, &c->spec, &rng, &rec->initial);
	init_disk(rec, &rec->node, rec->filename, &rec->before, &rec->live);
	if (c->spec.data_file)
		init_data_disk(rec);
	history_init(&rec->history, c->spec.size, structural_max_size(&c->spec), rec->initial);
	init_structural(rec);
	rec->workload = (struct workload){
		.structural = &rec->structural,
		.node = &rec->node,
		.history = &rec->history,
		.seed = c->seed,
		.jobs = c->jobs,
		.ops_per_job = c->ops_per_job,
		.percent_flush = c->percent_flush,
		.percent_compressed = c->percent_compressed,
		.overwrites = c->overwrites,
		.only_writes = c->only_writes,
		.faults = has_faults(c),
		.write_back = c->write_back,
		.write_back_settles = c->kills,
	};
	rec->crew = crew_new(c->loops);
}

static void recording_destroy(struct recording *rec)
{
	crew_free(rec->crew);
	structural_destroy(&rec->structural);
	history_destroy(&rec->history);
	memnode_destroy(&rec->node);
	memdisk_free(rec->live);
	memdisk_free(rec->before);
	if (rec->c->spec.data_file) {
		memnode_destroy(&rec->data_node);
		memdisk_free(rec->data_live);
		memdisk_free(rec->data_before);
	}
	g_free(rec->initial);
	g_free(rec->filename);
	g_free(rec->folder);
}

/* Even after failures, a flush that succeeds makes everything durable. */
static char *co_last_flush(struct recording *rec)
{
	uint32_t version =
		history_begin(&rec->history, GUEST_FLUSH, 0, 0, false, memnode_tick(&rec->node));
	int ret = image_co_flush(rec->structural.img);

	if (has_lost(rec))
		return ret < 0 ? NULL
			       : g_strdup("a flush succeeded after one of the disk had failed");
	if (ret < 0)
		return g_strdup_printf("the last flush failed: %s", strerror(-ret));
	history_end(&rec->history, version, memnode_tick(&rec->node), false);
	return NULL;
}

static char *co_use_image(struct recording *rec)
{
	char *failure;

	set_faults(rec, true);
	failure = workload_co_run(&rec->workload, rec->crew);
	set_faults(rec, false);
	rec->stats->failed_requests += rec->workload.failed_requests;
	return failure ? failure : co_last_flush(rec);
}

static char *co_record(struct recording *rec)
{
	char *failure = co_open(rec);
	bool lost;
	int ret;

	if (failure)
		return failure;
	failure = co_use_image(rec);
	lost = has_lost(rec);
	ret = image_co_close(rec->structural.img);
	if (!failure && ret < 0 && !lost)
		failure = g_strdup_printf("close failed: %s", strerror(-ret));
	rec->stats->disk_requests += rec->node.log->len;
	rec->stats->guest_requests += rec->c->jobs * rec->c->ops_per_job;
	rec->stats->operations += rec->structural.performed;
	return failure;
}

/* ---- cutting ---- */

static int compare_cuts(const void *a, const void *b)
{
	const struct cut *x = a, *y = b;

	return x->tick < y->tick ? -1 : x->tick > y->tick;
}

/* The ends of all flushes: just before one, most is at stake. */
static GArray *flush_ends(const struct recording *rec)
{
	GArray *ends = g_array_new(false, false, sizeof(uint64_t));

	for (unsigned i = 0; i < rec->node.log->len; i++) {
		const struct disk_op *op = rec->node.log->pdata[i];

		if (op->kind == DISK_FLUSH && op->end != DISK_NEVER)
			g_array_append_val(ends, op->end);
	}
	return ends;
}

/* In order of time. Half of them are anywhere, half just before the end of a flush. */
static struct cut *draw_cuts(const struct recording *rec)
{
	const struct crash_case *c = rec->c;
	struct cut *cuts = g_new(struct cut, c->cuts);
	struct rng rng = rng_of(c->seed, 0x63757473);
	GArray *ends = flush_ends(rec);

	for (unsigned i = 0; i < c->cuts; i++) {
		cuts[i] = (struct cut){ i, rng_between(&rng, 1, rec->node.ticks) };
		if (ends->len && i % 2)
			cuts[i].tick = g_array_index(ends, uint64_t, cuts[i].tick % ends->len) - 1;
	}
	g_array_free(ends, true);
	qsort(cuts, c->cuts, sizeof(*cuts), compare_cuts);
	return cuts;
}

static char *co_look_at(struct recording *rec, const struct cut *cut, struct memdisk *disk,
			struct memdisk *data_disk)
{
	struct aftermath after = {
		.spec = &rec->c->spec,
		.filename = rec->filename,
		.folder = rec->folder,
		.disk = disk,
		.data_disk = data_disk,
		.history = &rec->history,
		.cut = cut->tick,
		.leaks_allowed = true,
		.structural = &rec->structural,
	};
	struct memdisk *repaired = memdisk_new(disk);
	char *failure = aftermath_co_check(&after);

	if (!failure && cut->number % EVERY_CONTINUED == 0) {
		rec->stats->cuts_continued++;
		failure = aftermath_co_continue(&after, rec->c->seed + cut->number);
		rec->stats->cuts_again += after.cuts_again;
	}
	after.disk = repaired;
	if (!failure && after.dirty) {
		rec->stats->cuts_repaired++;
		failure = aftermath_co_repair(&after);
	}
	if (!failure && cut->number % EVERY_BY_QEMU_IMG == 0) {
		rec->stats->cuts_by_qemu_img++;
		failure = aftermath_check_by_qemu_img(&after);
	}
	memdisk_free(repaired);
	aftermath_destroy(&after);
	return failure;
}

static void save_record(const struct recording *rec, const char *filename)
{
	GString *text = g_string_new(NULL);

	for (unsigned i = 0; i < rec->node.log->len; i++) {
		g_autofree char *line = disk_op_describe(rec->node.log->pdata[i]);

		g_string_append_printf(text, "disk  %s\n", line);
	}
	for (unsigned i = 0; i < rec->history.ops->len; i++) {
		g_autofree char *line = guest_op_describe(
			i + VERSION_FIRST, &g_array_index(rec->history.ops, struct guest_op, i));

		g_string_append_printf(text, "guest %s\n", line);
	}
	g_file_set_contents(filename, text->str, text->len, NULL);
	g_string_free(text, true);
}

/* Keeps the image and the record of what was done to it, to find the reason. */
static void save_evidence(const struct recording *rec, const struct memdisk *disk)
{
	g_autofree char *image = scratch_file(rec->folder, "after-cut");
	g_autofree char *record = scratch_file(rec->folder, "record");

	save_record(rec, record);
	memdisk_save(disk, image);
}

/* Takes over @failure. */
static char *report(const struct recording *rec, const struct cut *cut, const struct memdisk *disk,
		    char *failure)
{
	g_autofree char *reason = failure;
	const char *kept_in = "", *folder = "";

	if (rec->c->keep_evidence) {
		save_evidence(rec, disk);
		kept_in = "\nkept in ";
		folder = rec->folder;
	}
	return g_strdup_printf("--seed %" G_GUINT64_FORMAT " --cut %u, at tick %" G_GUINT64_FORMAT
			       ": %s%s%s",
			       rec->c->seed, cut->number, cut->tick, reason, kept_in, folder);
}

/* @data: of the external data file; NULL if there is none. */
static char *co_cut_once(struct recording *rec, struct replay *replay, struct replay *data,
			 const struct cut *cut)
{
	struct rng rng = rng_of(rec->c->seed, 0x63757400 + cut->number);
	struct memdisk *disk = replay_cut(replay, cut->tick, &rng);
	struct memdisk *data_disk = data ? replay_cut(data, cut->tick, &rng) : NULL;
	char *failure = co_look_at(rec, cut, disk, data_disk);

	watchdog_kick();
	rec->stats->cuts++;
	if (failure)
		failure = report(rec, cut, disk, failure);
	memdisk_free(data_disk);
	memdisk_free(disk);
	return failure;
}

static char *co_cut_all(struct recording *rec)
{
	g_autofree struct cut *cuts = draw_cuts(rec);
	bool has_data = rec->c->spec.data_file;
	struct replay replay, data;
	char *failure = NULL;

	replay_init(&replay, rec->before, rec->node.log);
	replay.grows_ahead = rec->node.tells_holes;
	replay.process_only = rec->c->kills;
	if (has_data) {
		replay_init(&data, rec->data_before, rec->data_node.log);
		data.process_only = rec->c->kills;
	}
	for (unsigned i = 0; !failure && i < rec->c->cuts; i++) {
		if (rec->c->only_cut == CUT_ALL || rec->c->only_cut == (int)cuts[i].number)
			failure = co_cut_once(rec, &replay, has_data ? &data : NULL, &cuts[i]);
	}
	if (has_data)
		replay_destroy(&data);
	replay_destroy(&replay);
	return failure;
}

/* Without a cut nothing may be lost, not even clusters. */
static char *co_look_at_the_end(struct recording *rec)
{
	struct aftermath after = {
		.spec = &rec->c->spec,
		.filename = rec->filename,
		.folder = rec->folder,
		.disk = rec->live,
		.data_disk = rec->data_live,
		.history = &rec->history,
		.cut = rec->node.ticks,
		.leaks_allowed = has_faults(rec->c),
		.structural = &rec->structural,
	};
	struct cut end = { 0, rec->node.ticks };
	char *failure;

	/* Otherwise everything that the cuts look at was lost here, too. */
	if (has_lost(rec))
		return NULL;
	failure = aftermath_co_check(&after);

	if (!failure)
		failure = aftermath_check_by_qemu_img(&after);
	aftermath_destroy(&after);
	return failure ? report(rec, &end, rec->live, g_strconcat("without a cut: ", failure, NULL))
		       : NULL;
}

static void case_co(void *arg)
{
	struct recording *rec = arg;
	struct cut now = { 0, 0 };

	rec->failure = co_record(rec);
	if (rec->failure) {
		now.tick = rec->node.ticks;
		rec->failure = report(rec, &now, rec->live, rec->failure);
	}
	if (!rec->failure && !rec->c->flush_does_nothing)
		rec->failure = co_look_at_the_end(rec);
	if (!rec->failure)
		rec->failure = co_cut_all(rec);
}

char *crash_case_run(const struct crash_case *c, struct crash_stats *stats)
{
	struct recording rec;
	char *failure;

	recording_init(&rec, c, stats);
	watchdog_start(NULL, SECONDS_TO_HANG, dump, &rec);
	crew_run_co(rec.crew, case_co, &rec);
	watchdog_stop();
	failure = rec.failure;
	if (!failure || !c->keep_evidence)
		scratch_remove(rec.folder);
	recording_destroy(&rec);
	return failure;
}

char *crash_case_describe(const struct crash_case *c)
{
	g_autofree char *spec = image_spec_describe(&c->spec);

	return g_strdup_printf(
		"seed %" G_GUINT64_FORMAT ": %s;\n  %u jobs of %u requests on %u loops, "
		"%u%% flushes%s%s, %u%% of writes compressed, cache %" G_GUINT64_FORMAT
		", disk: delay %u, %u%% late, "
		"alignment %u, %u/1000 faults, %u%% of header writes%s%s%s, %u operations%s%s",
		c->seed, spec, c->jobs, c->ops_per_job, c->loops, c->percent_flush,
		c->kills	? ", kills"
		: c->write_back ? ", write-backs"
				: "",
		c->overwrites	 ? ", overwrites"
		: c->only_writes ? ", only writes"
				 : "",
		c->percent_compressed, c->cache_bytes, c->max_delay, c->percent_late, c->alignment,
		c->fault_permille, c->header_fault_percent,
		c->no_write_zeroes ? ", no write zeroes" : "", c->unmap ? ", unmap" : "",
		c->flush_error_stays ? ", failed flushes stay" : "", c->operations,
		c->operation ? " " : "", c->operation ? c->operation : "");
}
