// SPDX-License-Identifier: GPL-2.0-or-later
/* How the data of requests is transferred between the driver and the image; see data.h. */
#include "data.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "align.h"
#include "bounce_pool.h"
#include "error.h"
#include "pages.h"

#define HUGE_PAGE	  (2u << 20)
/* Shared by the tags of a queue: enough for as many requests as keep a disk busy. */
#define SHARED_BYTES	  (4u << 20)
/*
 * What is there from the start. With user copy it must do for the largest request. With zero copy
 * few requests need any, and they do not keep the others from going on.
 */
#define ZERO_COPY_TOUCHED (256u << 10)
#define TAG_TOUCHED	  8192u

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/*
 * In huge pages, where the system has them: the disk below sees few pieces where we see one. Not
 * before all of it is touched.
 */
struct memory {
	uint8_t *bufs;
	void *map; /* the mapping that contains them, or NULL */
	size_t map_bytes;
};

/* The data of a tag's request. */
struct tag_data {
	struct fixed_buf fixed; /* zero copy: its pages */
	struct data_path *data;
	struct memory large; /* data_enlarge() */
	uint16_t tag;
	bool copied; /* at least partly, by the copy functions of @fixed */
};

struct data_path {
	struct data_config config;
	struct tag_data *tags;
	_Atomic uint64_t zero_copy, copied; /* only the queue's thread writes them */
	struct bounce_pool bounce;	    /* user copy, zero copy */
	struct memory memory;		    /* what @bounce manages, or max_io_bytes for each tag */
	bool has_asked, has_grown;
};

static bool is_user_copy(const struct data_path *data)
{
	return data->config.way != DATA_COPY;
}

static bool is_zero_copy(const struct data_path *data)
{
	return data->config.way == DATA_ZERO_COPY;
}

/* ---- copies by us ---- */

static uint64_t data_off(const struct tag_data *td, size_t off)
{
	const struct data_config *config = &td->data->config;

	return config->driver->data_off(config->q_id, td->tag) + off;
}

/* Copies the data of a write. It only copies memory, so it does not hold up the loop. */
static int take(const struct tag_data *td, size_t off, void *dst, size_t bytes)
{
	ssize_t res = pread(td->data->config.char_fd, dst, bytes, data_off(td, off));

	if (res < 0)
		return -errno;
	return (size_t)res == bytes ? 0 : -EIO;
}

/* Copies the data of a read. */
static int give(const struct tag_data *td, size_t off, const void *src, size_t bytes)
{
	ssize_t res = pwrite(td->data->config.char_fd, src, bytes, data_off(td, off));

	if (res < 0)
		return -errno;
	return (size_t)res == bytes ? 0 : -EIO;
}

static int fixed_copy_in(const struct fixed_buf *buf, size_t off, const void *src, size_t bytes)
{
	struct tag_data *td = (struct tag_data *)buf;

	td->copied = true;
	return give(td, off, src, bytes);
}

static int fixed_copy_out(const struct fixed_buf *buf, size_t off, void *dst, size_t bytes)
{
	struct tag_data *td = (struct tag_data *)buf;

	td->copied = true;
	return take(td, off, dst, bytes);
}

/* ---- requests ---- */

static struct iobuf fixed_view(const struct tag_data *td)
{
	return iobuf_of_fixed(&td->fixed);
}

static uint8_t *tag_buffer(const struct tag_data *td)
{
	if (td->large.map)
		return td->large.bufs;
	return td->data->memory.bufs + (size_t)td->tag * td->data->config.max_io_bytes;
}

static void count(struct tag_data *td)
{
	_Atomic uint64_t *counter = td->copied ? &td->data->copied : &td->data->zero_copy;
	uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, value + 1, memory_order_relaxed);
}

static void ask_more(struct data_path *data)
{
	if (data->has_asked)
		return;
	data->has_asked = true;
	data->config.ask_more(data->config.arg);
}

static void *co_get_bounce(struct tag_data *td, size_t bytes)
{
	struct data_path *data = td->data;

	if (!data->has_asked && !bounce_pool_has(&data->bounce, bytes))
		ask_more(data);
	return bounce_pool_co_get(&data->bounce, bytes);
}

/* With copy. */
static uint8_t *get_tag_buffer(struct tag_data *td, size_t bytes)
{
	if (bytes > TAG_TOUCHED)
		ask_more(td->data);
	return tag_buffer(td);
}

static int co_read_bounced(struct tag_data *td, struct image *image, uint64_t guest_off,
			   uint64_t bytes)
{
	void *buf = co_get_bounce(td, bytes);
	int res = image_co_pread(image, guest_off, bytes, buf);

	if (!res)
		res = give(td, 0, buf, bytes);
	bounce_pool_put(&td->data->bounce, buf, bytes);
	return res;
}

int data_co_read(struct data_path *data, uint16_t tag, const struct request_desc *desc,
		 struct image *image)
{
	struct tag_data *td = &data->tags[tag];
	int res;

	td->copied = !desc->registered;
	if (desc->registered)
		res = image_co_preadv(image, desc->guest_off, desc->bytes, fixed_view(td));
	else if (is_user_copy(data))
		res = co_read_bounced(td, image, desc->guest_off, desc->bytes);
	else
		res = image_co_pread(image, desc->guest_off, desc->bytes,
				     get_tag_buffer(td, desc->bytes));
	count(td);
	return res;
}

static int co_write_bounced(struct tag_data *td, struct image *image, uint64_t guest_off,
			    uint64_t bytes, unsigned flags)
{
	void *buf = co_get_bounce(td, bytes);
	int res = take(td, 0, buf, bytes);

	if (!res)
		res = image_co_pwrite(image, guest_off, bytes, buf, flags);
	bounce_pool_put(&td->data->bounce, buf, bytes);
	return res;
}

int data_co_write(struct data_path *data, uint16_t tag, const struct request_desc *desc,
		  struct image *image, unsigned flags)
{
	struct tag_data *td = &data->tags[tag];
	int res;

	td->copied = !desc->registered;
	if (desc->registered)
		res = image_co_pwritev(image, desc->guest_off, desc->bytes, fixed_view(td), flags);
	else if (is_user_copy(data))
		res = co_write_bounced(td, image, desc->guest_off, desc->bytes, flags);
	else
		res = image_co_pwrite(image, desc->guest_off, desc->bytes,
				      get_tag_buffer(td, desc->bytes), flags);
	count(td);
	return res;
}

uint64_t data_fetch_addr(const struct data_path *data, uint16_t tag)
{
	if (is_zero_copy(data))
		return tag; /* the index in the ring's table */
	return is_user_copy(data) ? 0 : (uintptr_t)tag_buffer(&data->tags[tag]);
}

struct data_stats data_stats(const struct data_path *data)
{
	return (struct data_stats){
		.zero_copy = atomic_load_explicit(&data->zero_copy, memory_order_relaxed),
		.copied = atomic_load_explicit(&data->copied, memory_order_relaxed),
	};
}

/* ---- memory ---- */

static size_t memory_bytes(const struct data_path *data)
{
	size_t all = (size_t)data->config.depth * data->config.max_io_bytes;

	return is_user_copy(data) ? MIN(all, MAX(SHARED_BYTES, data->config.max_io_bytes)) : all;
}

static void memory_free(struct memory *memory)
{
	if (memory->map)
		munmap(memory->map, memory->map_bytes);
	*memory = (struct memory){ 0 };
}

/* With one huge page more, so that they can be where huge pages are. */
static int memory_map(struct memory *memory, size_t bytes)
{
	size_t map_bytes = bytes + HUGE_PAGE;
	void *map;

	map = mmap(NULL, map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return -ENOMEM;
	*memory = (struct memory){
		.bufs = (uint8_t *)align_up((uintptr_t)map, HUGE_PAGE),
		.map = map,
		.map_bytes = map_bytes,
	};
	/* Not in a core dump, because it belongs to the users of the disk. */
	madvise(map, map_bytes, MADV_DONTDUMP);
	return 0;
}

/*
 * Few pages of it are touched, and the kernel must not make huge ones of them. Where it can, it
 * does so later, all at once.
 */
static void forbid_huge_pages(const struct data_path *data)
{
	madvise(data->memory.bufs, memory_bytes(data), MADV_NOHUGEPAGE);
}

static void want_huge_pages(const struct data_path *data)
{
	madvise(data->memory.bufs, memory_bytes(data), MADV_HUGEPAGE); /* only advice */
	/* From Linux 6.1 on. What it cannot do, such as pages that are being read to, stays. */
	madvise(data->memory.bufs, align_down(memory_bytes(data), HUGE_PAGE), MADV_COLLAPSE);
}

/* How much of what the tags share is touched from the start. */
static size_t touched_bytes(const struct data_path *data)
{
	return is_zero_copy(data) ? MIN(ZERO_COPY_TOUCHED, memory_bytes(data))
				  : data->config.max_io_bytes;
}

static void touch_first(struct data_path *data)
{
	const size_t tag_bytes = data->config.max_io_bytes;

	forbid_huge_pages(data);
	if (is_user_copy(data)) {
		pages_touch(data->memory.bufs, touched_bytes(data));
		bounce_pool_set_limit(&data->bounce, touched_bytes(data));
		return;
	}
	for (unsigned tag = 0; tag < data->config.depth; tag++)
		pages_touch(data->memory.bufs + tag * tag_bytes, MIN(tag_bytes, TAG_TOUCHED));
}

int data_allocate(struct data_path *data)
{
	size_t bytes = memory_bytes(data);
	int res = memory_map(&data->memory, bytes);

	if (res < 0)
		return res;
	bounce_pool_init(&data->bounce, data->memory.bufs, is_user_copy(data) ? bytes : 0);
	data->has_asked = data->has_grown = !data->config.ask_more;
	if (data->config.ask_more)
		touch_first(data);
	else
		data_grow(data);
	return 0;
}

void data_grow(struct data_path *data)
{
	want_huge_pages(data);
	pages_touch(data->memory.bufs, memory_bytes(data));
}

void data_grown(struct data_path *data)
{
	data->has_grown = true;
	if (is_user_copy(data))
		bounce_pool_set_limit(&data->bounce, memory_bytes(data));
}

void data_give_back(struct data_path *data)
{
	size_t touched = touched_bytes(data);

	if (!data->has_grown || !data->config.ask_more || !is_user_copy(data) ||
	    bounce_pool_top(&data->bounce) > touched)
		return;
	bounce_pool_set_limit(&data->bounce, touched);
	forbid_huge_pages(data);
	pages_give_back(data->memory.bufs + touched, memory_bytes(data) - touched);
	data->has_asked = data->has_grown = false;
}

int data_enlarge(struct data_path *data, uint16_t tag, size_t bytes)
{
	int res = memory_map(&data->tags[tag].large, bytes);

	if (!res)
		madvise(data->tags[tag].large.bufs, bytes, MADV_HUGEPAGE); /* only advice */
	return res;
}

void data_shrink(struct data_path *data, uint16_t tag)
{
	memory_free(&data->tags[tag].large);
}

static void init_tags(struct data_path *data)
{
	data->tags = g_new(struct tag_data, data->config.depth);
	for (unsigned tag = 0; tag < data->config.depth; tag++) {
		data->tags[tag] = (struct tag_data){
			.fixed = { tag, 0, fixed_copy_in, fixed_copy_out },
			.data = data,
			.tag = tag,
		};
	}
}

struct data_path *data_new(const struct data_config *config, struct aio_loop *loop, GError **err)
{
	struct data_path *data;
	int res = 0;

	if (config->way == DATA_ZERO_COPY)
		res = aio_loop_make_buffers(loop, config->depth);
	if (res < 0) {
		error_set(err, res, "cannot register %u buffers", config->depth);
		return NULL;
	}
	data = g_new0(struct data_path, 1);
	data->config = *config;
	init_tags(data);
	return data;
}

void data_free(struct data_path *data)
{
	if (!data)
		return;
	if (data->memory.map)
		bounce_pool_destroy(&data->bounce);
	memory_free(&data->memory);
	for (unsigned tag = 0; tag < data->config.depth; tag++)
		data_shrink(data, tag);
	g_free(data->tags);
	g_free(data);
}
