// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The memory for the data of a client's requests. OWN_BYTES of its pool may always be used; what is
 * behind them only as far as the budget of all clients allows.
 *
 * 1. A request waits for the budget before it has memory, and for nothing but memory of its own
 *    client after that. So those that have memory end without more, and nobody waits in a circle.
 *    It does not wait for the budget any longer when requests before it have left enough, or when
 *    its client is gone.
 * 2. What is taken from the budget is kept while requests are in flight, so that pages need not be
 *    cleared again, but not if somebody waits for it.
 * 3. A client that holds memory others wait for must take its answers, and send what it has begun.
 *    If it hardly does so for STALL_NS, it is dropped.
 * 4. Where the page cache has the data sooner than the client takes it, reads use little memory
 * over and over, PACED_BYTES: the CPU's caches have it, and it need not be cleared. Where nothing
 * is ready after a turn of the loop, reads go on, so that slow storage has many at once.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "align.h"
#include "export_nbd_parts.h"
#include "memory_budget.h"

#define PAGE		  4096u
#define OWN_BYTES	  NBD_OWN_BYTES
#define STALL_NS	  UINT64_C(30000000000)
#define STALL_BYTES	  (64u << 10)
#define PACED_BYTES	  (512u << 10)
/* The memory of larger requests is given back; for these that would cost more than the request. */
#define KEPT_BUFFER_BYTES (4u << 20)

static size_t room(const struct nbd_client *client)
{
	return OWN_BYTES + client->granted;
}

static bool has_room(const struct nbd_client *client, size_t bytes)
{
	return MIN(client->committed + bytes, NBD_MAX_PAYLOAD) <= room(client);
}

static void set_limit(struct nbd_client *client)
{
	bounce_pool_set_limit(&client->pool, MIN(room(client), NBD_MAX_PAYLOAD));
}

/* Gives back what is behind the memory in use. */
static void trim(struct nbd_client *client)
{
	size_t keep = MAX(bounce_pool_top(&client->pool), client->committed), surplus;

	keep = MAX(keep, OWN_BYTES);
	if (keep >= room(client))
		return;
	surplus = room(client) - keep;
	client->granted -= surplus;
	set_limit(client);
	if (keep < NBD_MAX_PAYLOAD)
		madvise(client->pool.mem + keep, MIN(surplus, NBD_MAX_PAYLOAD - keep),
			MADV_DONTNEED);
	memory_budget_give_back(client->settings->memory, surplus);
}

/* The numbers are those of STALL_NS before. */
static bool is_stalled(const struct nbd_client *client, uint64_t sent, uint64_t received)
{
	return (client->sending && client->channel.sent - sent < STALL_BYTES) ||
	       (client->receiving_data && client->channel.received - received < STALL_BYTES);
}

/* Rule 3. */
static void watch_stall_co(void *arg)
{
	struct nbd_client *client = arg;
	uint64_t sent, received;

	do {
		sent = client->channel.sent;
		received = client->channel.received;
		client->stalling.end_ns = aio_ns_from_now(client->settings->stall_ns ?: STALL_NS);
		if (co_wait_limit(&client->stalling) != -ETIME)
			return;
	} while (!client->granted || !is_stalled(client, sent, received) ||
		 !memory_budget_is_wanted(client->settings->memory));
	shutdown(client->channel.fd, SHUT_RDWR);
}

static void co_take_from_budget(struct nbd_client *client, size_t bytes)
{
	struct budget_waiter waiter;
	size_t missing;
	bool taken;

	/* Rule 1. */
	trim(client);
	missing = MIN(client->committed + bytes, NBD_MAX_PAYLOAD) - room(client);
	client->waiting_bytes = bytes;
	client->waiter = &waiter;
	taken = memory_budget_co_take(client->settings->memory, missing, &waiter);
	client->waiter = NULL;
	if (!taken)
		return;
	client->granted += missing;
	set_limit(client);
	/* Without a stack, the next request to get here tries again. */
	if (client->watches_stall || co_reserve(1) < 0)
		return;
	client->watches_stall = true;
	co_group_start(&client->group, watch_stall_co, client);
}

/*
 * One after another, so that small requests do not take what a large one waits for. False: the
 * client is gone, and there is no room yet.
 */
static bool co_make_room(struct nbd_client *client, size_t bytes)
{
	bool has;

	co_mutex_lock(&client->room_lock);
	while (!(has = has_room(client, bytes)) && !client->gone)
		co_take_from_budget(client, bytes);
	if (has)
		client->committed += bytes;
	co_mutex_unlock(&client->room_lock);
	return has;
}

static void end_wait(struct nbd_client *client)
{
	if (client->waiter)
		memory_budget_cancel(client->settings->memory, client->waiter);
	client->waiter = NULL;
}

void nbd_client_be_gone(struct nbd_client *client)
{
	client->gone = true;
	end_wait(client);
}

/* ---- pace ---- */

static bool is_much(const struct nbd_client *client, size_t bytes)
{
	return client->committed && client->committed + bytes > PACED_BYTES;
}

static bool has_unsent(const struct nbd_client *client)
{
	return client->sending || client->to_send;
}

/* Rule 4. */
void nbd_client_co_pace(struct nbd_client *client, size_t bytes)
{
	if (!client->export->page_cache)
		return;
	co_mutex_lock(&client->pace_lock);
	if (is_much(client, bytes) && !has_unsent(client))
		co_turn();
	while (is_much(client, bytes) && has_unsent(client))
		co_wait_at(&client->paced);
	co_mutex_unlock(&client->pace_lock);
}

void nbd_client_answers_sent(struct nbd_client *client)
{
	co_wake_at(&client->paced);
}

/* ---- buffers ---- */

int nbd_client_co_get_buffer(struct nbd_client_request *req, size_t bytes)
{
	struct nbd_client *client = req->client;

	if (!co_make_room(client, align_up(bytes, PAGE)))
		return -ESHUTDOWN;
	req->buf = bounce_pool_co_get(&client->pool, bytes);
	req->buf_bytes = bytes;
	return 0;
}

void nbd_client_put_buffer(struct nbd_client_request *req)
{
	struct nbd_client *client = req->client;

	if (req->buf_bytes > KEPT_BUFFER_BYTES)
		madvise(req->buf, req->buf_bytes, MADV_DONTNEED);
	client->committed -= align_up(req->buf_bytes, PAGE);
	bounce_pool_put(&client->pool, req->buf, req->buf_bytes);
	req->buf = NULL;
	/* Rule 2. */
	if (client->granted &&
	    (!client->committed || memory_budget_is_wanted(client->settings->memory)))
		trim(client);
	/* Rule 1. */
	if (client->waiter && has_room(client, client->waiting_bytes))
		end_wait(client);
}
