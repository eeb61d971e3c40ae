// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The worker pool: threads for work that burns CPU or blocks, while the coroutine
 * that asked for it waits and its loop goes on.
 *
 * Threads are made when a job finds none idle, stay until aio_workers_end() if
 * there is one, and take no signals.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include "aio.h"
#include "colock.h"
#include "internal.h"

/* Threads that wait for devices: the requests in flight that make a disk busy. */
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

/* NULL when the thread is to end. */
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

/* What a loop's thread is bound to, its workers are not: they run where the process may. */
static void leave_the_maker(void)
{
	cpu_set_t cpus;

	pthread_setname_np(pthread_self(), "ubd-worker");
	if (sched_getaffinity(getpid(), sizeof(cpus), &cpus) == 0)
		pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
}

static void *work(void *unused)
{
	struct job *job;

	leave_the_maker();
	while ((job = wait_for_job())) {
		job->ret = job->fn(job->arg);
		/* The job is gone once its coroutine runs. */
		co_wake(job->co);
	}
	return NULL;
}

static bool add_thread(void)
{
	pthread_t thread;
	sigset_t all, old;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = pthread_create(&thread, NULL, work, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!ret)
		pthread_detach(thread);
	return !ret;
}

/* False if there is no thread for it, and there cannot be one. Makes no more than @most. */
static bool queue_job(struct job *job, unsigned most)
{
	bool queued_it;

	thread_lock(&guard);
	if (queued >= idle && threads < most && add_thread())
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

	/* Without any thread at all it is still right to do the work, only slower. */
	if (!queue_job(&job, most))
		return fn(arg);
	co_yield();
	return job.ret;
}

int co_run_on_worker(int (*fn)(void *arg), void *arg)
{
	return co_run_job(fn, arg, g_get_num_processors());
}

int co_block_on_worker(int (*fn)(void *arg), void *arg)
{
	return co_run_job(fn, arg, MAX(g_get_num_processors(), BLOCKED_THREADS_MAX));
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
