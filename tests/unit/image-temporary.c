// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Temporary overlays: they leave nothing behind, do not touch their base, and are complete when
 * they get a name. The __wrap functions simulate a kernel without O_TMPFILE, and failures.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image-test.h"
#include "temporary.h"

#define MIB (1024 * 1024)

static bool no_tmpfile;
static int fsync_error;
/* A copy of the file, as it was when it got its name. */
static bool was_linked;

int __real_open(const char *name, int flags, ...);
int __wrap_open(const char *name, int flags, ...);
int __wrap_open64(const char *name, int flags, ...);
int __real_openat(int folder, const char *name, int flags, ...);
int __wrap_openat(int folder, const char *name, int flags, ...);
int __wrap_openat64(int folder, const char *name, int flags, ...);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_linkat(int from, const char *old, int to, const char *name, int flags);
int __wrap_linkat(int from, const char *old, int to, const char *name, int flags);

static bool is_refused(int flags)
{
	if (!no_tmpfile || (flags & O_TMPFILE) != O_TMPFILE)
		return false;
	errno = EOPNOTSUPP;
	return true;
}

#define MODE_OF(flags, mode)                                                                       \
	do {                                                                                       \
		va_list args;                                                                      \
		va_start(args, flags);                                                             \
		mode = (flags) & (O_CREAT | O_TMPFILE) ? va_arg(args, int) : 0;                    \
		va_end(args);                                                                      \
	} while (0)

int __wrap_open(const char *name, int flags, ...)
{
	int mode;

	MODE_OF(flags, mode);
	return is_refused(flags) ? -1 : __real_open(name, flags, mode);
}

int __wrap_open64(const char *name, int flags, ...)
{
	int mode;

	MODE_OF(flags, mode);
	return is_refused(flags) ? -1 : __real_open(name, flags, mode);
}

int __wrap_openat(int folder, const char *name, int flags, ...)
{
	int mode;

	MODE_OF(flags, mode);
	return is_refused(flags) ? -1 : __real_openat(folder, name, flags, mode);
}

int __wrap_openat64(int folder, const char *name, int flags, ...)
{
	int mode;

	MODE_OF(flags, mode);
	return is_refused(flags) ? -1 : __real_openat(folder, name, flags, mode);
}

int __wrap_fsync(int fd)
{
	errno = fsync_error;
	return fsync_error ? -1 : __real_fsync(fd);
}

static void copy_file(const char *from, const char *to)
{
	g_autofree char *data = NULL;
	gsize len;

	g_assert_true(g_file_get_contents(from, &data, &len, NULL));
	write_file(to, data, len);
}

int __wrap_linkat(int from, const char *old, int to, const char *name, int flags)
{
	copy_file(old, "at-link");
	was_linked = true;
	return __real_linkat(from, old, to, name, flags);
}

/* ---- what the tests share ---- */

static unsigned files_in(const char *folder)
{
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	unsigned nr = 0;

	while (g_dir_read_name(dir))
		nr++;
	return nr;
}

static struct image *co_open_overlay(struct image_temporary *temporary, const char *base,
				     const char *format)
{
	g_autofree char *name = g_canonicalize_filename(base, NULL);
	struct image_open_opts opts = { .flags = IMAGE_RDWR | IMAGE_UNMAP };
	g_autoptr(GError) err = NULL;
	struct image *img = NULL;

	g_assert_nonnull(temporary);
	image_temporary_co_open(temporary, co_open_ok(base, format, 0), name, &opts, &img, &err);
	g_assert_no_error(err);
	return img;
}

static void co_fill(struct image *img, int byte, uint64_t off, uint64_t bytes)
{
	g_autofree void *buf = g_malloc(bytes);

	memset(buf, byte, bytes);
	g_assert_cmpint(image_co_pwrite(img, off, bytes, buf, 0), ==, 0);
}

static void co_expect(struct image *img, int byte, uint64_t off, uint64_t bytes)
{
	g_autofree unsigned char *buf = g_malloc(bytes);

	g_assert_cmpint(image_co_pread(img, off, bytes, buf), ==, 0);
	for (uint64_t i = 0; i < bytes; i++)
		g_assert_cmpint(buf[i], ==, byte);
}

/* A read-only base with a pattern; its contents are compared at the end. */
static void co_make_base(const char *name, const char *format)
{
	struct image *img;

	co_create_ok(name, format, MIB, NULL, NULL);
	img = co_open_ok(name, format, IMAGE_RDWR);
	co_fill(img, 0x11, 0, MIB);
	g_assert_cmpint(image_co_close(img), ==, 0);
	copy_file(name, "base-before");
	g_assert_cmpint(chmod(name, 0444), ==, 0);
	no_tmpfile = false;
	fsync_error = 0;
	was_linked = false;
}

static void assert_same_files(const char *a, const char *b)
{
	g_autofree char *data_a = NULL, *data_b = NULL;
	gsize len_a, len_b;

	g_assert_true(g_file_get_contents(a, &data_a, &len_a, NULL));
	g_assert_true(g_file_get_contents(b, &data_b, &len_b, NULL));
	g_assert_cmpmem(data_a, len_a, data_b, len_b);
}

static void clean_up(void)
{
	g_assert_cmpint(system("rm -rf ./*"), ==, 0);
}

/* ---- overlays that are not kept ---- */

static void co_write_and_forget(const char *format)
{
	struct image_temporary *temporary;
	struct image *img;

	g_assert_cmpint(mkdir("temporary", 0755), ==, 0);
	co_make_base("base", format);
	temporary = image_temporary_new("temporary", NULL);
	img = co_open_overlay(temporary, "base", format);
	g_assert_cmpuint(image_size(img), ==, MIB);
	g_assert_false(image_is_read_only(img));
	co_fill(img, 0x22, 65536 + 512, 1024);
	g_assert_cmpint(image_co_pdiscard(img, 5 * 65536, 65536), ==, 0);
	g_assert_cmpint(image_co_flush(img), ==, 0);
	co_expect(img, 0x11, 65536, 512);
	co_expect(img, 0x22, 65536 + 512, 1024);
	co_expect(img, 0x11, 65536 + 512 + 1024, 65536);
	co_expect(img, 0, 5 * 65536, 65536);
	g_assert_cmpuint(files_in("temporary"), ==, 0);
	image_inspect(img);
	g_assert_cmpuint(image_troubles(img), ==, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
	image_temporary_free(temporary);
	g_assert_cmpuint(files_in("temporary"), ==, 0);
	assert_same_files("base", "base-before");
	clean_up();
}

CO_TEST(test_leaves_nothing)
{
	co_write_and_forget("qcow2");
	co_write_and_forget("raw");
}

CO_TEST(test_leaves_nothing_without_tmpfile)
{
	struct image_temporary *temporary;
	struct image *img;

	g_assert_cmpint(mkdir("temporary", 0755), ==, 0);
	co_make_base("base", "qcow2");
	no_tmpfile = true;
	temporary = image_temporary_new("temporary", NULL);
	img = co_open_overlay(temporary, "base", "qcow2");
	g_assert_cmpuint(files_in("temporary"), ==, 0);
	co_fill(img, 0x22, 0, 512);
	co_expect(img, 0x22, 0, 512);
	co_expect(img, 0x11, 512, 512);
	g_assert_cmpint(image_co_close(img), ==, 0);
	image_temporary_free(temporary);
	g_assert_cmpuint(files_in("temporary"), ==, 0);
	clean_up();
}

CO_TEST(test_many_on_one_base)
{
	struct image_temporary *temporary[8];
	struct image *img[8];

	co_make_base("base", "qcow2");
	for (int i = 0; i < 8; i++) {
		temporary[i] = image_temporary_new(".", NULL);
		img[i] = co_open_overlay(temporary[i], "base", "qcow2");
		co_fill(img[i], i, i * 65536, 65536);
	}
	/* Nobody may change what is below them, with any right to the file. */
	g_assert_cmpint(chmod("base", 0644), ==, 0);
	co_open_fails("base", "qcow2", IMAGE_RDWR, EBUSY, "lock");
	for (int i = 0; i < 8; i++) {
		co_expect(img[i], i, i * 65536, 65536);
		co_expect(img[i], 0x11, ((i + 1) % 8) * 65536, 65536);
		g_assert_cmpint(image_co_close(img[i]), ==, 0);
		image_temporary_free(temporary[i]);
	}
	assert_same_files("base", "base-before");
	clean_up();
}

/* As on any image, though nothing need be durable. */
CO_TEST(test_discards_give_space_back)
{
	struct image_temporary *temporary;
	struct image *img;
	int64_t full;

	co_make_base("base", "qcow2");
	temporary = image_temporary_new(".", NULL);
	img = co_open_overlay(temporary, "base", "qcow2");
	co_fill(img, 0x22, 0, MIB);
	/* With the metadata. */
	g_assert_cmpint(image_co_flush(img), ==, 0);
	full = image_co_allocated_bytes(img);
	g_assert_cmpint(full, >=, MIB);
	g_assert_cmpint(image_co_pdiscard(img, 0, MIB), ==, 0);
	g_assert_cmpint(image_co_flush(img), ==, 0);
	while (image_co_allocated_bytes(img) > full - MIB)
		co_sleep_ns(1000000);
	co_expect(img, 0, 0, MIB);
	g_assert_cmpint(image_co_close(img), ==, 0);
	image_temporary_free(temporary);
	clean_up();
}

/* The rest of the last sector reads as zeroes, and can be written. */
CO_TEST(test_base_of_odd_size)
{
	struct image_temporary *temporary;
	struct image *img;

	write_file("base", "x", 1);
	temporary = image_temporary_new(".", NULL);
	img = co_open_overlay(temporary, "base", "raw");
	g_assert_cmpuint(image_size(img), ==, 512);
	co_expect(img, 'x', 0, 1);
	co_expect(img, 0, 1, 511);
	co_fill(img, 'y', 511, 1);
	co_expect(img, 'x', 0, 1);
	co_expect(img, 'y', 511, 1);
	g_assert_cmpint(image_co_close(img), ==, 0);
	image_temporary_free(temporary);
	clean_up();
}

static void test_missing_folder(void)
{
	g_autoptr(GError) err = NULL;

	g_assert_null(image_temporary_new("missing", &err));
	g_assert_error(err, UBD_ERROR, ENOENT);
	g_assert_nonnull(strstr(err->message, "missing"));
}

/* ---- overlays that are kept ---- */

static struct image_temporary *new_kept(const char *name)
{
	g_autoptr(GError) err = NULL;
	struct image_temporary *temporary = image_temporary_new_kept(name, &err);

	g_assert_no_error(err);
	return temporary;
}

/* Opens one, writes to it, and closes it as one that will be kept. */
static void co_write_to_keep(struct image_temporary *temporary, const char *format)
{
	struct image *img = co_open_overlay(temporary, "base", format);

	co_fill(img, 0x22, 65536 + 512, 1024);
	co_fill(img, 0x33, MIB - 512, 512);
	image_end_no_flush(img);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

static void co_check_kept(const char *name, const char *base_format)
{
	g_autofree char *base = g_canonicalize_filename("base", NULL);
	struct image_check_result result;
	struct image *img = co_open_ok(name, "qcow2", IMAGE_RDWR);
	struct image_info info = {};

	co_expect(img, 0x11, 0, 65536 + 512);
	co_expect(img, 0x22, 65536 + 512, 1024);
	co_expect(img, 0x33, MIB - 512, 512);
	g_assert_cmpint(image_co_get_info(img, &info, NULL), ==, 0);
	g_assert_cmpstr(info.backing_filename, ==, base);
	g_assert_cmpstr(info.backing_format, ==, base_format);
	image_info_clear(&info);
	g_assert_cmpint(image_co_check(img, NULL, NULL, &result), ==, 0);
	g_assert_cmpuint(result.corruptions + result.leaks + result.check_errors, ==, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

static void co_keep_one(const char *format)
{
	struct image_temporary *temporary;
	g_autoptr(GError) err = NULL;
	g_autofree char *name = NULL;

	g_assert_cmpint(mkdir("folder", 0755), ==, 0);
	co_make_base("base", format);
	temporary = new_kept("folder/kept");
	g_assert_cmpint(image_temporary_check_keep(temporary, NULL), ==, 0);
	co_write_to_keep(temporary, format);
	g_assert_cmpuint(files_in("folder"), ==, 0);
	g_assert_cmpint(image_temporary_co_keep(temporary, &name, &err), ==, 0);
	g_assert_cmpstr(name, ==, "folder/kept");
	image_temporary_free(temporary);
	co_check_kept("folder/kept", format);
	assert_same_files("base", "base-before");
	clean_up();
}

CO_TEST(test_keeps)
{
	co_keep_one("qcow2");
	co_keep_one("raw");
}

/* Whatever happens after the file gets its name, nothing is missing from it. */
CO_TEST(test_is_complete_when_it_gets_its_name)
{
	struct image_temporary *temporary;
	g_autofree char *name = NULL;

	co_make_base("base", "qcow2");
	temporary = new_kept("kept");
	co_write_to_keep(temporary, "qcow2");
	g_assert_false(was_linked);
	g_assert_cmpint(image_temporary_co_keep(temporary, &name, NULL), ==, 0);
	g_assert_true(was_linked);
	image_temporary_free(temporary);
	assert_same_files("kept", "at-link");
	co_check_kept("at-link", "qcow2");
	clean_up();
}

CO_TEST(test_what_is_not_durable_gets_no_name)
{
	struct image_temporary *temporary;
	g_autoptr(GError) err = NULL;
	g_autofree char *name = NULL;

	co_make_base("base", "qcow2");
	temporary = new_kept("kept");
	co_write_to_keep(temporary, "qcow2");
	fsync_error = EIO;
	g_assert_cmpint(image_temporary_co_keep(temporary, &name, &err), ==, -EIO);
	g_assert_nonnull(strstr(err->message, "kept"));
	g_assert_false(was_linked);
	g_assert_false(g_file_test("kept", G_FILE_TEST_EXISTS));
	image_temporary_free(temporary);
	clean_up();
}

static void refuse_kept(const char *name, int code, const char *words)
{
	g_autoptr(GError) err = NULL;

	g_assert_null(image_temporary_new_kept(name, &err));
	g_assert_error(err, UBD_ERROR, code);
	if (!strstr(err->message, words) || !strstr(err->message, name))
		g_error("'%s' does not say '%s' of %s", err->message, words, name);
}

static void test_refuses_to_overwrite(void)
{
	write_file("here", "x", 1);
	g_assert_cmpint(symlink("nowhere", "link"), ==, 0);
	refuse_kept("here", EEXIST, "exists");
	refuse_kept("./here", EEXIST, "exists");
	refuse_kept("link", EEXIST, "exists");
	refuse_kept("missing/name", ENOENT, "No such file");
	refuse_kept("here/name", ENOTDIR, "Not a directory");
	refuse_kept("./", EINVAL, "not the name of a file");
	no_tmpfile = true;
	refuse_kept("new", ENOTSUP, "O_TMPFILE");
	no_tmpfile = false;
	g_assert_false(g_file_test("new", G_FILE_TEST_EXISTS));
	clean_up();
}

CO_TEST(test_a_name_that_was_taken)
{
	struct image_temporary *temporary;
	g_autofree char *name = NULL, *contents = NULL;

	co_make_base("base", "qcow2");
	temporary = new_kept("kept");
	co_write_to_keep(temporary, "qcow2");
	write_file("kept", "somebody else's", 15);
	write_file("kept.1", "", 0);
	g_assert_cmpint(image_temporary_co_keep(temporary, &name, NULL), ==, 0);
	g_assert_cmpstr(name, ==, "kept.2");
	image_temporary_free(temporary);
	co_check_kept("kept.2", "qcow2");
	g_assert_true(g_file_get_contents("kept", &contents, NULL, NULL));
	g_assert_cmpstr(contents, ==, "somebody else's");
	clean_up();
}

/* As after dropping privileges: creating the file needed root's. */
static void test_a_folder_of_somebody_else(void)
{
	struct image_temporary *temporary;
	g_autoptr(GError) err = NULL;

	if (geteuid() != 0) {
		g_test_skip("needs root");
		return;
	}
	g_assert_cmpint(chmod(".", 0755), ==, 0);
	temporary = new_kept("kept");
	g_assert_cmpint(image_temporary_check_keep(temporary, &err), ==, 0);
	g_assert_cmpint(seteuid(65534), ==, 0);
	g_assert_cmpint(image_temporary_check_keep(temporary, &err), ==, -EACCES);
	g_assert_nonnull(strstr(err->message, "kept"));
	g_assert_cmpint(seteuid(0), ==, 0);
	image_temporary_free(temporary);
}

int main(int argc, char **argv)
{
	char *folder;

	g_test_init(&argc, &argv, NULL);
	folder = enter_scratch();
	g_test_add_func("/temporary/leaves-nothing", test_leaves_nothing);
	g_test_add_func("/temporary/leaves-nothing-without-tmpfile",
			test_leaves_nothing_without_tmpfile);
	g_test_add_func("/temporary/many-on-one-base", test_many_on_one_base);
	g_test_add_func("/temporary/discards-give-space-back", test_discards_give_space_back);
	g_test_add_func("/temporary/base-of-odd-size", test_base_of_odd_size);
	g_test_add_func("/temporary/missing-folder", test_missing_folder);
	g_test_add_func("/temporary/keeps", test_keeps);
	g_test_add_func("/temporary/complete-when-named", test_is_complete_when_it_gets_its_name);
	g_test_add_func("/temporary/not-durable", test_what_is_not_durable_gets_no_name);
	g_test_add_func("/temporary/refuses-to-overwrite", test_refuses_to_overwrite);
	g_test_add_func("/temporary/name-was-taken", test_a_name_that_was_taken);
	g_test_add_func("/temporary/folder-of-somebody-else", test_a_folder_of_somebody_else);
	return leave_scratch(folder, g_test_run());
}
