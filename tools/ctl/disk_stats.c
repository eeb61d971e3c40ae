// SPDX-License-Identifier: GPL-2.0-or-later
/* What a server says of its disk; see disk_stats.h. */
#include "disk_stats.h"

#include <glib.h>

#include "json_text.h"

const char *const disk_op_names[DISK_OPS] = {
	[DISK_READ] = "read",	    [DISK_WRITE] = "write",	    [DISK_FLUSH] = "flush",
	[DISK_DISCARD] = "discard", [DISK_ZEROES] = "write-zeroes", [DISK_OTHER] = "other",
};

static uint64_t number(const json_t *object, const char *name)
{
	int64_t value = json_get_int(object, name);

	return MAX(value, 0);
}

/* Bins as another version may have them fall into those that we have by where they begin. */
static void add_bins(const json_t *bins, struct disk_op_stats *op)
{
	size_t i;
	json_t *bin;

	json_array_foreach(bins, i, bin)
	{
		int64_t from = json_integer_value(json_array_get(bin, 0));
		int64_t count = json_integer_value(json_array_get(bin, 2));

		if (from >= 0 && count > 0)
			op->latency[latency_bucket(from)] += count;
	}
}

static void add_operation(const json_t *object, struct disk_op_stats *op)
{
	const json_t *latency = json_object_get(object, "latency");
	uint64_t max_ns = number(latency, "max-ns");

	op->requests += number(object, "requests");
	op->failed += number(object, "failed");
	op->bytes += number(object, "bytes");
	op->total_ns += number(latency, "total-ns");
	op->max_ns = MAX(op->max_ns, max_ns);
	add_bins(json_object_get(latency, "bins"), op);
}

static void add_queue(const json_t *queue, struct disk_stats *stats)
{
	const json_t *operations = json_object_get(queue, "operations");

	for (unsigned op = 0; op < DISK_OPS; op++)
		add_operation(json_object_get(operations, disk_op_names[op]), &stats->ops[op]);
	stats->in_flight += number(queue, "in-flight");
	stats->held += number(queue, "held");
}

void disk_stats_parse(const json_t *answer, struct disk_stats *ret_stats)
{
	const json_t *cache = json_object_get(answer, "cache");
	const json_t *allocation = json_object_get(answer, "allocation");
	const json_t *space = json_object_get(answer, "space");
	size_t i;
	json_t *queue;

	*ret_stats = (struct disk_stats){
		.time_ns = number(answer, "time-ns"),
		.cache_bytes = number(cache, "bytes"),
		.cache_hits = number(cache, "hits"),
		.cache_misses = number(cache, "misses"),
		.file_bytes = number(allocation, "file-bytes"),
		.allocated_bytes = number(allocation, "allocated-bytes"),
		.freed_bytes = number(allocation, "freed-bytes"),
		.space_free = number(space, "free-bytes"),
		.space_total = number(space, "total-bytes"),
	};
	json_array_foreach(json_object_get(answer, "queues"), i, queue)
	{
		add_queue(queue, ret_stats);
	}
	add_queue(json_object_get(answer, "departed"), ret_stats);
}

/* ---- differences ---- */

static uint64_t more(uint64_t now, uint64_t before)
{
	return now >= before ? now - before : now;
}

static struct disk_op_stats op_since(const struct disk_op_stats *now,
				     const struct disk_op_stats *before)
{
	struct disk_op_stats since = {
		.requests = more(now->requests, before->requests),
		.failed = more(now->failed, before->failed),
		.bytes = more(now->bytes, before->bytes),
		.total_ns = more(now->total_ns, before->total_ns),
		.max_ns = now->max_ns,
	};

	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		since.latency[i] = more(now->latency[i], before->latency[i]);
	return since;
}

struct disk_stats disk_stats_since(const struct disk_stats *now, const struct disk_stats *before)
{
	struct disk_stats since = *now;

	for (unsigned op = 0; op < DISK_OPS; op++)
		since.ops[op] = op_since(&now->ops[op], &before->ops[op]);
	since.cache_hits = more(now->cache_hits, before->cache_hits);
	since.cache_misses = more(now->cache_misses, before->cache_misses);
	since.allocated_bytes = more(now->allocated_bytes, before->allocated_bytes);
	since.freed_bytes = more(now->freed_bytes, before->freed_bytes);
	return since;
}
