// SPDX-License-Identifier: GPL-2.0-or-later
/* Threads that serve queues; see queue_thread.h. */
#include "queue_thread.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "colock.h"
#include "container_of.h"
#include "error.h"
#include "grower.h"
#include "pages.h"
#include "process.h"
#include "pulse.h"
#include "sandbox.h"

/* It is a coroutine, too. */
#define PULSE 1

struct queue_thread {
	struct queue_thread_config config;
	cpu_set_t cpus; /* what config.cpus points to */
	struct aio_loop *loop;
	struct data_pool pool;

	/* The thread's own. */
	bool is_sealed, has_pool;
	int error; /* what it needs is not there; 0 or -errno */
	struct thread_member *members;
	struct thread_member *next_giver;    /* give_back_co() */
	bool gives_back;		     /* give_back_co() runs */
	struct thread_request *first, **end; /* have not begun */
	unsigned nr_waiting;		     /* of them */
	unsigned starting, serving;	     /* coroutines for requests, and those that run */
	unsigned asked_stacks;		     /* that have not come */
	bool is_watched;		     /* the grower notices when it is idle */
	_Atomic uint64_t begun, ended;	     /* requests; others read them */

	pthread_t thread;
	bool is_running;
	struct thread_lock lock;
	struct thread_call *calls GUARDED_BY(lock);
	struct thread_call **calls_end GUARDED_BY(lock);
	struct coroutine **stacks; /* new ones: the first nr_stacks */
	unsigned nr_stacks GUARDED_BY(lock);
	/* What the thread has asked the grower for. */
	unsigned wanted_stacks GUARDED_BY(lock);
	bool wants_pool GUARDED_BY(lock);

	struct pulse pulse;
	struct growing growing;
	uint64_t idle_begun; /* the grower's: @begun when it last looked */
	struct thread_call take_stacks, pool_grown, shrink;
};

/* ---- calls by the pulse ---- */

void queue_thread_post(struct queue_thread *thread, struct thread_call *call)
{
	thread_lock(&thread->lock);
	if (!call->is_posted) {
		call->is_posted = true;
		call->next = NULL;
		*thread->calls_end = call;
		thread->calls_end = &call->next;
	}
	thread_unlock(&thread->lock);
	pulse_wake(&thread->pulse);
}

/* NULL: there is none. */
static struct thread_call *take_call(struct queue_thread *thread)
{
	struct thread_call *call;

	thread_lock(&thread->lock);
	call = thread->calls;
	if (call) {
		thread->calls = call->next;
		if (!thread->calls)
			thread->calls_end = &thread->calls;
		call->is_posted = false;
	}
	thread_unlock(&thread->lock);
	return call;
}

static void beat(void *arg)
{
	struct queue_thread *thread = arg;
	struct thread_call *call;

	while ((call = take_call(thread)))
		call->co_fn(call);
}

static void thread_co(void *arg)
{
	struct queue_thread *thread = arg;

	pulse_co(&thread->pulse);
	aio_loop_stop(thread->loop);
}

struct run {
	struct thread_call call;
	int (*fn)(void *arg);
	void *arg;
	struct thread_lock lock;
	pthread_cond_t ended;
	bool has_ended GUARDED_BY(lock);
	int res;
};

static void co_run(struct thread_call *call)
{
	struct run *run = container_of(call, struct run, call);

	run->res = run->fn(run->arg);
	thread_lock(&run->lock);
	run->has_ended = true;
	pthread_cond_signal(&run->ended);
	thread_unlock(&run->lock);
}

int queue_thread_run(struct queue_thread *thread, int (*fn)(void *arg), void *arg)
{
	struct run run = { .call.co_fn = co_run, .fn = fn, .arg = arg };

	thread_lock_init(&run.lock);
	pthread_cond_init(&run.ended, NULL);
	queue_thread_post(thread, &run.call);
	thread_lock(&run.lock);
	while (!run.has_ended)
		pthread_cond_wait(&run.ended, &run.lock.mutex);
	thread_unlock(&run.lock);
	pthread_cond_destroy(&run.ended);
	thread_lock_destroy(&run.lock);
	return run.res;
}

/* ---- requests ---- */

static void count(_Atomic uint64_t *counter)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

void queue_thread_add(struct queue_thread *thread, struct thread_request *request)
{
	request->next = NULL;
	*thread->end = request;
	thread->end = &request->next;
	thread->nr_waiting++;
	count(&thread->begun);
	if (!thread->is_watched)
		grower_ask(&thread->growing);
	thread->is_watched = true;
}

static struct thread_request *take_request(struct queue_thread *thread)
{
	struct thread_request *request = thread->first;

	if (!request)
		return NULL;
	thread->first = request->next;
	if (!thread->first)
		thread->end = &thread->first;
	thread->nr_waiting--;
	return request;
}

/* One coroutine serves all requests that have come together, up to the first that has to wait. */
static void serve_co(void *arg)
{
	struct queue_thread *thread = arg;
	struct thread_request *request;

	thread->starting--;
	thread->serving++;
	while ((request = take_request(thread))) {
		request->co_serve(request);
		count(&thread->ended);
	}
	thread->serving--;
}

/* Requests for which there is no coroutine yet. */
static unsigned nr_unserved(const struct queue_thread *thread)
{
	return thread->nr_waiting - MIN(thread->starting, thread->nr_waiting);
}

/* Only as many at a time as there is room for; when they have come, more are asked for. */
static void ask_for_stacks(struct queue_thread *thread)
{
	unsigned wanted = MIN(nr_unserved(thread), thread->config.requests), more;

	if (wanted <= thread->asked_stacks)
		return;
	more = wanted - thread->asked_stacks;
	thread->asked_stacks = wanted;
	thread_lock(&thread->lock);
	thread->wanted_stacks += more;
	thread_unlock(&thread->lock);
	grower_ask(&thread->growing);
}

/*
 * Coroutines of images must find theirs. If these have taken all, there is one for a request
 * nevertheless (co_has_stack()): nobody but a request begins those that wait.
 */
static bool has_stack(const struct queue_thread *thread)
{
	return co_spare() > thread->config.others || (!thread->serving && !thread->starting);
}

/* A coroutine that has to wait leaves the rest to the next one. */
void queue_thread_begin(struct queue_thread *thread)
{
	while (nr_unserved(thread) && has_stack(thread)) {
		thread->starting++;
		co_start(serve_co, thread);
	}
	if (nr_unserved(thread))
		ask_for_stacks(thread);
}

/* ---- what the grower has got, and what is given back ---- */

/* A new stack; NULL: there is none. */
static struct coroutine *take_stack(struct queue_thread *thread)
{
	struct coroutine *stack = NULL;

	thread_lock(&thread->lock);
	if (thread->nr_stacks)
		stack = thread->stacks[--thread->nr_stacks];
	thread_unlock(&thread->lock);
	return stack;
}

static void co_take_stacks(struct thread_call *call)
{
	struct queue_thread *thread = container_of(call, struct queue_thread, take_stacks);
	struct coroutine *stack;

	while ((stack = take_stack(thread))) {
		co_stack_put(stack);
		thread->asked_stacks--;
	}
	queue_thread_begin(thread);
}

static void co_note_pool(struct thread_call *call)
{
	struct queue_thread *thread = container_of(call, struct queue_thread, pool_grown);

	data_pool_grown(&thread->pool);
}

/* The pulse must not wait for disks. */
static void give_back_co(void *arg)
{
	struct queue_thread *thread = arg;
	struct thread_member *member;

	thread->next_giver = thread->members;
	while ((member = thread->next_giver)) {
		thread->next_giver = member->next;
		member->is_busy = true;
		member->co_give_back(member);
		member->is_busy = false;
		if (member->leaves)
			queue_thread_post(thread, member->leaves);
	}
	thread->gives_back = false;
	aio_loop_release(thread->loop);
}

static void co_shrink(struct thread_call *call)
{
	struct queue_thread *thread = container_of(call, struct queue_thread, shrink);

	thread->is_watched = false;
	co_give_back();
	if (thread->config.pool_bytes)
		data_pool_give_back(&thread->pool);
	if (thread->gives_back || !co_has_stack())
		return;
	thread->gives_back = true;
	aio_loop_hold(thread->loop);
	co_start(give_back_co, thread);
}

/* On the thread. */
static void ask_for_pool(void *arg)
{
	struct queue_thread *thread = arg;

	thread_lock(&thread->lock);
	thread->wants_pool = true;
	thread_unlock(&thread->lock);
	grower_ask(&thread->growing);
}

/* ---- for the grower ---- */

static void tell_of_stack(struct queue_thread *thread, struct coroutine *stack)
{
	thread_lock(&thread->lock);
	thread->stacks[thread->nr_stacks++] = stack;
	thread_unlock(&thread->lock);
	queue_thread_post(thread, &thread->take_stacks);
}

/* One by one: the first may be all that there is memory for. Returns how many there are not. */
static unsigned grow_stacks(struct queue_thread *thread, unsigned stacks)
{
	struct coroutine *stack;

	while (stacks && (stack = co_stack_new())) {
		tell_of_stack(thread, stack);
		stacks--;
	}
	return stacks;
}

static bool grow(void *arg)
{
	struct queue_thread *thread = arg;
	unsigned stacks;
	bool pool;

	thread_lock(&thread->lock);
	stacks = thread->wanted_stacks;
	pool = thread->wants_pool;
	thread->wanted_stacks = 0;
	thread->wants_pool = false;
	thread_unlock(&thread->lock);
	/* So that the memory is near the thread's CPUs. */
	if (thread->config.cpus)
		sched_setaffinity(0, sizeof(cpu_set_t), thread->config.cpus);
	stacks = grow_stacks(thread, stacks);
	if (pool) {
		data_pool_grow(&thread->pool);
		queue_thread_post(thread, &thread->pool_grown);
	}
	thread_lock(&thread->lock);
	thread->wanted_stacks += stacks;
	thread_unlock(&thread->lock);
	return !stacks;
}

static bool is_idle(void *arg)
{
	struct queue_thread *thread = arg;
	/* In this order: a request that comes in between is not taken for one that has ended. */
	uint64_t ended = atomic_load(&thread->ended), begun = atomic_load(&thread->begun);
	bool is_idle = begun == thread->idle_begun && ended == begun;

	thread->idle_begun = begun;
	return is_idle;
}

static void shrink(void *arg)
{
	struct queue_thread *thread = arg;

	queue_thread_post(thread, &thread->shrink);
}

static const struct growing_ops growing_ops = {
	.grow = grow,
	.is_idle = is_idle,
	.shrink = shrink,
};

/* ---- the thread ---- */

static int make_pool(struct queue_thread *thread)
{
	const struct data_pool_config config = {
		.bytes = thread->config.pool_bytes,
		.touched = thread->config.pool_touched,
		.ask_more = ask_for_pool,
		.arg = thread,
	};

	return config.bytes ? data_pool_init(&thread->pool, &config) : 0;
}

/* What may fail, for want of memory. If it does, the next queue that joins tries again. */
static int get_ready(struct queue_thread *thread)
{
	const struct queue_thread_config *config = &thread->config;
	int res = thread->is_sealed ? 0 : sandbox_seal_thread();

	if (res < 0)
		return res;
	thread->is_sealed = true;
	res = thread->has_pool ? 0 : make_pool(thread);
	if (res < 0)
		return res;
	thread->has_pool = true;
	res = co_reserve(MIN(config->requests, QUEUE_THREAD_RESERVED) + config->others + PULSE);
	co_touch();
	return res;
}

static int prepare(struct queue_thread *thread)
{
	const struct queue_thread_config *config = &thread->config;
	char name[16];

	snprintf(name, sizeof(name), "ubd-queue-%u", config->nr);
	pthread_setname_np(pthread_self(), name);
	/*
	 * This fails if a cpuset denies us the CPUs or they are gone; the queue works elsewhere,
	 * too. It comes before memory is touched, so that it is allocated nearby.
	 */
	if (config->cpus)
		sched_setaffinity(0, sizeof(cpu_set_t), config->cpus);
	process_touch_stack();
	/* The grower writes to it with the lock held that a request takes. */
	pages_touch(thread->stacks, config->requests * sizeof(*thread->stacks));
	co_keep(config->requests + config->others + PULSE);
	return get_ready(thread);
}

static void *thread_main(void *arg)
{
	struct queue_thread *thread = arg;

	thread->error = prepare(thread);
	co_start_on(thread->loop, thread_co, thread);
	aio_loop_run(thread->loop);
	return NULL;
}

/* ---- queues ---- */

int queue_thread_join(struct queue_thread *thread, struct thread_member *member)
{
	if (thread->error < 0)
		thread->error = get_ready(thread);
	if (thread->error < 0)
		return thread->error;
	member->next = thread->members;
	thread->members = member;
	return 0;
}

bool queue_thread_leave(struct queue_thread *thread, struct thread_member *member,
			struct thread_call *again)
{
	struct thread_member **at = &thread->members;

	if (member->is_busy) {
		member->leaves = again;
		return false;
	}
	while (*at && *at != member)
		at = &(*at)->next;
	if (*at)
		*at = member->next;
	if (thread->next_giver == member)
		thread->next_giver = member->next;
	return true;
}

/* ---- for the main thread ---- */

static int start(struct queue_thread *thread)
{
	int res = grower_add(&thread->growing);

	if (res < 0)
		return res;
	res = -pthread_create(&thread->thread, NULL, thread_main, thread);
	if (res < 0)
		return res;
	thread->is_running = true;
	return 0;
}

struct aio_loop *queue_thread_new_loop(unsigned uses, unsigned entries, unsigned buffers,
				       GError **err)
{
	struct aio_loop *loop = aio_loop_new_for(uses, entries, err);
	int res = loop && buffers ? aio_loop_make_buffers(loop, buffers) : 0;

	if (res == 0)
		return loop;
	error_set(err, res, "cannot register %u buffers", buffers);
	aio_loop_free(loop);
	return NULL;
}

struct queue_thread *queue_thread_new(const struct queue_thread_config *config,
				      GError **err) NO_THREAD_SAFETY_ANALYSIS
{
	struct queue_thread *thread = g_new0(struct queue_thread, 1);
	int res;

	thread->config = *config;
	thread->loop = config->loop;
	thread->is_sealed = sandbox_thread_is_sealed();
	if (config->cpus) {
		thread->cpus = *config->cpus;
		thread->config.cpus = &thread->cpus;
	}
	thread->end = &thread->first;
	thread->calls_end = &thread->calls;
	thread->stacks = g_new(struct coroutine *, config->requests);
	thread->growing = (struct growing){ .ops = &growing_ops, .arg = thread };
	thread->take_stacks.co_fn = co_take_stacks;
	thread->pool_grown.co_fn = co_note_pool;
	thread->shrink.co_fn = co_shrink;
	thread->pulse = (struct pulse){ .beat = beat, .arg = thread };
	thread_lock_init(&thread->pulse.lock);
	thread_lock_init(&thread->lock);
	res = start(thread);
	if (res == 0)
		return thread;
	error_set(err, res, "queue %u", config->nr);
	thread->loop = NULL;
	queue_thread_free(thread);
	return NULL;
}

void queue_thread_end(struct queue_thread *thread)
{
	if (!thread->is_running)
		return;
	pulse_end(&thread->pulse);
	pthread_join(thread->thread, NULL);
	thread->is_running = false;
}

void queue_thread_free(struct queue_thread *thread)
{
	struct coroutine *stack;

	if (!thread)
		return;
	queue_thread_end(thread);
	grower_remove(&thread->growing);
	while ((stack = take_stack(thread)))
		co_stack_free(stack);
	aio_loop_free(thread->loop);
	data_pool_destroy(&thread->pool);
	thread_lock_destroy(&thread->lock);
	thread_lock_destroy(&thread->pulse.lock);
	g_free(thread->stacks);
	g_free(thread);
}

bool queue_thread_is_alive(struct queue_thread *thread)
{
	return pulse_is_alive(&thread->pulse);
}

struct aio_loop *queue_thread_loop(const struct queue_thread *thread)
{
	return thread->loop;
}

struct data_pool *queue_thread_pool(struct queue_thread *thread)
{
	return &thread->pool;
}
