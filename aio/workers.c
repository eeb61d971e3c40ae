// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The worker pools: one of threads that burn CPU, one of threads that wait for storage. Meanwhile
 * the coroutine that asked for the work waits, and its loop goes on. There are two so that storage
 * that hangs does not keep the CPUs from working.
 *
 * A thread is created when a job finds none idle, stays until aio_workers_end(), and blocks all
 * signals. A call that may wait for very long gets its own thread instead, so that no other job
 * waits behind it.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "aio.h"
#include "colock.h"
#include "internal.h"

/*
 * More than there are CPUs on small machines: a job that waits for memory or for the disk leaves no
 * CPU idle, and beside other programs, a thread gets only its share.
 */
#define BUSY_THREADS_MIN    4u
/*
 * Each of them waits for a call, so it is the callers that limit how many there are. This is for
 * those that do not.
 */
#define BLOCKED_THREADS_MAX 1024u

struct job {
	int (*fn)(void *arg);
	void *arg;
	int ret;
	struct coroutine *co;
	struct job *next;
};

struct pool {
	struct thread_lock guard;
	pthread_cond_t job_added;
	pthread_cond_t thread_ended;
	/* Jobs lie on the stacks of their coroutines. */
	struct job *jobs GUARDED_BY(guard);
	struct job **jobs_end GUARDED_BY(guard);
	unsigned queued GUARDED_BY(guard); /* length of jobs */
	unsigned threads GUARDED_BY(guard);
	unsigned idle GUARDED_BY(guard);
	bool ending GUARDED_BY(guard);
};

static struct pool busy = {
	.guard = THREAD_LOCK_INIT,
	.job_added = PTHREAD_COND_INITIALIZER,
	.thread_ended = PTHREAD_COND_INITIALIZER,
	.jobs_end = &busy.jobs,
};
static struct pool blocked = {
	.guard = THREAD_LOCK_INIT,
	.job_added = PTHREAD_COND_INITIALIZER,
	.thread_ended = PTHREAD_COND_INITIALIZER,
	.jobs_end = &blocked.jobs,
};

/* NULL when the thread must end. */
static struct job *wait_for_job(struct pool *pool)
{
	struct job *job;

	thread_lock(&pool->guard);
	pool->idle++;
	while (!pool->jobs && !pool->ending)
		pthread_cond_wait(&pool->job_added, &pool->guard.mutex);
	pool->idle--;
	job = pool->jobs;
	if (!job) {
		pool->threads--;
		pthread_cond_signal(&pool->thread_ended);
		thread_unlock(&pool->guard);
		return NULL;
	}
	pool->jobs = job->next;
	if (!pool->jobs)
		pool->jobs_end = &pool->jobs;
	pool->queued--;
	thread_unlock(&pool->guard);
	return job;
}

/* A loop's thread may be bound to CPUs. Its workers are not: they run wherever the process may. */
static void leave_the_maker(void)
{
	cpu_set_t cpus;

	if (sched_getaffinity(getpid(), sizeof(cpus), &cpus) == 0)
		sched_setaffinity(0, sizeof(cpus), &cpus);
}

/*
 * Where the process may run, not the caller's thread. Counted once: it takes system calls that are
 * as expensive as a short job.
 */
static unsigned cpu_count(void)
{
	static _Atomic unsigned count;
	unsigned known = atomic_load_explicit(&count, memory_order_relaxed);
	cpu_set_t cpus;

	if (!known) {
		known = sched_getaffinity(getpid(), sizeof(cpus), &cpus) == 0
				? CPU_COUNT(&cpus)
				: g_get_num_processors();
		atomic_store_explicit(&count, known, memory_order_relaxed);
	}
	return known;
}

static void *work(void *arg)
{
	struct job *job;

	pthread_setname_np(pthread_self(), "ubd-worker");
	leave_the_maker();
	while ((job = wait_for_job(arg))) {
		job->ret = job->fn(job->arg);
		/* The job is gone once its coroutine runs. */
		co_wake(job->co);
	}
	return NULL;
}

/* 0 or -errno. */
static int start_thread(void *(*fn)(void *arg), void *arg)
{
	pthread_t thread;
	sigset_t all, old;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = pthread_create(&thread, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!ret)
		pthread_detach(thread);
	return -ret;
}

/* False if there is no thread and none can be created. At most @most threads in all. */
static bool queue_job(struct pool *pool, struct job *job, unsigned most)
{
	bool queued_it;

	thread_lock(&pool->guard);
	if (pool->queued >= pool->idle && pool->threads < most && start_thread(work, pool) == 0)
		pool->threads++;
	queued_it = pool->threads;
	if (queued_it) {
		*pool->jobs_end = job;
		pool->jobs_end = &job->next;
		pool->queued++;
		pthread_cond_signal(&pool->job_added);
	}
	thread_unlock(&pool->guard);
	return queued_it;
}

static int co_run_job(struct pool *pool, int (*fn)(void *arg), void *arg, unsigned most)
{
	struct job job = { .fn = fn, .arg = arg, .co = co_self() };

	/* Without any thread, doing the work here is still correct, only slower. */
	if (!queue_job(pool, &job, most))
		return fn(arg);
	co_yield();
	return job.ret;
}

int co_run_on_worker(int (*fn)(void *arg), void *arg)
{
	return co_run_job(&busy, fn, arg, MAX(cpu_count(), BUSY_THREADS_MIN));
}

int co_block_on_worker(int (*fn)(void *arg), void *arg)
{
	return co_run_job(&blocked, fn, arg, BLOCKED_THREADS_MAX);
}

struct long_call {
	struct job job;
	const char *name;
};

static void *run_long_call(void *arg)
{
	struct long_call *call = arg;

	pthread_setname_np(pthread_self(), call->name);
	leave_the_maker();
	call->job.ret = call->job.fn(call->job.arg);
	/* The call is gone once its coroutine runs. */
	co_wake(call->job.co);
	return NULL;
}

int co_run_on_thread(const char *name, int (*fn)(void *arg), void *arg)
{
	struct long_call call = {
		.job = { .fn = fn, .arg = arg, .co = co_self() },
		.name = name,
	};
	int res = start_thread(run_long_call, &call);

	if (res < 0)
		return res;
	co_yield();
	return call.job.ret;
}

static void end_threads(struct pool *pool)
{
	thread_lock(&pool->guard);
	pool->ending = true;
	pthread_cond_broadcast(&pool->job_added);
	while (pool->threads)
		pthread_cond_wait(&pool->thread_ended, &pool->guard.mutex);
	pool->ending = false;
	thread_unlock(&pool->guard);
}

void aio_workers_end(void)
{
	end_threads(&busy);
	end_threads(&blocked);
}
