// SPDX-License-Identifier: GPL-2.0-or-later
/* The life of a connection of an NBD client; see export_nbd.h. */
#include "export_nbd.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "align.h"
#include "data_memory.h"
#include "error.h"
#include "export_nbd_parts.h"
#include "keepalive.h"
#include "memory_budget.h"
#include "tls.h"

#define HUGE_PAGE	  (2u << 20)
#define SEND_BUFFER_BYTES (1 << 20)
#define SMALL_PAGES_BYTES (64u << 10)
#define POOL_MAP_BYTES	  (NBD_MAX_PAYLOAD + HUGE_PAGE)
/*
 * Beside requests: the connection itself, its sender, its pulse, its watches for hang-ups and for
 * answers that are not taken, and a step of growing the image's file, which is not started without
 * a stack.
 */
#define MORE_COROUTINES	  6

static void connection_co(struct nbd_client *client)
{
	struct co_group pulse = { 0 };

	co_group_start(&pulse, pulse_co, &client->pulse);
	if (nbd_client_co_negotiate(client) == 0) {
		nbd_client_settle_contexts(client);
		serve_set_config(&client->serve, &(struct serve_config){
							 .disk = client->export->disk,
							 .hold = client->export->hold,
							 .limits = client->export->limits,
							 .event_fd = client->export->event_fd,
							 .throttle = client->export->throttle,
						 });
		atomic_store(&client->served, true);
		nbd_client_co_transmit(client);
	}
	if (client->has_place)
		memory_budget_give_back(client->export->places, 1);
	tls_end(client->channel.tls);
	client->channel.tls = NULL;
	pulse_end(&client->pulse);
	co_group_wait(&pulse);
}

static int event_fd_of(const struct nbd_client *client)
{
	return nbd_client_was_served(client) ? client->export->event_fd
					     : client->settings->event_fd;
}

static void visit_co(void *arg)
{
	struct nbd_client *client = arg;

	if (co_reserve_more(MORE_COROUTINES + 1) == 0) {
		client->stacks = 1;
		connection_co(client);
		co_reserve_less(MORE_COROUTINES + client->stacks);
	}
	/* The descriptor stays, because nbd_client_stop() and nbd_client_drop() may be using it. */
	shutdown(client->channel.fd, SHUT_RDWR);
	atomic_store(&client->ended, true);
	/* Whoever hears of it waits for the end of this visit before it closes the eventfd. */
	eventfd_write(event_fd_of(client), 1);
}

static bool is_unix_socket(int fd)
{
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);

	return getsockname(fd, (struct sockaddr *)&address, &len) == 0 &&
	       address.ss_family == AF_UNIX;
}

/*
 * Answers are gathered here, so they need not wait for more; and a dead client's host is noticed.
 * TCP finds the size of its buffer itself; others get a size at which server and client need not
 * take turns (as far as net.core.wmem_max allows).
 */
static void prepare_socket(const struct nbd_client *client)
{
	int on = 1, bytes = SEND_BUFFER_BYTES, fd = client->channel.fd;

	if (client->is_local)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	keepalive_begin(fd);
}

static void init_requests(struct nbd_client *client)
{
	client->requests = g_new0(struct nbd_client_request, client->settings->depth);
	for (unsigned i = 0; i < client->settings->depth; i++) {
		client->requests[i].client = client;
		client->requests[i].next = client->free;
		client->free = &client->requests[i];
	}
	client->to_send_end = &client->to_send;
}

/*
 * Pages get memory when they are first used, which a client must ask for. O_DIRECT has less to do
 * with huge ones; but clearing one would take most of the time of a client's first small request,
 * so the pool begins with a few small ones, which are also all that many clients need.
 */
static int map_pool(struct nbd_client *client)
{
	uint8_t *map = data_memory_alloc_buffer(POOL_MAP_BYTES), *pool;

	if (!map)
		return -ENOMEM;
	pool = (uint8_t *)align_up((uintptr_t)map + SMALL_PAGES_BYTES, HUGE_PAGE) -
	       SMALL_PAGES_BYTES;
	/* Only advice. */
	madvise(pool + SMALL_PAGES_BYTES, NBD_MAX_PAYLOAD - SMALL_PAGES_BYTES, MADV_HUGEPAGE);
	client->map = map;
	bounce_pool_init(&client->pool, pool, NBD_MAX_PAYLOAD);
	bounce_pool_set_limit(&client->pool, NBD_OWN_BYTES);
	return 0;
}

static int start(struct nbd_client *client, GError **err)
{
	int res;

	client->input = data_memory_alloc_buffer(NBD_INPUT_BYTES);
	res = client->input ? map_pool(client) : -ENOMEM;
	if (res < 0)
		return error_set(err, res, "memory for a client");
	client->visit.co_fn = visit_co;
	client->visit.arg = client;
	return client_visit_begin(client->settings->loops, &client->visit, err);
}

struct nbd_client *nbd_client_new(const struct nbd_client_settings *settings, int fd, GError **err)
{
	struct nbd_client *client = g_new0(struct nbd_client, 1);

	client->settings = settings;
	client->channel.fd = fd;
	client->cut_ns = AIO_NEVER;
	client->hangup = (struct aio_limit)AIO_LIMIT_INIT;
	client->stalling = (struct aio_limit)AIO_LIMIT_INIT;
	co_mutex_init(&client->room_lock);
	co_mutex_init(&client->pace_lock);
	thread_lock_init(&client->pulse.lock);
	serve_init(&client->serve, &(struct serve_config){ .event_fd = settings->event_fd });
	init_requests(client);
	client->is_local = is_unix_socket(fd);
	prepare_socket(client);
	if (!start(client, err))
		return client;
	nbd_client_free(client);
	return NULL;
}

bool nbd_client_ended(const struct nbd_client *client)
{
	return atomic_load(&client->ended);
}

bool nbd_client_was_served(const struct nbd_client *client)
{
	return atomic_load(&client->served);
}

bool nbd_client_is_alive(struct nbd_client *client)
{
	return pulse_is_alive(&client->pulse);
}

struct serve *nbd_client_serve(struct nbd_client *client)
{
	return &client->serve;
}

void nbd_client_stop(struct nbd_client *client)
{
	if (!atomic_exchange(&client->stopping, true)) {
		client->done_before = atomic_load(&client->done);
		atomic_store(&client->cut_ns, aio_ns_from_now(client->settings->last_requests_ns
								      ?: NBD_LAST_REQUESTS_NS));
	}
	serve_release(&client->serve, SERVE_FAILS);
	serve_set_turns(&client->serve, SERVE_HURRIES);
	/* Ends a wait for the next request. */
	shutdown(client->channel.fd, SHUT_RD);
}

void nbd_client_drop_late(struct nbd_client *client)
{
	/* In this order: a request that begins in between is not taken for one that has ended. */
	uint64_t done = atomic_load(&client->done), asked = atomic_load(&client->asked);

	if (asked == done && done == client->done_before)
		nbd_client_drop(client);
	client->done_before = done;
}

void nbd_client_drop(struct nbd_client *client)
{
	shutdown(client->channel.fd, SHUT_RDWR);
}

void nbd_client_free(struct nbd_client *client)
{
	if (!client)
		return;
	client_visit_wait(&client->visit);
	close(client->channel.fd);
	if (client->map) {
		bounce_pool_destroy(&client->pool);
		data_memory_free_buffer(client->map, POOL_MAP_BYTES);
	}
	serve_destroy(&client->serve);
	co_mutex_destroy(&client->room_lock);
	co_mutex_destroy(&client->pace_lock);
	thread_lock_destroy(&client->pulse.lock);
	g_free(client->requests);
	g_free(client->contexts);
	data_memory_free_buffer(client->input, NBD_INPUT_BYTES);
	g_free(client);
}
