// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The space below an image, on a file system that the test plays. Linked with --wrap.
 */
#include <sys/statvfs.h>

#include "image-test.h"

int __wrap_fstatvfs(int fd, struct statvfs *st);
int __wrap_fstatvfs64(int fd, struct statvfs *st);

static fsblkcnt_t blocks_left[8]; /* of 1000, one after another */
static unsigned looks;

int __wrap_fstatvfs(int fd, struct statvfs *st)
{
	*st = (struct statvfs){ .f_frsize = 4096,
				.f_blocks = 1000,
				.f_bfree = 999,
				.f_bavail = blocks_left[looks % 8] };
	looks++;
	return 0;
}

int __wrap_fstatvfs64(int fd, struct statvfs *st)
{
	return __wrap_fstatvfs(fd, st);
}

static void check(const struct image *img, uint64_t blocks)
{
	struct image_space space = image_space(img);

	g_assert_cmpuint(space.free_bytes, ==, blocks * 4096);
	g_assert_cmpuint(space.total_bytes, ==, blocks ? 1000 * 4096 : 0);
}

CO_TEST(test_file)
{
	struct image *img;

	write_file("disk", "", 0);
	img = co_open_ok("disk", "raw", IMAGE_RDWR);
	check(img, 0);
	looks = 0;
	blocks_left[0] = 70;
	image_inspect(img);
	check(img, 70);
	g_assert_cmpint(image_co_close(img), ==, 0);
	/* Nothing is written there. */
	img = co_open_ok("disk", "raw", 0);
	image_inspect(img);
	check(img, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

/* The one that has the smaller part left counts, wherever that is. */
CO_TEST(test_data_file)
{
	g_autoptr(GHashTable) options = g_hash_table_new(g_str_hash, g_str_equal);
	struct image_create_opts opts = { .size = 1 << 20, .size_given = true, .options = options };
	struct image *img;

	g_hash_table_insert(options, (char *)"data_file", (char *)"data");
	g_assert_cmpint(image_co_create("disk", "qcow2", &opts, NULL, NULL), ==, 0);
	img = co_open_ok("disk", "qcow2", IMAGE_RDWR);
	looks = 0;
	blocks_left[0] = 70;
	blocks_left[1] = 30;
	image_inspect(img);
	g_assert_cmpuint(looks, ==, 2);
	check(img, 30);
	looks = 0;
	blocks_left[0] = 20;
	image_inspect(img);
	check(img, 20);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/image-space/file", test_file);
	g_test_add_func("/image-space/data-file", test_data_file);
	return leave_scratch(folder, g_test_run());
}
