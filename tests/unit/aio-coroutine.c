// SPDX-License-Identifier: GPL-2.0-or-later
/* Coroutines: start, yield, wake, stacks. */
#include <errno.h>
#include <fenv.h>
#include <glib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "aio-test.h"

/* ---- order ---- */

static GString *story;
static struct coroutine *waiting;

static void tell_and_wait(void *arg)
{
	g_string_append(story, arg);
	waiting = co_self();
	co_yield();
	g_string_append(story, arg);
}

static void start_from_coroutine(void *arg)
{
	co_start(tell_and_wait, "b");
	g_string_append(story, "a");
	co_reschedule();
	g_string_append(story, "a");
	co_wake(waiting);
	g_string_append(story, "a");
	co_reschedule();
	g_string_append(story, "a");
}

static void test_start_from_coroutine_is_later(void)
{
	story = g_string_new(NULL);
	test_run(start_from_coroutine, NULL);
	g_assert_cmpstr(story->str, ==, "abaaba");
	g_string_free(story, TRUE);
}

struct callback {
	struct aio_op op;
	struct coroutine *waiter;
};

static void start_in_callback(struct aio_op *op, int32_t res, uint32_t flags)
{
	struct callback *callback = (struct callback *)op;

	g_assert_null(co_self());
	co_start(tell_and_wait, "b");
	g_assert_null(co_self());
	g_string_append(story, "c");
	co_wake(waiting);
	g_string_append(story, "c");
	co_wake(callback->waiter);
}

static void start_from_callback(void *arg)
{
	struct callback callback = { .op.done = start_in_callback, .waiter = co_self() };
	struct io_uring_sqe *sqe = aio_get_sqe(aio_loop_current());

	io_uring_prep_nop(sqe);
	aio_sqe_set_op(sqe, &callback.op);
	co_yield();
	g_string_append(story, "a");
}

static void test_start_from_callback_is_at_once(void)
{
	story = g_string_new(NULL);
	test_run(start_from_callback, NULL);
	g_assert_cmpstr(story->str, ==, "bccba");
	g_string_free(story, TRUE);
}

static void wake_self(void *arg)
{
	co_wake(co_self());
	co_yield();
	*(int *)arg = 1;
}

static void test_wake_before_yield_is_kept(void)
{
	int ended = 0;

	test_run(wake_self, &ended);
	g_assert_cmpint(ended, ==, 1);
}

static void test_self_is_null_outside(void)
{
	g_assert_null(co_self());
	test_run(wake_self, &(int){ 0 });
	g_assert_null(co_self());
}

static void tell_between(void *arg)
{
	g_string_append(story, arg);
	co_reschedule();
	g_string_append(story, arg);
}

static void start_three(void *arg)
{
	co_start(tell_between, "a");
	co_start(tell_between, "b");
	co_start(tell_between, "c");
	co_reschedule();
	co_reschedule();
}

static void test_ready_coroutines_take_turns(void)
{
	story = g_string_new(NULL);
	test_run(start_three, NULL);
	g_assert_cmpstr(story->str, ==, "abcabc");
	g_string_free(story, TRUE);
}

/* ---- death ---- */

static void wake_twice(void *arg)
{
	co_wake(co_self());
	co_wake(co_self());
	co_yield();
}

static void die_of_second_wake(void)
{
	test_run(wake_twice, NULL);
}

static void test_second_wake_is_asserted(void)
{
	test_aborts(die_of_second_wake);
}

#define DIED_IN_GUARD 42

static uintptr_t stack_top;

/* An overflow must fault in the guard below CO_STACK_SIZE, not hit a neighbouring stack. */
static void on_fault(int sig, siginfo_t *info, void *context)
{
	uintptr_t depth = stack_top - (uintptr_t)info->si_addr;

	_exit(depth > CO_STACK_SIZE / 2 && depth < CO_STACK_SIZE + 32 * 1024 ? DIED_IN_GUARD : 1);
}

/* Keeps the compiler from turning the recursion into a loop. */
static volatile int dig_further = 1;

static int __attribute__((noinline)) dig(int depth)
{
	volatile char hole[2000];

	hole[0] = depth;
	hole[sizeof(hole) - 1] = dig_further ? dig(depth + 1) : 0;
	return hole[0] + hole[sizeof(hole) - 1];
}

static void overflow(void *arg)
{
	stack_top = (uintptr_t)__builtin_frame_address(0);
	dig(0);
}

static void die_of_overflow(void)
{
	static char signal_stack[64 * 1024];
	stack_t alt = { .ss_sp = signal_stack, .ss_size = sizeof(signal_stack) };
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	sigaltstack(&alt, NULL);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	test_run(overflow, NULL);
}

static void test_stack_overflow_faults(void)
{
	int status = test_run_in_child(die_of_overflow);

	g_assert_true(WIFEXITED(status));
	g_assert_cmpint(WEXITSTATUS(status), ==, DIED_IN_GUARD);
}

/* ---- stacks ---- */

static void fill_stack(void *arg)
{
	volatile char all[CO_STACK_SIZE - 16 * 1024];

	memset((char *)all, 0x5a, sizeof(all));
	co_reschedule();
	for (size_t i = 0; i < sizeof(all); i++)
		g_assert_cmpint(all[i], ==, 0x5a);
	*(int *)arg = 1;
}

static void test_stack_can_be_filled(void)
{
	int ended = 0;

	test_run(fill_stack, &ended);
	g_assert_cmpint(ended, ==, 1);
}

/* Counts the guards mapped by all threads. */
static unsigned count_stacks(void)
{
	g_autofree char *maps = NULL;
	g_auto(GStrv) lines = NULL;
	unsigned count = 0;

	g_assert_true(g_file_get_contents("/proc/self/maps", &maps, NULL, NULL));
	lines = g_strsplit(maps, "\n", 0);
	for (unsigned i = 0; lines[i]; i++) {
		uint64_t begin, end;
		char mode[5];

		if (sscanf(lines[i], "%" G_GINT64_MODIFIER "x-%" G_GINT64_MODIFIER "x %4s", &begin,
			   &end, mode) == 3 &&
		    end - begin == 64 * 1024 && !strcmp(mode, "---p"))
			count++;
	}
	return count;
}

static void nothing(void *arg)
{
}

static bool no_memory;

void *__real_mmap64(void *addr, size_t bytes, int prot, int flags, int fd, off_t off);
void *__wrap_mmap64(void *addr, size_t bytes, int prot, int flags, int fd, off_t off);

void *__wrap_mmap64(void *addr, size_t bytes, int prot, int flags, int fd, off_t off)
{
	errno = ENOMEM;
	return no_memory ? MAP_FAILED : __real_mmap64(addr, bytes, prot, flags, fd, off);
}

#define MANY 600

static void reserve_and_start(void *arg)
{
	unsigned reserved;

	g_assert_cmpint(co_reserve(MANY), ==, 0);
	reserved = count_stacks();
	g_assert_cmpuint(reserved, >=, MANY);
	for (unsigned round = 0; round < 3; round++) {
		test_co_crew(MANY, nothing, NULL);
		g_assert_cmpuint(count_stacks(), ==, reserved);
	}
}

static void start_many(void *arg)
{
	unsigned *ret_left = arg;

	test_co_crew(MANY, nothing, NULL);
	*ret_left = count_stacks();
}

/* Some of them run when another part of the thread reserves its own, or needs them no more. */
static void reserve_in_parts(void *arg)
{
	unsigned before = count_stacks();

	g_assert_cmpint(co_reserve_more(MANY), ==, 0);
	g_assert_cmpuint(count_stacks(), ==, before + MANY);
	g_assert_cmpint(co_reserve_more(MANY), ==, 0);
	test_co_crew(2 * MANY, nothing, NULL);
	g_assert_cmpuint(count_stacks(), ==, before + 2 * MANY);
	co_reserve_less(MANY);
	test_co_crew(MANY, nothing, NULL);
	g_assert_cmpuint(count_stacks(), ==, before + MANY);
	co_reserve_less(MANY);
	g_assert_cmpuint(count_stacks(), ==, before);
}

static void *parts_thread(void *arg)
{
	test_run(reserve_in_parts, NULL);
	return NULL;
}

static void park(void *arg)
{
	struct coroutine **ret_co = arg;

	*ret_co = co_self();
	co_yield();
}

static void use_all_stacks(void *arg)
{
	struct coroutine *parked[MANY];

	/* A thread that has reserved none gets as many as it wants. */
	g_assert_true(co_has_stack());
	g_assert_cmpint(co_reserve(MANY), ==, 0);
	while (co_spare() > MANY)
		co_start(nothing, NULL);
	for (unsigned i = 0; i < MANY - 1; i++) {
		g_assert_true(co_has_stack());
		co_start(park, &parked[i]);
	}
	/* The last one is for those that cannot do without. */
	g_assert_false(co_has_stack());
	g_assert_cmpuint(co_spare(), ==, 1);
	co_reschedule();
	for (unsigned i = 0; i < MANY - 1; i++)
		co_wake(parked[i]);
	co_reschedule();
	g_assert_true(co_has_stack());
}

static void set(void *arg)
{
	*(bool *)arg = true;
}

static void start_without_memory(void *arg)
{
	struct coroutine *parked;
	bool has_run = false;

	g_assert_cmpuint(co_spare(), ==, 0);
	no_memory = true;
	g_assert_false(co_has_stack());
	g_assert_false(try_co_start_on(aio_loop_current(), set, &has_run));
	no_memory = false;
	g_assert_true(co_has_stack());
	no_memory = true;
	co_start(park, &parked);
	no_memory = false;
	g_assert_true(try_co_start_on(aio_loop_current(), set, &has_run));
	while (!has_run)
		co_reschedule();
	co_wake(parked);
	co_reschedule();
}

static void *without_memory_thread(void *arg)
{
	test_run(start_without_memory, NULL);
	return NULL;
}

static void test_no_memory_for_stacks(void)
{
	g_thread_join(g_thread_new("no-memory", without_memory_thread, NULL));
}

static void *all_stacks_thread(void *arg)
{
	test_run(use_all_stacks, NULL);
	return NULL;
}

static void test_all_stacks_are_used(void)
{
	g_thread_join(g_thread_new("stacks", all_stacks_thread, NULL));
}

static void *reserve_thread(void *arg)
{
	test_run(reserve_and_start, NULL);
	return NULL;
}

static void *many_thread(void *arg)
{
	test_run(start_many, arg);
	return NULL;
}

static void test_reserved_stacks_are_enough(void)
{
	unsigned before = count_stacks();

	g_thread_join(g_thread_new("reserve", reserve_thread, NULL));
	/* A thread's stacks go away with it. */
	g_assert_cmpuint(count_stacks(), ==, before);
}

static void test_parts_reserve_their_own(void)
{
	g_thread_join(g_thread_new("parts", parts_thread, NULL));
}

static void test_pool_is_bounded(void)
{
	unsigned before = count_stacks(), left = 0;

	g_thread_join(g_thread_new("many", many_thread, &left));
	g_assert_cmpuint(left, >, before);
	g_assert_cmpuint(left, <, before + MANY / 2);
	g_assert_cmpuint(count_stacks(), ==, before);
}

/* ---- with a stack of its own ---- */

struct counted {
	struct co_standby standby;
	unsigned runs, turns;	      /* of the loop in each run */
	_Atomic unsigned calls, seen; /* by the last run */
	_Atomic bool runs_now;
};

static void count_run(void *arg)
{
	struct counted *c = arg;

	g_assert_false(atomic_exchange(&c->runs_now, true));
	atomic_store(&c->seen, atomic_load(&c->calls));
	for (unsigned i = 0; i < c->turns; i++)
		co_reschedule();
	c->runs++;
	atomic_store(&c->runs_now, false);
}

static void call(struct counted *c)
{
	atomic_fetch_add(&c->calls, 1);
	co_standby_call(&c->standby);
}

static void call_without_stacks(void *arg)
{
	struct counted *c = arg;
	struct coroutine *parked[MANY];
	unsigned before;

	g_assert_cmpint(co_reserve(MANY), ==, 0);
	for (unsigned i = 0; i < MANY; i++)
		co_start(park, &parked[i]);
	co_reschedule();
	g_assert_cmpuint(co_spare(), ==, 0);
	before = count_stacks();
	for (unsigned i = 0; i < 3; i++) {
		call(c);
		co_reschedule();
		g_assert_cmpuint(c->runs, ==, i + 1);
	}
	g_assert_cmpuint(co_spare(), ==, 0);
	g_assert_cmpuint(count_stacks(), ==, before);
	for (unsigned i = 0; i < MANY; i++)
		co_wake(parked[i]);
	co_reschedule();
}

static void *without_stacks_thread(void *arg)
{
	test_run(call_without_stacks, arg);
	return NULL;
}

static void test_standby_has_its_stack(void)
{
	unsigned before = count_stacks();
	struct counted c = { .turns = 0 };

	g_assert_cmpint(co_standby_init(&c.standby, count_run, &c), ==, 0);
	g_thread_join(g_thread_new("standby", without_stacks_thread, &c));
	co_standby_destroy(&c.standby);
	g_assert_cmpuint(count_stacks(), ==, before);
}

static void call_while_it_runs(void *arg)
{
	struct counted *c = arg;

	call(c);
	co_reschedule();
	g_assert_true(c->runs_now);
	for (unsigned i = 0; i < 3; i++)
		call(c);
	while (c->runs < 2)
		co_reschedule();
	for (unsigned i = 0; i < 10; i++)
		co_reschedule();
	g_assert_cmpuint(c->runs, ==, 2);
	g_assert_cmpuint(c->seen, ==, 4);
	/* Both runs are over when this returns. */
	call(c);
	co_reschedule();
	call(c);
	co_standby_co_end(&c->standby);
	g_assert_cmpuint(c->runs, ==, 4);
	g_assert_cmpuint(c->seen, ==, 6);
}

static void test_standby_runs_again(void)
{
	struct counted c = { .turns = 3 };

	g_assert_cmpint(co_standby_init(&c.standby, count_run, &c), ==, 0);
	test_run(call_while_it_runs, &c);
	co_standby_destroy(&c.standby);
}

static void call_and_end(void *arg)
{
	call(arg);
}

static void test_loop_does_not_end_before_standby(void)
{
	struct counted c = { .turns = 3 };

	g_assert_cmpint(co_standby_init(&c.standby, count_run, &c), ==, 0);
	test_run(call_and_end, &c);
	g_assert_cmpuint(c.runs, ==, 1);
	co_standby_destroy(&c.standby);
}

#define CALLERS 4

static void call_often(void *arg)
{
	struct counted *c = arg;

	for (unsigned i = 0; i < 2000; i++) {
		call(c);
		co_reschedule();
	}
}

static void end_standby(void *arg)
{
	struct counted *c = arg;

	co_standby_co_end(&c->standby);
}

/* No two runs overlap, on whatever loops, and no call is forgotten. */
static void test_standby_called_from_all_loops(void)
{
	struct counted c = { .turns = 1 };

	g_assert_cmpint(co_standby_init(&c.standby, count_run, &c), ==, 0);
	test_run_crews(CALLERS, 2, call_often, &c);
	g_assert_cmpuint(c.calls, ==, CALLERS * 2 * 2000);
	g_assert_cmpuint(c.seen, ==, c.calls);
	test_run(end_standby, &c);
	co_standby_destroy(&c.standby);
}

static void *caller_thread(void *arg)
{
	test_run(call_and_end, arg);
	return NULL;
}

/* The loop that runs it no longer looks at what may be gone then. */
static void test_standby_ends_on_another_loop(void)
{
	for (unsigned i = 0; i < 200; i++) {
		struct counted *c = g_new0(struct counted, 1);
		GThread *caller;

		c->turns = i % 4;
		g_assert_cmpint(co_standby_init(&c->standby, count_run, c), ==, 0);
		caller = g_thread_new("caller", caller_thread, c);
		while (!atomic_load(&c->seen))
			g_thread_yield();
		test_run(end_standby, c);
		g_assert_cmpuint(c->runs, ==, 1);
		co_standby_destroy(&c->standby);
		g_free(c);
		g_thread_join(caller);
	}
}

static void check_alignment(void *arg)
{
	/* The ABI promises this alignment to code that spills vector registers. */
	struct {
		_Alignas(16) char bytes[16];
	} aligned;

	__asm__ volatile("" : : "r"(&aligned) : "memory");
	g_assert_cmpuint((uintptr_t)&aligned % 16, ==, 0);
	g_assert_cmpuint((uintptr_t)__builtin_frame_address(0) % 16, ==, 0);
	*(int *)arg = 1;
}

static void test_stack_is_aligned(void)
{
	int ended = 0;

	test_run(check_alignment, &ended);
	g_assert_cmpint(ended, ==, 1);
}

static double third(void)
{
	volatile double one = 1, three = 3;

	return one / three;
}

static void round_up(void *arg)
{
	double *ret = arg;

	fesetround(FE_UPWARD);
	co_reschedule();
	g_assert_cmpint(fegetround(), ==, FE_UPWARD);
	*ret = third();
	fesetround(FE_TONEAREST);
}

static void round_down(void *arg)
{
	double *ret = arg;

	fesetround(FE_DOWNWARD);
	co_reschedule();
	g_assert_cmpint(fegetround(), ==, FE_DOWNWARD);
	*ret = third();
	fesetround(FE_TONEAREST);
}

static void round_both_ways(void *arg)
{
	double up = 0, down = 0;

	co_start(round_up, &up);
	co_start(round_down, &down);
	co_reschedule();
	g_assert_cmpint(fegetround(), ==, FE_TONEAREST);
	co_reschedule();
	g_assert_cmpfloat(up, >, down);
}

static void test_rounding_mode_is_kept(void)
{
	test_run(round_both_ways, NULL);
	g_assert_cmpint(fegetround(), ==, FE_TONEAREST);
}

/* ---- across loops ---- */

struct starts {
	struct aio_loop *loop;
	unsigned begun;
	unsigned order[MANY];
};

static struct starts starts;

static void note_order(void *arg)
{
	g_assert_true(aio_loop_current() == starts.loop);
	starts.order[starts.begun++] = GPOINTER_TO_UINT(arg);
	if (starts.begun == MANY)
		aio_loop_stop(starts.loop);
}

static void *start_on_loop(void *arg)
{
	for (unsigned i = 0; i < MANY; i++)
		co_start_on(starts.loop, note_order, GUINT_TO_POINTER(i));
	return NULL;
}

static void test_start_on_another_loop(void)
{
	GThread *thread;

	starts.loop = test_loop_new();
	thread = g_thread_new("starter", start_on_loop, NULL);
	aio_loop_run(starts.loop);
	for (unsigned i = 0; i < MANY; i++)
		g_assert_cmpuint(starts.order[i], ==, i);
	g_thread_join(thread);
	aio_loop_free(starts.loop);
}

int main(int argc, char **argv)
{
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/coroutine/start-from-coroutine-is-later",
			test_start_from_coroutine_is_later);
	g_test_add_func("/coroutine/start-from-callback-is-at-once",
			test_start_from_callback_is_at_once);
	g_test_add_func("/coroutine/wake-before-yield-is-kept", test_wake_before_yield_is_kept);
	g_test_add_func("/coroutine/self-is-null-outside", test_self_is_null_outside);
	g_test_add_func("/coroutine/ready-ones-take-turns", test_ready_coroutines_take_turns);
	g_test_add_func("/coroutine/second-wake-is-asserted", test_second_wake_is_asserted);
	g_test_add_func("/coroutine/stack-overflow-faults", test_stack_overflow_faults);
	g_test_add_func("/coroutine/stack-can-be-filled", test_stack_can_be_filled);
	g_test_add_func("/coroutine/reserved-stacks-are-enough", test_reserved_stacks_are_enough);
	g_test_add_func("/coroutine/parts-reserve-their-own", test_parts_reserve_their_own);
	g_test_add_func("/coroutine/all-stacks-are-used", test_all_stacks_are_used);
	g_test_add_func("/coroutine/no-memory-for-stacks", test_no_memory_for_stacks);
	g_test_add_func("/coroutine/pool-is-bounded", test_pool_is_bounded);
	g_test_add_func("/coroutine/standby-has-its-stack", test_standby_has_its_stack);
	g_test_add_func("/coroutine/standby-runs-again", test_standby_runs_again);
	g_test_add_func("/coroutine/loop-does-not-end-before-standby",
			test_loop_does_not_end_before_standby);
	g_test_add_func("/coroutine/standby-called-from-all-loops",
			test_standby_called_from_all_loops);
	g_test_add_func("/coroutine/standby-ends-on-another-loop",
			test_standby_ends_on_another_loop);
	g_test_add_func("/coroutine/stack-is-aligned", test_stack_is_aligned);
	g_test_add_func("/coroutine/rounding-mode-is-kept", test_rounding_mode_is_kept);
	g_test_add_func("/coroutine/start-on-another-loop", test_start_on_another_loop);
	return g_test_run();
}
