// SPDX-License-Identifier: GPL-2.0-or-later
/* The disks that the process serves; see servers.h. */
#include "servers.h"

#include <errno.h>
#include <unistd.h>

#include "aio.h"
#include "error.h"
#include "queue_threads.h"
#include "report.h"
#include "sandbox.h"
#include "supervisor.h"
#include "transport_queues.h"

/* servers_co_add(), which waits. */
struct adding {
	struct coroutine *co;
	char *name;
	GError *err;
};

/* A disk. */
struct served {
	struct servers *all;
	struct server *server;
	struct options *own_options; /* NULL: somebody else's */
	int kept_fd;		     /* as for server_co_begin() */
	struct image *file;	     /* while it waits for SERVERS_ENTER */
	bool is_opening;	     /* nothing is lost if it never ends */
	struct jobs jobs;
	struct command_target commands;
	struct coroutine *waiter; /* for the next step */
	struct adding *adding;	  /* NULL: nobody waits for its start */
	GPtrArray *removers;	  /* coroutines that wait until it is gone */
};

static struct served *at(const struct servers *all, unsigned i)
{
	return all->served->pdata[i];
}

/* ---- steps that the first disks take together ---- */

static void co_take_step(struct servers *all)
{
	if (!all->refused)
		all->refused = all->config.co_step(all->config.arg, all->next, &all->why);
	all->next++;
	all->met = 0;
	for (unsigned i = 0; i < all->served->len; i++)
		co_wake_at(&at(all, i)->waiter);
}

/* The process dies while some coroutines have not ended. */
static void co_stay_if_dying(const struct servers *all)
{
	if (all->is_dying)
		co_yield();
}

/* Waits for the others. -errno: nothing is served. */
static int co_meet(struct served *one, enum servers_step step)
{
	struct servers *all = one->all;

	if (all->next > step)
		return all->refused;
	if (++all->met == all->starting) {
		co_take_step(all);
	} else {
		one->waiter = co_self();
		co_yield();
	}
	co_stay_if_dying(all);
	return all->refused;
}

/* It will not come any further, but the others may have waited for it. */
static void co_give_up_start(struct servers *all)
{
	if (all->next == SERVERS_STEPS)
		return;
	all->starting--;
	if (all->met && all->met == all->starting)
		co_take_step(all);
}

/* Nothing is served: one of the disks gets to know why, and the others need not say so again. */
static bool refuse(struct servers *all, GError **err)
{
	if (all->why)
		g_propagate_error(err, g_steal_pointer(&all->why));
	else
		error_refuse(err, -ECANCELED, "the server is ending");
	return false;
}

static bool is_told_by_another(const GError *err)
{
	return g_error_matches(err, UBD_ERROR, ECANCELED);
}

/* ---- the start of a disk ---- */

static int enter_co(void *arg, struct server *server, struct image *file, GError **err)
{
	struct served *one = arg;
	struct servers *all = one->all;

	/* It is added later: the process has done its part. */
	if (all->next > SERVERS_ENTER && !all->refused) {
		server_co_get_target(server, all->listener, all->no_listener);
		co_stay_if_dying(all);
		server_co_ask(server);
		co_stay_if_dying(all);
	}
	one->file = file;
	if (co_meet(one, SERVERS_ENTER) < 0)
		refuse(all, err);
	one->file = NULL;
	return all->refused;
}

static bool co_get_ready(struct served *one, GError **err)
{
	struct servers *all = one->all;
	struct server *server = one->server;
	bool ok;

	one->is_opening = true;
	ok = server_co_begin(server, one->kept_fd, err) == 0 &&
	     server_co_open(server, enter_co, one, err);
	co_stay_if_dying(all);
	one->is_opening = false;
	if (!ok)
		return false;
	if (co_meet(one, SERVERS_OPEN) < 0)
		return refuse(all, err);
	if (!server_co_fit(server, err))
		return false;
	if (co_meet(one, SERVERS_READY) < 0 || all->is_ending)
		return refuse(all, err);
	return true;
}

/* Whoever adds it is told, and nobody else. */
static void fail_start(struct served *one, GError *err)
{
	if (one->adding) {
		one->adding->err = err;
		co_wake_at(&one->adding->co);
		one->adding = NULL;
		return;
	}
	if (!one->own_options) {
		one->all->is_incomplete = true;
		if (!is_told_by_another(err))
			report_error("%s", err->message);
	}
	g_error_free(err);
}

static bool co_go_live(struct served *one)
{
	struct servers *all = one->all;
	GError *err = NULL;

	if (server_co_start(one->server, &err)) {
		one->commands.target = one->server->target;
		g_ptr_array_add(all->commanded, &one->commands);
		if (co_meet(one, SERVERS_LIVE) == 0)
			return true;
		refuse(all, &err);
	}
	fail_start(one, err);
	co_give_up_start(all);
	return false;
}

static void tell_adder(struct served *one)
{
	if (!one->adding)
		return;
	one->adding->name = g_strdup(target_name(one->server->target));
	co_wake_at(&one->adding->co);
	one->adding = NULL;
}

/* ---- its life ---- */

static void co_tell_end(struct servers *all, const struct server *last)
{
	if (all->has_told_end)
		return;
	all->has_told_end = true;
	all->config.co_ending(all->config.arg, last);
}

/* If no other disk lasts, the process ends with it. */
static void co_begin_to_end(struct served *one)
{
	struct servers *all = one->all;

	g_ptr_array_remove(all->commanded, &one->commands);
	jobs_cancel(&one->jobs);
	if (--all->lasting || (all->config.stays && !all->is_ending))
		return;
	all->is_ending = true;
	co_tell_end(all, one->server);
}

/* From the first moment of the target to its last. The image is closed in between. */
static void co_serve(struct served *one)
{
	struct server *server = one->server;
	struct target *target = server->target;
	bool was_live = co_go_live(one), ok = was_live;

	if (was_live) {
		one->all->was_live = true;
		tell_adder(one);
		ok = server_co_wait(server);
	}
	co_begin_to_end(one);
	/* After a failure the next server goes on with it, too. */
	if (ok && !server->left && target->ops->kept_fd(target) >= 0)
		supervisor_co_drop_fd();
	ok |= !was_live;
	ok &= server_co_stop(server);
	commands_co_let_go(&one->commands);
	ok &= server_co_end_image(server);
	one->all->has_failed |= !ok;
}

static void free_served(struct served *one)
{
	for (unsigned i = 0; i < one->removers->len; i++)
		co_wake(one->removers->pdata[i]);
	g_ptr_array_unref(one->removers);
	jobs_destroy(&one->jobs);
	options_free(one->own_options);
	g_free(one);
}

static void disk_co(void *arg)
{
	struct served *one = arg;
	struct servers *all = one->all;
	GError *err = NULL;

	if (co_get_ready(one, &err)) {
		co_serve(one);
	} else {
		sandbox_explain(err);
		fail_start(one, err);
		co_give_up_start(all);
		all->lasting--;
	}
	/* Signals end what is there. */
	g_ptr_array_remove(all->served, one);
	server_co_free(one->server);
	free_served(one);
	co_wake_at(&all->waiter);
}

/* ---- all of them ---- */

static struct served *add(struct servers *all, const struct options *options)
{
	struct served *one = g_new0(struct served, 1);

	one->all = all;
	one->kept_fd = -1;
	one->server = server_new(options, &all->common);
	one->removers = g_ptr_array_new();
	jobs_init(&one->jobs);
	one->commands = (struct command_target){ .disk = one->server->disk,
						 .origin = &one->server->origin,
						 .throttle = options->throttle,
						 .jobs = &one->jobs };
	g_ptr_array_add(all->served, one);
	all->lasting++;
	return one;
}

void servers_init(struct servers *all, const struct servers_config *config)
{
	*all = (struct servers){
		.config = *config,
		.served = g_ptr_array_new(),
		.commanded = g_ptr_array_new(),
		.common.driver = config->driver,
		.common.images = image_shared_new(),
		.common.threads =
			config->shared_depth
				? queue_threads_new(config->shared_depth,
						    transport_queues(config->driver)->ring_uses)
				: NULL,
	};
}

void servers_destroy(struct servers *all)
{
	g_ptr_array_unref(all->served);
	g_ptr_array_unref(all->commanded);
	queue_threads_free(all->common.threads);
	image_shared_free(all->common.images);
	g_clear_error(&all->why);
	g_clear_error(&all->no_listener);
}

static void start(struct servers *all, const GPtrArray *disks, int kept_fd)
{
	g_autoptr(GPtrArray) first = g_ptr_array_new();

	for (unsigned i = 0; i < disks->len; i++)
		g_ptr_array_add(first, add(all, disks->pdata[i]));
	all->starting = first->len;
	if (first->len)
		at(all, 0)->kept_fd = kept_fd;
	/* Some may end at once. */
	for (unsigned i = 0; i < first->len; i++)
		co_group_start(&all->group, disk_co, first->pdata[i]);
}

static bool must_stay(const struct servers *all)
{
	return all->config.stays && !all->is_ending && !all->refused;
}

/* What is only being opened may wait for a server that never answers. */
static bool has_others_than_openings(const struct servers *all)
{
	for (unsigned i = 0; i < all->served->len; i++)
		if (!at(all, i)->is_opening)
			return true;
	return false;
}

static bool must_wait(const struct servers *all)
{
	return all->is_ending ? has_others_than_openings(all) : all->served->len;
}

bool servers_co_run(struct servers *all, const GPtrArray *disks, int kept_fd)
{
	start(all, disks, kept_fd);
	while (must_wait(all) || must_stay(all)) {
		if (!all->served->len && all->next < SERVERS_STEPS) {
			co_take_step(all);
			continue;
		}
		all->waiter = co_self();
		co_yield();
	}
	all->is_dying = all->served->len;
	if (!all->is_dying)
		co_group_wait(&all->group);
	/* There was no disk any more, or only one that was being added. */
	if (all->next == SERVERS_STEPS && !all->refused)
		co_tell_end(all, NULL);
	if (all->why)
		report_error("%s", all->why->message);
	return !all->has_failed && !all->refused &&
	       (all->was_live || !all->is_incomplete ||
		(all->config.stays && all->next == SERVERS_STEPS));
}

char *servers_co_add(struct servers *all, struct options *options, int fd, GError **err)
{
	struct adding adding = { 0 };
	struct served *one;

	if (all->is_ending) {
		options_free(options);
		if (fd >= 0)
			close(fd);
		refuse(all, err);
		return NULL;
	}
	one = add(all, options);
	one->own_options = options;
	one->server->given_fd = fd;
	one->adding = &adding;
	co_group_start(&all->group, disk_co, one);
	while (!adding.name && !adding.err) {
		adding.co = co_self();
		co_yield();
	}
	if (adding.err)
		g_propagate_error(err, adding.err);
	return adding.name;
}

void servers_co_remove(struct servers *all, const struct command_target *target)
{
	for (unsigned i = 0; i < all->served->len; i++) {
		struct served *one = at(all, i);

		if (&one->commands != target)
			continue;
		g_ptr_array_add(one->removers, co_self());
		one->server->target->ops->end(one->server->target);
		co_yield();
		return;
	}
}

void servers_each(const struct servers *all,
		  void (*fn)(void *arg, struct server *server, struct image *file), void *arg)
{
	for (unsigned i = 0; i < all->served->len; i++)
		fn(arg, at(all, i)->server, at(all, i)->file);
}

bool servers_are_alive(void *arg)
{
	const struct servers *all = arg;
	bool alive = !all->common.threads || queue_threads_are_alive(all->common.threads);

	for (unsigned i = 0; i < all->served->len; i++) {
		struct server *server = at(all, i)->server;

		if (server->is_live)
			alive &= server->target->ops->is_alive(server->target);
	}
	return alive;
}

/* What it waits for may never happen. */
static void abandon_adder(struct served *one)
{
	if (!one->adding)
		return;
	refuse(one->all, &one->adding->err);
	co_wake_at(&one->adding->co);
	one->adding = NULL;
}

void servers_end(struct servers *all)
{
	all->is_ending = true;
	for (unsigned i = 0; i < all->served->len; i++) {
		struct served *one = at(all, i);
		struct target *target = one->server->target;

		if (one->is_opening)
			abandon_adder(one);
		if (target)
			target->ops->end(target);
	}
	co_wake_at(&all->waiter);
}
