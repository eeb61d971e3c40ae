// SPDX-License-Identifier: GPL-2.0-or-later
/* Backing files that several images have in common: when they are shared, and what checks remain.
 */
#include <unistd.h>

#include "error.h"
#include "image-test.h"
#include "image_ops.h"
#include "image_shared.h"

#define SIZE (1 << 20)

static struct image_shared *shared;
static const char *closes_badly; /* a file name; NULL: none */

int __real_image_co_close(struct image *img);
int __wrap_image_co_close(struct image *img);

int __wrap_image_co_close(struct image *img)
{
	bool fails = closes_badly && img && strcmp(image_filename(img), closes_badly) == 0;
	int ret = __real_image_co_close(img);

	return fails ? -EIO : ret;
}

static struct image_policy strict = {
	.servers = IMAGE_SERVERS_REFUSED,
	.formats_given = true,
	.places_only = true,
};

/* Opens nothing, so that a long chain is made in little time. */
static void co_make(const char *name, const char *backing)
{
	struct image_create_opts opts = { .size = SIZE, .size_given = true };

	if (backing) {
		opts.backing_filename = backing;
		opts.backing_format = "qcow2";
		opts.backing_unchecked = true;
	}
	g_assert_cmpint(image_co_create(name, "qcow2", &opts, NULL, NULL), ==, 0);
}

static struct image *co_open_with(const char *name, unsigned flags,
				  const struct image_policy *policy)
{
	const struct image_open_opts opts = {
		.format = "qcow2",
		.flags = flags,
		.policy = policy,
		.shared = shared,
	};
	g_autoptr(GError) err = NULL;
	struct image *img = NULL;

	if (image_co_open(name, &opts, &img, &err) < 0)
		g_error("%s", err->message);
	return img;
}

static struct image *co_open_top(const char *name)
{
	return co_open_with(name, IMAGE_RDWR, &strict);
}

/* base <- mid <- one, two; base <- three. */
static void co_begin(void)
{
	struct image *base;
	uint8_t data[512];

	co_make("base", NULL);
	base = co_open_with("base", IMAGE_RDWR, NULL);
	memset(data, 1, sizeof(data));
	g_assert_cmpint(image_co_pwrite(base, 0, sizeof(data), data, 0), ==, 0);
	g_assert_cmpint(image_co_close(base), ==, 0);
	co_make("mid", "base");
	co_make("one", "mid");
	co_make("two", "mid");
	co_make("three", "base");
	shared = image_shared_new();
}

static void co_end(void)
{
	/* It asserts that nothing is left. */
	image_shared_free(shared);
	shared = NULL;
}

static void co_check_contents(struct image *img, uint8_t first)
{
	uint8_t data[512];

	g_assert_cmpint(image_co_pread(img, 0, sizeof(data), data), ==, 0);
	g_assert_cmpuint(data[0], ==, first);
}

static bool may_be_written(const char *name)
{
	const struct image_open_opts opts = { .flags = IMAGE_RDWR, .format = "qcow2" };
	struct image *img;

	if (image_co_open(name, &opts, &img, NULL) < 0)
		return false;
	g_assert_cmpint(image_co_close(img), ==, 0);
	return true;
}

CO_TEST(test_one_node_for_all)
{
	struct image *one, *two, *three;

	co_begin();
	one = co_open_top("one");
	two = co_open_top("two");
	/* The middle of a chain, below something else. */
	three = co_open_top("three");
	g_assert_true(image_backing(one) == image_backing(two));
	g_assert_true(image_backing(image_backing(one)) == image_backing(three));
	g_assert_true(one != two);
	co_check_contents(one, 1);
	co_check_contents(three, 1);
	/* In any order, the rest goes on. */
	g_assert_cmpint(image_co_close(one), ==, 0);
	co_check_contents(two, 1);
	g_assert_false(may_be_written("mid"));
	g_assert_cmpint(image_co_close(two), ==, 0);
	g_assert_true(may_be_written("mid"));
	g_assert_false(may_be_written("base"));
	co_check_contents(three, 1);
	g_assert_cmpint(image_co_close(three), ==, 0);
	g_assert_true(may_be_written("base"));
	co_end();
}

/* Of the layer, and of the file below it. */
static void check_patience(const struct image *img, uint64_t ns)
{
	g_assert_cmpuint(img->patience_ns, ==, ns);
	g_assert_cmpuint(img->file->patience_ns, ==, ns);
}

/* A layer is as patient as its most patient user: that one disk ends hurries none of the others. */
CO_TEST(test_patience)
{
	struct image *one, *two, *three, *mid, *base;

	co_begin();
	one = co_open_top("one");
	two = co_open_top("two");
	three = co_open_top("three");
	mid = image_backing(one);
	base = image_backing(mid);
	image_set_patience(one, 0);
	check_patience(one, 0);
	check_patience(two, IMAGE_PATIENT);
	check_patience(mid, IMAGE_PATIENT);
	/* All that have the layer end, and then all that have the one below it. */
	image_set_patience(two, 0);
	check_patience(mid, 0);
	check_patience(base, IMAGE_PATIENT);
	image_set_patience(three, 5);
	check_patience(base, 5);
	image_set_patience(three, 0);
	check_patience(base, 0);
	/* Neither are those hurried that come before they are closed. */
	g_assert_cmpint(image_co_close(two), ==, 0);
	two = co_open_top("two");
	check_patience(mid, IMAGE_PATIENT);
	check_patience(base, IMAGE_PATIENT);
	check_patience(one, 0);
	check_patience(three, 0);
	/* That the patient one leaves hurries those that end. */
	g_assert_cmpint(image_co_close(two), ==, 0);
	check_patience(mid, 0);
	check_patience(base, 0);
	g_assert_cmpint(image_co_close(one), ==, 0);
	check_patience(base, 0);
	g_assert_cmpint(image_co_close(three), ==, 0);
	co_end();
}

CO_TEST(test_overlays_have_nothing_in_common)
{
	struct image *one, *two;
	uint8_t data[512];

	co_begin();
	one = co_open_top("one");
	two = co_open_top("two");
	memset(data, 7, sizeof(data));
	g_assert_cmpint(image_co_pwrite(one, 0, sizeof(data), data, 0), ==, 0);
	co_check_contents(one, 7);
	co_check_contents(two, 1);
	g_assert_cmpint(image_co_close(two), ==, 0);
	g_assert_cmpint(image_co_close(one), ==, 0);
	co_end();
}

/* A file of the same name that has taken the place of the first one is another file. */
CO_TEST(test_the_file_decides)
{
	struct image *one, *two;

	co_begin();
	one = co_open_top("one");
	g_assert_cmpint(rename("mid", "old"), ==, 0);
	co_make("mid", NULL);
	two = co_open_top("two");
	g_assert_true(image_backing(one) != image_backing(two));
	co_check_contents(one, 1);
	co_check_contents(two, 0);
	g_assert_cmpint(image_co_close(two), ==, 0);
	g_assert_cmpint(image_co_close(one), ==, 0);
	co_end();
}

/* By another name, what it names may be something else. */
CO_TEST(test_names_and_flags_decide)
{
	struct image *one, *two;

	co_begin();
	g_assert_cmpint(link("mid", "link"), ==, 0);
	co_make("two", "link");
	one = co_open_top("one");
	two = co_open_top("two");
	g_assert_true(image_backing(one) != image_backing(two));
	g_assert_true(image_backing(image_backing(one)) == image_backing(image_backing(two)));
	g_assert_cmpint(image_co_close(two), ==, 0);
	two = co_open_with("one", IMAGE_FORCE_SHARE, &strict);
	g_assert_true(image_backing(one) != image_backing(two));
	g_assert_cmpint(image_co_close(two), ==, 0);
	g_assert_cmpint(image_co_close(one), ==, 0);
	co_end();
}

/* What another image was allowed does not count. */
CO_TEST(test_each_image_is_checked)
{
	struct image_policy none = strict, same = strict;
	const struct image_open_opts opts = { .format = "qcow2", .policy = &none, .shared = NULL };
	struct image_open_opts with = opts;
	g_autoptr(GError) err = NULL;
	struct image *one, *two;

	co_begin();
	with.shared = shared;
	none.backing.from = IMAGE_NAMES_NONE;
	one = co_open_top("one");
	g_assert_cmpint(image_co_open("two", &with, &two, &err), <, 0);
	g_assert_nonnull(strstr(err->message, "mid"));
	/* Equal ones need not be the same. */
	two = co_open_with("two", IMAGE_RDWR, &same);
	g_assert_true(image_backing(one) == image_backing(two));
	g_assert_cmpint(image_co_close(two), ==, 0);
	same.formats_given = false;
	two = co_open_with("two", IMAGE_RDWR, &same);
	g_assert_true(image_backing(one) != image_backing(two));
	g_assert_cmpint(image_co_close(two), ==, 0);
	g_assert_cmpint(image_co_close(one), ==, 0);
	co_end();
}

#define BACKING                                                                                    \
	"{'driver':'qcow2','file':{'driver':'file','filename':'ok/mid'},"                          \
	"'backing':{'driver':'qcow2','file':{'driver':'file','filename':'base'}}}"

/* What the user has named is not what an image may name, even in the same words. */
CO_TEST(test_who_names_it_decides)
{
	struct image_create_opts create = { .size = SIZE,
					    .size_given = true,
					    .backing_filename = "json:" BACKING,
					    .backing_format = "qcow2" };
	g_autofree char *place = g_canonicalize_filename("ok", NULL);
	char *places[] = { place, NULL };
	struct image_policy policy = strict;
	const struct image_open_opts opts = { .policy = &policy, .shared = NULL };
	struct image_open_opts with = opts;
	g_autoptr(GError) err = NULL;
	struct image *one, *two = NULL;

	co_begin();
	with.shared = shared;
	policy.backing = (struct image_names){ IMAGE_NAMES_LISTED, places };
	g_assert_cmpint(g_mkdir("ok", 0700), ==, 0);
	co_make("ok/mid", NULL);
	g_assert_cmpint(image_co_create("two", "qcow2", &create, NULL, NULL), ==, 0);
	g_assert_cmpint(image_co_open("json:{'driver':'qcow2','file':{'driver':'file',"
				      "'filename':'one'},'backing':" BACKING "}",
				      &with, &one, &err),
			==, 0);
	co_check_contents(one, 1);
	g_assert_cmpint(image_co_open("two", &with, &two, &err), ==, -EINVAL);
	g_assert_error(err, UBD_ERROR, EPERM);
	g_assert_nonnull(strstr(err->message, "base"));
	g_assert_cmpint(image_co_close(one), ==, 0);
	co_end();
}

/* Memory is what the opener of the chain has asked for. */
CO_TEST(test_limits_decide)
{
	struct image_open_opts opts = { .format = "qcow2", .policy = &strict };
	struct image *one, *two;

	co_begin();
	one = co_open_top("one");
	opts.shared = shared;
	opts.cache_bytes = 1 << 20;
	g_assert_cmpint(image_co_open("two", &opts, &two, NULL), ==, 0);
	g_assert_true(image_backing(one) != image_backing(two));
	g_assert_cmpint(image_co_close(two), ==, 0);
	opts.cache_bytes = 0;
	opts.memory_limit = 64 << 20;
	g_assert_cmpint(image_co_open("two", &opts, &two, NULL), ==, 0);
	g_assert_true(image_backing(one) != image_backing(two));
	g_assert_cmpint(image_co_close(two), ==, 0);
	g_assert_cmpint(image_co_close(one), ==, 0);
	co_end();
}

/* The file that is opened to be checked cannot be closed. */
CO_TEST(test_failed_close)
{
	struct image_open_opts opts = { .format = "qcow2", .policy = &strict };
	g_autoptr(GError) err = NULL;
	struct image *one, *two;

	co_begin();
	one = co_open_top("one");
	opts.shared = shared;
	closes_badly = "mid";
	g_assert_cmpint(image_co_open("two", &opts, &two, &err), ==, -EIO);
	closes_badly = NULL;
	g_assert_nonnull(strstr(err->message, "Could not close 'mid'"));
	co_check_contents(one, 1);
	g_assert_cmpint(image_co_close(one), ==, 0);
	co_end();
}

/* What nobody needs any more is given back, and not before. */
CO_TEST(test_users_of_all_chains_count)
{
	struct image *one, *two;
	uint64_t misses;

	co_begin();
	one = co_open_top("one");
	two = co_open_top("two");
	image_begin_use(one);
	image_begin_use(two);
	co_check_contents(two, 1);
	misses = image_get_stats(two).cache_misses;
	image_end_use(one);
	co_check_contents(two, 1);
	g_assert_cmpuint(image_get_stats(two).cache_misses, ==, misses);
	image_end_use(two);
	co_check_contents(two, 1);
	g_assert_cmpuint(image_get_stats(two).cache_misses, ==, misses + 1);
	g_assert_cmpint(image_co_close(two), ==, 0);
	g_assert_cmpint(image_co_close(one), ==, 0);
	co_end();
}

/* A chain that cannot be opened leaves nothing that others would find incomplete. */
CO_TEST(test_failed_chains)
{
	const struct image_open_opts opts = { .format = "qcow2", .policy = &strict };
	struct image_open_opts with = opts;
	struct image *one, *img;

	co_begin();
	with.shared = shared;
	g_assert_cmpint(rename("base", "away"), ==, 0);
	g_assert_cmpint(image_co_open("one", &with, &img, NULL), <, 0);
	g_assert_cmpint(rename("away", "base"), ==, 0);
	one = co_open_top("one");
	co_check_contents(one, 1);
	/* Below what was found, there is nothing left to open. */
	g_assert_cmpint(rename("base", "away"), ==, 0);
	img = co_open_top("two");
	co_check_contents(img, 1);
	g_assert_cmpint(image_co_close(img), ==, 0);
	g_assert_cmpint(image_co_close(one), ==, 0);
	co_end();
}

/* With what others have opened, a chain is no longer than otherwise. */
CO_TEST(test_long_chains)
{
	struct image *tops[2];
	const struct image_open_opts opts = { .format = "qcow2", .shared = NULL };
	struct image_open_opts with = opts;
	g_autoptr(GError) err = NULL;
	char name[16] = "base";

	co_begin();
	with.shared = shared;
	for (unsigned i = 1; i < IMAGE_MAX_CHAIN; i++) {
		char below[16];

		memcpy(below, name, sizeof(name));
		g_snprintf(name, sizeof(name), "chain%u", i);
		co_make(name, below);
	}
	tops[0] = co_open_with(name, 0, NULL);
	co_make("last", name);
	g_assert_cmpint(image_co_open("last", &with, &tops[1], &err), ==, -ELOOP);
	/* All but the top are shared. */
	co_make("another", "chain150");
	tops[1] = co_open_with("another", 0, NULL);
	co_check_contents(tops[1], 1);
	g_assert_cmpint(image_co_close(tops[0]), ==, 0);
	co_check_contents(tops[1], 1);
	g_assert_cmpint(image_co_close(tops[1]), ==, 0);
	co_end();
}

struct opening {
	const char *name;
	struct image *img;
};

static void open_co(void *arg)
{
	struct opening *opening = arg;

	opening->img = co_open_top(opening->name);
}

/* At the same time, too. */
CO_TEST(test_opened_together)
{
	struct opening all[] = { { "one", NULL }, { "two", NULL }, { "three", NULL } };
	struct co_group group = { 0 };

	co_begin();
	for (unsigned i = 0; i < G_N_ELEMENTS(all); i++)
		co_group_start(&group, open_co, &all[i]);
	co_group_wait(&group);
	g_assert_true(image_backing(all[0].img) == image_backing(all[1].img));
	g_assert_true(image_backing(image_backing(all[0].img)) == image_backing(all[2].img));
	for (unsigned i = 0; i < G_N_ELEMENTS(all); i++)
		g_assert_cmpint(image_co_close(all[i].img), ==, 0);
	co_end();
}

/* ---- openings that take long ---- */

static const char *sticks; /* a file whose next opening takes long; NULL: none */
static struct coroutine *stuck;
static unsigned looked; /* for layers that others have opened */

struct image *__real_image_shared_co_find(struct image_shared *in, struct image_opener *opener,
					  const char *key, const struct image *file);
struct image *__wrap_image_shared_co_find(struct image_shared *in, struct image_opener *opener,
					  const char *key, const struct image *file);

struct image *__wrap_image_shared_co_find(struct image_shared *in, struct image_opener *opener,
					  const char *key, const struct image *file)
{
	looked++;
	return __real_image_shared_co_find(in, opener, key, file);
}

int __real_image_co_open_bottom_node(const struct node_options *options, unsigned flags,
				     const struct image_policy *policy, bool is_data_file,
				     struct image **ret_img, GError **err);
int __wrap_image_co_open_bottom_node(const struct node_options *options, unsigned flags,
				     const struct image_policy *policy, bool is_data_file,
				     struct image **ret_img, GError **err);

int __wrap_image_co_open_bottom_node(const struct node_options *options, unsigned flags,
				     const struct image_policy *policy, bool is_data_file,
				     struct image **ret_img, GError **err)
{
	if (sticks && g_strcmp0(node_options_text(options, "filename"), sticks) == 0) {
		sticks = NULL;
		stuck = co_self();
		co_yield();
	}
	return __real_image_co_open_bottom_node(options, flags, policy, is_data_file, ret_img, err);
}

/* Who has no use for what does not answer does not wait for it. */
CO_TEST(test_others_do_not_wait)
{
	struct opening hangs = { "hangs", NULL }, waits = { "waits", NULL };
	struct opening others[] = { { "alone", NULL }, { "one", NULL }, { "two", NULL } };
	struct co_group group = { 0 }, rest = { 0 };

	co_begin();
	co_make("alone", NULL);
	co_make("stuck", NULL);
	co_make("between", "stuck");
	co_make("hangs", "between");
	co_make("waits", "between");
	sticks = "stuck";
	co_group_start(&group, open_co, &hangs);
	while (!stuck)
		co_reschedule();
	co_group_start(&group, open_co, &waits);
	for (unsigned i = 0; i < G_N_ELEMENTS(others); i++)
		co_group_start(&rest, open_co, &others[i]);
	co_group_wait(&rest);
	g_assert_null(hangs.img);
	g_assert_null(waits.img);
	co_wake(g_steal_pointer(&stuck));
	co_group_wait(&group);
	g_assert_true(image_backing(hangs.img) == image_backing(waits.img));
	g_assert_true(image_backing(others[1].img) == image_backing(others[2].img));
	for (unsigned i = 0; i < G_N_ELEMENTS(others); i++)
		g_assert_cmpint(image_co_close(others[i].img), ==, 0);
	g_assert_cmpint(image_co_close(hangs.img), ==, 0);
	g_assert_cmpint(image_co_close(waits.img), ==, 0);
	co_end();
}

static void fail_co(void *arg)
{
	const struct image_open_opts opts = {
		.format = "qcow2",
		.flags = IMAGE_RDWR,
		.policy = &strict,
		.shared = shared,
	};
	struct image *img;

	g_assert_cmpint(image_co_open(arg, &opts, &img, NULL), ==, -ELOOP);
}

/* Two chains that name each other, and meet in the middle: both fail, and none waits for ever. */
CO_TEST(test_chains_in_a_circle)
{
	struct co_group group = { 0 };

	co_begin();
	co_make("right", NULL);
	co_make("left", "right");
	co_make("to-left", "left");
	co_make("to-right", "right");
	co_make("new", "left");
	g_assert_cmpint(rename("new", "right"), ==, 0);
	sticks = "right";
	co_group_start(&group, fail_co, (void *)"to-left");
	while (!stuck)
		co_reschedule();
	looked = 0;
	co_group_start(&group, fail_co, (void *)"to-right");
	/* It has the right one, and waits for the left one. */
	while (looked < 2)
		co_reschedule();
	co_wake(g_steal_pointer(&stuck));
	co_group_wait(&group);
	co_end();
}

int main(int argc, char **argv)
{
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_test_add_func("/shared/one-node-for-all", test_one_node_for_all);
	g_test_add_func("/shared/patience", test_patience);
	g_test_add_func("/shared/overlays-have-nothing-in-common",
			test_overlays_have_nothing_in_common);
	g_test_add_func("/shared/the-file-decides", test_the_file_decides);
	g_test_add_func("/shared/names-and-flags-decide", test_names_and_flags_decide);
	g_test_add_func("/shared/each-image-is-checked", test_each_image_is_checked);
	g_test_add_func("/shared/who-names-it-decides", test_who_names_it_decides);
	g_test_add_func("/shared/limits-decide", test_limits_decide);
	g_test_add_func("/shared/failed-close", test_failed_close);
	g_test_add_func("/shared/users-of-all-chains-count", test_users_of_all_chains_count);
	g_test_add_func("/shared/failed-chains", test_failed_chains);
	g_test_add_func("/shared/long-chains", test_long_chains);
	g_test_add_func("/shared/opened-together", test_opened_together);
	g_test_add_func("/shared/others-do-not-wait", test_others_do_not_wait);
	g_test_add_func("/shared/chains-in-a-circle", test_chains_in_a_circle);
	return leave_scratch(folder, g_test_run());
}
