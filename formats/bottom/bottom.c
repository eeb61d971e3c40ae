// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * File names: which bottom node one asks for, how it is opened and made, and which file it is.
 * Nothing outside this folder knows what a file name can be.
 */
#include <errno.h>
#include <string.h>

#include "image_int.h"

/* ---- names ---- */

/* The length of "name:" at the start of @filename as of nbd:..., 0 if there is none. */
static size_t protocol_length(const char *filename)
{
	size_t len = strcspn(filename, ":/");

	return filename[len] == ':' ? len + 1 : 0;
}

/* The first one also has the names that begin with no prefix. */
static const struct {
	const char *prefix;
	const struct bottom_ops *ops;
} bottoms[] = {
	{ "file:", &image_file_bottom },
	{ "null:", &image_null_bottom },
};

static const struct bottom_ops *find_prefix(const char *filename, size_t len)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(bottoms); i++)
		if (strlen(bottoms[i].prefix) == len &&
		    strncmp(bottoms[i].prefix, filename, len) == 0)
			return bottoms[i].ops;
	return NULL;
}

const struct bottom_ops *image_find_bottom(const char *filename, char **ret_name, GError **err)
{
	size_t len = protocol_length(filename);
	const struct bottom_ops *ops = len ? find_prefix(filename, len) : bottoms[0].ops;

	if (!ops) {
		g_set_error(
			err, UBD_ERROR, EINVAL,
			"Could not open '%s': Unknown protocol '%.*s' (use ./%s for a file of that name)",
			filename, (int)len - 1, filename, filename);
		return NULL;
	}
	if (ops->is_path)
		filename += len;
	/* So that a path has no other meaning when it is resolved once more. */
	*ret_name =
		g_strconcat(ops->is_path && protocol_length(filename) ? "./" : "", filename, NULL);
	return ops;
}

char *image_resolve_backing(const char *image_filename, const char *backing_filename)
{
	g_autofree char *folder = NULL;
	const char *slash = strrchr(image_filename, '/');

	if (*backing_filename == '/' || protocol_length(backing_filename) || !slash)
		return g_strdup(backing_filename);
	folder = g_strndup(image_filename, slash + 1 - image_filename);
	return g_strconcat(folder, backing_filename, NULL);
}

/* ---- which file it is ---- */

struct file_id_job {
	const struct bottom_ops *ops;
	char *name;
	struct file_id ret_id;
};

static int file_id_on_worker(void *arg)
{
	struct file_id_job *job = arg;

	job->ret_id = job->ops->identify(job->name);
	return 0;
}

struct file_id image_co_file_id(const char *filename)
{
	struct file_id_job job = {};

	job.ops = image_find_bottom(filename, &job.name, NULL);
	if (job.ops && job.ops->identify)
		co_run_on_worker(file_id_on_worker, &job);
	g_free(job.name);
	return job.ret_id;
}

struct same_job {
	const struct bottom_ops *ops;
	char *names[2];
};

static int same_on_worker(void *arg)
{
	const struct same_job *job = arg;

	return job->ops->is_same(job->names[0], job->names[1]);
}

bool image_co_same_file(const char *a, const char *b)
{
	struct same_job job = {};
	const struct bottom_ops *other = image_find_bottom(b, &job.names[1], NULL);
	bool same = false;

	job.ops = image_find_bottom(a, &job.names[0], NULL);
	if (job.ops && job.ops == other && job.ops->is_same)
		same = co_run_on_worker(same_on_worker, &job) == 1;
	g_free(job.names[0]);
	g_free(job.names[1]);
	return same;
}

char *image_stable_name(const char *filename)
{
	g_autofree char *name = NULL;
	const struct bottom_ops *ops = image_find_bottom(filename, &name, NULL);

	return ops && ops->stable_name ? ops->stable_name(name) : NULL;
}

/* ---- open and create ---- */

int image_co_open_named(const char *filename, unsigned flags, const struct named_file *named,
			struct image **ret_img, GError **err)
{
	struct image_open_opts opts = { .flags = flags, .named_file = named };
	g_autofree char *name = NULL, *refusal = NULL;
	const struct bottom_ops *ops = image_find_bottom(filename, &name, err);

	if (!ops)
		return -EINVAL;
	if (named && !ops->is_path)
		refusal = named_nothing_refusal(named);
	if (refusal) {
		g_set_error(err, UBD_ERROR, EPERM, "Could not open '%s': %s", filename, refusal);
		return -EPERM;
	}
	return image_node_co_new_bottom(ops, name, &opts, NULL, ret_img, err);
}

int image_co_open_bottom(const char *filename, unsigned flags, struct image **ret_img, GError **err)
{
	return image_one_line(image_co_open_named(filename, flags, NULL, ret_img, err), err);
}

int image_co_create_bottom(const char *filename, struct image_begun *begun, GError **err)
{
	g_autofree char *name = NULL;
	const struct bottom_ops *bottom = image_find_bottom(filename, &name, err);

	if (!bottom)
		return -EINVAL;
	if (!bottom->co_create) {
		g_set_error(
			err, UBD_ERROR, ENOTSUP,
			"Could not create '%s': Protocol driver '%s' does not support image creation",
			filename, bottom->io.name);
		return -ENOTSUP;
	}
	begun->bottom = bottom;
	return bottom->co_create(name, begun, err);
}
