// SPDX-License-Identifier: GPL-2.0-or-later
/* An export as a target; see export.h and target.h. */
#include "export.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "container_of.h"
#include "disk.h"
#include "error.h"
#include "export_parts.h"
#include "watch.h"

/* How long clients may take for the last answers when the export ends; at most twice that. */
#define LAST_ANSWERS_NS UINT64_C(2000000000)

static struct export *export_of(const struct target *target)
{
	return (struct export *)container_of(target, struct export, target);
}

/* ---- watching ---- */

static struct nbd_client *client_of(const GPtrArray *clients, unsigned nr)
{
	return ((struct export_client *)clients->pdata[nr])->conn;
}

static uint64_t count_held(void *arg)
{
	const GPtrArray *clients = export_clients(arg);
	uint64_t held = 0;

	for (unsigned i = 0; i < clients->len; i++)
		held += serve_held(nbd_client_serve(client_of(clients, i)));
	return held;
}

static void release_held(void *arg, enum serve_release release)
{
	const GPtrArray *clients = export_clients(arg);

	for (unsigned i = 0; i < clients->len; i++)
		serve_release(nbd_client_serve(client_of(clients, i)), release);
}

static void watch_co(void *arg)
{
	struct export *export = arg;
	eventfd_t count;
	gint64 now, next;

	do {
		export_look(export);
		now = g_get_monotonic_time();
		next = watch_look(export->watch, now);
		export->watching.end_ns =
			next == G_MAXINT64 ? AIO_NEVER : aio_ns_from_now(MAX(0, next - now) * 1000);
	} while (co_read_event(export->event_fd, &count, sizeof(count), &export->watching) !=
		 -ECANCELED);
}

/* All are asked, also behind one that does not respond. */
static bool are_clients_alive(void *arg)
{
	const GPtrArray *clients = export_clients(arg);
	bool alive = true;

	for (unsigned i = 0; i < clients->len; i++)
		alive &= nbd_client_is_alive(client_of(clients, i));
	return alive;
}

static int start_watch(struct export *export, GError **err)
{
	const struct watch_config config = {
		.disk = export->config.disk,
		.device = export->uri,
		.event_fd = export->event_fd,
		.hold = export->config.hold,
		.count_held = count_held,
		.release_held = release_held,
		.arg = export,
	};

	export->watch = watch_new(&config);
	if (watch_inspect(export->watch, err) < 0) {
		g_clear_pointer(&export->watch, watch_co_free);
		return -1;
	}
	export->nbd.limits = watch_limits(export->watch);
	export->watchdog = (struct watchdog){
		.interval_us = export->config.watchdog_us,
		.are_alive = are_clients_alive,
		.arg = export,
		.limit = AIO_LIMIT_INIT,
	};
	co_group_start(&export->watchers, watch_co, export);
	co_group_start(&export->watchers, watchdog_co, &export->watchdog);
	return 0;
}

/* ---- from start to end ---- */

static int export_co_start(struct target *target, GError **err)
{
	struct export *export = export_of(target);

	if (start_watch(export, err) < 0)
		return -1;
	if (nbd_exports_offer(&export->config.on->exports, &export->nbd))
		return 0;
	return error_refuse(err, -EEXIST, "there is another export with the name \"%s\"",
			    export->nbd.name);
}

static void export_end(struct target *target)
{
	struct export *export = export_of(target);

	export->asked_to_end = true;
	co_wake_at(&export->waiter);
}

static bool is_unused(const struct export *export)
{
	return export->config.options->once && export->had_clients && !export_is_in_use(export);
}

static enum target_end export_co_wait(struct target *target)
{
	struct export *export = export_of(target);

	while (!export->asked_to_end && !is_unused(export))
		co_wait_at(&export->waiter);
	return export->asked_to_end ? TARGET_END_ASKED : TARGET_END_UNUSED;
}

/*
 * Drops the clients that have not taken their last answers in time, which begins when their last
 * request is done. That has a limit, too, since it may be a long one.
 */
static void drop_late_co(void *arg)
{
	struct export *export = arg;
	uint64_t last_ns = aio_ns_from_now(NBD_LAST_REQUESTS_NS + LAST_ANSWERS_NS);
	bool is_last;

	do {
		export->last_answers.end_ns = aio_ns_from_now(LAST_ANSWERS_NS);
		if (co_wait_limit(&export->last_answers) != -ETIME)
			return;
		is_last = aio_now_ns() >= last_ns;
		export_each_connection(export, is_last ? nbd_client_drop : nbd_client_drop_late);
	} while (!is_last);
}

static void co_stop_clients(struct export *export)
{
	struct co_group group = { 0 };

	nbd_exports_withdraw(&export->config.on->exports, &export->nbd);
	disk_set_patience(export->config.disk, 0);
	export->last_answers = (struct aio_limit)AIO_LIMIT_INIT;
	export_each_connection(export, nbd_client_stop);
	co_group_start(&group, drop_late_co, export);
	while (export_is_in_use(export))
		co_wait_at(&export->waiter);
	aio_limit_cancel(&export->last_answers);
	co_group_wait(&group);
}

static void co_stop_watching(struct export *export)
{
	aio_limit_cancel(&export->watching);
	aio_limit_cancel(&export->watchdog.limit);
	co_group_wait(&export->watchers);
	watch_tell_rest(export->watch);
	/* The image is closed next. */
	watch_co_free(export->watch);
	export->watch = NULL;
}

static int export_co_stop(struct target *target)
{
	struct export *export = export_of(target);

	if (export->watch) {
		co_stop_clients(export);
		co_stop_watching(export);
	}
	return 0;
}

static void export_co_free(struct target *target)
{
	struct export *export = export_of(target);

	export_co_stop(target);
	export_free_bitmaps(export);
	memory_budget_destroy(&export->places);
	g_ptr_array_unref(export->clients);
	if (export->event_fd >= 0)
		close(export->event_fd);
	g_free(export->uri);
	g_free(export);
}

/* ---- what others ask ---- */

/* There is no next server that would have to know. */
static void export_note_loss(struct target *target)
{
}

static int export_kept_fd(const struct target *target)
{
	return -1;
}

static const char *export_uri(const struct target *target)
{
	return export_of(target)->uri;
}

static uint64_t export_size(const struct target *target)
{
	return image_size(disk_image(export_of(target)->config.disk));
}

/* New clients are told the size of the image. */
static int export_co_grow(struct target *target)
{
	return 0;
}

static unsigned export_nr_clients(const struct target *target)
{
	return export_clients(export_of(target))->len;
}

static void export_client_stats(const struct target *target, unsigned nr, struct serve_stats *sum)
{
	serve_add_stats(nbd_client_serve(client_of(export_of(target)->clients, nr)), sum);
}

static const struct serve_stats *export_departed_stats(const struct target *target)
{
	return &export_of(target)->departed;
}

static struct failure export_last_failure(const struct target *target, gint64 *ret_time)
{
	return watch_last_failure(export_of(target)->watch, ret_time);
}

/* ---- making one ---- */

static int export_co_fit(struct target *target, GError **err)
{
	struct export *export = export_of(target);
	const struct image *image = disk_image(export->config.disk);

	export->nbd.read_only = image_is_read_only(image);
	export->nbd.page_cache = !image_limits(image)->direct;
	return export_co_load_bitmaps(export, err);
}

static bool export_is_alive(struct target *target)
{
	return are_clients_alive(export_of(target));
}

static const struct target_ops ops = {
	.co_fit = export_co_fit,
	.co_start = export_co_start,
	.end = export_end,
	.co_wait = export_co_wait,
	.co_stop = export_co_stop,
	.co_free = export_co_free,
	.note_loss = export_note_loss,
	.kept_fd = export_kept_fd,
	.name = export_uri,
	.size = export_size,
	.co_grow = export_co_grow,
	.is_alive = export_is_alive,
	.nr_queues = export_nr_clients,
	.queue_stats = export_client_stats,
	.departed_stats = export_departed_stats,
	.last_failure = export_last_failure,
};

struct target *export_co_add(const struct export_config *config, GError **err)
{
	const struct export_options *options = config->options;
	struct export_listener *on = config->on;
	struct export *export = g_new0(struct export, 1);
	int error;

	export->target.ops = &ops;
	export->config = *config;
	export->watching = (struct aio_limit)AIO_LIMIT_INIT;
	export->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	error = errno;
	export->nbd = (struct nbd_export){
		.name = options->name,
		.description = options->description,
		.disk = config->disk,
		.discard = config->discard,
		.allocation_depth = options->allocation_depth,
		.hold = &export->config.hold,
		.throttle = config->throttle,
		.places = &export->places,
		.event_fd = export->event_fd,
	};
	memory_budget_init(&export->places, options->max_clients);
	export->clients = g_ptr_array_new();
	export->uri = listener_uri(on->listener, options->name, on->settings.tls);
	if (export->event_fd >= 0)
		return &export->target;
	error_set(err, -error, "eventfd");
	export_co_free(&export->target);
	return NULL;
}
