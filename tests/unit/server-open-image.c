// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The image that a server opens, while others give its name to another file: all openings of a
 * start are of one file.
 */
#include "image-test.h"
#include "open_image.h"
#include "policy.h"

#define SIZE (1 << 20)

static struct options options = {
	.filename = (char *)"image",
	.format = (char *)"qcow2",
	.policy = { .formats_given = true, .places_only = true },
};
static unsigned entered;

/* Of devices, of which there are none. */
int takeover_claim(const struct takeover *takeover, const struct image *file, int *ret_char_fd,
		   GError **err)
{
	g_assert_not_reached();
}

static void co_make(const char *name, const char *backing, const char *data_file)
{
	g_autoptr(GHashTable) words = g_hash_table_new(g_str_hash, g_str_equal);
	const struct image_create_opts opts = {
		.size = SIZE,
		.size_given = true,
		.backing_filename = backing,
		.backing_format = backing ? "qcow2" : NULL,
		.options = words,
	};
	g_autoptr(GError) err = NULL;

	if (data_file)
		g_hash_table_insert(words, (char *)"data_file", (char *)data_file);
	image_co_create(name, "qcow2", &opts, NULL, &err);
	g_assert_no_error(err);
}

/* The name is another file's from now on, as if somebody had waited for this moment. */
static int replace_co(void *arg, struct image *file, int char_fd, GError **err)
{
	entered++;
	g_assert_cmpint(rename("other", "image"), ==, 0);
	return 0;
}

static struct image *co_open(GError **err)
{
	struct takeover takeover = { .options = &options };

	entered = 0;
	return open_image_co(&options, &takeover, NULL, replace_co, NULL, err);
}

static void co_check_refused(const char *reason)
{
	g_autoptr(GError) err = NULL;

	g_assert_null(co_open(&err));
	if (!strstr(err->message, reason))
		g_error("%s: not \"%s\"", err->message, reason);
	g_assert_cmpuint(entered, ==, 1);
}

/* A data file that may not be written to is one for a read-only device, if the image is the same.
 */
CO_TEST(test_second_opening_is_of_the_same_file)
{
	co_make("image", NULL, "data");
	co_make("other", NULL, NULL);
	co_check_refused("image: it was replaced while it was being opened");
}

/* A backing file is only read: to open the image again would not help. */
CO_TEST(test_backing_files_are_no_reason_to_open_again)
{
	co_make("base", NULL, NULL);
	co_make("image", "base", NULL);
	co_make("other", NULL, NULL);
	co_check_refused("Could not open backing file");
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	options.policy.backing.from = options.policy.data_file.from = IMAGE_NAMES_NONE;
	g_test_add_func("/open-image/second-opening-is-of-the-same-file",
			test_second_opening_is_of_the_same_file);
	g_test_add_func("/open-image/backing-files-are-no-reason-to-open-again",
			test_backing_files_are_no_reason_to_open_again);
	return leave_scratch(folder, g_test_run());
}
