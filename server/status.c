// SPDX-License-Identifier: GPL-2.0-or-later
/* What a running server tells about itself; see status.h. */
#include "status.h"

#include <unistd.h>

#include "answer.h"

/* For each kind of trouble the first file that has it. */
static void answer_troubles(const struct image *image, JsonObject *answer)
{
	static const struct {
		const char *name;
		enum image_trouble trouble;
	} all[] = {
		{ "lost", IMAGE_TROUBLE_LOST },
		{ "cut", IMAGE_TROUBLE_CUT },
		{ "deleted", IMAGE_TROUBLE_DELETED },
	};
	JsonObject *troubles = json_object_new();

	for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
		const char *file = image_troubled_file(image, all[i].trouble);

		if (file)
			answer_set_text(troubles, all[i].name, file);
	}
	json_object_set_object_member(answer, "troubles", troubles);
}

static JsonObject *stats_object(const struct serve_stats *stats)
{
	JsonObject *object = json_object_new();

	json_object_set_int_member(object, "requests", stats->requests);
	json_object_set_int_member(object, "failed", stats->failed);
	json_object_set_int_member(object, "held", stats->held);
	json_object_set_int_member(object, "bytes-read", stats->read_bytes);
	json_object_set_int_member(object, "bytes-written", stats->written_bytes);
	json_object_set_int_member(object, "zero-copy", stats->zero_copy);
	json_object_set_int_member(object, "copied", stats->copied);
	return object;
}

static void answer_queues(const struct command_target *on, JsonObject *answer)
{
	const struct target_ops *ops = on->target->ops;
	JsonArray *queues = json_array_new();
	struct serve_stats stats;

	for (unsigned i = 0; i < ops->nr_queues(on->target); i++) {
		stats = ops->queue_stats(on->target, i);
		json_array_add_object_element(queues, stats_object(&stats));
	}
	json_object_set_array_member(answer, "queues", queues);
	if (!ops->departed_stats)
		return;
	stats = ops->departed_stats(on->target);
	json_object_set_object_member(answer, "departed", stats_object(&stats));
}

static void answer_last_failure(const struct command_target *on, JsonObject *answer)
{
	gint64 time;
	struct failure last = on->target->ops->last_failure(on->target, &time);
	JsonObject *failure;

	if (!last.count)
		return;
	failure = json_object_new();
	answer_set_text(failure, "operation", failure_operation(&last));
	json_object_set_int_member(failure, "offset", last.guest_off);
	json_object_set_int_member(failure, "bytes", last.bytes);
	answer_set_text(failure, "error", g_strerror(last.error));
	json_object_set_int_member(failure, "time", time);
	json_object_set_object_member(answer, "last-failure", failure);
}

/* Only while there are any: clients rarely see one. */
static void answer_jobs(const struct command_target *on, JsonObject *answer)
{
	JsonArray *jobs;

	if (!on->jobs->first)
		return;
	jobs = json_array_new();
	for (const struct job *job = on->jobs->first; job; job = job->next) {
		JsonObject *object = json_object_new();

		json_object_set_string_member(object, "name", job->name);
		json_object_set_string_member(object, "state", job_state_name(job));
		json_object_set_int_member(object, "done", job->done);
		json_object_set_int_member(object, "total", job->total);
		json_array_add_object_element(jobs, object);
	}
	json_object_set_array_member(answer, "jobs", jobs);
}

/* Numbers of the host are unsigned, those of JSON are not: its readers cast them back. */
static void answer_origin(const struct image_origin *origin, JsonObject *answer)
{
	answer_set_text(answer, "image", origin->name);
	answer_set_text(answer, "format", origin->format);
	if (origin->path)
		answer_set_text(answer, "image-path", origin->path);
	if (origin->id.known) {
		json_object_set_int_member(answer, "image-dev", origin->id.dev);
		json_object_set_int_member(answer, "image-ino", origin->id.ino);
	}
	json_object_set_boolean_member(answer, "temporary", origin->temporary);
	if (origin->keep_as)
		answer_set_text(answer, "keep-as", origin->keep_as);
}

static void answer_cache(const struct image_stats *stats, JsonObject *answer)
{
	JsonObject *cache;

	if (!stats->cache_bytes)
		return;
	cache = json_object_new();
	json_object_set_int_member(cache, "bytes", stats->cache_bytes);
	json_object_set_int_member(cache, "hits", stats->cache_hits);
	json_object_set_int_member(cache, "misses", stats->cache_misses);
	json_object_set_object_member(answer, "cache", cache);
}

/* No I/O: status also has an answer when the storage has none. */
static void answer_allocation(const struct image *image, const struct image_stats *stats,
			      JsonObject *answer)
{
	JsonObject *allocation = json_object_new();

	json_object_set_int_member(allocation, "file-bytes", image_size(image_file(image)));
	json_object_set_int_member(allocation, "allocated-bytes", stats->allocated_bytes);
	json_object_set_int_member(allocation, "freed-bytes", stats->freed_bytes);
	json_object_set_object_member(answer, "allocation", allocation);
}

int status_answer(const struct command_target *on, JsonObject *request, JsonObject *answer,
		  GError **err)
{
	const struct image *image = disk_image(on->disk);
	const struct image_stats stats = image_get_stats(image);

	answer_set_text(answer, "device", target_name(on->target));
	answer_origin(on->origin, answer);
	json_object_set_int_member(answer, "size", on->target->ops->size(on->target));
	json_object_set_boolean_member(answer, "read-only", image_is_read_only(image));
	json_object_set_int_member(answer, "pid", getpid());
	answer_troubles(image, answer);
	answer_queues(on, answer);
	answer_cache(&stats, answer);
	answer_allocation(image, &stats, answer);
	answer_last_failure(on, answer);
	answer_jobs(on, answer);
	return 0;
}
