// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Queues of several devices on one thread. The driver is played on the thread's own loop; reads of
 * an image that hangs wait until they are let go.
 */
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "disk.h"
#include "fetch_way.h"
#include "grower.h"
#include "image-test.h"
#include "queue.h"
#include "queue_thread.h"
#include "queue_threads.h"

#define DEPTH	8u
#define DEVICES 40u
#define BLOCK	4096u

static struct thread_lock lock = THREAD_LOCK_INIT;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

struct device {
	struct image *image;
	struct disk *disk;
	struct queue *queue;
	struct fetch *fetch;
	int event_fd;
	unsigned ended; /* calls of end() */
	/* Guarded by lock. */
	unsigned answers, failed;
	bool hangs;
	unsigned nr_hanging;
	unsigned given_back; /* calls of image_end_use() */
};

/* Their queues have these numbers, though they are all on one thread. */
static struct device devices[DEVICES];
static struct queue_threads *threads;
static struct queue_thread *thread;

static void wait_until(const unsigned *value, unsigned expected)
{
	thread_lock(&lock);
	while (*value < expected)
		pthread_cond_wait(&changed, &lock.mutex);
	thread_unlock(&lock);
}

/* ---- the driver ---- */

static struct device *device_of(const struct fetch *fetch)
{
	return &devices[fetch->config.q_id];
}

static int played_begin(struct fetch *fetch)
{
	return 0;
}

static void played_end(struct fetch *fetch)
{
	device_of(fetch)->ended++;
}

static void played_answer(struct fetch *fetch, uint16_t tag, int32_t result)
{
	struct device *device = device_of(fetch);

	thread_lock(&lock);
	device->answers++;
	device->failed += result != (int)BLOCK;
	pthread_cond_broadcast(&changed);
	thread_unlock(&lock);
	if (!fetch->abandoned)
		fetch_end_one(fetch);
}

static void played_free(struct fetch *fetch)
{
	g_free(fetch);
}

static struct fetch *played_new(const struct fetch_config *config, GError **err)
{
	struct fetch *fetch = g_new0(struct fetch, 1);

	fetch->config = *config;
	fetch->live = 1; /* until the driver ends the queue */
	device_of(fetch)->fetch = fetch;
	return fetch;
}

static const struct fetch_way way = {
	.new = played_new,
	.free = played_free,
	.begin = played_begin,
	.end = played_end,
	.answer = played_answer,
};

static const struct transport_queues driver = { .fetch = &way };

/* ---- the sandbox ---- */

static bool creator_is_sealed;
static _Atomic unsigned seals;

int __wrap_sandbox_seal_thread(void);
bool __wrap_sandbox_thread_is_sealed(void);

int __wrap_sandbox_seal_thread(void)
{
	seals++;
	return 0;
}

bool __wrap_sandbox_thread_is_sealed(void)
{
	return creator_is_sealed;
}

/* ---- what the driver does, on the thread ---- */

struct act {
	struct fetch *fetch;
	unsigned requests; /* that come at once; 0: the queue ends */
};

static void act_co(void *arg)
{
	struct act *act = arg;
	const struct request_desc read = { .op = REQUEST_READ, .bytes = BLOCK };

	for (unsigned tag = 0; tag < act->requests; tag++) {
		act->fetch->live++;
		fetch_request(act->fetch, tag, &read);
	}
	if (act->requests)
		fetch_begin_requests(act->fetch);
	else
		fetch_end_one(act->fetch);
	g_free(act);
}

static void act(const struct device *device, unsigned requests)
{
	struct act *act = g_new(struct act, 1);

	*act = (struct act){ device->fetch, requests };
	co_start_on(queue_thread_loop(thread), act_co, act);
}

static void ask(const struct device *device, unsigned requests)
{
	act(device, requests);
}

static void end(const struct device *device)
{
	act(device, 0);
}

/* ---- images that hang ---- */

/* Only the thread uses them. */
static struct coroutine *waiting[DEVICES * DEPTH];
static unsigned nr_waiting;

int __real_image_co_pread(struct image *img, uint64_t off, size_t bytes, void *buf);
int __wrap_image_co_pread(struct image *img, uint64_t off, size_t bytes, void *buf);

static bool does_hang(const struct image *img)
{
	bool hangs = false;

	thread_lock(&lock);
	for (unsigned i = 0; i < DEVICES && !hangs; i++) {
		hangs = devices[i].image == img && devices[i].hangs;
		devices[i].nr_hanging += hangs;
	}
	pthread_cond_broadcast(&changed);
	thread_unlock(&lock);
	return hangs;
}

int __wrap_image_co_pread(struct image *img, uint64_t off, size_t bytes, void *buf)
{
	if (does_hang(img)) {
		waiting[nr_waiting++] = co_self();
		co_yield();
	}
	return __real_image_co_pread(img, off, bytes, buf);
}

void __real_image_end_use(struct image *img);
void __wrap_image_end_use(struct image *img);

void __wrap_image_end_use(struct image *img)
{
	thread_lock(&lock);
	for (unsigned i = 0; i < DEVICES; i++)
		if (devices[i].image == img)
			devices[i].given_back++;
	pthread_cond_broadcast(&changed);
	thread_unlock(&lock);
	__real_image_end_use(img);
}

static void let_go_co(void *unused)
{
	while (nr_waiting)
		co_wake(waiting[--nr_waiting]);
}

static void hang(struct device *device, bool hangs)
{
	thread_lock(&lock);
	device->hangs = hangs;
	thread_unlock(&lock);
	if (!hangs)
		co_start_on(queue_thread_loop(thread), let_go_co, NULL);
}

/* ---- the scene ---- */

static struct aio_loop *main_loop;
static unsigned nr_outlived;

static void open_co(void *unused)
{
	co_create_ok("disk", "raw", BLOCK, NULL, NULL);
	for (unsigned i = 0; i < DEVICES; i++)
		devices[i].image = co_open_ok("disk", "raw", 0);
}

static void close_co(void *unused)
{
	for (unsigned i = 0; i < DEVICES; i++)
		g_assert_cmpint(image_co_close(devices[i].image), ==, 0);
}

static int try_start(struct device *device, GError **err)
{
	static const struct hold_policy hold_nothing;
	static const struct request_limits no_limits;
	const struct queue_config config = {
		.thread = thread,
		.driver = &driver,
		.q_id = device - devices,
		.depth = DEPTH,
		.max_io_bytes = BLOCK,
		.data = DATA_COPY,
		.disk = device->disk,
		.event_fd = device->event_fd,
		.hold = &hold_nothing,
		.limits = &no_limits,
	};

	/* Requests of other devices look for theirs. */
	thread_lock(&lock);
	device->answers = device->failed = device->ended = device->nr_hanging = 0;
	thread_unlock(&lock);
	device->queue = queue_new(&config, err);
	return device->queue ? queue_wait_ready(device->queue, err) : -1;
}

static void start(struct device *device)
{
	g_autoptr(GError) err = NULL;

	try_start(device, &err);
	g_assert_no_error(err);
}

/* The queue has ended, and the driver's part of it. */
static void expect_end(struct device *device)
{
	struct serve_stats stats = { 0 };

	queue_wait(device->queue);
	g_assert_true(queue_poll(device->queue).ended);
	g_assert_cmpuint(device->ended, ==, 1);
	queue_add_stats(device->queue, &stats);
	g_assert_cmpuint(serve_stats_requests(&stats), ==, device->answers);
	queue_free(device->queue);
	device->queue = NULL;
}

static void set_up_thread(void)
{
	main_loop = aio_loop_new(64, NULL);
	aio_loop_run_co(main_loop, open_co, NULL);
	threads = queue_threads_new(DEPTH, RING_COMMANDS | RING_BUFFERS);
	g_assert_cmpint(queue_threads_prepare(threads, 1, NULL), ==, 0);
	thread = queue_threads_get(threads, 0, NULL, NULL);
	g_assert_nonnull(thread);
	for (unsigned i = 0; i < DEVICES; i++) {
		devices[i].disk = disk_new(devices[i].image);
		devices[i].event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
}

static void set_up(void)
{
	set_up_thread();
	for (unsigned i = 0; i < DEVICES; i++)
		start(&devices[i]);
}

static void tear_down(void)
{
	for (unsigned i = 0; i < DEVICES; i++) {
		if (devices[i].queue) {
			end(&devices[i]);
			expect_end(&devices[i]);
		}
		disk_free(devices[i].disk);
		close(devices[i].event_fd);
	}
	queue_threads_free(threads);
	aio_loop_run_co(main_loop, close_co, NULL);
	aio_loop_free(main_loop);
}

/* ---- tests ---- */

static void test_all_are_served(void)
{
	set_up();
	for (unsigned round = 1; round <= 3; round++) {
		for (unsigned i = 0; i < DEVICES; i++)
			ask(&devices[i], DEPTH);
		for (unsigned i = 0; i < DEVICES; i++)
			wait_until(&devices[i].answers, round * DEPTH);
	}
	for (unsigned i = 0; i < DEVICES; i++)
		g_assert_cmpuint(devices[i].failed, ==, 0);
	g_assert_true(queue_threads_are_alive(threads));
	tear_down();
}

/* More requests hang than the thread has stacks for at the start. */
static void test_one_that_hangs_does_not_stop_the_others(void)
{
	set_up();
	for (unsigned i = 0; i < 3; i++) {
		hang(&devices[i], true);
		ask(&devices[i], DEPTH);
	}
	for (unsigned i = 0; i < 3; i++)
		wait_until(&devices[i].nr_hanging, DEPTH);
	for (unsigned i = 3; i < DEVICES; i++) {
		ask(&devices[i], DEPTH);
		wait_until(&devices[i].answers, DEPTH);
	}
	/* The first that is let go lets all of them go. */
	for (unsigned i = 0; i < 3; i++)
		g_assert_cmpuint(devices[i].answers, ==, 0);
	for (unsigned i = 0; i < 3; i++)
		hang(&devices[i], false);
	for (unsigned i = 0; i < 3; i++)
		wait_until(&devices[i].answers, DEPTH);
	tear_down();
}

static void free_outliving(void *queue)
{
	queue_free(queue);
	nr_outlived++;
}

/* It ends when its last request has, but stays until the driver cannot use it any more. */
static void test_one_that_is_given_up_outlives_the_thread(void)
{
	struct queue *given_up;

	set_up();
	given_up = g_steal_pointer(&devices[0].queue);
	hang(&devices[0], true);
	ask(&devices[0], DEPTH);
	wait_until(&devices[0].nr_hanging, DEPTH);
	queue_abandon(given_up);
	g_assert_false(queue_poll(given_up).ended);
	hang(&devices[0], false);
	queue_wait(given_up);
	g_assert_cmpuint(devices[0].answers, ==, DEPTH);
	g_assert_true(queue_is_bound(given_up));
	nr_outlived = 0;
	queue_threads_outlive(threads, free_outliving, given_up);
	ask(&devices[1], DEPTH);
	wait_until(&devices[1].answers, DEPTH);
	g_assert_false(queue_is_bound(devices[1].queue));
	g_assert_cmpuint(nr_outlived, ==, 0);
	tear_down();
	g_assert_cmpuint(nr_outlived, ==, 1);
	g_assert_cmpuint(devices[0].ended, ==, 0);
}

static int note_thread(void *arg)
{
	*(pthread_t *)arg = pthread_self();
	return -EXDEV;
}

static void test_others_can_run_something_on_the_thread(void)
{
	pthread_t self = pthread_self(), ran = self;

	set_up();
	g_assert_cmpint(queue_thread_run(thread, note_thread, &ran), ==, -EXDEV);
	g_assert_false(pthread_equal(ran, self));
	tear_down();
}

/* A queue ends when its last request has, and others come and go meanwhile. */
static void test_queues_come_and_go(void)
{
	set_up();
	hang(&devices[0], true);
	ask(&devices[0], DEPTH);
	wait_until(&devices[0].nr_hanging, DEPTH);
	end(&devices[0]);
	for (unsigned round = 0; round < 20; round++) {
		ask(&devices[1], DEPTH);
		end(&devices[1]);
		ask(&devices[2], 1);
		expect_end(&devices[1]);
		g_assert_false(queue_poll(devices[0].queue).ended);
		wait_until(&devices[2].answers, round + 1);
		start(&devices[1]);
	}
	hang(&devices[0], false);
	expect_end(&devices[0]);
	g_assert_cmpuint(devices[0].answers, ==, DEPTH);
	start(&devices[0]);
	tear_down();
}

/* The grower finds the thread idle, and each queue gives back what its image can do without. */
static void test_idle_threads_give_back(void)
{
	grower_set_period_ns(200000);
	set_up();
	thread_lock(&lock);
	for (unsigned i = 0; i < DEVICES; i++)
		devices[i].given_back = 0;
	thread_unlock(&lock);
	for (unsigned i = 0; i < DEVICES; i++)
		ask(&devices[i], DEPTH);
	for (unsigned i = 0; i < DEVICES; i++)
		wait_until(&devices[i].given_back, 1);
	/* One that is used again does so again. */
	ask(&devices[3], 1);
	wait_until(&devices[3].given_back, 2);
	tear_down();
}

/* Meanwhile, requests come and queues end. */
static void test_giving_back_under_load(void)
{
	grower_set_period_ns(200000);
	set_up();
	for (unsigned round = 1; round <= 50; round++) {
		ask(&devices[round % DEVICES], DEPTH);
		g_usleep(1000);
		end(&devices[0]);
		expect_end(&devices[0]);
		start(&devices[0]);
	}
	tear_down();
}

/* ---- memory ---- */

static _Atomic bool no_stacks;

int __real_co_reserve(unsigned count);
int __wrap_co_reserve(unsigned count);

int __wrap_co_reserve(unsigned count)
{
	return no_stacks ? -ENOMEM : __real_co_reserve(count);
}

/* A thread that found none is as good as another once there is some. */
static void test_memory_comes_later(void)
{
	g_autoptr(GError) err = NULL;

	no_stacks = true;
	set_up_thread();
	g_assert_cmpint(try_start(&devices[0], &err), ==, -ENOMEM);
	g_assert_nonnull(err);
	queue_free(devices[0].queue);
	no_stacks = false;
	for (unsigned i = 0; i < DEVICES; i++)
		start(&devices[i]);
	ask(&devices[0], DEPTH);
	wait_until(&devices[0].answers, DEPTH);
	tear_down();
}

static size_t resident_pages(void)
{
	g_autofree char *text = NULL;
	unsigned long all, resident;

	g_assert_true(g_file_get_contents("/proc/self/statm", &text, NULL, NULL));
	g_assert_cmpint(sscanf(text, "%lu %lu", &all, &resident), ==, 2);
	return resident;
}

/* No request waits for a page of the list in which the grower puts new stacks. */
static void test_list_of_stacks_is_there(void)
{
	const struct queue_thread_config config = {
		.loop = queue_thread_new_loop(RING_ALL, 64, 0, NULL),
		.requests = 8 << 20,
	};
	size_t before = resident_pages(), list = config.requests * sizeof(void *);
	struct queue_thread *big;

	/* That would touch it, too. */
	mallopt(M_PERTURB, 0);
	big = queue_thread_new(&config, NULL);
	g_assert_nonnull(big);
	queue_thread_end(big);
	/* The kernel does not count exactly. */
	g_assert_cmpuint(resident_pages() - before, >=, list / getpagesize() / 2);
	queue_thread_free(big);
}

int __real_pthread_create(pthread_t *ret_thread, const pthread_attr_t *attr, void *(*fn)(void *arg),
			  void *arg);
int __wrap_pthread_create(pthread_t *ret_thread, const pthread_attr_t *attr, void *(*fn)(void *arg),
			  void *arg);

static bool no_threads;

int __wrap_pthread_create(pthread_t *ret_thread, const pthread_attr_t *attr, void *(*fn)(void *arg),
			  void *arg)
{
	return no_threads ? EAGAIN : __real_pthread_create(ret_thread, attr, fn, arg);
}

/* In the sandbox no other loop could be made. */
static void test_loop_outlives_a_lack_of_threads(void)
{
	g_autoptr(GError) err = NULL;

	threads = queue_threads_new(DEPTH, RING_COMMANDS | RING_BUFFERS);
	g_assert_cmpint(queue_threads_prepare(threads, 1, NULL), ==, 0);
	no_threads = true;
	g_assert_null(queue_threads_get(threads, 0, NULL, &err));
	g_assert_cmpint(err->code, ==, EAGAIN);
	no_threads = false;
	g_assert_nonnull(queue_threads_get(threads, 0, NULL, NULL));
	queue_threads_free(threads);
}

/* Of the thread that the devices share, and of the one that gets memory for it. */
static unsigned count_seals(bool is_sealed)
{
	creator_is_sealed = is_sealed;
	seals = 0;
	set_up();
	for (unsigned i = 0; i < DEVICES; i++)
		ask(&devices[i], 1);
	for (unsigned i = 0; i < DEVICES; i++)
		wait_until(&devices[i].answers, 1);
	tear_down();
	return seals;
}

/* A thread has the restrictions of its creator from its beginning. */
static void test_threads_are_sealed_once(void)
{
	g_assert_cmpuint(count_seals(false), ==, 2);
	g_assert_cmpuint(count_seals(true), ==, 0);
	creator_is_sealed = false;
}

static void test_places_have_buffers_of_their_own(void)
{
	int first, second;

	threads = queue_threads_new(128, RING_COMMANDS | RING_BUFFERS);
	first = queue_threads_take_place(threads);
	second = queue_threads_take_place(threads);
	g_assert_cmpint(first, !=, second);
	g_assert_cmpuint(queue_threads_first_buffer(threads, first) + 128, ==,
			 queue_threads_first_buffer(threads, second));
	g_assert_true(queue_threads_have_buffers(threads, second, 128));
	/* It would reach into the next one's. */
	g_assert_false(queue_threads_have_buffers(threads, second, 129));
	queue_threads_put_place(threads, first);
	g_assert_cmpint(queue_threads_take_place(threads), ==, first);
	/* A ring has 16384. */
	g_assert_true(queue_threads_have_buffers(threads, 127, 128));
	g_assert_false(queue_threads_have_buffers(threads, 128, 128));
	while (queue_threads_take_place(threads) >= 0)
		;
	queue_threads_free(threads);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/queue-threads/all-are-served", test_all_are_served);
	g_test_add_func("/queue-threads/one-that-hangs",
			test_one_that_hangs_does_not_stop_the_others);
	g_test_add_func("/queue-threads/come-and-go", test_queues_come_and_go);
	g_test_add_func("/queue-threads/give-back", test_idle_threads_give_back);
	g_test_add_func("/queue-threads/give-back-under-load", test_giving_back_under_load);
	g_test_add_func("/queue-threads/memory-comes-later", test_memory_comes_later);
	g_test_add_func("/queue-threads/list-of-stacks", test_list_of_stacks_is_there);
	g_test_add_func("/queue-threads/one-that-is-given-up-outlives-the-thread",
			test_one_that_is_given_up_outlives_the_thread);
	g_test_add_func("/queue-threads/others-can-run-something-on-the-thread",
			test_others_can_run_something_on_the_thread);
	g_test_add_func("/queue-threads/sealed-once", test_threads_are_sealed_once);
	g_test_add_func("/queue-threads/places", test_places_have_buffers_of_their_own);
	g_test_add_func("/queue-threads/loop-outlives-a-lack-of-threads",
			test_loop_outlives_a_lack_of_threads);
	return leave_scratch(folder, g_test_run());
}
