// SPDX-License-Identifier: GPL-2.0-or-later
/* Chains of images for tests; see chain.h. */
#include "chain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "align.h"
#include "image_chain.h"
#include "scratch.h"

#define GRANULE	     (4u << 10)
#define WRITES	     40
#define NR_VERSIONS  2
#define MAX_FINDINGS 500 /* bytes */

const char *const chain_job_names[NR_CHAIN_JOBS] = {
	[CHAIN_COMMIT] = "commit",   [CHAIN_COMMIT_DOWN] = "commit-down",
	[CHAIN_REBASE] = "rebase",   [CHAIN_REBASE_COMPRESSED] = "rebase-compressed",
	[CHAIN_FLATTEN] = "flatten",
};

bool chain_job_is_rebase(enum chain_job job)
{
	return job >= CHAIN_REBASE;
}

/* ---- drawing ---- */

/* From 512 KiB to 1.5 MiB, or like the others. */
static uint64_t draw_size(struct rng *rng)
{
	return rng_percent(rng, 50) ? 1 << 20 : rng_between(rng, 1024, 3072) * SECTOR_SIZE;
}

static struct chain_layer draw_layer(const char *name, struct rng *rng)
{
	static const unsigned cluster_sizes[] = { 512, 4096, 4096, 16384, 65536 };
	static const unsigned refcount_bits[] = { 1, 16, 16, 64 };
	struct chain_layer layer = {
		.name = name,
		.format = "qcow2",
		.size = draw_size(rng),
		.cluster_size = cluster_sizes[rng_below(rng, G_N_ELEMENTS(cluster_sizes))],
		.refcount_bits = 16,
		.version_2 = rng_percent(rng, 15),
	};

	if (layer.version_2)
		return layer;
	layer.refcount_bits = refcount_bits[rng_below(rng, G_N_ELEMENTS(refcount_bits))];
	layer.extended_l2 = layer.cluster_size >= 16384 && rng_percent(rng, 60);
	layer.data_file = rng_percent(rng, 15);
	layer.snapshot = !layer.data_file && layer.refcount_bits > 1 && rng_percent(rng, 15);
	return layer;
}

struct chain_spec chain_spec_draw(enum chain_job job, uint64_t seed)
{
	struct rng rng = rng_of(seed, 0x636861696e);
	struct chain_spec spec = { .job = job, .seed = seed };

	spec.base = draw_layer("base", &rng);
	spec.mid = draw_layer("mid", &rng);
	spec.top = draw_layer("top", &rng);
	spec.new = draw_layer("new", &rng);
	spec.has_mid = job == CHAIN_COMMIT_DOWN || rng_percent(&rng, 30);
	if (rng_percent(&rng, 30))
		spec.base = (struct chain_layer){ .name = "base",
						  .format = "raw",
						  .size = spec.base.size };
	/* What is written to has one disk, except the top. */
	spec.base.data_file = spec.mid.data_file = spec.new.data_file = false;
	return spec;
}

char *chain_spec_describe(const struct chain_spec *spec)
{
	const struct chain_layer *layers[] = { &spec->base, &spec->mid, &spec->top, &spec->new };
	GString *text = g_string_new(NULL);

	g_string_printf(text, "%s, seed %" G_GUINT64_FORMAT "%s:", chain_job_names[spec->job],
			spec->seed, spec->has_mid ? "" : ", no mid");
	for (unsigned i = 0; i < G_N_ELEMENTS(layers); i++) {
		const struct chain_layer *l = layers[i];

		g_string_append_printf(
			text,
			" %s: %s v%u of %" G_GUINT64_FORMAT ", clusters %u, refcounts %u%s%s%s;",
			l->name, l->format, l->version_2 ? 2 : 3, l->size, l->cluster_size,
			l->refcount_bits, l->extended_l2 ? ", subclusters" : "",
			l->data_file ? ", data file" : "", l->snapshot ? ", snapshot" : "");
	}
	return g_string_free(text, FALSE);
}

/* ---- making ---- */

static void die(const char *what, const char *reason)
{
	fprintf(stderr, "%s: %s\n", what, reason);
	exit(EXIT_FAILURE);
}

static void co_create(const struct chain_layer *layer, const char *filename, const char *backing,
		      const char *backing_format)
{
	g_autoptr(GHashTable) options =
		g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);
	struct image_create_opts opts = {
		.size = layer->size,
		.size_given = true,
		.backing_filename = backing,
		.backing_format = backing_format,
		.options = options,
	};
	g_autoptr(GError) err = NULL;

	if (g_str_equal(layer->format, "qcow2")) {
		g_hash_table_insert(options, "cluster_size",
				    g_strdup_printf("%u", layer->cluster_size));
		g_hash_table_insert(options, "compat", g_strdup(layer->version_2 ? "0.10" : "1.1"));
		if (layer->refcount_bits != 16)
			g_hash_table_insert(options, "refcount_bits",
					    g_strdup_printf("%u", layer->refcount_bits));
		if (layer->extended_l2)
			g_hash_table_insert(options, "extended_l2", g_strdup("on"));
		if (layer->data_file)
			g_hash_table_insert(options, "data_file",
					    g_strconcat(filename, ".data", NULL));
	}
	if (image_co_create(filename, layer->format, &opts, NULL, &err))
		die(filename, err->message);
}

/* The same bytes in all images that have this version there. */
static void fill(uint8_t *buf, uint64_t off, uint64_t bytes, unsigned version)
{
	for (uint64_t i = 0; i < bytes; i++)
		buf[i] = 1 + ((off + i) / 64 + version * 97 + i % 13) % 251;
}

static bool can_compress(const struct chain_layer *layer)
{
	return g_str_equal(layer->format, "qcow2") && !layer->data_file && layer->refcount_bits > 1;
}

static int co_write_compressed(struct image *img, uint64_t off, unsigned version)
{
	uint64_t cluster = image_limits(img)->cluster_size;
	g_autofree uint8_t *buf = g_malloc(cluster);
	uint64_t start = align_down(off, cluster), bytes = MIN(cluster, image_size(img) - start);
	struct iovec iov;

	fill(buf, start, bytes, version);
	return image_co_pwrite_compressed(img, start, bytes, IOBUF(&iov, buf, bytes));
}

static int co_write_something(const struct chain_layer *layer, struct image *img, struct rng *rng)
{
	uint64_t off = rng_below(rng, layer->size / SECTOR_SIZE) * SECTOR_SIZE;
	uint64_t bytes = rng_between(rng, 1, 128) * SECTOR_SIZE;
	unsigned version = rng_below(rng, NR_VERSIONS), kind = rng_below(rng, 10);
	g_autofree uint8_t *buf = NULL;

	if (rng_percent(rng, 50)) {
		off = align_down(off, GRANULE);
		bytes = align_up(bytes, GRANULE);
	}
	bytes = MIN(bytes, layer->size - off);
	if (kind < 2)
		return image_co_pwrite_zeroes(img, off, bytes, 0);
	if (kind < 4 && can_compress(layer))
		return co_write_compressed(img, off, version);
	buf = g_malloc(bytes);
	fill(buf, off, bytes, version);
	return image_co_pwrite(img, off, bytes, buf, 0);
}

static void co_fill_layer(const struct chain_layer *layer, const char *filename, struct rng *rng)
{
	struct image_open_opts opts = { .format = layer->format, .flags = IMAGE_RDWR };
	g_autoptr(GError) err = NULL;
	struct image *img;
	int ret;

	if (image_co_open(filename, &opts, &img, &err))
		die(filename, err->message);
	for (unsigned i = 0; i < WRITES; i++) {
		if (layer->snapshot && i == WRITES / 2 &&
		    image_co_snapshot_create(img, "half", &err))
			die(filename, err->message);
		ret = co_write_something(layer, img, rng);
		if (ret)
			die(filename, g_strerror(-ret));
	}
	ret = image_co_close(img);
	if (ret)
		die(filename, g_strerror(-ret));
}

static void co_make_layer(const struct chain_spec *spec, const char *folder,
			  const struct chain_layer *layer, const struct chain_layer *below)
{
	struct rng rng = rng_of(spec->seed, layer->name[0]);
	g_autofree char *filename = scratch_file(folder, layer->name);

	co_create(layer, filename, below ? below->name : NULL, below ? below->format : NULL);
	co_fill_layer(layer, filename, &rng);
}

void chain_co_make(const struct chain_spec *spec, const char *folder)
{
	co_make_layer(spec, folder, &spec->base, NULL);
	co_make_layer(spec, folder, &spec->new, NULL);
	if (spec->has_mid)
		co_make_layer(spec, folder, &spec->mid, &spec->base);
	co_make_layer(spec, folder, &spec->top, spec->has_mid ? &spec->mid : &spec->base);
}

/* ---- the job ---- */

struct image *chain_layer_above(const struct chain_spec *spec, struct image *top)
{
	struct image *layer = top;

	while (spec->job == CHAIN_COMMIT_DOWN && image_backing(image_backing(layer)))
		layer = image_backing(layer);
	return layer;
}

static int co_commit(const struct chain_spec *spec, struct image *top, struct image *layer,
		     GError **err)
{
	struct image_chain_opts opts = { 0 };
	int ret = image_co_commit(top, image_backing(layer), &opts, err);

	if (ret || spec->job != CHAIN_COMMIT)
		return ret;
	return image_co_make_empty(top, err);
}

int chain_co_perform(const struct chain_spec *spec, struct image *top, struct image *layer,
		     struct image *new, GError **err)
{
	struct image_chain_opts opts = {
		.compress = spec->job == CHAIN_REBASE_COMPRESSED && can_compress(&spec->top),
	};

	if (!chain_job_is_rebase(spec->job))
		return co_commit(spec, top, layer, err);
	return image_co_copy_differences(top, new, &opts, err)
		       ?: image_co_set_backing(top, new ? "new" : NULL, new ? "qcow2" : NULL, err);
}

/* ---- looking at it ---- */

uint8_t *chain_co_read(struct image *img, char **ret_failure)
{
	uint8_t *buf = g_malloc(image_size(img));
	int ret = image_co_pread(img, 0, image_size(img), buf);

	if (!ret)
		return buf;
	g_free(buf);
	*ret_failure =
		g_strdup_printf("%s cannot be read: %s", image_filename(img), g_strerror(-ret));
	return NULL;
}

char *chain_co_compare(struct image *img, const uint8_t *expected)
{
	char *failure = NULL;
	g_autofree uint8_t *found = chain_co_read(img, &failure);

	for (uint64_t off = 0; found && !failure && off < image_size(img); off += SECTOR_SIZE)
		if (memcmp(found + off, expected + off, SECTOR_SIZE))
			failure = g_strdup_printf("the disk differs at %#" G_GINT64_MODIFIER
						  "x: 0x%02x instead of 0x%02x",
						  off, found[off], expected[off]);
	return failure;
}

static void add_finding(void *arg, const char *line)
{
	GString *findings = arg;

	if (findings->len < MAX_FINDINGS)
		g_string_append_printf(findings, "\n  %s", line);
}

char *chain_co_check(struct image *img, bool leaks_allowed)
{
	g_autoptr(GString) findings = g_string_new(NULL);
	struct image_check_result result;
	int ret = image_co_check(img, add_finding, findings, &result);

	if (ret == -ENOTSUP)
		return NULL;
	if (ret)
		return g_strdup_printf("%s: check: %s", image_filename(img), g_strerror(-ret));
	if (!result.corruptions && !result.check_errors && (leaks_allowed || !result.leaks))
		return NULL;
	return g_strdup_printf("%s: check finds:%s", image_filename(img), findings->str);
}

static char *co_check_empty(struct image *top)
{
	struct image_extent extent;

	for (uint64_t off = 0; off < image_size(top); off += extent.bytes) {
		int ret = image_co_block_status(top, off, image_size(top) - off, &extent);

		if (ret)
			return g_strdup_printf("block status: %s", g_strerror(-ret));
		if (extent.flags & IMAGE_EXTENT_ALLOCATED)
			return g_strdup("the committed image is not empty");
	}
	return NULL;
}

char *chain_co_check_done(const struct chain_spec *spec, struct image *top)
{
	struct image_info info;
	const char *wanted = spec->job == CHAIN_FLATTEN ? NULL : "new";
	char *failure = NULL;

	if (spec->job == CHAIN_COMMIT)
		return co_check_empty(top);
	if (!chain_job_is_rebase(spec->job))
		return NULL;
	if (image_co_get_info(top, &info, NULL))
		return g_strdup("no information on the image");
	if (g_strcmp0(info.backing_filename, wanted))
		failure = g_strdup_printf("the backing file is %s", info.backing_filename);
	image_info_clear(&info);
	return failure;
}
