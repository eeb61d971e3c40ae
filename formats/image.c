// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Image nodes: what is known about one. All other files of formats/ may call these functions, which
 * call none of them. Nodes begin and end in image_node.c, image_open.c opens chains, image_create.c
 * creates images, and image_io.c has the requests.
 */
#include "image_int.h"

const char *image_filename(const struct image *img)
{
	return img->filename;
}

const char *image_format(const struct image *img)
{
	return img->bare_driver ?: img->ops->name;
}

uint64_t image_size(const struct image *img)
{
	return atomic_load_explicit(&img->size, memory_order_acquire);
}

bool image_is_read_only(const struct image *img)
{
	return !(img->flags & IMAGE_RDWR);
}

bool image_is_headerless(const struct image *img)
{
	return img->format->headerless;
}

bool image_was_probed(const struct image *img)
{
	return img->was_probed;
}

bool image_forgets(const struct image *img)
{
	return img->file ? image_forgets(img->file) : img->bottom->forgets;
}

struct image *image_backing(const struct image *img)
{
	return img->backing;
}

struct image *image_file(const struct image *img)
{
	return img->file;
}

struct image *image_below_filters(struct image *img)
{
	while (img->format->is_filter)
		img = img->file;
	return img;
}

struct throttle_group *image_take_throttle(struct image *img)
{
	if (!img->format->throttle)
		return NULL;
	img->throttle_taken = true;
	return img->format->throttle(img);
}

void image_give_back_throttle(struct image *img)
{
	img->throttle_taken = false;
}

struct image *image_data_file(const struct image *img)
{
	return img->data_file ?: img->file;
}

const struct image_limits *image_limits(const struct image *img)
{
	return &img->limits;
}

/* ---- which file it is in ---- */

bool file_id_equal(const struct file_id *a, const struct file_id *b)
{
	return a->known && b->known && a->dev == b->dev && a->ino == b->ino;
}

struct file_id image_file_id(const struct image *img)
{
	return img->file ? image_file_id(img->file) : img->id;
}

bool image_file_owner(const struct image *img, uid_t *ret_uid)
{
	if (img->file)
		return image_file_owner(img->file, ret_uid);
	*ret_uid = img->owner;
	return img->has_owner;
}

int64_t image_file_changed_ns(const struct image *img)
{
	return img->file ? image_file_changed_ns(img->file) : img->changed_ns;
}

bool image_grow_ahead(struct image *file)
{
	for (; file->format->is_filter; file = file->file)
		if (file->format->allocates_ahead)
			return false;
	return file->bottom->grow_ahead && file->bottom->grow_ahead(file);
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

/* ---- troubles ---- */

const char *image_troubled_file(const struct image *img, enum image_trouble trouble)
{
	const char *found = NULL;

	for (; img && !found; img = img->backing) {
		if (img->bottom->troubles && img->bottom->troubles(img) & trouble)
			return img->filename;
		found = image_troubled_file(img->file, trouble)
				?: image_troubled_file(img->data_file, trouble);
	}
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

void image_inspect(struct image *img)
{
	for (; img; img = img->backing) {
		if (img->bottom->inspect)
			img->bottom->inspect(img);
		image_inspect(img->file);
		image_inspect(img->data_file);
	}
}

/* ---- space ---- */

static bool has_less(const struct image_space *a, const struct image_space *b)
{
	return a->total_bytes &&
	       (!b->total_bytes ||
		(double)a->free_bytes / a->total_bytes < (double)b->free_bytes / b->total_bytes);
}

/* A disk that is the guest's own may be written to its end. */
static struct image_space space_of(const struct image *img, bool may_be_full)
{
	struct image_space least = { 0 };

	for (; img; img = img->file) {
		struct image_space space = { 0 };

		may_be_full |= image_is_headerless(img);
		if (img->bottom->space && !(may_be_full && img->is_bdev))
			space = img->bottom->space(img);
		if (has_less(&space, &least))
			least = space;
		space = img->data_file ? space_of(img->data_file, true) : (struct image_space){ 0 };
		if (has_less(&space, &least))
			least = space;
	}
	return least;
}

struct image_space image_space(const struct image *img)
{
	return image_is_read_only(img) ? (struct image_space){ 0 } : space_of(img, false);
}

/* ---- messages ---- */

int image_one_line(int ret, GError **err)
{
	if (ret && err && *err)
		error_one_line((*err)->message);
	return ret;
}
