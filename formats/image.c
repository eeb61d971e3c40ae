// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Image nodes: the formats, opening a chain of images, closing it, and what is
 * known of it. Requests are in image_io.c, making images is in image_create.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "foreign.h"
#include "image_int.h"
#include "probe.h"

/* ---- formats ---- */

static const struct image_ops *const formats[] = {
	&image_qcow2_ops,
	&image_raw_ops,
};

const char *const *image_formats(void)
{
	static const char *names[G_N_ELEMENTS(formats) + 1];
	static gsize done;

	if (g_once_init_enter(&done)) {
		for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++)
			names[i] = formats[i]->name;
		g_once_init_leave(&done, 1);
	}
	return names;
}

const struct image_ops *image_find_format(const char *name, GError **err)
{
	g_autofree char *known = NULL;

	for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++)
		if (strcmp(formats[i]->name, name) == 0)
			return formats[i];
	known = g_strjoinv(", ", (char **)image_formats());
	g_set_error(err, UBD_ERROR, EINVAL, "Unknown format '%s', must be one of: %s", name, known);
	return NULL;
}

const struct image_option *image_create_options(const char *format)
{
	const struct image_ops *ops = image_find_format(format, NULL);

	return ops && ops->co_create ? ops->create_options : NULL;
}

bool image_format_can_compress(const char *format)
{
	const struct image_ops *ops = image_find_format(format, NULL);

	return ops && ops->co_pwrite_compressed;
}

/* raw takes what looks like no other format. */
static const struct image_ops *format_named(const char *name)
{
	const struct image_ops *ops = name ? foreign_find(name) : &image_raw_ops;

	return ops ?: image_find_format(name, NULL);
}

static int co_probe(struct image *file, const struct image_ops **ret_ops, GError **err)
{
	uint64_t size = image_size(file);
	const char *format = NULL;
	uint8_t buf[MAX(PROBE_HEAD_BYTES, PROBE_TAIL_BYTES)];
	int ret = image_co_pread(file, 0, PROBE_HEAD_BYTES, buf);

	if (!ret)
		format = probe_head(buf, MIN(PROBE_HEAD_BYTES, size));
	if (!ret && !format && size >= PROBE_TAIL_BYTES) {
		ret = image_co_pread(file, size - PROBE_TAIL_BYTES, PROBE_TAIL_BYTES, buf);
		format = ret ? NULL : probe_tail(buf);
	}
	if (!ret)
		*ret_ops = format_named(format);
	else
		g_set_error(err, UBD_ERROR, -ret, "Could not read '%s' to find its format: %s",
			    file->filename, g_strerror(-ret));
	return ret;
}

/* What is called a foreign format must be of it: its header is not looked at any further. */
static int co_check_foreign(struct image *file, const struct image_ops *ops, GError **err)
{
	const struct image_ops *found;
	int ret = co_probe(file, &found, err);

	if (ret || found == ops)
		return ret;
	g_set_error(err, UBD_ERROR, EINVAL, "Could not open '%s': Image is not in %s format",
		    file->filename, ops->name);
	return -EINVAL;
}

/* ---- file names ---- */

/* The length of "name:" at the start of @filename as of nbd:..., 0 if there is none. */
static size_t protocol_length(const char *filename)
{
	size_t len = strcspn(filename, ":/");

	return filename[len] == ':' ? len + 1 : 0;
}

const struct image_ops *image_find_bottom(const char *filename, char **ret_name, GError **err)
{
	size_t len = protocol_length(filename);
	const struct image_ops *ops = &image_file_ops;

	if (len == strlen("null:") && strncmp(filename, "null:", len) == 0) {
		ops = &image_null_ops;
	} else if (len == strlen("file:") && strncmp(filename, "file:", len) == 0) {
		filename += len;
		/* So that what remains has no other meaning when it is resolved once more. */
		if (protocol_length(filename)) {
			*ret_name = g_strconcat("./", filename, NULL);
			return ops;
		}
	} else if (len) {
		g_set_error(
			err, UBD_ERROR, EINVAL,
			"Could not open '%s': unknown protocol '%.*s' (a file of that name is ./%s)",
			filename, (int)len - 1, filename, filename);
		return NULL;
	}
	*ret_name = g_strdup(filename);
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

int image_one_line(int ret, GError **err)
{
	if (ret && err && *err)
		for (char *c = (*err)->message; *c; c++)
			if (g_ascii_iscntrl(*c))
				*c = '?';
	return ret;
}

/* ---- which file it is ---- */

struct file_id_job {
	const struct image_ops *ops;
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

bool file_id_equal(const struct file_id *a, const struct file_id *b)
{
	return a->known && b->known && a->dev == b->dev && a->ino == b->ino;
}

struct file_id image_file_id(const struct image *img)
{
	return img->file ? image_file_id(img->file) : img->id;
}

int64_t image_file_changed_ns(const struct image *img)
{
	return img->file ? image_file_changed_ns(img->file) : img->changed_ns;
}

bool image_chain_has_file(const struct image *img, const struct file_id *id)
{
	for (; img; img = img->backing) {
		if (file_id_equal(&img->id, id))
			return true;
		if (image_chain_has_file(img->file, id) || image_chain_has_file(img->data_file, id))
			return true;
	}
	return false;
}

bool image_is_on_block_device(const struct image *img)
{
	return img && (img->is_bdev || image_is_on_block_device(img->file) ||
		       image_is_on_block_device(img->data_file));
}

char *image_stable_name(const char *filename)
{
	g_autofree char *name = NULL;
	const struct image_ops *ops = image_find_bottom(filename, &name, NULL);

	return ops && ops->stable_name ? ops->stable_name(name) : NULL;
}

/* ---- one node ---- */

static struct image *node_new(const struct image_ops *ops, const char *filename, unsigned flags)
{
	struct image *img = g_new0(struct image, 1);

	img->ops = ops;
	img->filename = g_strdup(filename);
	img->flags = flags;
	img->limits.request_alignment = 1;
	img->limits.memory_alignment = 1;
	return img;
}

static void node_free(struct image *img)
{
	if (img->rmw_lock)
		co_rwlock_destroy(img->rmw_lock);
	iobuf_free(img->rmw_lock);
	g_free(img->backing_filename);
	g_free(img->backing_format);
	g_free(img->filename);
	g_free(img);
}

static int check_snapshot_opts(const struct image *img, const struct image_open_opts *opts,
			       GError **err)
{
	if (!opts->snapshot && !opts->snapshot_id && !opts->snapshot_name)
		return 0;
	if (!img->ops->co_snapshot_list) {
		g_set_error(err, UBD_ERROR, ENOTSUP,
			    "Could not open '%s': the format %s has no snapshots", img->filename,
			    img->ops->name);
		return -ENOTSUP;
	}
	if (!image_is_read_only(img)) {
		g_set_error(err, UBD_ERROR, EINVAL,
			    "Could not open '%s': a snapshot can only be opened read-only",
			    img->filename);
		return -EINVAL;
	}
	return 0;
}

/* Opens the node itself; what is below it stays when that fails. */
static int co_node_open(struct image *img, const struct image_open_opts *opts, GError **err)
{
	int ret = check_snapshot_opts(img, opts, err) ?: img->ops->co_open(img, opts, err);

	if (ret || img->limits.request_alignment == 1)
		return ret;
	img->rmw_lock = try_iobuf_alloc0(sizeof(*img->rmw_lock));
	if (!img->rmw_lock) {
		img->ops->co_close(img);
		g_set_error(err, UBD_ERROR, ENOMEM, "Could not open '%s': out of memory",
			    img->filename);
		return -ENOMEM;
	}
	co_rwlock_init(img->rmw_lock);
	return 0;
}

static int co_new_bottom(const struct image_ops *ops, const char *filename,
			 const struct image_open_opts *opts, void *opaque, struct image **ret_img,
			 GError **err)
{
	struct image *img = node_new(ops, filename, opts->flags);
	int ret;

	img->opaque = opaque;
	ret = co_node_open(img, opts, err);
	if (ret)
		node_free(img);
	else
		*ret_img = img;
	return ret;
}

int image_co_new_bottom(const struct image_ops *ops, const char *filename, unsigned flags,
			void *opaque, struct image **ret_img, GError **err)
{
	struct image_open_opts opts = { .flags = flags };

	return co_new_bottom(ops, filename, &opts, opaque, ret_img, err);
}

int image_co_open_named(const char *filename, unsigned flags, const struct named_file *named,
			struct image **ret_img, GError **err)
{
	struct image_open_opts opts = { .flags = flags, .named_file = named };
	g_autofree char *name = NULL, *refusal = NULL;
	const struct image_ops *ops = image_find_bottom(filename, &name, err);

	if (!ops)
		return -EINVAL;
	if (named && ops != &image_file_ops)
		refusal = named_nothing_refusal(named);
	if (refusal) {
		g_set_error(err, UBD_ERROR, EPERM, "Could not open '%s': %s", filename, refusal);
		return -EPERM;
	}
	return co_new_bottom(ops, name, &opts, NULL, ret_img, err);
}

int image_co_open_bottom(const char *filename, unsigned flags, struct image **ret_img, GError **err)
{
	return image_one_line(image_co_open_named(filename, flags, NULL, ret_img, err), err);
}

static int co_keep_writers_out(struct image *file, GError **err)
{
	int ret = file->ops->co_keep_writers_out ? file->ops->co_keep_writers_out(file, err) : 0;

	if (ret || !file->ops->co_refresh_size)
		return ret;
	/* It may have grown until now. */
	ret = file->ops->co_refresh_size(file);
	if (ret)
		g_set_error(err, UBD_ERROR, -ret, "Could not open '%s': %s", file->filename,
			    g_strerror(-ret));
	return ret;
}

/* A format node on @file, which it owns from now on, also on failure. */
static int co_open_format(struct image *file, const struct image_open_opts *opts,
			  struct image_memory *memory, struct image **ret_img, GError **err)
{
	const struct image_ops *ops = NULL;
	struct image *img;
	int ret = 0;

	if (opts->format) {
		if (opts->flags & IMAGE_INFO_ONLY)
			ops = foreign_find(opts->format);
		ret = ops ? co_check_foreign(file, ops, err) : 0;
		ops = ops ?: image_find_format(opts->format, err);
		ret = ops ? ret : -EINVAL;
	} else {
		ret = co_probe(file, &ops, err);
		if (!ret && ops->info_only && !(opts->flags & IMAGE_INFO_ONLY))
			ret = foreign_refuse(ops, file->filename, err);
	}
	if (!ret && opts->data_file && ops != &image_qcow2_ops) {
		g_set_error(err, UBD_ERROR, EINVAL,
			    "Could not open '%s': format %s has no external data files",
			    file->filename, ops->name);
		ret = -EINVAL;
	}
	if (ret) {
		image_co_close(opts->data_file);
		image_co_close(file);
		return ret;
	}
	img = node_new(ops, file->filename, opts->flags & ~IMAGE_BEAR_WRITERS);
	img->file = file;
	img->memory = memory;
	if (opts->flags & IMAGE_BEAR_WRITERS && !ops->bears_writers)
		ret = co_keep_writers_out(file, err);
	ret = ret ?: co_node_open(img, opts, err);
	if (ret) {
		node_free(img);
		image_co_close(file);
		return ret;
	}
	*ret_img = img;
	return 0;
}

/* ---- the chain ---- */

/* Opens the backing file of @layer, the last one; the chain from @top down must not have it. */
static int co_open_backing(const struct image *top, struct image *layer, unsigned depth,
			   const struct image_open_opts *top_opts, GError **err)
{
	g_autofree char *filename = image_resolve_backing(layer->filename, layer->backing_filename);
	/* Whatever is done to the top image, the rest of the chain is only read. */
	struct image_open_opts opts = {
		.format = layer->backing_format,
		.flags = top_opts->flags & (IMAGE_DIRECT | IMAGE_FORCE_SHARE),
		.cache_bytes =
			MIN(top_opts->cache_bytes, image_memory_left(top) / IMAGE_CACHE_SHARE),
		.policy = top_opts->policy,
	};
	struct named_file named = named_backing_file(opts.policy, layer->filename);
	struct file_id id = image_co_file_id(filename);
	struct image *file;
	int ret;

	if (depth >= IMAGE_MAX_CHAIN) {
		g_set_error(err, UBD_ERROR, ELOOP, "the chain has more than %u images",
			    IMAGE_MAX_CHAIN);
		return -ELOOP;
	}
	if (image_chain_has_file(top, &id)) {
		g_set_error(err, UBD_ERROR, ELOOP,
			    "'%s' is in the chain above already, which makes it a loop", filename);
		return -ELOOP;
	}
	if (!opts.format && opts.policy && opts.policy->formats_given) {
		g_set_error(err, UBD_ERROR, EPERM,
			    "the image does not name its format, which is not guessed; write it to "
			    "the image (qemu-img rebase -u -b FILE -F FORMAT), or give "
			    "--allow-probing");
		return -EPERM;
	}
	ret = image_co_open_named(filename, opts.flags, &named, &file, err);
	ret = ret ?: co_open_format(file, &opts, top->memory, &layer->backing, err);
	/* It is the top image's format that the caller can choose. */
	return ret == -EMEDIUMTYPE ? -EINVAL : ret;
}

static int co_open_chain(struct image *top, const struct image_open_opts *opts, GError **err)
{
	unsigned depth = 1;
	int ret;

	if (opts->flags & IMAGE_NO_BACKING)
		return 0;
	for (struct image *layer = top; layer->backing_filename; layer = layer->backing) {
		ret = co_open_backing(top, layer, depth++, opts, err);
		if (ret) {
			g_prefix_error(err, "Could not open '%s': backing file '%s' of '%s': ",
				       top->filename, layer->backing_filename, layer->filename);
			return ret;
		}
	}
	return 0;
}

/* Once for a chain, whose files tend to be on one file system. */
static void warn_of_unlocked(const struct image *img, const struct image_open_opts *opts)
{
	g_autofree char *line = NULL;

	while (img && !(img->file && img->file->unlocked))
		img = img->backing;
	if (!img || !opts->warn)
		return;
	line = g_strdup_printf("%s: the file system has no locks, so nobody keeps other programs "
			       "from writing to it",
			       img->filename);
	opts->warn(line);
}

static int co_open_on(struct image *file, const struct image_open_opts *opts,
		      struct image **ret_img, GError **err)
{
	struct image_memory *memory = image_memory_new(opts->memory_limit);
	struct image *img;
	int ret = co_open_format(file, opts, memory, &img, err);

	if (ret) {
		g_free(memory);
		return ret;
	}
	ret = co_open_chain(img, opts, err);
	if (ret) {
		image_co_close(img);
		return ret;
	}
	warn_of_unlocked(img, opts);
	*ret_img = img;
	return 0;
}

static const struct image_open_opts default_opts;

int image_co_open_on(struct image *file, const struct image_open_opts *opts, struct image **ret_img,
		     GError **err)
{
	return image_one_line(co_open_on(file, opts ?: &default_opts, ret_img, err), err);
}

int image_co_open(const char *filename, const struct image_open_opts *opts, struct image **ret_img,
		  GError **err)
{
	struct named_file named;
	unsigned bottom_flags;
	struct image *file;
	int ret;

	opts = opts ?: &default_opts;
	/* Both promise something that a writer cannot keep. */
	if ((opts->flags & IMAGE_RDWR &&
	     opts->flags & (IMAGE_FORCE_SHARE | IMAGE_FOR_CHECK | IMAGE_NO_DATA_FILE |
			    IMAGE_INFO_ONLY | IMAGE_BEAR_WRITERS)) ||
	    (opts->flags & IMAGE_FOR_REPAIR && opts->flags & IMAGE_FORCE_SHARE)) {
		g_set_error(err, UBD_ERROR, EINVAL,
			    "Could not open '%s': it can only be shared or checked read-only",
			    filename);
		return image_one_line(-EINVAL, err);
	}
	bottom_flags = opts->flags & ~(IMAGE_FOR_REPAIR | IMAGE_INFO_ONLY);
	if (opts->flags & IMAGE_FOR_REPAIR)
		bottom_flags |= IMAGE_RDWR;
	named = named_backing_file(opts->policy, opts->named_by);
	ret = image_co_open_named(filename, bottom_flags, opts->named_by ? &named : NULL, &file,
				  err);
	ret = ret ?: co_open_on(file, opts, ret_img, err);
	return image_one_line(ret, err);
}

/* Closes the node and what it stands on, but not its backing file. */
static int co_close_layer(struct image *img)
{
	int ret = image_co_flush(img);
	int close_ret = img->ops->co_close(img);
	int file_ret = img->file ? co_close_layer(img->file) : 0;

	node_free(img);
	return ret ?: close_ret ?: file_ret;
}

int image_co_close(struct image *img)
{
	struct image_memory *memory = img ? img->memory : NULL;
	int first_error = 0;

	/* From the top down: what an image has held back may need what is below it. */
	while (img) {
		struct image *backing = img->backing;
		int ret = co_close_layer(img);

		first_error = first_error ?: ret;
		img = backing;
	}
	g_free(memory);
	return first_error;
}

/* ---- what it is ---- */

const char *image_filename(const struct image *img)
{
	return img->filename;
}

const char *image_format(const struct image *img)
{
	return img->ops->name;
}

uint64_t image_size(const struct image *img)
{
	return atomic_load_explicit(&img->size, memory_order_acquire);
}

bool image_is_read_only(const struct image *img)
{
	return !(img->flags & IMAGE_RDWR);
}

struct image *image_backing(const struct image *img)
{
	return img->backing;
}

struct image *image_file(const struct image *img)
{
	return img->file;
}

struct image *image_data_file(const struct image *img)
{
	return img->data_file ?: img->file;
}

const struct image_limits *image_limits(const struct image *img)
{
	return &img->limits;
}

/* ---- troubles ---- */

static const char *bottom_with(const struct image *node, unsigned trouble)
{
	bool has = node && node->ops->troubles && node->ops->troubles(node) & trouble;

	return has ? node->filename : NULL;
}

const char *image_troubled_file(const struct image *img, enum image_trouble trouble)
{
	const char *found = NULL;

	for (; img && !found; img = img->backing)
		found = bottom_with(img, trouble) ?: bottom_with(img->file, trouble)
			?: bottom_with(img->data_file, trouble);
	return found;
}

unsigned image_troubles(const struct image *img)
{
	static const unsigned all[] = { IMAGE_TROUBLE_LOST, IMAGE_TROUBLE_CUT,
					IMAGE_TROUBLE_DELETED };
	unsigned found = 0;

	for (unsigned i = 0; i < G_N_ELEMENTS(all); i++)
		if (image_troubled_file(img, all[i]))
			found |= all[i];
	return found;
}

static void inspect_bottom(struct image *node)
{
	if (node && node->ops->inspect)
		node->ops->inspect(node);
}

void image_inspect(struct image *img)
{
	for (; img; img = img->backing) {
		inspect_bottom(img);
		inspect_bottom(img->file);
		inspect_bottom(img->data_file);
	}
}

int image_co_get_info(struct image *img, struct image_info *ret_info)
{
	struct image_info info = {
		.format = image_format(img),
		.virtual_size = image_size(img),
		.cluster_size = img->limits.cluster_size,
		.backing_filename = g_strdup(img->backing_filename),
		.backing_format = g_strdup(img->backing_filename ? img->backing_format : NULL),
	};
	int ret = 0;

	if (img->backing_filename)
		info.full_backing_filename =
			image_resolve_backing(img->filename, img->backing_filename);
	if (img->ops->co_get_info)
		ret = img->ops->co_get_info(img, &info);
	if (ret)
		image_info_clear(&info);
	else
		*ret_info = info;
	return ret;
}

void image_info_clear(struct image_info *info)
{
	g_free(info->backing_filename);
	g_free(info->full_backing_filename);
	g_free(info->backing_format);
	g_clear_pointer(&info->bitmaps, g_ptr_array_unref);
	g_free(info->data_file);
	memset(info, 0, sizeof(*info));
}

int64_t image_co_allocated_bytes(struct image *img)
{
	if (img->ops->co_allocated_bytes)
		return img->ops->co_allocated_bytes(img);
	return img->file ? image_co_allocated_bytes(img->file) : -ENOTSUP;
}

int image_co_check(struct image *img, void (*report)(void *arg, const char *line), void *report_arg,
		   struct image_check_result *ret_result)
{
	struct image_check_opts opts = { .report = report, .report_arg = report_arg };

	return image_co_repair(img, &opts, ret_result);
}

int image_co_repair(struct image *img, const struct image_check_opts *opts,
		    struct image_check_result *ret_result)
{
	struct image_check_result result = {};
	int ret;

	if (!img->ops->co_check)
		return -ENOTSUP;
	if (opts->fix && !(img->flags & IMAGE_FOR_REPAIR))
		return -EPERM;
	ret = img->ops->co_check(img, opts, &result);
	if (!ret)
		*ret_result = result;
	return ret;
}
