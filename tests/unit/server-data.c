// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How data is transferred between driver and image. A file stands in for the driver's: what is
 * written to it at a tag's offset is what the driver would get.
 */
#include <fcntl.h>
#include <unistd.h>

#include "data.h"
#include "data_pool.h"
#include "image-test.h"

#define DEPTH	     8
#define TAG	     5
#define MAX_IO	     (1u << 20)
#define IO_BYTES     (256u << 10)

/* Where this device's entries of the ring's table begin. */
#define FIRST_BUFFER 3

static int char_fd;
static struct data_pool pool;
static uint8_t buf[IO_BYTES];

static struct data_path *new_data(enum data_way way)
{
	const struct data_pool_config pool_config = { .bytes = DATA_POOL_BYTES };
	const struct data_config config = {
		.driver = &transport_queues_ubd,
		.way = way,
		.char_fd = char_fd,
		.depth = DEPTH,
		.max_io_bytes = MAX_IO,
		.pool = &pool,
		.first_buffer = FIRST_BUFFER,
	};
	struct data_path *data = data_new(&config);

	g_assert_cmpint(data_pool_init(&pool, &pool_config), ==, 0);
	g_assert_cmpint(data_allocate(data), ==, 0);
	return data;
}

static void free_data(struct data_path *data)
{
	data_free(data);
	data_pool_destroy(&pool);
}

static struct image *co_new_image(void)
{
	g_unlink("disk");
	co_create_ok("disk", "raw", 4 * MAX_IO, NULL, NULL);
	return co_open_ok("disk", "raw", IMAGE_RDWR);
}

static struct request_desc desc_of(enum request_op op, uint64_t off, uint32_t bytes)
{
	return (struct request_desc){ .op = op, .guest_off = off, .bytes = bytes };
}

/* The driver has registered its pages in the ring. */
static struct request_desc registered_desc_of(enum request_op op, uint64_t off, uint32_t bytes)
{
	struct request_desc desc = desc_of(op, off, bytes);

	desc.registered = true;
	return desc;
}

static void assert_all(const uint8_t *at, char byte)
{
	for (unsigned i = 0; i < IO_BYTES; i++)
		g_assert_cmphex(at[i], ==, byte);
}

CO_TEST(test_copy_uses_the_tags_buffer)
{
	struct data_path *data = new_data(DATA_COPY);
	struct image *img = co_new_image();
	struct request_desc desc = desc_of(REQUEST_WRITE, MAX_IO, IO_BYTES);
	uint8_t *mine = (uint8_t *)(uintptr_t)data_fetch_addr(data, TAG);

	g_assert_cmpuint(data_fetch_addr(data, TAG + 1), ==, (uintptr_t)mine + MAX_IO);
	memset(mine, 'c', IO_BYTES);
	g_assert_cmpint(data_co_write(data, TAG, &desc, img, 0), ==, 0);
	g_assert_cmpint(image_co_pread(img, MAX_IO, IO_BYTES, buf), ==, 0);
	assert_all(buf, 'c');
	desc = desc_of(REQUEST_READ, 2 * MAX_IO, IO_BYTES);
	g_assert_cmpint(data_co_read(data, TAG, &desc, img), ==, 0);
	assert_all(mine, 0);
	g_assert_cmpuint(data_stats(data).copied, ==, 2);
	free_data(data);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

CO_TEST(test_user_copy_moves_data_by_the_file)
{
	struct data_path *data = new_data(DATA_USER_COPY);
	struct image *img = co_new_image();
	struct request_desc desc = desc_of(REQUEST_WRITE, MAX_IO, IO_BYTES);

	g_assert_cmpuint(data_fetch_addr(data, TAG), ==, 0);
	memset(buf, 'w', IO_BYTES);
	g_assert_cmpint(pwrite(char_fd, buf, IO_BYTES, transport_queues_ubd.data_off(0, TAG)), ==,
			IO_BYTES);
	g_assert_cmpint(data_co_write(data, TAG, &desc, img, 0), ==, 0);
	memset(buf, 0, IO_BYTES);
	g_assert_cmpint(image_co_pread(img, MAX_IO, IO_BYTES, buf), ==, 0);
	assert_all(buf, 'w');

	desc = desc_of(REQUEST_READ, MAX_IO, IO_BYTES);
	g_assert_cmpint(data_co_read(data, TAG + 1, &desc, img), ==, 0);
	memset(buf, 0, IO_BYTES);
	g_assert_cmpint(pread(char_fd, buf, IO_BYTES, transport_queues_ubd.data_off(0, TAG + 1)),
			==, IO_BYTES);
	assert_all(buf, 'w');
	g_assert_cmpuint(data_stats(data).copied, ==, 2);
	free_data(data);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

/* The driver has less than the request says: the request is gone. */
CO_TEST(test_short_copies_fail_the_request)
{
	struct data_path *data = new_data(DATA_USER_COPY);
	struct image *img = co_new_image();
	struct request_desc desc = desc_of(REQUEST_WRITE, 0, IO_BYTES);

	g_assert_cmpint(ftruncate(char_fd, transport_queues_ubd.data_off(0, TAG) + 512), ==, 0);
	g_assert_cmpint(data_co_write(data, TAG, &desc, img, 0), ==, -EIO);
	free_data(data);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

/* More requests at once than the tags have shared memory for: some wait for the others. */
struct reader {
	struct data_path *data;
	struct image *img;
	unsigned tag;
	unsigned *left;
};

static void reader_co(void *arg)
{
	struct reader *reader = arg;
	struct request_desc desc = desc_of(REQUEST_READ, 0, MAX_IO);

	g_assert_cmpint(data_co_read(reader->data, reader->tag, &desc, reader->img), ==, 0);
	(*reader->left)--;
}

CO_TEST(test_tags_share_memory)
{
	struct data_path *data = new_data(DATA_USER_COPY);
	struct image *img = co_new_image();
	struct reader readers[DEPTH];
	unsigned left = DEPTH;

	for (unsigned tag = 0; tag < DEPTH; tag++) {
		readers[tag] = (struct reader){ data, img, tag, &left };
		co_start(reader_co, &readers[tag]);
	}
	while (left)
		co_reschedule();
	g_assert_cmpuint(data_stats(data).copied, ==, DEPTH);
	free_data(data);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

/*
 * Data that no file can transfer is copied: zeroes for a READ of a null image, nothing for a WRITE
 * to it. A request that the driver could not register is copied as a whole.
 */
static void zero_copy_co(void *arg)
{
	struct data_path *data = arg;
	struct image *img = co_open_ok("null:4M", "raw", IMAGE_RDWR);
	struct request_desc read = registered_desc_of(REQUEST_READ, 0, IO_BYTES);
	struct request_desc write = registered_desc_of(REQUEST_WRITE, 0, IO_BYTES);
	struct request_desc other = desc_of(REQUEST_READ, 0, IO_BYTES);

	g_assert_cmpuint(data_fetch_addr(data, TAG), ==, FIRST_BUFFER + TAG);
	memset(buf, '?', IO_BYTES);
	g_assert_cmpint(pwrite(char_fd, buf, IO_BYTES, transport_queues_ubd.data_off(0, TAG)), ==,
			IO_BYTES);
	g_assert_cmpint(data_co_read(data, TAG, &read, img), ==, 0);
	g_assert_cmpint(pread(char_fd, buf, IO_BYTES, transport_queues_ubd.data_off(0, TAG)), ==,
			IO_BYTES);
	assert_all(buf, 0);
	g_assert_cmpint(data_co_write(data, TAG, &write, img, 0), ==, 0);
	g_assert_cmpuint(data_stats(data).copied, ==, 1);
	g_assert_cmpuint(data_stats(data).zero_copy, ==, 1);
	g_assert_cmpint(data_co_read(data, TAG, &other, img), ==, 0);
	g_assert_cmpuint(data_stats(data).copied, ==, 2);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

static void test_zero_copy_copies_what_it_must(void)
{
	struct aio_loop *loop = aio_loop_new(64, NULL);
	struct data_path *data = new_data(DATA_ZERO_COPY);

	g_assert_cmpint(aio_loop_make_buffers(loop, FIRST_BUFFER + DEPTH), ==, 0);
	aio_loop_run_co(loop, zero_copy_co, data);
	free_data(data);
	aio_loop_free(loop);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();
	int status;

	char_fd = open("char", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	g_assert_cmpint(char_fd, >=, 0);
	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/data/copy-uses-the-tags-buffer", test_copy_uses_the_tags_buffer);
	g_test_add_func("/data/user-copy-moves-data-by-the-file",
			test_user_copy_moves_data_by_the_file);
	g_test_add_func("/data/short-copies-fail-the-request", test_short_copies_fail_the_request);
	g_test_add_func("/data/tags-share-memory", test_tags_share_memory);
	g_test_add_func("/data/zero-copy-copies-what-it-must", test_zero_copy_copies_what_it_must);
	status = g_test_run();
	close(char_fd);
	return leave_scratch(folder, status);
}
