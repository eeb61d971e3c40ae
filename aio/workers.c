// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The worker pool: threads for work that burns CPU or blocks. Meanwhile the coroutine that asked
 * for the work waits, and its loop goes on.
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
/* Enough threads that wait for a device to keep it busy. */
#define BLOCKED_THREADS_MAX 64u

struct job {
	int (*fn)(void *arg);
	void *arg;
	int ret;
	struct coroutine *co;
	struct job *next;
};

static struct thread_lock guard = THREAD_LOCK_INIT;
static pthread_cond_t job_added = PTHREAD_COND_INITIALIZER;
/* Jobs lie on the stacks of their coroutines. */
static struct job *jobs GLOBAL_GUARDED_BY(guard);
static struct job **jobs_end GLOBAL_GUARDED_BY(guard) = &jobs;
static unsigned queued GLOBAL_GUARDED_BY(guard); /* length of jobs */
static unsigned threads GLOBAL_GUARDED_BY(guard);
static unsigned idle GLOBAL_GUARDED_BY(guard);
static bool ending GLOBAL_GUARDED_BY(guard);
static pthread_cond_t thread_ended = PTHREAD_COND_INITIALIZER;

/* NULL when the thread must end. */
static struct job *wait_for_job(void)
{
	struct job *job;

	thread_lock(&guard);
	idle++;
	while (!jobs && !ending)
		pthread_cond_wait(&job_added, &guard.mutex);
	idle--;
	job = jobs;
	if (!job) {
		threads--;
		pthread_cond_signal(&thread_ended);
		thread_unlock(&guard);
		return NULL;
	}
	jobs = job->next;
	if (!jobs)
		jobs_end = &jobs;
	queued--;
	thread_unlock(&guard);
	return job;
}

/* A loop's thread may be bound to CPUs. Its workers are not: they run wherever the process may. */
static void leave_the_maker(void)
{
	cpu_set_t cpus;

	if (sched_getaffinity(getpid(), sizeof(cpus), &cpus) == 0)
		pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
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

static void *work(void *unused)
{
	struct job *job;

	pthread_setname_np(pthread_self(), "ubd-worker");
	leave_the_maker();
	while ((job = wait_for_job())) {
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
static bool queue_job(struct job *job, unsigned most)
{
	bool queued_it;

	thread_lock(&guard);
	if (queued >= idle && threads < most && start_thread(work, NULL) == 0)
		threads++;
	queued_it = threads;
	if (queued_it) {
		*jobs_end = job;
		jobs_end = &job->next;
		queued++;
		pthread_cond_signal(&job_added);
	}
	thread_unlock(&guard);
	return queued_it;
}

static int co_run_job(int (*fn)(void *arg), void *arg, unsigned most)
{
	struct job job = { .fn = fn, .arg = arg, .co = co_self() };

	/* Without any thread, doing the work here is still correct, only slower. */
	if (!queue_job(&job, most))
		return fn(arg);
	co_yield();
	return job.ret;
}

int co_run_on_worker(int (*fn)(void *arg), void *arg)
{
	return co_run_job(fn, arg, MAX(cpu_count(), BUSY_THREADS_MIN));
}

int co_block_on_worker(int (*fn)(void *arg), void *arg)
{
	return co_run_job(fn, arg, MAX(cpu_count(), BLOCKED_THREADS_MAX));
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

void aio_workers_end(void)
{
	thread_lock(&guard);
	ending = true;
	pthread_cond_broadcast(&job_added);
	while (threads)
		pthread_cond_wait(&thread_ended, &guard.mutex);
	ending = false;
	thread_unlock(&guard);
}
