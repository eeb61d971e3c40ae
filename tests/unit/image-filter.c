// SPDX-License-Identifier: GPL-2.0-or-later
/* Nodes on nodes: a filter between a format and its file, and a format on a format. */
#include "image-test.h"

#define CLUSTER 65536

/* ---- a filter that swaps the halves of each byte; holes stay zero ---- */

static unsigned nr_writes, nr_flushes;

static void exchange(uint8_t *data, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes; i++)
		data[i] = data[i] << 4 | data[i] >> 4;
}

static int filter_co_open(struct image *img, const struct image_open_opts *opts, GError **err)
{
	img->size = image_size(img->file);
	img->limits = *image_limits(img->file);
	return 0;
}

static int filter_co_close(struct image *img)
{
	return 0;
}

static int filter_co_preadv(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem)
{
	g_autofree uint8_t *data = g_malloc(bytes);
	int ret = image_co_pread(img->file, off, bytes, data);

	exchange(data, bytes);
	return ret ?: iobuf_copy_in(mem, data, bytes);
}

static int filter_co_pwritev(struct image *img, uint64_t off, uint64_t bytes, struct iobuf mem,
			     unsigned flags)
{
	g_autofree uint8_t *data = g_malloc(bytes);
	int ret = iobuf_copy_out(data, mem, bytes);

	nr_writes++;
	exchange(data, bytes);
	ret = ret ?: image_co_pwrite(img->file, off, bytes, data, flags);
	if (!ret && off + bytes > img->size)
		img->size = off + bytes;
	return ret;
}

static int filter_co_flush(struct image *img)
{
	nr_flushes++;
	return image_co_flush(img->file);
}

static int filter_co_truncate(struct image *img, uint64_t size)
{
	img->size = size;
	return image_co_truncate(img->file, size);
}

static int filter_co_refresh_size(struct image *img)
{
	int ret = image_co_refresh_size(img->file);

	img->size = image_size(img->file);
	return ret;
}

static const struct format_ops filter_ops = {
	.io = {
		.name = "filter",
		.grows = true,
		.co_close = filter_co_close,
		.co_preadv = filter_co_preadv,
		.co_pwritev = filter_co_pwritev,
		.co_flush = filter_co_flush,
		.co_truncate = filter_co_truncate,
		.co_refresh_size = filter_co_refresh_size,
	},
	.co_open = filter_co_open,
};

/* ---- helpers ---- */

static struct image *co_new_filter(const char *filename, unsigned flags)
{
	g_autoptr(GError) err = NULL;
	struct image *img = NULL;

	if (!image_co_open_bottom(filename, flags, &img, &err))
		image_co_new_format(&filter_ops, img, flags, &img, &err);
	g_assert_no_error(err);
	return img;
}

static struct image *co_open_filtered(unsigned flags)
{
	struct image_open_opts opts = { .flags = flags };
	g_autoptr(GError) err = NULL;
	struct image *img = NULL;

	image_co_open_on(co_new_filter("image", flags), &opts, &img, &err);
	g_assert_no_error(err);
	return img;
}

/* A qcow2 image that can only be read through the filter. */
static void make_image(void)
{
	g_autofree char *data = NULL;
	gsize bytes;

	g_assert_cmpint(system("qemu-img create -q -f qcow2 image 1M"), ==, 0);
	g_assert_true(g_file_get_contents("image", &data, &bytes, NULL));
	exchange((uint8_t *)data, bytes);
	write_file("image", data, bytes);
}

static void check_bytes(struct image *img, uint64_t off, uint64_t bytes, uint8_t expected)
{
	g_autofree uint8_t *data = g_malloc(bytes);

	g_assert_cmpint(image_co_pread(img, off, bytes, data), ==, 0);
	for (uint64_t i = 0; i < bytes; i++)
		g_assert_cmphex(data[i], ==, expected);
}

/* ---- tests ---- */

CO_TEST(test_qcow2_on_a_filter)
{
	const size_t bytes = 2 * CLUSTER;
	g_autofree uint8_t *data = g_malloc(bytes);
	struct image_check_result result;
	struct image *img;

	make_image();
	nr_writes = nr_flushes = 0;
	img = co_open_filtered(IMAGE_RDWR);
	/* Its header was read through the filter, and the file grows through it. */
	g_assert_cmpstr(image_format(img), ==, "qcow2");
	memset(data, 0x5a, bytes);
	g_assert_cmpint(image_co_pwrite(img, CLUSTER / 2, bytes, data, 0), ==, 0);
	g_assert_cmpint(image_co_flush(img), ==, 0);
	g_assert_cmpuint(nr_writes, >, 0);
	g_assert_cmpuint(nr_flushes, >, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);

	img = co_open_filtered(0);
	check_bytes(img, CLUSTER / 2, bytes, 0x5a);
	check_bytes(img, 0, CLUSTER / 2, 0);
	g_assert_cmpint(image_co_check(img, NULL, NULL, &result), ==, 0);
	g_assert_cmpuint(result.corruptions + result.leaks + result.check_errors, ==, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

CO_TEST(test_what_is_known_of_the_file)
{
	struct image *img;
	struct file_id id;

	make_image();
	img = co_open_filtered(IMAGE_RDWR);
	id = image_co_file_id("image");
	g_assert_true(id.known);
	g_assert_true(image_chain_has_file(img, &id));
	g_assert_cmpint(image_co_allocated_bytes(img), >, 0);
	g_assert_cmpuint(image_troubles(img), ==, 0);
	g_assert_cmpint(g_unlink("image"), ==, 0);
	image_inspect(img);
	g_assert_cmpuint(image_troubles(img), ==, IMAGE_TROUBLE_DELETED);
	g_assert_cmpstr(image_troubled_file(img, IMAGE_TROUBLE_DELETED), ==, "image");
	g_assert_cmpint(image_co_close(img), ==, 0);
}

/* Also for a filter that no format stands on. */
CO_TEST(test_memory)
{
	g_autoptr(GError) err = NULL;
	struct image *filter, *img;
	uint64_t left;

	make_image();
	filter = co_new_filter("image", 0);
	left = image_memory_left(filter);
	g_assert_cmpuint(left, ==, IMAGE_DEFAULT_MEMORY_LIMIT);
	g_assert_cmpint(image_memory_take(filter, left + 1, "it", &err), ==, -EFBIG);
	g_assert_cmpint(image_memory_take(filter, 4096, "it", NULL), ==, 0);
	g_assert_cmpuint(image_memory_left(filter), ==, left - 4096);
	/* A filter on a filter: they share the account, whichever is closed first. */
	g_clear_error(&err);
	g_assert_cmpint(image_co_new_format(&filter_ops, filter, 0, &img, &err), ==, 0);
	g_assert_cmpuint(image_memory_left(img), ==, left - 4096);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

/* The lock that keeps writers out is taken on the bottom. */
CO_TEST(test_writers_are_kept_out)
{
	struct image_open_opts opts = { .flags = IMAGE_BEAR_WRITERS };
	g_autoptr(GError) err = NULL;
	struct image *writer, *img = NULL;

	make_image();
	writer = co_open_filtered(IMAGE_RDWR);
	g_assert_cmpint(
		image_co_open_on(co_new_filter("image", IMAGE_BEAR_WRITERS), &opts, &img, &err), ==,
		-EBUSY);
	g_assert_null(img);
	g_assert_cmpint(image_co_close(writer), ==, 0);
	g_assert_cmpint(
		image_co_open_on(co_new_filter("image", IMAGE_BEAR_WRITERS), &opts, &img, NULL), ==,
		0);
	co_open_fails("image", "raw", IMAGE_RDWR, EBUSY, "image");
	g_assert_cmpint(image_co_close(img), ==, 0);
}

CO_TEST(test_raw_on_qcow2)
{
	struct image_open_opts opts = { .format = "raw", .flags = IMAGE_RDWR };
	g_autofree uint8_t *data = g_malloc(CLUSTER);
	struct image *img = NULL;

	co_create_ok("inner", "qcow2", 1 << 20, NULL, NULL);
	g_assert_cmpint(
		image_co_open_on(co_open_ok("inner", "qcow2", IMAGE_RDWR), &opts, &img, NULL), ==,
		0);
	g_assert_cmpuint(image_size(img), ==, 1 << 20);
	memset(data, 0x33, CLUSTER);
	g_assert_cmpint(image_co_pwrite(img, 12345, CLUSTER, data, IMAGE_REQ_FUA), ==, 0);
	/* Writes do not make the image below grow; a resize does. */
	g_assert_cmpint(image_co_pwrite(img, 1 << 20, 512, data, 0), ==, -EIO);
	g_assert_cmpint(image_co_resize(img, 2 << 20, IMAGE_PREALLOC_OFF, NULL), ==, 0);
	g_assert_cmpint(image_co_pwrite(img, 1 << 20, 512, data, 0), ==, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);

	img = co_open_ok("inner", "qcow2", 0);
	g_assert_cmpuint(image_size(img), ==, 2 << 20);
	check_bytes(img, 12345, CLUSTER, 0x33);
	check_bytes(img, 1 << 20, 512, 0x33);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

int main(int argc, char **argv)
{
	char *scratch;

	g_test_init(&argc, &argv, NULL);
	scratch = enter_scratch();
	g_test_add_func("/filter/qcow2-on-a-filter", test_qcow2_on_a_filter);
	g_test_add_func("/filter/what-is-known-of-the-file", test_what_is_known_of_the_file);
	g_test_add_func("/filter/memory", test_memory);
	g_test_add_func("/filter/writers-are-kept-out", test_writers_are_kept_out);
	g_test_add_func("/filter/raw-on-qcow2", test_raw_on_qcow2);
	return leave_scratch(scratch, g_test_run());
}
