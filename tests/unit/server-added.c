// SPDX-License-Identifier: GPL-2.0-or-later
/* The options of disks that clients add: what --allow-add allows, without a sandbox. */
#include <malloc.h>
#include <unistd.h>

#include "added.h"
#include "image-test.h"
#include "policy.h"

/* Enough for what libraries keep, and far less than one allocation for each of them. */
#define ADDED	  1000
#define KEPT_SIZE 8000

static const struct options *process;

static struct options *add_with(const char *image, char *const *words, GError **err)
{
	struct added_file file;
	struct options *options;

	added_look(process->add_places, image, &file);
	options = added_options(process->add_places, image, &file, words, err);
	added_file_clear(&file);
	return options;
}

static struct options *add(const char *image, const char *word, GError **err)
{
	char *const words[] = { (char *)"ubd-serve", (char *)word, NULL };

	return add_with(image, words, err);
}

static void check_added(const char *image, const char *word)
{
	g_autoptr(GError) err = NULL;
	struct options *options = add(image, word, &err);

	g_assert_no_error(err);
	options_free(options);
}

static void check_refused(const char *image, const char *word, const char *reason)
{
	g_autoptr(GError) err = NULL;

	g_assert_null(add(image, word, &err));
	if (!strstr(err->message, reason))
		g_error("%s: not \"%s\"", err->message, reason);
}

static void test_only_in_places(void)
{
	check_added("in/disk", NULL);
	check_added("null:1M", NULL);
	check_added("in/link-in", NULL);
	check_refused("out", NULL, "--allow-add");
	check_refused("in/../out", NULL, "--allow-add");
	check_refused("in/link-out", NULL, "--allow-add");
	check_refused("into", NULL, "--allow-add");
	check_refused("in/none", NULL, "No such file");
	check_refused("nbd://localhost/disk", NULL, "No such file");
	check_refused("json:{'driver':'file','filename':'in/disk'}", NULL, "No such file");
	/* There is a file of this name, which would not be the image. */
	check_added("in/file:x", NULL);
	g_assert_cmpint(chdir("in"), ==, 0);
	check_added("file:x", NULL);
	g_assert_cmpint(chdir(".."), ==, 0);
}

/* Words that would lead to other files. */
static void test_no_way_around(void)
{
	static const char *const words[] = { "--image-opts",
					     "--temporary",
					     "-s",
					     "--temp",
					     "--temporary-dir=.",
					     "--keep-as=kept",
					     "--allow-backing=any",
					     "--allow-data-file=any",
					     "--allow-network",
					     "--allow-probing",
					     "--no-lock",
					     "--allow-add=/" };

	for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
		check_refused("in/disk", words[i], "unrecognized option");
	check_refused("driver=raw,file.filename=out", "--image-opts", "unrecognized option");
	check_added("in/disk", "--read-only");
	check_added("in/disk", "--snapshot=s");
}

static void check_names(const struct image_names *names, int from)
{
	g_assert_cmpint(names->from, ==, from);
	g_assert_true(g_strv_equal((const char *const *)names->places,
				   (const char *const *)process->add_places));
}

static void test_images_name_what_is_in_places(void)
{
	struct options *options = add("in/disk", NULL, NULL);

	check_names(&options->policy.backing, IMAGE_NAMES_LISTED);
	check_names(&options->policy.data_file, IMAGE_NAMES_BESIDE);
	g_assert_true(options->added_id.known);
	options_free(options);
	/* Disks of the command line may name what they could. */
	options = options_of_disk(NULL, "out", NULL, NULL);
	g_assert_cmpint(options->policy.backing.from, ==, IMAGE_NAMES_ANYWHERE);
	g_assert_false(options->added_id.known);
	options_free(options);
}

/* It finds its devices again, whatever the name by which it was given. */
static void test_names_are_stable(void)
{
	struct options *direct = add("in/disk", NULL, NULL),
		       *linked = add("in/link-in", NULL, NULL);
	struct options *given = options_of_disk(NULL, "in/link-in", NULL, NULL);
	struct options *none = add("null:1M", NULL, NULL);

	g_assert_true(g_str_has_suffix(direct->stable_name, "/in/disk"));
	g_assert_cmpstr(linked->stable_name, ==, direct->stable_name);
	g_assert_cmpstr(given->stable_name, ==, direct->stable_name);
	g_assert_cmpmem(&linked->identity, sizeof(linked->identity), &direct->identity,
			sizeof(direct->identity));
	g_assert_cmpmem(&given->identity, sizeof(given->identity), &direct->identity,
			sizeof(direct->identity));
	g_assert_null(none->stable_name);
	options_free(direct);
	options_free(linked);
	options_free(given);
	options_free(none);
}

static void test_nothing_is_kept(void)
{
	char *const words[] = { (char *)"ubd-serve", (char *)"--format=raw",
				(char *)"-x",	     (char *)"name",
				(char *)"--iops=10", (char *)"-Bb",
				(char *)"--serial=", NULL };
	size_t before = 0;

	for (unsigned i = 0; i < 2 * ADDED; i++) {
		g_autoptr(GError) err = NULL;

		if (i == ADDED)
			before = mallinfo2().uordblks;
		options_free(add_with("in/disk", words, &err));
		/* There is no device that could have one. */
		g_assert_nonnull(strstr(err->message, "--serial"));
		check_added("in/disk", "-xname");
		check_added("in/disk", "--iops=10");
		check_refused("out", "--format=raw", "--allow-add");
	}
	/* With a sanitizer it is another allocator's, which finds what is lost by itself. */
	g_assert_cmpuint(mallinfo2().uordblks, <, before + KEPT_SIZE);
}

int main(int argc, char **argv)
{
	char *words[] = { (char *)"ubd-serve", (char *)"--export=nbd:unix:socket",
			  (char *)"--allow-add=in", NULL };
	char *folder = enter_scratch();

	g_test_init(&argc, &argv, NULL);
	g_assert_cmpint(system("mkdir in && truncate -s 1M in/disk out in/file:x into &&"
			       "ln -s disk in/link-in && ln -s ../out in/link-out"),
			==, 0);
	process = options_parse(words);
	g_assert_nonnull(process);
	g_test_add_func("/added/only-in-places", test_only_in_places);
	g_test_add_func("/added/no-way-around", test_no_way_around);
	g_test_add_func("/added/images-name-what-is-in-places", test_images_name_what_is_in_places);
	g_test_add_func("/added/names-are-stable", test_names_are_stable);
	g_test_add_func("/added/nothing-is-kept", test_nothing_is_kept);
	return leave_scratch(folder, g_test_run());
}
