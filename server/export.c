// SPDX-License-Identifier: GPL-2.0-or-later
/* The listener of an export, and its clients; see export.h. */
#include "export.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "aio.h"
#include "container_of.h"
#include "dirty_bits.h"
#include "disk.h"
#include "error.h"
#include "export_nbd.h"
#include "memory_budget.h"
#include "report.h"
#include "watch.h"
#include "watchdog.h"

/* After a failure, such as one for lack of descriptors or threads. */
#define ACCEPT_PAUSE_NS UINT64_C(100000000)
/* How long clients may take for the last answers when the server ends. */
#define LAST_ANSWERS_NS UINT64_C(2000000000)
#define NS_PER_S	UINT64_C(1000000000)

struct client {
	struct nbd_client *conn;
	struct client *next;
};

struct export
{
	struct target target;
	struct export_config config;
	struct nbd_client_settings settings;
	struct memory_budget memory;
	struct listener *listener; /* NULL: it has stopped listening */
	char *uri;
	int event_fd;
	struct watch *watch; /* NULL: it was not started */
	struct watchdog watchdog;
	struct aio_limit listening, watching, last_answers;
	struct co_group listeners, watchers;
	struct client *clients;
	unsigned nr_clients;
	struct serve_stats departed; /* of all clients that have gone */
	struct coroutine *waiter;    /* co_wait() and co_stop(), for news */
	struct coroutine *accepter;  /* while there are too many clients */
	bool asked_to_end;
	bool had_clients; /* that came further than the handshake */
};

static struct export *export_of(const struct target *target)
{
	return (struct export *)container_of(target, struct export, target);
}

static void wake(struct coroutine **waiter)
{
	struct coroutine *co = *waiter;

	*waiter = NULL;
	if (co)
		co_wake(co);
}

/* Until wake(waiter). */
static void co_wait_for(struct coroutine **waiter)
{
	*waiter = co_self();
	co_yield();
}

/* ---- clients ---- */

static bool add_client(struct export *export, int fd)
{
	g_autoptr(GError) err = NULL;
	struct nbd_client *conn = nbd_client_new(&export->settings, fd, &err);
	struct client *client;

	if (!conn) {
		report_error("%s: cannot serve a client: %s", export->uri, err->message);
		return false;
	}
	client = g_new(struct client, 1);
	*client = (struct client){ conn, export->clients };
	export->clients = client;
	export->nr_clients++;
	return true;
}

static int co_pause(struct export *export)
{
	export->listening.end_ns = aio_ns_from_now(ACCEPT_PAUSE_NS);
	return co_wait_limit(&export->listening);
}

/* A descriptor, or -errno, after a pause; -ECANCELED: no more clients. */
static int co_next_client(struct export *export)
{
	struct aio_limit *listening = &export->listening;
	int fd;

	while (export->nr_clients >= export->config.options->max_clients && !listening->cancelled)
		co_wait_for(&export->accepter);
	listening->end_ns = AIO_NEVER;
	fd = co_accept(listener_fd(export->listener), listening);
	if (fd >= 0 || fd == -ECANCELED)
		return fd;
	return co_pause(export);
}

static void listener_co(void *arg)
{
	struct export *export = arg;
	int fd;

	while ((fd = co_next_client(export)) != -ECANCELED)
		if (fd >= 0 && !add_client(export, fd))
			co_pause(export);
}

static void free_client(struct export *export, struct client **at)
{
	struct client *client = *at;

	serve_add_stats(nbd_client_serve(client->conn), &export->departed);
	export->had_clients |= nbd_client_was_served(client->conn);
	*at = client->next;
	nbd_client_free(client->conn);
	g_free(client);
	export->nr_clients--;
}

/* Takes what has happened to requests, and lets go of clients that have gone. */
static void look_at_clients(struct export *export)
{
	for (struct client **at = &export->clients; *at;) {
		bool ended = nbd_client_ended((*at)->conn);
		struct serve_events events = serve_poll(nbd_client_serve((*at)->conn));

		watch_take(export->watch, &events);
		if (ended)
			free_client(export, at);
		else
			at = &(*at)->next;
	}
	wake(&export->accepter);
	wake(&export->waiter);
}

/* ---- watching ---- */

static uint64_t count_held(void *arg)
{
	const struct export *export = arg;
	uint64_t held = 0;

	for (const struct client *client = export->clients; client; client = client->next)
		held += serve_held(nbd_client_serve(client->conn));
	return held;
}

static void release_held(void *arg, enum serve_release release)
{
	const struct export *export = arg;

	for (const struct client *client = export->clients; client; client = client->next)
		serve_release(nbd_client_serve(client->conn), release);
}

static void watch_co(void *arg)
{
	struct export *export = arg;
	eventfd_t count;
	gint64 now, next;

	do {
		look_at_clients(export);
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
	const struct export *export = arg;
	bool alive = true;

	for (const struct client *client = export->clients; client; client = client->next)
		alive &= nbd_client_is_alive(client->conn);
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
		g_clear_pointer(&export->watch, watch_free);
		return -1;
	}
	export->settings.hold_limit_us = watch_hold_limit_us(export->watch);
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
	co_group_start(&export->listeners, listener_co, export);
	return 0;
}

static void export_end(struct target *target)
{
	struct export *export = export_of(target);

	export->asked_to_end = true;
	wake(&export->waiter);
}

static bool is_unused(const struct export *export)
{
	return export->config.options->once && export->had_clients && !export->nr_clients;
}

static enum target_end export_co_wait(struct target *target)
{
	struct export *export = export_of(target);

	while (!export->asked_to_end && !is_unused(export))
		co_wait_for(&export->waiter);
	return export->asked_to_end ? TARGET_END_ASKED : TARGET_END_UNUSED;
}

static void co_stop_listening(struct export *export)
{
	aio_limit_cancel(&export->listening);
	wake(&export->accepter);
	co_group_wait(&export->listeners);
	listener_free(export->listener);
	export->listener = NULL;
}

/* Drops the clients that have not taken their last answers in time. */
static void drop_late_co(void *arg)
{
	struct export *export = arg;

	if (co_wait_limit(&export->last_answers) != -ETIME)
		return;
	for (const struct client *client = export->clients; client; client = client->next)
		nbd_client_drop(client->conn);
}

static void co_stop_clients(struct export *export)
{
	struct co_group group = { 0 };

	export->last_answers = (struct aio_limit){ .end_ns = aio_ns_from_now(LAST_ANSWERS_NS) };
	for (const struct client *client = export->clients; client; client = client->next)
		nbd_client_stop(client->conn);
	co_group_start(&group, drop_late_co, export);
	while (export->clients)
		co_wait_for(&export->waiter);
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
	watch_free(export->watch);
	export->watch = NULL;
}

static int export_co_stop(struct target *target)
{
	struct export *export = export_of(target);

	if (export->listener)
		co_stop_listening(export);
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
	for (unsigned i = 0; i < export->settings.nr_bitmaps; i++)
		dirty_bits_free(export->settings.bitmaps[i].bits);
	g_free(export->settings.bitmaps);
	tls_keys_free(export->settings.tls);
	memory_budget_destroy(&export->memory);
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
	return export_of(target)->nr_clients;
}

static void export_client_stats(const struct target *target, unsigned nr, struct serve_stats *sum)
{
	const struct client *client = export_of(target)->clients;

	while (nr--)
		client = client->next;
	serve_add_stats(nbd_client_serve(client->conn), sum);
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

static const struct image_bitmap *find_in_list(const GPtrArray *list, const char *name)
{
	for (unsigned i = 0; i < list->len; i++) {
		const struct image_bitmap *bitmap = g_ptr_array_index(list, i);

		if (g_str_equal(bitmap->name, name))
			return bitmap;
	}
	return NULL;
}

/* One that changes while clients read it would be no bitmap of any moment. */
static int check_bitmap(const struct image *image, const struct image_bitmap *bitmap, GError **err)
{
	if (bitmap->enabled && !image_is_read_only(image))
		return error_refuse(err, -EBUSY,
				    "--bitmap: \"%s\" is enabled, so it would change while it is "
				    "exported; disable it, or give --read-only",
				    bitmap->name);
	return 0;
}

/* 0: this image does not have it. 1: loaded. */
static int co_load_from(struct image *image, const char *name, struct dirty_bits **ret_bits,
			GError **err)
{
	const struct image_bitmap *bitmap;
	g_autoptr(GPtrArray) list = NULL;
	int res = image_has_bitmaps(image) ? image_co_bitmap_list(image, &list, err) : 0;

	if (res < 0 || !list)
		return res;
	bitmap = find_in_list(list, name);
	if (!bitmap)
		return 0;
	return check_bitmap(image, bitmap, err)
		       ?: image_co_bitmap_load(image, name, ret_bits, err) ?: 1;
}

/* That of the first image of the chain that has one of this name, as in QEMU. */
static int co_load_bitmap(struct image *top, const char *name, struct dirty_bits **ret_bits,
			  GError **err)
{
	int res = 0;

	for (struct image *next = top, *image; next && !res; next = image_backing(image)) {
		image = image_below_filters(next);
		res = co_load_from(image, name, ret_bits, err);
	}
	if (!res)
		return error_refuse(err, -ENOENT, "--bitmap: %s has no bitmap \"%s\"",
				    image_filename(top), name);
	return MIN(res, 0);
}

static int co_load_bitmaps(struct export *export, GError **err)
{
	struct nbd_client_settings *settings = &export->settings;
	char **names = export->config.options->bitmaps;
	int res = 0;

	if (!names)
		return 0;
	settings->bitmaps = g_new0(struct nbd_client_bitmap, g_strv_length(names));
	for (; *names && !res; names++) {
		struct nbd_client_bitmap *bitmap = &settings->bitmaps[settings->nr_bitmaps];

		bitmap->name = *names;
		res = co_load_bitmap(disk_image(export->config.disk), *names, &bitmap->bits, err);
		settings->nr_bitmaps += !res;
	}
	return res;
}

static int export_co_fit(struct target *target, GError **err)
{
	struct export *export = export_of(target);
	const struct image *image = disk_image(export->config.disk);

	export->settings.read_only = image_is_read_only(image);
	export->settings.page_cache = !image_limits(image)->direct;
	return co_load_bitmaps(export, err);
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
	.nr_queues = export_nr_clients,
	.queue_stats = export_client_stats,
	.departed_stats = export_departed_stats,
	.last_failure = export_last_failure,
};

static int prepare(struct export *export, GError **err)
{
	const struct export_options *options = export->config.options;
	int error;

	if (tls_is_wanted(&options->tls)) {
		export->settings.tls = tls_keys_new(&options->tls, err);
		if (!export->settings.tls)
			return -1;
	}
	export->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	error = errno;
	if (export->event_fd < 0)
		return error_set(err, -error, "eventfd");
	export->settings.event_fd = export->event_fd;
	export->listener = listener_new(&options->address, err);
	if (!export->listener)
		return -1;
	export->uri = listener_uri(export->listener, options->name, export->settings.tls);
	return 0;
}

struct target *export_co_add(const struct export_config *config, GError **err)
{
	const struct export_options *options = config->options;
	struct export *export = g_new0(struct export, 1);

	export->target.ops = &ops;
	export->config = *config;
	export->event_fd = -1;
	memory_budget_init(&export->memory, options->memory);
	export->listening = export->watching = (struct aio_limit)AIO_LIMIT_INIT;
	export->settings = (struct nbd_client_settings){
		.name = options->name,
		.description = options->description,
		.disk = config->disk,
		.discard = config->discard,
		.allocation_depth = options->allocation_depth,
		.depth = config->depth,
		.memory = &export->memory,
		.handshake_ns = options->handshake_s ? options->handshake_s * NS_PER_S : AIO_NEVER,
		.hold = &export->config.hold,
		.throttle = config->throttle,
	};
	if (prepare(export, err) == 0)
		return &export->target;
	export_co_free(&export->target);
	return NULL;
}
