// SPDX-License-Identifier: GPL-2.0-or-later
/* All scenarios; see table.h. */
#include "table.h"

#define K 1024u
#define STEP(request, flags, compressed, off, len)                                                 \
	{                                                                                          \
		false,                                                                             \
		{                                                                                  \
			request, flags, compressed, off, len                                       \
		}                                                                                  \
	}
#define READ(off, len)	     STEP(REQUEST_READ, 0, false, off, len)
#define WRITE(off, len)	     STEP(REQUEST_WRITE, 0, false, off, len)
#define WRITE_FUA(off, len)  STEP(REQUEST_WRITE, IMAGE_REQ_FUA, false, off, len)
#define ZERO(off, len)	     STEP(REQUEST_ZERO, 0, false, off, len)
#define UNMAP(off, len)	     STEP(REQUEST_ZERO, IMAGE_REQ_MAY_UNMAP, false, off, len)
#define DISCARD(off, len)    STEP(REQUEST_DISCARD, 0, false, off, len)
#define COMPRESSED(off, len) STEP(REQUEST_WRITE, 0, true, off, len)
#define FLUSH		     STEP(REQUEST_FLUSH, 0, false, 0, 0)
#define OPERATION                                                                                  \
	{                                                                                          \
		.operation = true                                                                  \
	}

/* New clusters, partly covered ones, existing ones, and durable writes. */
static const struct step writes[] = {
	WRITE(0, 8 * K),
	WRITE(20 * K + 512, 3 * K),
	FLUSH,
	WRITE(2 * K, 4 * K),
	WRITE_FUA(100 * K, 512),
	READ(0, 128 * K),
	WRITE(130 * K, 40 * K),
	FLUSH,
};

/* Clusters are freed, their freeing becomes durable, and they are used again. */
static const struct step frees[] = {
	WRITE(0, 32 * K),
	FLUSH,
	DISCARD(4 * K, 12 * K),
	FLUSH,
	WRITE(64 * K, 16 * K),
	DISCARD(0, 4 * K),
	FLUSH,
	FLUSH,
	WRITE(4 * K, 4 * K),
	READ(0, 96 * K),
};

static const struct step zeroes[] = {
	WRITE(0, 32 * K),      ZERO(3 * K + 512, 9 * K), FLUSH,
	UNMAP(16 * K, 8 * K),  WRITE(18 * K, K),	 FLUSH,
	UNMAP(60 * K, 70 * K), WRITE(4 * K, 4 * K),	 FLUSH,
};

/* Refcount blocks and a larger refcount table. */
static const struct step growth[] = {
	WRITE(0, 640 * K),	  FLUSH, WRITE(640 * K, 640 * K), FLUSH, WRITE(1280 * K, 700 * K),
	WRITE(2000 * K, 900 * K), FLUSH,
};

/* The file grows ahead from 2 MiB on. */
static const struct step ahead[] = {
	WRITE(0, 9000 * K),	 FLUSH, WRITE(9000 * K, 800 * K), WRITE(9800 * K, 4 * K), FLUSH,
	WRITE(10300 * K, 8 * K), FLUSH, READ(8000 * K, 2304 * K),
};

static const struct step compressed[] = {
	COMPRESSED(0, 16 * K),
	COMPRESSED(64 * K, 64 * K),
	FLUSH,
	READ(0, 128 * K),
	WRITE(4 * K + 512, K),
	DISCARD(64 * K, 32 * K),
	FLUSH,
	COMPRESSED(160 * K, 32 * K),
	READ(0, 256 * K),
	FLUSH,
};

/* A structural operation, three times, with requests in between. */
static const struct step operations[] = {
	WRITE(0, 12 * K),     OPERATION, WRITE(3 * K, 6 * K), FLUSH, DISCARD(0, 4 * K), OPERATION,
	WRITE(80 * K, 9 * K), OPERATION, WRITE(2 * K, 3 * K), FLUSH,
};

#define STEPS(array) .steps = (array), .nr_steps = G_N_ELEMENTS(array)
#define QCOW2(cluster, ...)                                                                        \
	{                                                                                          \
		.format = "qcow2", .size = 256 * K, .cluster_size = (cluster), __VA_ARGS__         \
	}

static const struct scenario of_requests[] = {
	{ .name = "writes", .spec = QCOW2(512), STEPS(writes) },
	{ .name = "writes-64k", .spec = QCOW2(64 * K), STEPS(writes) },
	{ .name = "writes-v2", .spec = QCOW2(1024, .compat = 2), STEPS(writes) },
	{ .name = "writes-lazy", .spec = QCOW2(1024, .lazy_refcounts = true), STEPS(writes) },
	{ .name = "writes-two-slices",
	  .spec = QCOW2(512, .percent_filled = 50),
	  .cache_bytes = 1,
	  STEPS(writes) },
	{ .name = "copy-on-write", .spec = QCOW2(4096, .backing = BACKING_RAW), STEPS(writes) },
	{ .name = "copy-on-write-qcow2",
	  .spec = QCOW2(4096, .backing = BACKING_QCOW2, .percent_filled = 50),
	  STEPS(writes) },
	{ .name = "frees", .spec = QCOW2(1024), STEPS(frees) },
	{ .name = "frees-unmap", .spec = QCOW2(1024), .unmap = true, STEPS(frees) },
	{ .name = "frees-short-backing",
	  .spec = QCOW2(1024, .backing = BACKING_SHORT),
	  .unmap = true,
	  STEPS(frees) },
	{ .name = "zeroes", .spec = QCOW2(1024), .unmap = true, STEPS(zeroes) },
	{ .name = "zeroes-v2", .spec = QCOW2(1024, .compat = 2), STEPS(zeroes) },
	{ .name = "zeroes-backing", .spec = QCOW2(1024, .backing = BACKING_RAW), STEPS(zeroes) },
	{ .name = "growth",
	  .spec = { .format = "qcow2", .size = 3 << 20, .cluster_size = 512, .refcount_bits = 64 },
	  STEPS(growth) },
	{ .name = "grow-ahead",
	  .spec = { .format = "qcow2", .size = 12 << 20, .cluster_size = 64 * K },
	  STEPS(ahead) },
	{ .name = "compressed", .spec = QCOW2(4096), STEPS(compressed) },
	{ .name = "compressed-over",
	  .spec = QCOW2(4096, .percent_filled = 100, .compressed = true, .compression = "zstd"),
	  STEPS(compressed) },
	{ .name = "raw", .spec = { .format = "raw", .size = 256 * K }, STEPS(writes) },
	{ .name = "raw-frees",
	  .spec = { .format = "raw", .size = 256 * K },
	  .unmap = true,
	  STEPS(frees) },
	{ .name = "raw-zeroes",
	  .spec = { .format = "raw", .size = 256 * K },
	  .unmap = true,
	  STEPS(zeroes) },
};

/* As a server with zero copy has the data of requests. */
static const struct scenario of_fixed_buffers[] = {
	{ .name = "writes", .spec = QCOW2(512), STEPS(writes) },
	{ .name = "copy-on-write", .spec = QCOW2(4096, .backing = BACKING_RAW), STEPS(writes) },
	{ .name = "grow-ahead",
	  .spec = { .format = "qcow2", .size = 12 << 20, .cluster_size = 64 * K },
	  STEPS(ahead) },
	{ .name = "compressed", .spec = QCOW2(4096), STEPS(compressed) },
	{ .name = "raw", .spec = { .format = "raw", .size = 256 * K }, STEPS(writes) },
};

static void free_scenario(void *arg)
{
	struct scenario *scenario = arg;

	g_free(scenario->name);
	g_free(scenario);
}

static struct scenario *add(GPtrArray *table, const struct scenario *scenario, const char *prefix)
{
	struct scenario *copy = g_memdup2(scenario, sizeof(*scenario));

	copy->name = g_strconcat(prefix, scenario->name, NULL);
	g_ptr_array_add(table, copy);
	return copy;
}

static void add_operation(GPtrArray *table, const struct structural_op *op)
{
	struct scenario scenario = {
		.name = (char *)op->name,
		.spec = QCOW2(512, .percent_filled = 30),
		.operation = op,
		STEPS(operations),
	};

	if (!structural_op_fits(op, &scenario.spec))
		scenario.spec.format = "raw";
	if (structural_op_fits(op, &scenario.spec))
		add(table, &scenario, "operation-");
}

GPtrArray *table_of_scenarios(void)
{
	GPtrArray *table = g_ptr_array_new_with_free_func(free_scenario);

	for (unsigned i = 0; i < G_N_ELEMENTS(of_requests); i++)
		add(table, &of_requests[i], "");
	for (unsigned i = 0; i < G_N_ELEMENTS(of_fixed_buffers); i++)
		add(table, &of_fixed_buffers[i], "fixed-")->fixed = true;
	for (unsigned i = 0; structural_op_at(i); i++)
		add_operation(table, structural_op_at(i));
	return table;
}
