// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Image nodes: creates an image. Everything that can be wrong with a request is checked before the
 * first file is touched.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "image_int.h"
#include "node_name.h"

struct creation {
	const char *filename;
	const struct format_ops *ops;
	struct image_create_opts opts; /* including the size that was found */
	char *data_filename;	       /* of its data file, NULL if none */
	struct file_id id, data_id;    /* not known if there is no such file yet */
};

static int G_GNUC_PRINTF(4, 5)
	refuse(struct creation *c, GError **err, int ret, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	error_vrefuse(err, ret, format, args);
	va_end(args);
	g_prefix_error(err, "Could not create '%s': ", c->filename);
	return ret;
}

/* ---- options ---- */

static int check_options(struct creation *c, GError **err)
{
	struct bottom_create_opts file_opts;
	GHashTableIter iter;
	void *name;

	if (!c->opts.options)
		return 0;
	g_hash_table_iter_init(&iter, c->opts.options);
	while (g_hash_table_iter_next(&iter, &name, NULL))
		if (!image_has_option(c->ops->create_options, name) &&
		    !image_has_option(image_file_create_options(), name))
			return refuse(c, err, -EINVAL, "Invalid parameter '%s' for format %s",
				      (char *)name, c->ops->io.name);
	if (!image_parse_file_options(c->opts.options, &file_opts, err))
		return 0;
	g_prefix_error(err, "Could not create '%s': ", c->filename);
	return -EINVAL;
}

/*
 * Once the size is decided, since together with the options it can exceed what the format has room
 * for.
 */
static int check_with_format(struct creation *c, GError **err)
{
	int ret = c->ops->check_create ? c->ops->check_create(&c->opts, err) : 0;

	if (ret)
		g_prefix_error(err, "Could not create '%s': ", c->filename);
	return ret;
}

/* ---- the backing file ---- */

static int check_backing_options(struct creation *c, GError **err)
{
	if (c->ops->no_backing)
		return refuse(c, err, -ENOTSUP, "Backing file not supported for file format '%s'",
			      c->ops->io.name);
	if (!*c->opts.backing_filename)
		return refuse(c, err, -EINVAL, "Expected backing file name, got empty string");
	/* What a guest writes to a raw image can look like a header of another format. */
	if (!c->opts.backing_format)
		return refuse(
			c, err, -EINVAL,
			"Backing file specified without backing format; give the format of '%s' with -F",
			c->opts.backing_filename);
	if (!image_find_format(c->opts.backing_format, err)) {
		g_prefix_error(err, "Could not create '%s': Could not open backing file '%s': ",
			       c->filename, c->opts.backing_filename);
		return -EINVAL;
	}
	return 0;
}

/* A file that is read must not be one that is written. */
static int check_apart(struct creation *c, const struct image *chain, const char *what,
		       GError **err)
{
	const char *wrong = NULL;

	if (image_chain_has_file(chain, &c->id))
		wrong = "it is";
	else if (image_chain_has_file(chain, &c->data_id))
		wrong = "its data file is";
	if (!wrong)
		return 0;
	return refuse(c, err, -ELOOP, "%s %s '%s'", wrong, what, image_filename(chain));
}

/* Checks that the backing file exists and can be opened, and takes its size if none was given. */
static int co_check_backing(struct creation *c, const char *full_name, GError **err)
{
	/* It is only read: it may be in use. */
	struct image_open_opts opts = {
		.format = c->opts.backing_format,
		.flags = IMAGE_FORCE_SHARE,
		.policy = c->opts.policy,
	};
	struct image *backing;
	int ret = image_co_open(full_name, &opts, &backing, err);

	if (ret) {
		g_prefix_error(err,
			       "Could not create '%s': Could not open backing file: ", c->filename);
		return ret;
	}
	if (!c->opts.size_given)
		c->opts.size = image_size(backing);
	c->opts.size_given = true;
	ret = check_apart(c, backing, "in the backing chain of", err);
	image_co_close(backing);
	return ret;
}

static int co_prepare_backing(struct creation *c, GError **err)
{
	g_autofree char *full_name = NULL;
	int ret = check_backing_options(c, err);

	if (ret)
		return ret;
	full_name = image_resolve_backing(c->filename, c->opts.backing_filename);
	if (image_co_same_file(c->filename, full_name))
		return refuse(c, err, -ELOOP, "it cannot be its own backing file");
	if (c->data_filename && image_co_same_file(c->data_filename, full_name))
		return refuse(c, err, -ELOOP, "its data file cannot be its backing file");
	return c->opts.backing_unchecked ? 0 : co_check_backing(c, full_name, err);
}

static int check_size(struct creation *c, GError **err)
{
	if (!c->opts.size_given)
		return refuse(c, err, -EINVAL, "Image creation needs a size parameter");
	if (c->opts.size > IMAGE_MAX_SIZE)
		return refuse(c, err, -EFBIG,
			      "the size of %" PRIu64 " bytes exceeds the maximum of %" PRIu64,
			      c->opts.size, IMAGE_MAX_SIZE);
	return 0;
}

/* ---- the file ---- */

void image_begun_abandon(const struct image_begun *begun)
{
	static const struct timespec pause = { .tv_nsec = 1000000 };

	/* No longer than that: a file system that does not answer must not delay the signal. */
	for (int left = 1000; begun->making && left; left--)
		nanosleep(&pause, NULL);
	for (unsigned i = 0; i < begun->nr; i++)
		begun->files[i].bottom->abandon(&begun->files[i], begun->wipe);
}

void image_begun_clear(struct image_begun *begun)
{
	unsigned nr = begun->nr;

	begun->nr = 0;
	begun->wipe = false;
	for (unsigned i = 0; i < nr; i++)
		g_free(begun->files[i].filename);
}

static int abandon_on_worker(void *arg)
{
	image_begun_abandon(arg);
	return 0;
}

static int co_write_to(struct creation *c, struct image *file, GError **err)
{
	int ret = c->ops->co_create(file, &c->opts, err);

	if (ret)
		g_prefix_error(err, "Could not create '%s': ", c->filename);
	return ret;
}

static int co_write_image(struct creation *c, GError **err)
{
	struct image *file;
	int ret, close_ret;

	ret = image_co_open_bottom(c->filename, IMAGE_RDWR, &file, err);
	if (ret)
		return ret;
	ret = co_write_to(c, file, err);
	close_ret = image_co_close(file);
	if (!ret && close_ret)
		ret = error_set(err, close_ret, "Could not create '%s'", c->filename);
	return ret;
}

/* Lists the files that will be written. */
static void co_identify(struct creation *c)
{
	const char *data_file =
		c->opts.options ? g_hash_table_lookup(c->opts.options, "data_file") : NULL;

	c->id = image_co_file_id(c->filename);
	if (!data_file)
		return;
	c->data_filename = image_resolve_backing(c->filename, data_file);
	c->data_id = image_co_file_id(c->data_filename);
}

/* Everything that can be checked before a file is touched. */
static int co_check(struct creation *c, GError **err)
{
	int ret = check_options(c, err);

	if (ret)
		return ret;
	co_identify(c);
	for (struct image *const *source = c->opts.sources; !ret && source && *source; source++)
		ret = check_apart(c, *source, "a file of the source", err);
	if (!ret && c->opts.backing_filename)
		ret = co_prepare_backing(c, err);
	return ret ?: check_size(c, err) ?: check_with_format(c, err);
}

static int co_create(struct creation *c, GError **err)
{
	struct image_begun begun = {};
	int ret;

	if (!c->ops->co_create)
		return refuse(c, err, -ENOTSUP,
			      "Format driver '%s' does not support image creation",
			      c->ops->io.name);
	/* A graph consists of existing files. */
	if (node_name_is_json(c->filename))
		return refuse(c, err, -EINVAL, "Unknown protocol 'json': a new image is a file");
	if (!c->opts.begun)
		c->opts.begun = &begun;
	ret = co_check(c, err) ?:
	      image_co_create_bottom(c->filename, &c->opts, err) ?:
	      co_write_image(c, err);
	if (ret)
		co_run_on_worker(abandon_on_worker, c->opts.begun);
	if (ret || c->opts.begun == &begun)
		image_begun_clear(c->opts.begun);
	return ret;
}

int image_co_create(const char *filename, const char *format, const struct image_create_opts *opts,
		    uint64_t *ret_size, GError **err)
{
	struct creation c = { .filename = filename, .opts = *opts };
	int ret = -EINVAL;

	c.ops = image_find_format(format, err);
	if (c.ops)
		ret = co_create(&c, err);
	g_free(c.data_filename);
	if (!ret && ret_size)
		*ret_size = c.opts.size;
	return image_one_line(ret, err);
}

int image_co_create_on(struct image *file, const char *format, const struct image_create_opts *opts,
		       GError **err)
{
	struct creation c = { .filename = file->filename, .opts = *opts };
	int ret = -EINVAL;

	c.ops = image_find_format(format, err);
	if (c.ops)
		ret = check_options(&c, err) ?:
		      check_size(&c, err) ?:
		      check_with_format(&c, err) ?:
		      co_write_to(&c, file, err);
	return image_one_line(ret, err);
}

int image_co_finish(struct image *img)
{
	return img->format->co_finish ? img->format->co_finish(img) : 0;
}
