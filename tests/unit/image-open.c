// SPDX-License-Identifier: GPL-2.0-or-later
/* Opening images: what is refused and with which message, probing, chains. */
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "image-test.h"

#define MIB (1024 * 1024)

/* ---- files that are not images ---- */

CO_TEST(test_missing_file)
{
	co_open_fails("missing", NULL, 0, ENOENT, "No such file");
	co_open_fails("missing", NULL, IMAGE_RDWR, ENOENT, "No such file");
	co_open_fails("no/such/folder", NULL, 0, ENOENT, "No such file");
	co_open_fails("", NULL, 0, ENOENT, "requires a file name");
}

CO_TEST(test_wrong_kind_of_file)
{
	g_assert_cmpint(mkdir("folder", 0755), ==, 0);
	g_assert_cmpint(mkfifo("pipe", 0644), ==, 0);
	co_open_fails("folder", NULL, 0, EISDIR, "it is a directory");
	co_open_fails("folder", NULL, IMAGE_RDWR, EISDIR, "it is a directory");
	/* Opening a pipe does not wait for a writer. */
	co_open_fails("pipe", NULL, 0, EINVAL, "it is a pipe");
	co_open_fails("/dev/null", NULL, IMAGE_RDWR, EINVAL, "it is a character device");
}

CO_TEST(test_no_permission)
{
	struct image *img;

	if (geteuid() == 0)
		g_assert_cmpint(seteuid(65534), ==, 0);
	co_open_fails("secret", NULL, 0, EACCES, "Permission denied");
	co_open_fails("readable", NULL, IMAGE_RDWR, EACCES, "to read and write");
	image_co_close(co_open_ok("readable", NULL, 0));
	co_open_fails("json:{\"driver\":\"raw\",\"file.filename\":\"readable\"}", NULL, IMAGE_RDWR,
		      EACCES, "to read and write");
	img = co_open_ok("json:{\"driver\":\"raw\",\"auto-read-only\":true,"
			 "\"file.filename\":\"readable\",\"file.node-name\":\"f\"}",
			 NULL, IMAGE_RDWR);
	g_assert_true(image_is_read_only(img));
	image_co_close(img);
	g_assert_cmpint(seteuid(getuid()), ==, 0);
}

/* On any file system: the time is by our clock, or unknown. */
CO_TEST(test_when_a_file_was_changed)
{
	struct image *img;
	int64_t changed;
	struct stat st;

	write_file("file", "x", 1);
	g_assert_cmpint(stat("file", &st), ==, 0);
	img = co_open_ok("file", "raw", 0);
	changed = image_file_changed_ns(img);
	if (changed)
		g_assert_cmpint(changed, ==, st.st_ctim.tv_sec * 1000000000LL + st.st_ctim.tv_nsec);
	image_co_close(img);

	img = co_open_ok("null:1M", NULL, 0);
	g_assert_cmpint(image_file_changed_ns(img), ==, 0);
	image_co_close(img);
}

static void test_no_permission_for_root(void)
{
	write_file("secret", "x", 1);
	write_file("readable", "x", 1);
	g_assert_cmpint(chmod("secret", 0), ==, 0);
	g_assert_cmpint(chmod("readable", 0444), ==, 0);
	g_assert_cmpint(chmod(".", 0755), ==, 0);
	test_no_permission();
}

CO_TEST(test_unknown_protocol)
{
	co_open_fails("rbd:pool", NULL, 0, EINVAL, "Unknown protocol 'rbd'");
	co_open_fails("null:", NULL, 0, EINVAL, "null:SIZE");
	co_open_fails("null:12x", NULL, 0, EINVAL, "null:SIZE");
	co_open_fails("null:-1", NULL, 0, EINVAL, "null:SIZE");
	co_open_fails("null:99999999999T", NULL, 0, EINVAL, "null:SIZE");
}

CO_TEST(test_unknown_format)
{
	struct image_open_opts opts = { .format = "vmdk" };
	g_autoptr(GError) err = NULL;
	struct image *img;

	write_file("x", "x", 1);
	g_assert_cmpint(image_co_open("x", &opts, &img, &err), ==, -EINVAL);
	g_assert_cmpstr(err->message, ==, "Could not open 'x': Unknown driver 'vmdk'");
}

/* Even if a file name contains newlines. */
CO_TEST(test_errors_are_one_line)
{
	g_autoptr(GError) err = NULL;
	struct image *img;

	g_assert_cmpint(image_co_open("a\nb\033[1m", NULL, &img, &err), ==, -ENOENT);
	g_assert_cmpstr(err->message, ==, "Could not open 'a?b?[1m': No such file or directory");
}

/* ---- raw and null ---- */

CO_TEST(test_an_empty_file_is_raw)
{
	struct image *img;

	write_file("empty", "", 0);
	img = co_open_ok("empty", NULL, 0);
	g_assert_cmpstr(image_format(img), ==, "raw");
	g_assert_cmpuint(image_size(img), ==, 0);
	image_co_close(img);
	co_open_fails("empty", "qcow2", 0, EINVAL, "");
}

/* A disk has whole sectors, but no padding of larger blocks stays behind in the file. */
CO_TEST(test_raw_of_an_odd_size)
{
	static const unsigned modes[] = { 0, IMAGE_DIRECT };
	char data[1536], back[1536];
	struct stat st;

	memset(data, 'o', sizeof(data));
	for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
		struct image *img;

		write_file("odd", data, 1025);
		img = co_open_ok("odd", "raw", modes[i] | IMAGE_RDWR);
		g_assert_cmpuint(image_size(img), ==, 1536);
		g_assert_cmpint(image_co_pread(img, 0, 1536, back), ==, 0);
		g_assert_cmpmem(back, 1025, data, 1025);
		g_assert_true(buffer_is_zero(back + 1025, 511));
		g_assert_cmpint(image_co_pwrite(img, 1535, 1, "n", 0), ==, 0);
		g_assert_cmpint(image_co_close(img), ==, 0);
		g_assert_cmpint(stat("odd", &st), ==, 0);
		g_assert_cmpuint(st.st_size, ==, 1536);
		img = co_open_ok("odd", "raw", modes[i]);
		g_assert_cmpint(image_co_pread(img, 0, 1536, back), ==, 0);
		g_assert_cmpmem(back, 1025, data, 1025);
		g_assert_cmpint(back[1535], ==, 'n');
		image_co_close(img);
	}
}

/* Otherwise the user of a disk could choose a backing file for the next open. */
CO_TEST(test_a_guessed_raw_image_stays_raw)
{
	static const char header[] = "QFI\373\0\0\0\003";
	struct image *img;

	co_create_ok("guess", "raw", MIB, NULL, NULL);
	img = co_open_ok("guess", NULL, IMAGE_RDWR);
	g_assert_cmpint(image_co_pwrite(img, 0, 8, header, 0), ==, -EPERM);
	/* Nor in two steps. */
	g_assert_cmpint(image_co_pwrite(img, 4, 4, header + 4, 0), ==, 0);
	g_assert_cmpint(image_co_pwrite(img, 0, 4, header, 0), ==, -EPERM);
	g_assert_cmpint(image_co_pwrite(img, 512, 8, header, 0), ==, 0);
	g_assert_cmpint(image_co_pwrite(img, 0, 8, "no magic", 0), ==, 0);
	image_co_close(img);
	/* If raw was asked for, the guest may write anything. */
	img = co_open_ok("guess", "raw", IMAGE_RDWR);
	g_assert_cmpint(image_co_pwrite(img, 0, 8, header, 0), ==, 0);
	image_co_close(img);
}

CO_TEST(test_null)
{
	struct image *img = co_open_ok("null:3M", NULL, IMAGE_RDWR);
	char back[10];

	g_assert_cmpuint(image_size(img), ==, 3 * MIB);
	g_assert_cmpint(image_co_pwrite(img, 3 * MIB - 10, 10, "0123456789", 0), ==, 0);
	g_assert_cmpint(image_co_pread(img, 3 * MIB - 10, 10, back), ==, 0);
	g_assert_true(buffer_is_zero(back, 10));
	g_assert_cmpint(image_co_pread(img, 3 * MIB - 9, 10, back), ==, -EIO);
	image_co_close(img);
}

/* ---- chains ---- */

static void write_byte(const char *name, uint64_t off, char byte)
{
	struct image *img = co_open_ok(name, NULL, IMAGE_RDWR);

	g_assert_cmpint(image_co_pwrite(img, off, 1, &byte, 0), ==, 0);
	g_assert_cmpint(image_co_close(img), ==, 0);
}

static char read_byte(struct image *img, uint64_t off)
{
	char byte;

	g_assert_cmpint(image_co_pread(img, off, 1, &byte), ==, 0);
	return byte;
}

CO_TEST(test_a_chain_is_relative_to_the_overlay)
{
	struct image *img;

	g_assert_cmpint(mkdir("sub", 0755), ==, 0);
	co_create_ok("sub/base", "raw", MIB, NULL, NULL);
	write_byte("sub/base", 0, 'b');
	co_create_ok("sub/middle", "qcow2", 0, "base", "raw");
	co_create_ok("top", "qcow2", 2 * MIB, "sub/middle", "qcow2");
	write_byte("top", 65536, 't');

	img = co_open_ok("top", NULL, IMAGE_RDWR);
	g_assert_cmpuint(image_size(img), ==, 2 * MIB);
	g_assert_cmpstr(image_filename(image_backing(img)), ==, "sub/middle");
	g_assert_cmpstr(image_filename(image_backing(image_backing(img))), ==, "sub/base");
	g_assert_cmpstr(image_format(image_backing(image_backing(img))), ==, "raw");
	g_assert_false(image_is_read_only(img));
	g_assert_true(image_is_read_only(image_backing(img)));
	g_assert_true(image_is_read_only(image_file(image_backing(img))));
	g_assert_cmpint(read_byte(img, 0), ==, 'b');
	g_assert_cmpint(read_byte(img, 65536), ==, 't');
	g_assert_cmpint(read_byte(img, 2 * MIB - 1), ==, 0);
	image_co_close(img);

	img = co_open_ok("top", NULL, IMAGE_NO_BACKING);
	g_assert_null(image_backing(img));
	g_assert_cmpint(read_byte(img, 0), ==, 0);
	image_co_close(img);
}

/* Which layer decides, also beyond the end of a short one. */
CO_TEST(test_block_status_through_a_chain)
{
	struct image *img, *base;
	struct image_extent e;

	co_create_ok("b.base", "qcow2", MIB, NULL, NULL);
	write_byte("b.base", 65536, 'b');
	co_create_ok("b.top", "qcow2", 2 * MIB, "b.base", "qcow2");
	write_byte("b.top", 0, 't');
	img = co_open_ok("b.top", NULL, 0);
	base = image_backing(img);

	g_assert_cmpint(image_co_block_status_chain(img, 0, 2 * MIB, &e), ==, 0);
	g_assert_true(e.layer == img && e.depth == 0 && e.bytes == 65536);
	g_assert_true(e.flags & IMAGE_EXTENT_DATA);
	g_assert_cmpint(image_co_block_status_chain(img, 65536, 2 * MIB - 65536, &e), ==, 0);
	g_assert_true(e.layer == base && e.depth == 1 && e.bytes == 65536);
	g_assert_true(e.flags & IMAGE_EXTENT_DATA);
	g_assert_cmpint(image_co_block_status_chain(img, 131072, 2 * MIB - 131072, &e), ==, 0);
	g_assert_true(e.layer == NULL && e.depth == 1 && e.bytes == MIB - 131072);
	g_assert_cmpuint(e.flags, ==, IMAGE_EXTENT_ZERO);
	g_assert_cmpint(image_co_block_status_chain(img, MIB, MIB, &e), ==, 0);
	g_assert_true(e.layer == base && e.depth == 1 && e.bytes == MIB);
	g_assert_cmpuint(e.flags, ==, IMAGE_EXTENT_ZERO | IMAGE_EXTENT_ALLOCATED);
	image_co_close(img);
}

CO_TEST(test_missing_backing_file)
{
	co_create_ok("orphan", "qcow2", MIB, "gone", "raw");
	co_open_fails("orphan", NULL, 0, ENOENT, "backing file: Could not open 'gone'");
	image_co_close(co_open_ok("orphan", NULL, IMAGE_NO_BACKING));
}

CO_TEST(test_unknown_backing_protocol)
{
	co_create_ok("remote", "qcow2", MIB, "rbd:pool/x", "raw");
	co_open_fails("remote", NULL, 0, EINVAL, "Unknown protocol 'rbd'");
}

CO_TEST(test_a_loop_of_one)
{
	co_create_ok("l.other", "raw", MIB, NULL, NULL);
	co_create_ok("l.self", "qcow2", MIB, "l.link", "qcow2");
	g_assert_cmpint(symlink("l.self", "l.link"), ==, 0);
	co_open_fails("l.self", NULL, 0, ELOOP, "infinite loop");
	co_open_fails("l.self", NULL, IMAGE_RDWR, ELOOP, "infinite loop");
}

CO_TEST(test_a_loop_of_three)
{
	co_create_ok("l.1", "qcow2", MIB, "l.2", "qcow2");
	co_create_ok("l.2", "qcow2", MIB, "l.3", "qcow2");
	co_create_ok("l.3", "qcow2", MIB, "l.1", "qcow2");
	co_open_fails("l.1", NULL, IMAGE_RDWR, ELOOP, "backing file 'l.1' of 'l.3'");
	image_co_close(co_open_ok("l.1", NULL, IMAGE_NO_BACKING));
}

CO_TEST(test_the_longest_chain)
{
	struct image *img;

	co_create_ok("c.1", "raw", MIB, NULL, NULL);
	for (unsigned i = 2; i <= IMAGE_MAX_CHAIN + 1; i++) {
		g_autofree char *name = g_strdup_printf("c.%u", i);
		g_autofree char *below = g_strdup_printf("c.%u", i - 1);

		co_create_ok(name, "qcow2", MIB, below, i == 2 ? "raw" : "qcow2");
	}
	img = co_open_ok("c.200", NULL, 0);
	g_assert_cmpint(read_byte(img, 0), ==, 0);
	image_co_close(img);
	co_open_fails("c.201", NULL, 0, ELOOP, "more than 200 images");
}

CO_TEST(test_backing_names)
{
	static const char *const names[][3] = {
		{ "a/b/top", "base", "a/b/base" }, { "top", "base", "base" },
		{ "a/top", "/base", "/base" },	   { "a/top", "../base", "a/../base" },
		{ "/top", "base", "/base" },	   { "a/top", "null:1M", "null:1M" },
		{ "a/top", "x/y:z", "a/x/y:z" },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autofree char *full = image_resolve_backing(names[i][0], names[i][1]);

		g_assert_cmpstr(full, ==, names[i][2]);
	}
}

/* ---- the claim ---- */

struct claim {
	unsigned calls;
	bool at_bottom;
	int ret;
};

static int claim_co(void *arg, struct image *file, GError **err)
{
	struct claim *claim = arg;

	claim->calls++;
	claim->at_bottom = !file->file;
	return claim->ret ? error_refuse(err, claim->ret, "disk: refused") : 0;
}

static off_t size_of_disk(void)
{
	struct stat st;

	g_assert_cmpint(stat("disk", &st), ==, 0);
	return st.st_size;
}

static void co_open_with_claim(const char *name, struct claim *claim)
{
	struct image_open_opts opts = {
		.flags = IMAGE_RDWR,
		.co_claim = claim_co,
		.claim_arg = claim,
	};
	g_autoptr(GError) err = NULL;
	struct image *img = NULL;

	claim->calls = 0;
	g_assert_cmpint(image_co_open(name, &opts, &img, &err), ==, claim->ret);
	g_assert_cmpuint(claim->calls, ==, 1);
	g_assert_true(claim->at_bottom);
	image_co_close(img);
}

/* A file that another writer has left too long is cut off by a writer that may. */
CO_TEST(test_nothing_is_changed_before_the_claim)
{
	static const char *const names[] = {
		"disk",
		"json:{'driver':'copy-on-read','file':{'driver':'qcow2','file':{"
		"'driver':'file','filename':'disk'}}}",
		"json:{'driver':'copy-on-read','file':{'driver':'copy-on-read',"
		"'file':{'driver':'qcow2','file':{'driver':'blkdebug','image':{"
		"'driver':'file','filename':'disk'}}}}}",
	};

	co_create_ok("disk", "qcow2", MIB, NULL, NULL);
	for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
		off_t size = size_of_disk();
		struct claim claim = { .ret = -ESTALE };

		g_assert_cmpint(truncate("disk", size + 2 * MIB), ==, 0);
		co_open_with_claim(names[i], &claim);
		g_assert_cmpint(size_of_disk(), ==, size + 2 * MIB);
		claim.ret = 0;
		co_open_with_claim(names[i], &claim);
		g_assert_cmpint(size_of_disk(), <, size + 2 * MIB);
	}
}

int main(int argc, char **argv)
{
	char *scratch;

	g_test_init(&argc, &argv, NULL);
	scratch = enter_scratch();
	g_test_add_func("/open/missing-file", test_missing_file);
	g_test_add_func("/open/wrong-kind-of-file", test_wrong_kind_of_file);
	g_test_add_func("/open/when-a-file-was-changed", test_when_a_file_was_changed);
	g_test_add_func("/open/no-permission", test_no_permission_for_root);
	g_test_add_func("/open/unknown-protocol", test_unknown_protocol);
	g_test_add_func("/open/unknown-format", test_unknown_format);
	g_test_add_func("/open/errors-are-one-line", test_errors_are_one_line);
	g_test_add_func("/open/an-empty-file-is-raw", test_an_empty_file_is_raw);
	g_test_add_func("/open/raw-of-an-odd-size", test_raw_of_an_odd_size);
	g_test_add_func("/open/a-guessed-raw-image-stays-raw", test_a_guessed_raw_image_stays_raw);
	g_test_add_func("/open/null", test_null);
	g_test_add_func("/open/nothing-is-changed-before-the-claim",
			test_nothing_is_changed_before_the_claim);
	g_test_add_func("/open/a-chain-is-relative-to-the-overlay",
			test_a_chain_is_relative_to_the_overlay);
	g_test_add_func("/open/block-status-through-a-chain", test_block_status_through_a_chain);
	g_test_add_func("/open/missing-backing-file", test_missing_backing_file);
	g_test_add_func("/open/unknown-backing-protocol", test_unknown_backing_protocol);
	g_test_add_func("/open/a-loop-of-one", test_a_loop_of_one);
	g_test_add_func("/open/a-loop-of-three", test_a_loop_of_three);
	g_test_add_func("/open/the-longest-chain", test_the_longest_chain);
	g_test_add_func("/open/backing-names", test_backing_names);
	return leave_scratch(scratch, g_test_run());
}
