// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Names of backing files, as headers have them, of graphs: json: and the input. They may name the
 * files of one folder. What can be opened is read.
 */
#include <glib.h>
#include <string.h>
#include <unistd.h>

#include "aio.h"
#include "fuzz.h"
#include "image.h"
#include "node_json.h"
#include "node_name.h"

static struct aio_loop *loop;
static struct image_policy policy = { .places_only = true };

static void create_co(void *arg)
{
	struct image_create_opts opts = { .size = 1 << 20, .size_given = true };
	GError **err = arg;

	if (!image_co_create("image", "qcow2", &opts, NULL, err))
		image_co_create("raw", "raw", &opts, NULL, err);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	g_autoptr(GError) err = NULL;
	g_autofree char *folder = g_dir_make_tmp("fuzz-names-XXXXXX", &err);

	if (!err)
		loop = aio_loop_new(16, &err);
	if (!err && chdir(folder) == 0 && image_names_parse(folder, &policy.backing, &err) &&
	    image_names_parse(folder, &policy.data_file, &err))
		aio_loop_run_co(loop, create_co, &err);
	if (err)
		g_error("%s", err->message);
	return 0;
}

/* What is written as JSON is read as the same again. */
static void check_again(const struct node_options *options)
{
	g_autofree char *name = node_name_make(options), *again = NULL;
	struct node_options *parsed = node_name_parse(name, NULL);

	/* Lists within lists may end up deeper than a name can be. */
	if (!parsed)
		return;
	again = node_name_make(parsed);
	g_assert_cmpstr(name, ==, again);
	node_options_free(parsed);
}

static void open_co(void *arg)
{
	struct image_open_opts opts = { .policy = &policy, .named_by = "image" };
	const char *name = arg;
	struct image *img;
	char byte;

	g_free(image_stable_name(name));
	image_co_same_file(name, "image");
	if (image_co_open(name, &opts, &img, NULL))
		return;
	if (image_size(img))
		image_co_pread(img, 0, 1, &byte);
	image_co_close(img);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autofree char *text = g_strndup((const char *)data, size);
	g_autofree char *name = g_strconcat("json:", text, NULL);
	struct node_options *options = node_options_from_json(text, "", NULL);

	if (options)
		check_again(options);
	node_options_free(options);
	g_free(image_name_from_options(text, NULL, NULL));
	aio_loop_run_co(loop, open_co, name);
	return 0;
}
