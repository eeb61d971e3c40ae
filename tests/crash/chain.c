// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Power cuts during commit and rebase: does the top of a chain always read the same?
 *
 *	crash-chain [--seed N] [--seeds COUNT] [--cuts N] [--kill] [--job NAME] [--break RULE]
 *
 * A seed decides on a chain of images. For each job the chain lies on disks in memory, which record
 * what is done to them; then the power of all disks is cut at the same moment, many times, and the
 * chain that the top's header then names must read as before. With --kill the process dies instead.
 *
 * With --break something is broken on purpose, and the test passes if that is noticed: `flush` are
 * disks whose flushes do nothing; the others are rules that a build with mutants can break.
 */
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chain.h"
#include "crew.h"
#include "image_chain.h"
#include "memnode.h"
#include "qcow2/rules.h"
#include "replay.h"
#include "scratch.h"
#include "watchdog.h"

static struct {
	gint64 seed;
	int seeds;
	int cuts;
	char *job;
	gboolean kill;
	char *broken;
	gboolean verbose;
} options = { .seed = 1, .seeds = 20, .cuts = 60 };

static const GOptionEntry option_entries[] = {
	{ "seed", 's', 0, G_OPTION_ARG_INT64, &options.seed, "The first seed (1)", "N" },
	{ "seeds", 0, 0, G_OPTION_ARG_INT, &options.seeds, "How many seeds (20)", "COUNT" },
	{ "cuts", 0, 0, G_OPTION_ARG_INT, &options.cuts, "Power cuts per seed and job (60)", "N" },
	{ "job", 0, 0, G_OPTION_ARG_STRING, &options.job, "Only this one", "NAME" },
	{ "kill", 0, 0, G_OPTION_ARG_NONE, &options.kill, "The process dies instead", NULL },
	{ "break", 0, 0, G_OPTION_ARG_STRING, &options.broken,
	  "Break it; pass if that is caught: flush, commit, rebase", "RULE" },
	{ "verbose", 'v', 0, G_OPTION_ARG_NONE, &options.verbose, "Say what is done", NULL },
	{ 0 },
};

/* A file that is written to, as a disk in memory. */
struct disk {
	char *filename;
	struct memdisk *before, *live;
	struct memnode node;
	struct replay replay;
	struct memdisk *cut; /* after a power cut */
};

enum {
	DISK_TOP,
	DISK_TOP_DATA,
	DISK_BASE, /* the image that a commit writes to */
	NR_DISKS,
};

struct test {
	struct chain_spec spec;
	char *folder;
	uint8_t *expected;
	struct disk disks[NR_DISKS];
	unsigned cuts;
	char *failure;
};

/* ---- disks ---- */

static void disk_init(struct test *test, unsigned index, const char *name)
{
	struct disk *disk = &test->disks[index];

	disk->filename = scratch_file(test->folder, name);
	disk->before = memdisk_new(NULL);
	if (memdisk_load(disk->before, disk->filename))
		g_error("%s: cannot be read", disk->filename);
	disk->live = memdisk_new(disk->before);
	memnode_init(&disk->node, disk->live, test->spec.seed + index);
	memnode_start_log(&disk->node);
	disk->node.max_delay = 5;
	disk->node.percent_late = 3;
	disk->node.flush_does_nothing = !g_strcmp0(options.broken, "flush");
	/* All share one clock. */
	disk->node.clock = index == DISK_TOP ? NULL : &test->disks[DISK_TOP].node;
}

static void disk_destroy(struct disk *disk)
{
	memnode_destroy(&disk->node);
	memdisk_free(disk->live);
	memdisk_free(disk->before);
	g_free(disk->filename);
}

static bool exists(const struct test *test, unsigned index)
{
	return test->disks[index].filename;
}

/* ---- opening chains ---- */

static const struct chain_layer *layer_named(const struct chain_spec *spec, const char *name)
{
	const struct chain_layer *layers[] = { &spec->base, &spec->mid, &spec->new };

	for (unsigned i = 0; i < G_N_ELEMENTS(layers); i++)
		if (g_str_equal(layers[i]->name, name))
			return layers[i];
	g_error("%s is no image of the chain", name);
}

/* An image that a commit does not write to. */
static int co_open_file(const struct test *test, const char *name, struct image *backing,
			struct image **ret_img, GError **err)
{
	struct image_open_opts opts = {
		.format = layer_named(&test->spec, name)->format,
		.backing = backing,
	};
	g_autofree char *filename = scratch_file(test->folder, name);
	struct image *file;
	int ret = image_co_open_bottom(filename, 0, &file, err);

	if (ret)
		return ret;
	if (!backing)
		opts.flags = IMAGE_NO_BACKING;
	return image_co_open_on(file, &opts, ret_img, err);
}

/* The image on disks; @data may be NULL. */
static int co_open_disk(const struct test *test, struct memnode *node, const char *filename,
			const char *format, unsigned flags, struct image *backing,
			struct image **ret_img, GError **err)
{
	struct image_open_opts opts = {
		.format = format,
		.flags = flags | (backing ? 0 : IMAGE_NO_BACKING),
		.backing = backing,
	};

	return memnode_co_open_image(node, filename, &opts, ret_img, err);
}

/* From the image named @name up to the one below the top; @base is open, or NULL. */
static int co_open_below(const struct test *test, const char *name, struct memnode *base_node,
			 unsigned base_flags, struct image **ret_img, GError **err)
{
	const struct disk *base = &test->disks[DISK_BASE];
	g_autofree char *base_name = base->filename ? g_path_get_basename(base->filename) : NULL;
	struct image *below = NULL;
	int ret = 0;

	if (g_str_equal(name, "mid"))
		ret = co_open_below(test, "base", base_node, base_flags, &below, err);
	if (ret)
		return ret;
	if (base_name && g_str_equal(name, base_name))
		return co_open_disk(test, base_node, base->filename,
				    layer_named(&test->spec, name)->format, base_flags, below,
				    ret_img, err);
	return co_open_file(test, name, below, ret_img, err);
}

/* ---- recording ---- */

static char *failed(const char *what, GError *err)
{
	char *failure = g_strdup_printf("%s: %s", what, err->message);

	g_error_free(err);
	return failure;
}

static char *co_open_live(struct test *test, struct image **ret_top)
{
	struct image *below = NULL;
	GError *err = NULL;
	int ret =
		co_open_below(test, test->spec.has_mid ? "mid" : "base",
			      &test->disks[DISK_BASE].node, IMAGE_RDWR | IMAGE_UNMAP, &below, &err);

	ret = ret
		      ?: co_open_disk(test, &test->disks[DISK_TOP].node,
				      test->disks[DISK_TOP].filename, "qcow2",
				      IMAGE_RDWR | IMAGE_UNMAP, below, ret_top, &err);
	return ret ? failed("the chain does not open", err) : NULL;
}

static char *co_perform(struct test *test, struct image *top)
{
	const struct chain_spec *spec = &test->spec;
	struct image *new = NULL;
	GError *err = NULL;
	char *failure = NULL;

	test->expected = chain_co_read(top, &failure);
	if (failure)
		return failure;
	if (chain_job_is_rebase(spec->job) && spec->job != CHAIN_FLATTEN &&
	    co_open_file(test, "new", NULL, &new, &err))
		return failed("the new backing file does not open", err);
	if (chain_co_perform(spec, top, chain_layer_above(spec, top), new, &err))
		failure = failed("the job failed", err);
	image_co_close(new);
	return failure ?: chain_co_compare(top, test->expected);
}

static char *co_record(struct test *test)
{
	struct image *top;
	char *failure = co_open_live(test, &top);
	int ret;

	if (failure)
		return failure;
	/* The old chain; after a rebase the open image still has it, too. */
	failure = co_perform(test, top);
	ret = image_co_close(top);
	if (ret && !failure)
		failure = g_strdup_printf("close failed: %s", g_strerror(-ret));
	return failure;
}

/* ---- after a cut ---- */

/* The disks as nodes, for reading. */
struct nodes {
	struct memnode nodes[NR_DISKS];
};

static void nodes_init(struct nodes *nodes, const struct test *test)
{
	for (unsigned i = 0; i < NR_DISKS; i++)
		if (exists(test, i))
			memnode_init(&nodes->nodes[i], test->disks[i].cut, 1);
	if (exists(test, DISK_TOP_DATA))
		nodes->nodes[DISK_TOP].data = &nodes->nodes[DISK_TOP_DATA];
}

static void nodes_destroy(struct nodes *nodes, const struct test *test)
{
	for (unsigned i = 0; i < NR_DISKS; i++)
		if (exists(test, i))
			memnode_destroy(&nodes->nodes[i]);
}

/* Which backing file the header names. The caller frees it; NULL: none. */
static int co_backing_name(const struct test *test, struct nodes *nodes, char **ret_name,
			   GError **err)
{
	struct image_info info;
	struct image *top;
	int ret = co_open_disk(test, &nodes->nodes[DISK_TOP], test->disks[DISK_TOP].filename,
			       "qcow2", 0, NULL, &top, err);

	if (ret)
		return ret;
	ret = image_co_get_info(top, &info, err);
	if (!ret) {
		*ret_name = g_strdup(info.backing_filename);
		image_info_clear(&info);
	}
	image_co_close(top);
	return ret;
}

static int co_open_cut(const struct test *test, struct nodes *nodes, struct image **ret_top,
		       GError **err)
{
	g_autofree char *name = NULL;
	struct image *below = NULL;
	int ret = co_backing_name(test, nodes, &name, err);

	if (!ret && name)
		ret = co_open_below(test, name, &nodes->nodes[DISK_BASE], 0, &below, err);
	return ret
		       ?: co_open_disk(test, &nodes->nodes[DISK_TOP],
				       test->disks[DISK_TOP].filename, "qcow2", 0, below, ret_top,
				       err);
}

/* @done: nothing was cut. */
static char *co_look(const struct test *test, bool done)
{
	struct nodes nodes = { 0 };
	struct image *top;
	GError *err = NULL;
	char *failure = NULL;

	nodes_init(&nodes, test);
	if (co_open_cut(test, &nodes, &top, &err)) {
		failure = failed("the chain does not open", err);
	} else {
		failure = chain_co_compare(top, test->expected);
		for (struct image *layer = top; layer && !failure; layer = image_backing(layer))
			failure = chain_co_check(layer, !done);
		if (!failure && done)
			failure = chain_co_check_done(&test->spec, top);
		image_co_close(top);
	}
	nodes_destroy(&nodes, test);
	return failure;
}

static char *co_look_at_the_end(struct test *test)
{
	for (unsigned i = 0; i < NR_DISKS; i++)
		test->disks[i].cut = test->disks[i].live;
	return co_look(test, true);
}

static char *co_cut_once(struct test *test, uint64_t tick, unsigned number)
{
	struct rng rng = rng_of(test->spec.seed, 0x63757400 + number);
	char *failure;

	for (unsigned i = 0; i < NR_DISKS; i++)
		if (exists(test, i))
			test->disks[i].cut = replay_cut(&test->disks[i].replay, tick, &rng);
	failure = co_look(test, false);
	for (unsigned i = 0; i < NR_DISKS; i++)
		if (exists(test, i))
			memdisk_free(test->disks[i].cut);
	watchdog_kick();
	test->cuts++;
	return failure;
}

static int compare_ticks(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The flushes of all disks: just before the end of one, most is at stake. */
static GArray *flush_ends(const struct test *test)
{
	GArray *ends = g_array_new(FALSE, FALSE, sizeof(uint64_t));

	for (unsigned i = 0; i < NR_DISKS; i++) {
		for (unsigned j = 0; exists(test, i) && j < test->disks[i].node.log->len; j++) {
			const struct disk_op *op = test->disks[i].node.log->pdata[j];

			if (op->kind == DISK_FLUSH && op->end != DISK_NEVER)
				g_array_append_val(ends, op->end);
		}
	}
	return ends;
}

/* In order of time, half of them anywhere, half around the end of a flush. */
static uint64_t *draw_ticks(const struct test *test)
{
	struct rng rng = rng_of(test->spec.seed, 0x63757473);
	uint64_t *ticks = g_new(uint64_t, options.cuts);
	g_autoptr(GArray) ends = flush_ends(test);

	for (int i = 0; i < options.cuts; i++) {
		ticks[i] = rng_between(&rng, 1, test->disks[DISK_TOP].node.ticks);
		if (ends->len && i % 2)
			ticks[i] = g_array_index(ends, uint64_t, ticks[i] % ends->len) +
				   rng_below(&rng, 3) - 1;
	}
	qsort(ticks, options.cuts, sizeof(*ticks), compare_ticks);
	return ticks;
}

static char *co_cut_all(struct test *test)
{
	g_autofree uint64_t *ticks = draw_ticks(test);
	char *failure = NULL;

	for (unsigned i = 0; i < NR_DISKS; i++) {
		struct disk *disk = &test->disks[i];

		if (!exists(test, i))
			continue;
		replay_init(&disk->replay, disk->before, disk->node.log);
		disk->replay.process_only = options.kill;
	}
	for (int i = 0; i < options.cuts && !failure; i++) {
		failure = co_cut_once(test, ticks[i], i);
		if (failure) {
			g_autofree char *reason = failure;

			failure = g_strdup_printf("cut %d at tick %" G_GUINT64_FORMAT ": %s", i,
						  ticks[i], reason);
		}
	}
	for (unsigned i = 0; i < NR_DISKS; i++)
		if (exists(test, i))
			replay_destroy(&test->disks[i].replay);
	return failure;
}

/* ---- one test ---- */

static void test_co(void *arg)
{
	struct test *test = arg;
	const struct chain_spec *spec = &test->spec;

	chain_co_make(spec, test->folder);
	disk_init(test, DISK_TOP, "top");
	if (spec->top.data_file) {
		disk_init(test, DISK_TOP_DATA, "top.data");
		test->disks[DISK_TOP].node.data = &test->disks[DISK_TOP_DATA].node;
	}
	if (!chain_job_is_rebase(spec->job))
		disk_init(test, DISK_BASE,
			  spec->job == CHAIN_COMMIT && spec->has_mid ? "mid" : "base");
	test->failure = co_record(test);
	if (!test->failure && !options.broken)
		test->failure = co_look_at_the_end(test);
	if (!test->failure)
		test->failure = co_cut_all(test);
}

static void dump(void *arg)
{
	const struct test *test = arg;
	g_autofree char *text = chain_spec_describe(&test->spec);

	fprintf(stderr, "%s\n", text);
}

/* NULL, or what went wrong. */
static char *run_test(struct crew *crew, enum chain_job job, uint64_t seed, unsigned *cuts)
{
	struct test test = { .spec = chain_spec_draw(job, seed), .folder = scratch_new() };
	g_autofree char *text = chain_spec_describe(&test.spec);
	char *failure = NULL;

	watchdog_start(NULL, SECONDS_TO_HANG, dump, &test);
	crew_run_co(crew, test_co, &test);
	watchdog_stop();
	if (test.failure)
		failure = g_strdup_printf("%s\n  %s", text, test.failure);
	*cuts += test.cuts;
	g_free(test.failure);
	for (unsigned i = 0; i < NR_DISKS; i++)
		if (exists(&test, i))
			disk_destroy(&test.disks[i]);
	g_free(test.expected);
	scratch_remove(test.folder);
	g_free(test.folder);
	return failure;
}

static char *run_seeds(struct crew *crew, enum chain_job job, unsigned *cuts)
{
	char *failure = NULL;

	for (int i = 0; i < options.seeds && !failure; i++)
		failure = run_test(crew, job, options.seed + i, cuts);
	return failure;
}

/* False, after an error message: it cannot be broken here. */
static bool break_rule(void)
{
	if (!options.broken || g_str_equal(options.broken, "flush"))
		return true;
#ifdef UBD_MUTANTS
	if (g_str_equal(options.broken, "commit"))
		qcow2_broken_rule = RULE_COMMIT_DURABLE;
	if (g_str_equal(options.broken, "rebase"))
		qcow2_broken_rule = RULE_REBASE_DURABLE;
	if (qcow2_broken_rule)
		return true;
#endif
	fprintf(stderr, "crash-chain: this build cannot break %s\n", options.broken);
	return false;
}

int main(int argc, char **argv)
{
	g_autoptr(GOptionContext) context =
		g_option_context_new("- cut the power during commit and rebase");
	g_autoptr(GError) err = NULL;
	unsigned cuts = 0;
	bool passed = true;
	struct crew *crew;

	g_option_context_add_main_entries(context, option_entries, NULL);
	if (!g_option_context_parse(context, &argc, &argv, &err)) {
		fprintf(stderr, "crash-chain: %s\n", err->message);
		return EXIT_FAILURE;
	}
	if (!break_rule())
		return EXIT_FAILURE;
	crew = crew_new(1);
	for (enum chain_job job = 0; job < NR_CHAIN_JOBS; job++) {
		g_autofree char *failure = NULL;

		if (options.job && !g_str_equal(options.job, chain_job_names[job]))
			continue;
		failure = run_seeds(crew, job, &cuts);
		if (failure && (!options.broken || options.verbose))
			printf("%s\n", failure);
		passed &= !failure == !options.broken;
	}
	crew_free(crew);
	if (options.verbose)
		printf("%u cuts\n", cuts);
	return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}
