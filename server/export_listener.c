// SPDX-License-Identifier: GPL-2.0-or-later
/* The listener of the process's exports, and its clients; see export.h. */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "client_loops.h"
#include "container_of.h"
#include "error.h"
#include "export_parts.h"
#include "report.h"
#include "watch.h"

/* After a failure, such as one for lack of descriptors or threads. */
#define ACCEPT_PAUSE_NS UINT64_C(100000000)
#define NS_PER_S	UINT64_C(1000000000)

/* ---- accepting ---- */

static bool add_client(struct export_listener *on, int fd)
{
	g_autoptr(GError) err = NULL;
	struct nbd_client *conn = nbd_client_new(&on->settings, fd, &err);
	struct export_client *client;

	if (!conn) {
		report_error("cannot serve a client: %s", err->message);
		return false;
	}
	client = g_new(struct export_client, 1);
	*client = (struct export_client){ .conn = conn, .next = on->entering };
	on->entering = client;
	on->nr_clients++;
	return true;
}

static int co_pause(struct export_listener *on)
{
	on->listening.end_ns = aio_ns_from_now(ACCEPT_PAUSE_NS);
	return co_wait_limit(&on->listening);
}

/* A descriptor, or -errno, after a pause; -ECANCELED: no more clients. */
static int co_next_client(struct export_listener *on)
{
	struct aio_limit *listening = &on->listening;
	int fd;

	while (on->nr_clients >= on->max_clients && !listening->cancelled)
		co_wait_at(&on->accepter);
	listening->end_ns = AIO_NEVER;
	fd = co_accept(listener_fd(on->listener), listening);
	if (fd >= 0 || fd == -ECANCELED)
		return fd;
	return co_pause(on);
}

static void listener_co(void *arg)
{
	struct export_listener *on = arg;
	int fd;

	while ((fd = co_next_client(on)) != -ECANCELED)
		if (fd >= 0 && !add_client(on, fd))
			co_pause(on);
}

/* ---- clients ---- */

static struct export *export_of(const struct nbd_export *nbd)
{
	return nbd ? (struct export *)container_of(nbd, struct export, nbd) : NULL;
}

static void free_client(struct export_listener *on, struct export_client *client)
{
	/* Also if it has not come further than the handshake. */
	struct export *export = export_of(nbd_client_export(client->conn));

	nbd_client_free(client->conn);
	on->nr_clients--;
	if (export)
		co_wake_at(&export->waiter);
	co_wake_at(&on->accepter);
	co_wake_at(&on->waiter);
	g_free(client);
}

/* Of those whose handshake is over, each is a client of its export from now on. */
static void settle_clients(struct export_listener *on)
{
	for (struct export_client **at = &on->entering; *at;) {
		struct export_client *client = *at;

		if (!nbd_client_was_served(client->conn)) {
			at = &client->next;
			continue;
		}
		*at = client->next;
		g_ptr_array_add(export_of(nbd_client_export(client->conn))->clients, client);
	}
}

/* Lets go of clients that have gone without having been served. */
static void look_at_entering(struct export_listener *on)
{
	settle_clients(on);
	for (struct export_client **at = &on->entering; *at;) {
		struct export_client *client = *at;

		/* In this order: it may be served meanwhile. */
		if (!nbd_client_ended(client->conn) || nbd_client_was_served(client->conn)) {
			at = &client->next;
			continue;
		}
		*at = client->next;
		free_client(on, client);
	}
}

static void watch_co(void *arg)
{
	struct export_listener *on = arg;
	eventfd_t count;

	do
		look_at_entering(on);
	while (co_read_event(on->event_fd, &count, sizeof(count), &on->watching) != -ECANCELED);
}

/* ---- those of an export ---- */

const GPtrArray *export_clients(const struct export *export)
{
	settle_clients(export->config.on);
	return export->clients;
}

static void take_events(struct export *export, const struct export_client *client)
{
	struct serve_events events = serve_poll(nbd_client_serve(client->conn));

	watch_take(export->watch, &events);
}

void export_look(struct export *export)
{
	GPtrArray *clients = export->clients;

	settle_clients(export->config.on);
	for (unsigned i = 0; i < clients->len;) {
		struct export_client *client = clients->pdata[i];
		bool ended = nbd_client_ended(client->conn);

		take_events(export, client);
		if (!ended) {
			i++;
			continue;
		}
		serve_add_stats(nbd_client_serve(client->conn), &export->departed);
		export->had_clients = true;
		g_ptr_array_remove_index(clients, i);
		free_client(export->config.on, client);
	}
}

static bool may_use(const struct export_client *client, const struct export *export)
{
	return nbd_client_export(client->conn) == &export->nbd;
}

bool export_is_in_use(const struct export *export)
{
	const struct export_client *client = export->config.on->entering;

	while (client && !may_use(client, export))
		client = client->next;
	return client || export->clients->len;
}

void export_each_connection(const struct export *export, void (*fn)(struct nbd_client *conn))
{
	for (const struct export_client *client = export->config.on->entering; client;
	     client = client->next)
		if (may_use(client, export))
			fn(client->conn);
	for (unsigned i = 0; i < export->clients->len; i++)
		fn(((struct export_client *)export->clients->pdata[i])->conn);
}

/* ---- from start to end ---- */

/*
 * One export's clients need not be accepted before there is a place for them. Of several, each has
 * its own places, so clients must say first which one they want.
 */
static unsigned max_clients(const struct export_options *options, uint16_t depth, bool several)
{
	return several ? MIN(EXPORT_MAX_CLIENTS, EXPORT_MAX_REQUESTS / depth)
		       : options->max_clients;
}

static int prepare(struct export_listener *on, GError **err)
{
	const struct export_options *options = &on->options;
	int error;

	if (tls_is_wanted(&options->tls)) {
		on->settings.tls = tls_keys_new(&options->tls, err);
		if (!on->settings.tls)
			return -1;
	}
	on->settings.loops = client_loops_new(on->max_clients, err);
	if (!on->settings.loops)
		return -1;
	on->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	error = errno;
	if (on->event_fd < 0)
		return error_set(err, -error, "eventfd");
	on->settings.event_fd = on->event_fd;
	on->listener = listener_new(&options->address, err);
	return on->listener ? 0 : -1;
}

struct export_listener *export_listener_co_new(const struct export_options *options, uint16_t depth,
					       bool several, GError **err)
{
	struct export_listener *on = g_new0(struct export_listener, 1);

	on->options = *options;
	on->max_clients = max_clients(options, depth, several);
	on->event_fd = -1;
	on->listening = on->watching = (struct aio_limit)AIO_LIMIT_INIT;
	memory_budget_init(&on->memory, options->memory);
	nbd_exports_init(&on->exports);
	on->settings = (struct nbd_client_settings){
		.exports = &on->exports,
		.depth = depth,
		.memory = &on->memory,
		.handshake_ns = options->handshake_s ? options->handshake_s * NS_PER_S : AIO_NEVER,
	};
	if (prepare(on, err) == 0)
		return on;
	export_listener_co_free(on);
	return NULL;
}

void export_listener_start(struct export_listener *on)
{
	if (!on)
		return;
	co_group_start(&on->watchers, watch_co, on);
	co_group_start(&on->listeners, listener_co, on);
}

void export_listener_co_stop(struct export_listener *on)
{
	if (!on || !on->listener)
		return;
	aio_limit_cancel(&on->listening);
	co_wake_at(&on->accepter);
	co_group_wait(&on->listeners);
	listener_free(on->listener);
	on->listener = NULL;
}

/* Of those that are left, none has an export. */
static void co_drop_clients(struct export_listener *on)
{
	for (const struct export_client *client = on->entering; client; client = client->next)
		nbd_client_drop(client->conn);
	while (on->entering)
		co_wait_at(&on->waiter);
	aio_limit_cancel(&on->watching);
	co_group_wait(&on->watchers);
}

void export_listener_co_free(struct export_listener *on)
{
	if (!on)
		return;
	export_listener_co_stop(on);
	co_drop_clients(on);
	client_loops_free(on->settings.loops);
	tls_keys_free(on->settings.tls);
	nbd_exports_destroy(&on->exports);
	memory_budget_destroy(&on->memory);
	if (on->event_fd >= 0)
		close(on->event_fd);
	g_free(on);
}
