// SPDX-License-Identifier: GPL-2.0-or-later
/* The statistics of a queue; see stats.h. */
#include "stats.h"

#include "answer.h"

/* [from, to, requests] in us for each bucket with any; there is nothing to which the last one goes.
 */
static json_t *bins_of(const uint64_t counts[LATENCY_BUCKETS])
{
	json_t *bins = json_array();

	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		json_t *bin;

		if (!counts[i])
			continue;
		bin = json_array();
		json_array_append_new(bin, json_integer(latency_from_us(i)));
		json_array_append_new(bin, i + 1 < LATENCY_BUCKETS
						   ? json_integer(latency_from_us(i + 1))
						   : json_null());
		json_array_append_new(bin, json_integer(counts[i]));
		json_array_append_new(bins, bin);
	}
	return bins;
}

static json_t *operation(const struct op_stats *stats)
{
	json_t *object = json_object(), *latency = json_object();

	answer_set_number(object, "requests", stats->requests);
	answer_set_number(object, "failed", stats->failed);
	answer_set_number(object, "bytes", stats->bytes);
	answer_set_number(latency, "total-ns", stats->total_ns);
	answer_set_number(latency, "max-ns", stats->max_ns);
	json_object_set_new(latency, "bins", bins_of(stats->latency));
	json_object_set_new(object, "latency", latency);
	return object;
}

json_t *stats_by_operation(const struct serve_stats *stats)
{
	json_t *object = json_object(), *operations = json_object();

	for (unsigned op = 0; op < REQUEST_OPS; op++)
		if (stats->ops[op].requests)
			json_object_set_new(operations, request_op_name(op),
					    operation(&stats->ops[op]));
	answer_set_number(object, "in-flight", stats->in_flight);
	answer_set_number(object, "held", stats->held);
	answer_set_number(object, "zero-copy", stats->zero_copy);
	answer_set_number(object, "copied", stats->copied);
	json_object_set_new(object, "operations", operations);
	return object;
}
