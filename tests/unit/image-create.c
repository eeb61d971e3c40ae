// SPDX-License-Identifier: GPL-2.0-or-later
/* Creating images: a request that is refused changes nothing. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image-test.h"

#define MIB (1024 * 1024)

static uint64_t size_on_disk(const char *name)
{
	struct stat st;

	g_assert_cmpint(stat(name, &st), ==, 0);
	return st.st_size;
}

static uint64_t space_on_disk(const char *name)
{
	struct stat st;

	g_assert_cmpint(stat(name, &st), ==, 0);
	return st.st_blocks * 512;
}

/* Expects an error with these words, and no new file. */
static void co_create_fails(const char *name, const char *format,
			    const struct image_create_opts *opts, int code, const char *words)
{
	bool existed = g_file_test(name, G_FILE_TEST_EXISTS);
	g_autoptr(GError) err = NULL;

	g_assert_cmpint(image_co_create(name, format, opts, NULL, &err), ==, -code);
	g_assert_error(err, UBD_ERROR, code);
	if (!strstr(err->message, words))
		g_error("'%s' does not say '%s'", err->message, words);
	g_assert_true(g_file_test(name, G_FILE_TEST_EXISTS) == existed);
}

static struct image_create_opts with_option(const char *name, const char *value)
{
	GHashTable *options = g_hash_table_new(g_str_hash, g_str_equal);

	g_hash_table_insert(options, (char *)name, (char *)value);
	return (struct image_create_opts){ .size = MIB, .size_given = true, .options = options };
}

/* ---- raw ---- */

CO_TEST(test_raw_has_whole_sectors)
{
	struct image_create_opts opts = { .size = 1000, .size_given = true };
	uint64_t size;

	g_assert_cmpint(image_co_create("raw", "raw", &opts, &size, NULL), ==, 0);
	g_assert_cmpuint(size, ==, 1000);
	g_assert_cmpuint(size_on_disk("raw"), ==, 1024);
	opts.size = 0;
	g_assert_cmpint(image_co_create("raw", "raw", &opts, NULL, NULL), ==, 0);
	g_assert_cmpuint(size_on_disk("raw"), ==, 0);
}

CO_TEST(test_raw_preallocation)
{
	static const char *const modes[] = { "off", "falloc", "full" };

	for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
		struct image_create_opts opts = with_option("preallocation", modes[i]);

		opts.size = 3 * MIB - 512;
		g_assert_cmpint(image_co_create("pre", "raw", &opts, NULL, NULL), ==, 0);
		g_assert_cmpuint(size_on_disk("pre"), ==, 3 * MIB - 512);
		if (i == 0)
			g_assert_cmpuint(space_on_disk("pre"), <, MIB);
		else
			g_assert_cmpuint(space_on_disk("pre"), >=, 3 * MIB - 512);
		g_hash_table_destroy(opts.options);
	}
}

/* ---- existing files ---- */

CO_TEST(test_an_existing_image_is_replaced)
{
	struct image *img;
	char byte = 'x';

	co_create_ok("old", "raw", 2 * MIB, NULL, NULL);
	img = co_open_ok("old", "raw", IMAGE_RDWR);
	g_assert_cmpint(image_co_pwrite(img, 0, 1, &byte, 0), ==, 0);
	image_co_close(img);
	co_create_ok("old", "raw", MIB, NULL, NULL);
	img = co_open_ok("old", "raw", 0);
	g_assert_cmpuint(image_size(img), ==, MIB);
	g_assert_cmpint(image_co_pread(img, 0, 1, &byte), ==, 0);
	g_assert_cmpint(byte, ==, 0);
	image_co_close(img);
}

/* A mistake in the request does not destroy the existing image. */
CO_TEST(test_bad_requests_do_not_empty_a_file)
{
	struct image_create_opts opts = { .size = MIB, .size_given = true };
	struct image_create_opts bad_name = with_option("colour", "red");
	struct image_create_opts bad_value = with_option("preallocation", "some");

	write_file("precious", "data", 4);
	co_create_fails("precious", "raw", &bad_name, EINVAL, "Invalid parameter 'colour'");
	co_create_fails("precious", "raw", &bad_value, EINVAL, "does not accept value 'some'");
	co_create_fails("precious", "vmdk", &opts, EINVAL, "Unknown driver 'vmdk'");
	opts.size = UINT64_MAX;
	co_create_fails("precious", "raw", &opts, EFBIG, "the size of");
	opts.size_given = false;
	co_create_fails("precious", "raw", &opts, EINVAL, "Image creation needs a size parameter");
	opts.backing_filename = "missing";
	opts.backing_format = "raw";
	co_create_fails("precious", "qcow2", &opts, ENOENT, "No such file");
	g_assert_cmpuint(size_on_disk("precious"), ==, 4);
	g_hash_table_destroy(bad_name.options);
	g_hash_table_destroy(bad_value.options);
}

CO_TEST(test_places_where_no_file_can_be)
{
	struct image_create_opts opts = { .size = MIB, .size_given = true };

	co_create_fails(".", "raw", &opts, EISDIR, "Is a directory");
	co_create_fails("no/folder", "raw", &opts, ENOENT, "No such file");
	co_create_fails("/dev/null", "raw", &opts, EINVAL, "character device");
	co_create_fails("null:1G", "raw", &opts, ENOTSUP, "does not support image creation");
	co_create_fails("rbd:x", "raw", &opts, EINVAL, "Unknown protocol");
}

/* The file is created, cannot get its size, and is removed. */
CO_TEST(test_a_failure_leaves_no_file)
{
	struct image_create_opts opts = { .size = 4 * MIB, .size_given = true };
	struct rlimit before, limit;

	g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &before), ==, 0);
	limit = before;
	limit.rlim_cur = MIB;
	g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &limit), ==, 0);
	co_create_fails("huge", "raw", &opts, EFBIG, "4194304 bytes: File too large");
	write_file("huge", "data", 4);
	co_create_fails("huge", "raw", &opts, EFBIG, "4194304 bytes: File too large");
	g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &before), ==, 0);
}

/* ---- backing files ---- */

CO_TEST(test_the_backing_file_gives_the_size)
{
	struct image_create_opts opts = { .backing_filename = "b.raw", .backing_format = "raw" };
	uint64_t size;

	co_create_ok("b.raw", "raw", 3 * MIB, NULL, NULL);
	g_assert_cmpint(image_co_create("b.top", "qcow2", &opts, &size, NULL), ==, 0);
	g_assert_cmpuint(size, ==, 3 * MIB);
}

CO_TEST(test_backing_files_that_are_refused)
{
	struct image_create_opts opts = { .size = MIB,
					  .size_given = true,
					  .backing_filename = "b" };

	co_create_ok("b", "raw", MIB, NULL, NULL);
	co_create_fails("r.top", "qcow2", &opts, EINVAL, "without backing format");
	opts.backing_format = "vmdk";
	co_create_fails("r.top", "qcow2", &opts, EINVAL, "Unknown driver 'vmdk'");
	opts.backing_format = "raw";
	co_create_fails("r.top", "raw", &opts, ENOTSUP,
			"Backing file not supported for file format 'raw'");
	opts.backing_filename = "";
	co_create_fails("r.top", "qcow2", &opts, EINVAL, "got empty string");
	opts.backing_filename = "missing";
	co_create_fails("r.top", "qcow2", &opts, ENOENT, "No such file");
	/* Unless the backing file is not checked. */
	co_create_ok("r.unchecked", "qcow2", MIB, "missing", "raw");
}

CO_TEST(test_loops_are_refused)
{
	struct image_create_opts opts = { .size = MIB,
					  .size_given = true,
					  .backing_filename = "l.base",
					  .backing_format = "qcow2" };

	co_create_ok("l.base", "qcow2", MIB, NULL, NULL);
	co_create_ok("l.top", "qcow2", 0, "l.base", "qcow2");
	g_assert_cmpint(symlink("l.base", "l.link"), ==, 0);
	co_create_fails("l.base", "qcow2", &opts, ELOOP, "the same filename as the backing file");
	opts.backing_filename = "l.link";
	co_create_fails("l.base", "qcow2", &opts, ELOOP, "the same filename as the backing file");
	opts.backing_filename = "l.top";
	co_create_fails("l.base", "qcow2", &opts, ELOOP, "in the backing chain of 'l.top'");
	opts.backing_unchecked = true;
	opts.backing_filename = "l.new";
	co_create_fails("l.new", "qcow2", &opts, ELOOP, "the same filename as the backing file");
	/* Under another name, although the file does not exist yet. */
	opts.backing_filename = "./l.new";
	co_create_fails("l.new", "qcow2", &opts, ELOOP, "the same filename as the backing file");
	opts.backing_filename = "file:l.new";
	co_create_fails("l.new", "qcow2", &opts, ELOOP, "the same filename as the backing file");
	opts.options = g_hash_table_new(g_str_hash, g_str_equal);
	g_hash_table_insert(opts.options, (void *)"data_file", (void *)"./l.new");
	co_create_fails("l.top2", "qcow2", &opts, ELOOP,
			"its data file cannot be its backing file");
	g_hash_table_unref(opts.options);
	image_co_close(co_open_ok("l.top", NULL, 0));
}

/* ---- what is available ---- */

static bool has_option(const char *format, const char *name)
{
	return image_has_option(image_create_options(format), name);
}

static void test_formats_and_options(void)
{
	g_assert_true(g_strv_contains(image_formats(), "raw"));
	g_assert_true(g_strv_contains(image_formats(), "qcow2"));
	g_assert_true(image_has_option(image_file_create_options(), "preallocation"));
	g_assert_true(has_option("qcow2", "cluster_size"));
	g_assert_false(has_option("raw", "cluster_size"));
	g_assert_null(image_create_options("vmdk"));
}

static _Atomic bool abandoned;

static void note_abandoned(const struct image_begun_file *file, bool wipe)
{
	abandoned = true;
}

static void *make_slowly(void *arg)
{
	static const struct bottom_ops bottom = { .abandon = note_abandoned };
	struct image_begun *begun = arg;

	g_usleep(50000);
	begun->files[0].bottom = &bottom;
	begun->nr = 1;
	begun->making = false;
	return NULL;
}

/* A signal handler must not miss a file that a worker has created but not yet listed. */
static void test_abandoning_waits_for_a_file_that_is_made(void)
{
	struct image_begun begun = { .making = true };
	GThread *worker = g_thread_new("worker", make_slowly, &begun);

	image_begun_abandon(&begun);
	g_assert_true(abandoned);
	g_thread_join(worker);
}

int main(int argc, char **argv)
{
	char *scratch;

	g_test_init(&argc, &argv, NULL);
	scratch = enter_scratch();
	/* Exceeding the limit of a test is an error and does not end the process. */
	signal(SIGXFSZ, SIG_IGN);
	g_test_add_func("/create/raw-has-whole-sectors", test_raw_has_whole_sectors);
	g_test_add_func("/create/raw-preallocation", test_raw_preallocation);
	g_test_add_func("/create/an-existing-image-is-replaced",
			test_an_existing_image_is_replaced);
	g_test_add_func("/create/bad-requests-do-not-empty-a-file",
			test_bad_requests_do_not_empty_a_file);
	g_test_add_func("/create/places-where-no-file-can-be", test_places_where_no_file_can_be);
	g_test_add_func("/create/a-failure-leaves-no-file", test_a_failure_leaves_no_file);
	g_test_add_func("/create/abandoning-waits-for-a-file-that-is-made",
			test_abandoning_waits_for_a_file_that_is_made);
	g_test_add_func("/create/the-backing-file-gives-the-size",
			test_the_backing_file_gives_the_size);
	g_test_add_func("/create/backing-files-that-are-refused",
			test_backing_files_that_are_refused);
	g_test_add_func("/create/loops-are-refused", test_loops_are_refused);
	g_test_add_func("/create/formats-and-options", test_formats_and_options);
	return leave_scratch(scratch, g_test_run());
}
