// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A file that grows ahead of the writes that append to it: when, how far, and that nothing is left
 * of it. It is linked with --wrap: calls of co_fallocate(), co_pwritev() and fstatfs() come here
 * first.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "image-test.h"

#define MIB (1ull << 20)

static struct {
	unsigned steps, ended;
	uint64_t from, to; /* of the last one */
	uint64_t largest;
	int error; /* of each */
	int write_error;
	bool hold; /* they wait while it is set */
	uint64_t free_bytes;
} kernel;

int __real_co_fallocate(int fd, int mode, uint64_t off, uint64_t bytes);
int __wrap_co_fallocate(int fd, int mode, uint64_t off, uint64_t bytes);
int __wrap_co_fallocate(int fd, int mode, uint64_t off, uint64_t bytes)
{
	int ret;

	if (mode)
		return __real_co_fallocate(fd, mode, off, bytes);
	kernel.steps++;
	kernel.from = off;
	kernel.to = off + bytes;
	kernel.largest = MAX(kernel.largest, bytes);
	while (kernel.hold)
		co_reschedule();
	ret = kernel.error ?: __real_co_fallocate(fd, mode, off, bytes);
	kernel.ended++;
	return ret;
}

ssize_t __real_co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off, int flags);
ssize_t __wrap_co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off, int flags);
ssize_t __wrap_co_pwritev(int fd, const struct iovec *iov, unsigned niov, uint64_t off, int flags)
{
	return kernel.write_error ?: __real_co_pwritev(fd, iov, niov, off, flags);
}

int __wrap_fstatfs64(int fd, struct statfs *fs);
int __wrap_fstatfs64(int fd, struct statfs *fs)
{
	*fs = (struct statfs){ .f_bsize = 4096, .f_bavail = kernel.free_bytes / 4096 };
	return 0;
}

/* ---- helpers ---- */

static void reset_kernel(void)
{
	memset(&kernel, 0, sizeof(kernel));
	kernel.free_bytes = 1ull << 40;
}

static uint64_t size_of(const char *name)
{
	struct stat st;

	g_assert_cmpint(stat(name, &st), ==, 0);
	return st.st_size;
}

static void set_size(const char *name, uint64_t size)
{
	g_assert_cmpint(truncate(name, size), ==, 0);
}

/* A node of a file of @size. */
static struct image *co_new_file(uint64_t size, bool grows)
{
	g_autoptr(GError) err = NULL;
	struct image *img = NULL;

	reset_kernel();
	write_file("file", "", 0);
	set_size("file", size);
	image_co_new_bottom(&image_file_bottom, "file", IMAGE_RDWR, NULL, &img, &err);
	g_assert_no_error(err);
	if (grows)
		g_assert_true(image_grow_ahead(img));
	return img;
}

static void co_append(struct image *img, uint64_t bytes)
{
	uint8_t data[4096];

	memset(data, 'x', sizeof(data));
	g_assert_cmpint(image_co_pwrite(img, image_size(img) + bytes - 4096, 4096, data, 0), ==, 0);
}

/* The step's coroutine, which is of this loop, does not wait between its call and its end. */
static void co_wait_for_step(unsigned nr)
{
	while (kernel.ended < nr)
		co_reschedule();
}

/* ---- growing ---- */

CO_TEST(test_steps_double_up_to_the_largest)
{
	struct image *img = co_new_file(1024 * MIB, true);
	uint64_t bytes = MIB;

	for (unsigned i = 0; i < 8; i++, bytes = MIN(bytes * 2, 64 * MIB)) {
		uint64_t size = image_size(img) + bytes;

		/* Beyond all space: the step starts where the data ends. */
		image_grow(img, i ? kernel.to : size);
		co_append(img, 4096);
		co_wait_for_step(i + 1);
		g_assert_cmpuint(kernel.to, >, image_size(img));
		g_assert_cmpuint(kernel.to - image_size(img), <=, bytes);
		g_assert_cmpuint(kernel.to - image_size(img), >, bytes - MIB);
	}
	g_assert_cmpuint(kernel.largest, >, 63 * MIB);
	g_assert_cmpuint(kernel.largest, <=, IMAGE_MAX_AHEAD);
	image_co_close(img);
}

CO_TEST(test_space_is_asked_for_before_it_is_used_up)
{
	struct image *img = co_new_file(1024 * MIB, true);

	co_append(img, 4096);
	co_wait_for_step(1);
	co_append(img, 4096);
	g_assert_cmpuint(kernel.steps, ==, 1);
	while (image_size(img) < 1025 * MIB - (256 << 10))
		co_append(img, 64 << 10);
	co_wait_for_step(2);
	g_assert_cmpuint(kernel.from, ==, 1025 * MIB);
	image_co_close(img);
}

CO_TEST(test_at_most_an_eighth)
{
	struct image *img = co_new_file(8 * MIB, true);

	co_append(img, 4096);
	co_wait_for_step(1);
	while (image_size(img) < 80 * MIB) {
		co_append(img, 256 << 10);
		for (unsigned i = 0; i < 20; i++)
			co_reschedule();
		g_assert_cmpuint(size_of("file"), <=, image_size(img) / 8 * 9);
	}
	image_co_close(img);
}

CO_TEST(test_a_short_file_does_not)
{
	struct image *img = co_new_file(1 * MIB, true);

	for (unsigned i = 0; i < 64; i++)
		co_append(img, 4096);
	g_assert_cmpuint(size_of("file"), ==, image_size(img));
	image_co_close(img);
	g_assert_cmpuint(kernel.steps, ==, 0);
}

CO_TEST(test_only_if_asked_to)
{
	struct image *img = co_new_file(64 * MIB, false);

	co_append(img, MIB);
	image_co_close(img);
	g_assert_cmpuint(kernel.steps, ==, 0);
}

CO_TEST(test_writes_within_the_file_do_not)
{
	struct image *img = co_new_file(64 * MIB, true);
	uint8_t data[4096] = { 1 };

	g_assert_cmpint(image_co_pwrite(img, 64 * MIB - 4096, 4096, data, 0), ==, 0);
	image_co_close(img);
	g_assert_cmpuint(kernel.steps, ==, 0);
}

CO_TEST(test_the_first_failure_is_the_last_step)
{
	static const int errors[] = { -ENOSPC, -EOPNOTSUPP, -EDQUOT, -EIO };

	for (unsigned i = 0; i < G_N_ELEMENTS(errors); i++) {
		struct image *img = co_new_file(64 * MIB, true);

		kernel.error = errors[i];
		for (unsigned j = 0; j < 64; j++)
			co_append(img, MIB);
		g_assert_cmpint(image_co_flush(img), ==, 0);
		g_assert_cmpint(image_co_close(img), ==, 0);
		g_assert_cmpuint(kernel.steps, ==, 1);
		g_assert_cmpuint(size_of("file"), ==, 128 * MIB);
	}
}

CO_TEST(test_most_of_the_free_space_is_left_to_others)
{
	struct image *img = co_new_file(64 * MIB, true);

	/* Enough for a step of 1 MiB, but not for the next one, of 2 MiB. */
	kernel.free_bytes = 15 * MIB;
	co_append(img, 4096);
	co_wait_for_step(1);
	for (unsigned i = 0; i < 16; i++)
		co_append(img, MIB);
	g_assert_cmpint(image_co_close(img), ==, 0);
	g_assert_cmpuint(kernel.steps, ==, 1);
	g_assert_cmpuint(size_of("file"), ==, 80 * MIB + 4096);
}

/* ---- where the data ends ---- */

CO_TEST(test_close_cuts_it_off)
{
	struct image *img = co_new_file(64 * MIB, true);

	co_append(img, 4096);
	co_wait_for_step(1);
	g_assert_cmpuint(size_of("file"), ==, 65 * MIB);
	g_assert_cmpuint(image_size(img), ==, 64 * MIB + 4096);
	g_assert_cmpint(image_co_refresh_size(img), ==, 0);
	g_assert_cmpuint(image_size(img), ==, 64 * MIB + 4096);
	g_assert_cmpint(image_co_close(img), ==, 0);
	g_assert_cmpuint(size_of("file"), ==, 64 * MIB + 4096);
}

static void let_go_co(void *unused)
{
	for (unsigned i = 0; i < 1000; i++)
		co_reschedule();
	kernel.hold = false;
}

CO_TEST(test_close_waits_for_a_step)
{
	struct image *img = co_new_file(64 * MIB, true);

	kernel.hold = true;
	co_append(img, 4096);
	while (!kernel.steps)
		co_reschedule();
	co_start(let_go_co, NULL);
	g_assert_cmpint(image_co_close(img), ==, 0);
	g_assert_false(kernel.hold);
	g_assert_cmpuint(size_of("file"), ==, 64 * MIB + 4096);
}

CO_TEST(test_a_failed_write_does_not_reach_the_space)
{
	struct image *img = co_new_file(64 * MIB, true);
	uint8_t data[4096] = { 1 };

	co_append(img, 4096);
	co_wait_for_step(1);
	kernel.write_error = -EIO;
	g_assert_cmpint(image_co_pwrite(img, image_size(img), 4096, data, 0), ==, -EIO);
	g_assert_cmpuint(image_size(img), ==, 64 * MIB + 8192);
	g_assert_cmpint(image_co_close(img), ==, 0);
	g_assert_cmpuint(size_of("file"), ==, 64 * MIB + 8192);
}

CO_TEST(test_truncate_waits_for_a_step)
{
	struct image *img = co_new_file(64 * MIB, true);

	kernel.hold = true;
	co_append(img, 4096);
	while (!kernel.steps)
		co_reschedule();
	co_start(let_go_co, NULL);
	g_assert_cmpint(image_co_truncate(img, 32 * MIB), ==, 0);
	g_assert_false(kernel.hold);
	g_assert_cmpuint(size_of("file"), ==, 32 * MIB);
	co_append(img, 4096);
	co_wait_for_step(2);
	g_assert_cmpuint(kernel.from, ==, 32 * MIB + 4096);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

CO_TEST(test_truncate_moves_the_end)
{
	struct image *img = co_new_file(64 * MIB, true);

	co_append(img, 4096);
	co_wait_for_step(1);
	g_assert_cmpint(image_co_truncate(img, 32 * MIB), ==, 0);
	g_assert_cmpuint(size_of("file"), ==, 32 * MIB);
	co_append(img, 4096);
	co_wait_for_step(2);
	g_assert_cmpuint(kernel.from, ==, 32 * MIB + 4096);
	g_assert_cmpint(image_co_close(img), ==, 0);
	g_assert_cmpuint(size_of("file"), ==, 32 * MIB + 4096);
}

/* ---- after a crash ---- */

/* An image whose file ends with data, closed; returns its length. */
static uint64_t co_make_image(void)
{
	struct image *img;
	uint8_t data[65536];

	memset(data, 'd', sizeof(data));
	reset_kernel();
	unlink("disk");
	co_create_ok("disk", "qcow2", 64 * MIB, NULL, NULL);
	img = co_open_ok("disk", "qcow2", IMAGE_RDWR);
	g_assert_cmpint(image_co_pwrite(img, 0, sizeof(data), data, 0), ==, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
	return size_of("disk");
}

static void co_reopen(const char *name, unsigned flags)
{
	g_assert_cmpint(image_co_close(co_open_ok(name, "qcow2", flags)), ==, 0);
}

CO_TEST(test_the_next_writer_cuts_it_off)
{
	uint64_t size = co_make_image();

	set_size("disk", size + 5 * MIB + 1000);
	co_reopen("disk", 0);
	g_assert_cmpuint(size_of("disk"), ==, size + 5 * MIB + 1000);
	co_reopen("disk", IMAGE_RDWR);
	g_assert_cmpuint(size_of("disk"), ==, size);
}

CO_TEST(test_not_if_others_use_it)
{
	uint64_t size = co_make_image();
	struct image *reader;

	set_size("disk", size + MIB);
	reader = co_open_ok("disk", "qcow2", 0);
	co_open_fails("disk", "qcow2", IMAGE_RDWR, EBUSY, "lock");
	image_co_close(reader);
	co_reopen("json:{'driver':'qcow2','file':{'driver':'file','filename':'disk',"
		  "'locking':'off'}}",
		  IMAGE_RDWR);
	g_assert_cmpuint(size_of("disk"), ==, size + MIB);
}

CO_TEST(test_not_more_than_we_can_have_added)
{
	uint64_t size = co_make_image();

	set_size("disk", size + 2 * IMAGE_MAX_AHEAD);
	co_reopen("disk", IMAGE_RDWR);
	g_assert_cmpuint(size_of("disk"), ==, size + 2 * IMAGE_MAX_AHEAD);
}

CO_TEST(test_not_if_switched_off)
{
	uint64_t size = co_make_image();

	set_size("disk", size + MIB);
	co_reopen("json:{'driver':'qcow2','file':{'driver':'file','filename':'disk',"
		  "'grow-ahead':false}}",
		  IMAGE_RDWR);
	g_assert_cmpuint(size_of("disk"), ==, size + MIB);
}

/* Data without a refcount is never cut off, and its clusters do not count as zero. */
CO_TEST(test_no_data_is_cut_off)
{
	uint64_t size = co_make_image();
	g_autofree uint8_t *data = g_malloc(65536);
	int fd = open("disk", O_RDWR);
	struct image *img;

	memset(data, 'o', 65536);
	g_assert_cmpint(pwrite(fd, data, 65536, size), ==, 65536);
	close(fd);
	set_size("disk", size + MIB);
	img = co_open_ok("disk", "qcow2", IMAGE_RDWR);
	g_assert_cmpuint(size_of("disk"), ==, size + 65536);
	g_assert_cmpint(image_co_pwrite(img, 65536, 512, data, 0), ==, 0);
	g_assert_cmpint(image_co_pread(img, 65536, 65536, data), ==, 0);
	for (unsigned i = 512; i < 65536; i++)
		g_assert_cmpint(data[i], ==, 0);
	image_co_close(img);
}

/* Clusters in use may be holes. */
CO_TEST(test_clusters_in_use_are_not_cut_off)
{
	uint64_t size = co_make_image();

	set_size("disk", size - 65536);
	set_size("disk", size + MIB);
	co_reopen("disk", IMAGE_RDWR);
	g_assert_cmpuint(size_of("disk"), ==, size);
}

/* Without a stack for it, no step begins until a later write finds one. Last: see
 * no_stacks_begin(). */
CO_TEST(test_step_takes_no_new_stack)
{
	struct image *img = co_new_file(64 * MIB, true);
	struct no_stacks none;

	no_stacks_begin(&none);
	co_append(img, 4096);
	no_stacks_end(&none, 0);
	g_assert_cmpuint(kernel.ended, ==, 0);
	co_append(img, 4096);
	co_wait_for_step(1);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/ahead/steps-double-up-to-the-largest",
			test_steps_double_up_to_the_largest);
	g_test_add_func("/ahead/space-is-asked-for-before-it-is-used-up",
			test_space_is_asked_for_before_it_is_used_up);
	g_test_add_func("/ahead/at-most-an-eighth", test_at_most_an_eighth);
	g_test_add_func("/ahead/a-short-file-does-not", test_a_short_file_does_not);
	g_test_add_func("/ahead/only-if-asked-to", test_only_if_asked_to);
	g_test_add_func("/ahead/writes-within-the-file-do-not", test_writes_within_the_file_do_not);
	g_test_add_func("/ahead/the-first-failure-is-the-last-step",
			test_the_first_failure_is_the_last_step);
	g_test_add_func("/ahead/most-of-the-free-space-is-left-to-others",
			test_most_of_the_free_space_is_left_to_others);
	g_test_add_func("/ahead/close-cuts-it-off", test_close_cuts_it_off);
	g_test_add_func("/ahead/close-waits-for-a-step", test_close_waits_for_a_step);
	g_test_add_func("/ahead/a-failed-write-does-not-reach-the-space",
			test_a_failed_write_does_not_reach_the_space);
	g_test_add_func("/ahead/truncate-waits-for-a-step", test_truncate_waits_for_a_step);
	g_test_add_func("/ahead/truncate-moves-the-end", test_truncate_moves_the_end);
	g_test_add_func("/ahead/the-next-writer-cuts-it-off", test_the_next_writer_cuts_it_off);
	g_test_add_func("/ahead/not-if-others-use-it", test_not_if_others_use_it);
	g_test_add_func("/ahead/not-more-than-we-can-have-added",
			test_not_more_than_we_can_have_added);
	g_test_add_func("/ahead/not-if-switched-off", test_not_if_switched_off);
	g_test_add_func("/ahead/no-data-is-cut-off", test_no_data_is_cut_off);
	g_test_add_func("/ahead/clusters-in-use-are-not-cut-off",
			test_clusters_in_use_are_not_cut_off);
	g_test_add_func("/ahead/takes-no-new-stack", test_step_takes_no_new_stack);
	return leave_scratch(folder, g_test_run());
}
