// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a queue does when memory is short, and when it is not. The kernel's nbd.ko is played here,
 * on the other end of a socket; reads of the image wait until they are let go; and so does whoever
 * asks the kernel for memory.
 */
#include <endian.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "disk.h"
#include "grower.h"
#include "image-test.h"
#include "nbd_protocol.h"
#include "queue.h"

#define DEPTH	 64u
/* What queue.c always has memory for. */
#define RESERVED 8u
#define SMALL	 4096u
#define LARGE	 (128u << 10)

#define LONG_NS	 UINT64_C(3600000000000)

/* ---- reads, and memory, that wait ---- */

static struct thread_lock lock = THREAD_LOCK_INIT;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
/* Guarded by lock. */
static unsigned in_flight, most_in_flight;
static bool reads_wait, memory_waits, no_memory;
static unsigned stacks_made, data_grows, stacks_refused;

static struct image *top;
/* Only the queue's thread uses them. */
static struct coroutine *waiting[DEPTH];
static unsigned nr_waiting;
static struct aio_loop *queue_loop;

int __real_image_co_pread(struct image *img, uint64_t off, size_t bytes, void *buf);
int __wrap_image_co_pread(struct image *img, uint64_t off, size_t bytes, void *buf);
struct coroutine *__real_co_stack_new(void);
struct coroutine *__wrap_co_stack_new(void);
void __real_data_grow(struct data_path *data);
void __wrap_data_grow(struct data_path *data);

static bool begin_read(void)
{
	bool waits;

	thread_lock(&lock);
	queue_loop = aio_loop_current();
	in_flight++;
	most_in_flight = MAX(most_in_flight, in_flight);
	waits = reads_wait;
	pthread_cond_broadcast(&changed);
	thread_unlock(&lock);
	return waits;
}

int __wrap_image_co_pread(struct image *img, uint64_t off, size_t bytes, void *buf)
{
	int res;

	/* Not those of nodes below. */
	if (img != top)
		return __real_image_co_pread(img, off, bytes, buf);
	if (begin_read()) {
		waiting[nr_waiting++] = co_self();
		co_yield();
	}
	res = __real_image_co_pread(img, off, bytes, buf);
	thread_lock(&lock);
	in_flight--;
	thread_unlock(&lock);
	return res;
}

static void wait_for_memory(unsigned *counter)
{
	thread_lock(&lock);
	while (memory_waits)
		pthread_cond_wait(&changed, &lock.mutex);
	++*counter;
	pthread_cond_broadcast(&changed);
	thread_unlock(&lock);
}

struct coroutine *__wrap_co_stack_new(void)
{
	bool refuses;

	thread_lock(&lock);
	refuses = no_memory;
	stacks_refused += refuses;
	pthread_cond_broadcast(&changed);
	thread_unlock(&lock);
	if (refuses)
		return NULL;
	wait_for_memory(&stacks_made);
	return __real_co_stack_new();
}

void __wrap_data_grow(struct data_path *data)
{
	wait_for_memory(&data_grows);
	__real_data_grow(data);
}

static void hold(bool reads, bool memory)
{
	thread_lock(&lock);
	reads_wait = reads;
	memory_waits = memory;
	most_in_flight = stacks_made = data_grows = 0;
	pthread_cond_broadcast(&changed);
	thread_unlock(&lock);
}

static void wait_for(const unsigned *value, unsigned expected)
{
	thread_lock(&lock);
	while (*value < expected)
		pthread_cond_wait(&changed, &lock.mutex);
	thread_unlock(&lock);
}

static unsigned value_of(const unsigned *value)
{
	unsigned found;

	thread_lock(&lock);
	found = *value;
	thread_unlock(&lock);
	return found;
}

static void let_reads_go_co(void *unused)
{
	while (nr_waiting)
		co_wake(waiting[--nr_waiting]);
}

/* Those that wait, and all that come later. */
static void let_reads_go(void)
{
	thread_lock(&lock);
	reads_wait = false;
	thread_unlock(&lock);
	co_start_on(queue_loop, let_reads_go_co, NULL);
}

static void set_no_memory(bool none)
{
	thread_lock(&lock);
	no_memory = none;
	stacks_refused = 0;
	thread_unlock(&lock);
}

static void let_memory_go(void)
{
	thread_lock(&lock);
	memory_waits = false;
	pthread_cond_broadcast(&changed);
	thread_unlock(&lock);
}

/* ---- the kernel ---- */

static int kernel;
static bool heard; /* an answer */

static void ask(unsigned type, uint64_t cookie, uint32_t length)
{
	struct nbd_request wire = {
		.magic = htobe32(NBD_REQUEST_MAGIC),
		.type = htobe16(type),
		.cookie = cookie,
		.length = htobe32(length),
	};

	g_assert_cmpint(write(kernel, &wire, sizeof(wire)), ==, sizeof(wire));
}

static void hear(void *data, size_t bytes)
{
	/* Work of this thread's io_uring may end a call early. */
	while (bytes) {
		ssize_t got = recv(kernel, data, bytes, 0);

		g_assert_cmpint(got, >, 0);
		data = (uint8_t *)data + got;
		bytes -= got;
	}
}

static void expect_read(uint32_t length)
{
	struct nbd_simple_reply reply = { 0 };
	g_autofree uint8_t *data = g_malloc(length);
	/* The beginning of the first answer was sent before. */
	size_t skip = heard ? 0 : sizeof(reply.magic);

	hear((uint8_t *)&reply + skip, sizeof(reply) - skip);
	heard = true;
	g_assert_cmpuint(reply.error, ==, 0);
	hear(data, length);
}

static void ask_many(unsigned nr, uint32_t length)
{
	for (unsigned i = 0; i < nr; i++)
		ask(NBD_CMD_READ, i, length);
}

static void expect_many(unsigned nr, uint32_t length)
{
	for (unsigned i = 0; i < nr; i++)
		expect_read(length);
}

/* ---- the queue ---- */

struct scene {
	struct aio_loop *loop; /* the main thread's */
	struct image *image;
	struct disk *disk;
	struct queue *queue;
	int event_fd, ours;
};

static void open_co(void *arg)
{
	struct scene *scene = arg;

	co_create_ok("disk", "raw", 1 << 20, NULL, NULL);
	scene->image = co_open_ok("disk", "raw", IMAGE_RDWR);
}

static void close_co(void *arg)
{
	struct scene *scene = arg;

	g_assert_cmpint(image_co_close(scene->image), ==, 0);
	g_unlink("disk");
}

/* @late: the image is opened after the queue has begun. */
static void begin(struct scene *scene, bool late)
{
	static const struct hold_policy hold_nothing;
	static const struct request_limits no_limits;
	struct queue_config config = {
		.driver = &transport_queues_nbd,
		.depth = DEPTH,
		.max_io_bytes = LARGE,
		.data = DATA_COPY,
		.hold = &hold_nothing,
		.limits = &no_limits,
	};
	g_autoptr(GError) err = NULL;
	int fds[2];

	scene->loop = aio_loop_new(64, NULL);
	aio_loop_run_co(scene->loop, open_co, scene);
	top = scene->image;
	config.disk = scene->disk = disk_new(late ? NULL : scene->image);
	config.event_fd = scene->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
	kernel = fds[0];
	heard = false;
	scene->ours = config.char_fd = fds[1];
	config.loop = queue_new_loop(config.driver, config.depth, config.data, NULL);
	scene->queue = queue_new(&config, &err);
	g_assert_no_error(err);
	g_assert_cmpint(queue_wait_ready(scene->queue, &err), ==, 0);
}

static void set_up(struct scene *scene)
{
	begin(scene, false);
}

static void tear_down(struct scene *scene)
{
	ask(NBD_CMD_DISC, 0, 0);
	queue_wait(scene->queue);
	queue_free(scene->queue);
	disk_free(scene->disk);
	top = NULL;
	aio_loop_run_co(scene->loop, close_co, scene);
	aio_loop_free(scene->loop);
	close(scene->event_fd);
	close(scene->ours);
	close(kernel);
}

/* ---- tests ---- */

/* All requests are served, though there is no memory for more at a time. */
static void test_goes_on_without_memory(void)
{
	struct scene scene;

	grower_set_period_ns(LONG_NS);
	hold(true, true);
	set_up(&scene);
	ask_many(DEPTH, SMALL);
	wait_for(&in_flight, RESERVED);
	let_reads_go();
	expect_many(DEPTH, SMALL);
	g_assert_cmpuint(value_of(&most_in_flight), ==, RESERVED);
	g_assert_cmpuint(value_of(&stacks_made), ==, 0);
	/* The memory that was asked for comes too late, and the queue ends. */
	let_memory_go();
	tear_down(&scene);
}

/* Large ones, too. */
static void test_large_requests_do_not_wait(void)
{
	struct scene scene;

	grower_set_period_ns(LONG_NS);
	hold(false, true);
	set_up(&scene);
	for (unsigned i = 0; i < DEPTH; i++) {
		ask_many(1, LARGE);
		expect_many(1, LARGE);
	}
	let_memory_go();
	wait_for(&data_grows, 1);
	tear_down(&scene);
	g_assert_cmpuint(value_of(&data_grows), ==, 1);
}

/* With memory, as many are served at a time as there are. */
static void test_grows(void)
{
	struct scene scene;

	grower_set_period_ns(LONG_NS);
	hold(true, false);
	set_up(&scene);
	for (unsigned round = 0; round < 3; round++) {
		hold(true, false);
		ask_many(DEPTH, SMALL);
		wait_for(&in_flight, DEPTH);
		/* The memory is kept for the next time. */
		g_assert_cmpuint(value_of(&stacks_made), ==, round ? 0 : DEPTH - RESERVED);
		let_reads_go();
		expect_many(DEPTH, SMALL);
	}
	tear_down(&scene);
}

/* While there is no memory, it is tried now and then, and found once it is there. */
static void test_tries_again(void)
{
	gint64 begin_us = g_get_monotonic_time();
	struct scene scene;

	grower_set_period_ns(LONG_NS);
	hold(true, false);
	set_no_memory(true);
	set_up(&scene);
	ask_many(DEPTH, SMALL);
	wait_for(&in_flight, RESERVED);
	wait_for(&stacks_refused, 5);
	g_assert_cmpint(g_get_monotonic_time() - begin_us, >=, 4 * 50000);
	g_assert_cmpuint(value_of(&most_in_flight), ==, RESERVED);
	set_no_memory(false);
	wait_for(&in_flight, DEPTH);
	let_reads_go();
	expect_many(DEPTH, SMALL);
	tear_down(&scene);
}

/* An idle queue gives back what it has got, and gets it again. */
static void test_shrinks_when_idle(void)
{
	struct scene scene;

	grower_set_period_ns(1000000);
	hold(true, false);
	set_up(&scene);
	for (unsigned round = 0; round < 3; round++) {
		unsigned made;

		do {
			hold(true, false);
			ask_many(DEPTH, SMALL);
			wait_for(&in_flight, DEPTH);
			made = value_of(&stacks_made);
			let_reads_go();
			expect_many(DEPTH, SMALL);
			/* Until it has been idle for two looks of the grower. */
			g_usleep(3000);
		} while (round && !made);
	}
	tear_down(&scene);
}

/* A device that is taken over may have requests before its image has been opened. */
static void test_waits_for_the_image(void)
{
	struct scene scene;

	grower_set_period_ns(LONG_NS);
	hold(false, false);
	begin(&scene, true);
	ask_many(DEPTH, SMALL);
	g_usleep(50000);
	g_assert_cmpuint(value_of(&most_in_flight), ==, 0);
	disk_set_image(scene.disk, scene.image);
	expect_many(DEPTH, SMALL);
	tear_down(&scene);
}

/* It could not be opened: the next server gets them, even if they are all that the queue can take.
 */
static void test_leaves_without_an_image(void)
{
	struct scene scene;

	grower_set_period_ns(LONG_NS);
	hold(false, false);
	begin(&scene, true);
	ask_many(DEPTH, SMALL);
	while (!queue_requests(scene.queue))
		g_usleep(1000);
	queue_release_held(scene.queue, SERVE_FAILS);
	tear_down(&scene);
	g_assert_cmpuint(value_of(&most_in_flight), ==, 0);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/queue-memory/goes-on-without", test_goes_on_without_memory);
	g_test_add_func("/queue-memory/large-requests", test_large_requests_do_not_wait);
	g_test_add_func("/queue-memory/grows", test_grows);
	g_test_add_func("/queue-memory/tries-again", test_tries_again);
	g_test_add_func("/queue-memory/shrinks-when-idle", test_shrinks_when_idle);
	g_test_add_func("/queue-memory/waits-for-the-image", test_waits_for_the_image);
	g_test_add_func("/queue-memory/leaves-without-an-image", test_leaves_without_an_image);
	return leave_scratch(folder, g_test_run());
}
