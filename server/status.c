// SPDX-License-Identifier: GPL-2.0-or-later
/* What a running server tells about itself; see status.h. */
#include "status.h"

#include <unistd.h>

#include "aio.h"
#include "answer.h"
#include "stats.h"

/* For each kind of trouble the first file that has it. */
static void answer_troubles(const struct image *image, json_t *answer)
{
	static const struct {
		const char *name;
		enum image_trouble trouble;
	} all[] = {
		{ "lost", IMAGE_TROUBLE_LOST },
		{ "cut", IMAGE_TROUBLE_CUT },
		{ "deleted", IMAGE_TROUBLE_DELETED },
	};
	json_t *troubles = json_object();

	for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
		const char *file = image_troubled_file(image, all[i].trouble);

		if (file)
			answer_set_text(troubles, all[i].name, file);
	}
	json_object_set_new(answer, "troubles", troubles);
}

static json_t *totals(const struct serve_stats *stats)
{
	json_t *object = json_object();

	answer_set_number(object, "requests", serve_stats_requests(stats));
	answer_set_number(object, "failed", serve_stats_failed(stats));
	answer_set_number(object, "held", stats->held);
	answer_set_number(object, "bytes-read", stats->ops[REQUEST_READ].bytes);
	answer_set_number(object, "bytes-written", stats->ops[REQUEST_WRITE].bytes);
	answer_set_number(object, "zero-copy", stats->zero_copy);
	answer_set_number(object, "copied", stats->copied);
	return object;
}

/* Of each queue, and of clients that have left. */
static void answer_queues(const struct command_target *on, json_t *answer,
			  json_t *(*to_object)(const struct serve_stats *stats))
{
	const struct target_ops *ops = on->target->ops;
	json_t *queues = json_array();

	for (unsigned i = 0; i < ops->nr_queues(on->target); i++) {
		struct serve_stats stats = { 0 };

		ops->queue_stats(on->target, i, &stats);
		json_array_append_new(queues, to_object(&stats));
	}
	json_object_set_new(answer, "queues", queues);
	if (ops->departed_stats)
		json_object_set_new(answer, "departed", to_object(ops->departed_stats(on->target)));
}

static void answer_last_failure(const struct command_target *on, json_t *answer)
{
	gint64 time;
	struct failure last = on->target->ops->last_failure(on->target, &time);
	json_t *failure;

	if (!last.count)
		return;
	failure = json_object();
	answer_set_text(failure, "operation", failure_operation(&last));
	answer_set_number(failure, "offset", last.guest_off);
	answer_set_number(failure, "bytes", last.bytes);
	answer_set_text(failure, "error", g_strerror(last.error));
	answer_set_number(failure, "time", time);
	json_object_set_new(answer, "last-failure", failure);
}

/* Only while there are any: clients rarely see one. */
static void answer_jobs(const struct command_target *on, json_t *answer)
{
	json_t *jobs;

	if (!on->jobs->first)
		return;
	jobs = json_array();
	for (const struct job *job = on->jobs->first; job; job = job->next) {
		json_t *object = json_object();

		answer_set_text(object, "name", job->name);
		answer_set_text(object, "state", job_state_name(job));
		answer_set_number(object, "done", job->done);
		answer_set_number(object, "total", job->total);
		json_array_append_new(jobs, object);
	}
	json_object_set_new(answer, "jobs", jobs);
}

static void answer_origin(const struct image_origin *origin, json_t *answer)
{
	answer_set_text(answer, "image", origin->name);
	answer_set_text(answer, "format", origin->format);
	if (origin->path)
		answer_set_text(answer, "image-path", origin->path);
	if (origin->id.known) {
		answer_set_number(answer, "image-dev", origin->id.dev);
		answer_set_number(answer, "image-ino", origin->id.ino);
	}
	answer_set_bool(answer, "temporary", origin->temporary);
	if (origin->keep_as)
		answer_set_text(answer, "keep-as", origin->keep_as);
}

static void answer_cache(const struct image_stats *stats, json_t *answer)
{
	json_t *cache;

	if (!stats->cache_bytes)
		return;
	cache = json_object();
	answer_set_number(cache, "bytes", stats->cache_bytes);
	answer_set_number(cache, "hits", stats->cache_hits);
	answer_set_number(cache, "misses", stats->cache_misses);
	json_object_set_new(answer, "cache", cache);
}

/* No I/O: status also has an answer when the storage has none. */
static void answer_allocation(const struct image *image, const struct image_stats *stats,
			      json_t *answer)
{
	json_t *allocation = json_object();

	answer_set_number(allocation, "file-bytes", image_size(image_file(image)));
	answer_set_number(allocation, "allocated-bytes", stats->allocated_bytes);
	answer_set_number(allocation, "freed-bytes", stats->freed_bytes);
	json_object_set_new(answer, "allocation", allocation);
}

/* Nobody knows before the first look. */
static void answer_space(const struct image *image, json_t *answer)
{
	struct image_space space = image_space(image);
	json_t *object;

	if (!space.total_bytes)
		return;
	object = json_object();
	answer_set_number(object, "free-bytes", space.free_bytes);
	answer_set_number(object, "total-bytes", space.total_bytes);
	json_object_set_new(answer, "space", object);
}

/* What both commands tell. */
static void answer_common(const struct command_target *on, json_t *answer,
			  json_t *(*to_object)(const struct serve_stats *stats))
{
	const struct image *image = disk_image(on->disk);
	const struct image_stats stats = image_get_stats(image);

	answer_set_text(answer, "device", target_name(on->target));
	answer_origin(on->origin, answer);
	answer_set_number(answer, "size", on->target->ops->size(on->target));
	answer_set_bool(answer, "read-only", image_is_read_only(image));
	answer_set_number(answer, "pid", getpid());
	answer_troubles(image, answer);
	answer_queues(on, answer, to_object);
	answer_cache(&stats, answer);
	answer_allocation(image, &stats, answer);
	answer_space(image, answer);
}

int status_answer(const struct command_target *on, const json_t *request, json_t *answer,
		  GError **err)
{
	answer_common(on, answer, totals);
	answer_last_failure(on, answer);
	answer_jobs(on, answer);
	return 0;
}

int stats_answer(const struct command_target *on, const json_t *request, json_t *answer,
		 GError **err)
{
	answer_set_number(answer, "time-ns", aio_now_ns());
	answer_common(on, answer, stats_by_operation);
	return 0;
}
