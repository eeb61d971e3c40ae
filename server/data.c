// SPDX-License-Identifier: GPL-2.0-or-later
/* How the data of requests is transferred between the driver and the image; see data.h. */
#include "data.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "data_memory.h"
#include "data_pool.h"
#include "pages.h"

/* How much of a tag's buffer is there from the start. */
#define TAG_TOUCHED 8192u

/* The data of a tag's request. */
struct tag_data {
	struct fixed_buf fixed; /* zero copy: its pages */
	struct data_path *data;
	struct data_memory large; /* data_enlarge() */
	uint16_t tag;
	bool copied; /* at least partly, by the copy functions of @fixed */
};

struct data_path {
	struct data_config config;
	struct tag_data *tags;
	_Atomic uint64_t zero_copy, copied; /* only the queue's thread writes them */
	struct data_memory memory;	    /* with copy: max_io_bytes for each tag */
	bool has_asked;
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
	void *buf = data_pool_co_get(td->data->config.pool, bytes);
	int res = image_co_pread(image, guest_off, bytes, buf);

	if (!res)
		res = give(td, 0, buf, bytes);
	data_pool_put(td->data->config.pool, buf, bytes);
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
	void *buf = data_pool_co_get(td->data->config.pool, bytes);
	int res = take(td, 0, buf, bytes);

	if (!res)
		res = image_co_pwrite(image, guest_off, bytes, buf, flags);
	data_pool_put(td->data->config.pool, buf, bytes);
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
		return data->config.first_buffer + tag; /* the index in the ring's table */
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

static void touch_first(struct data_path *data)
{
	const size_t tag_bytes = data->config.max_io_bytes;

	data_memory_forbid_huge_pages(&data->memory);
	for (unsigned tag = 0; tag < data->config.depth; tag++)
		pages_touch(data->memory.bufs + tag * tag_bytes, MIN(tag_bytes, TAG_TOUCHED));
}

int data_allocate(struct data_path *data)
{
	size_t bytes = (size_t)data->config.depth * data->config.max_io_bytes;
	int res;

	if (is_user_copy(data))
		return 0;
	res = data_memory_map(&data->memory, bytes);
	if (res < 0)
		return res;
	data->has_asked = !data->config.ask_more;
	if (data->config.ask_more)
		touch_first(data);
	else
		data_grow(data);
	return 0;
}

void data_grow(struct data_path *data)
{
	data_memory_grow(&data->memory);
}

int data_enlarge(struct data_path *data, uint16_t tag, size_t bytes)
{
	struct data_memory *large = &data->tags[tag].large;
	int res = data_memory_map(large, bytes);

	if (!res)
		madvise(large->bufs, bytes, MADV_HUGEPAGE); /* only advice */
	return res;
}

void data_shrink(struct data_path *data, uint16_t tag)
{
	data_memory_unmap(&data->tags[tag].large);
}

struct data_path *data_new(const struct data_config *config)
{
	struct data_path *data = g_new0(struct data_path, 1);

	data->config = *config;
	data->tags = g_new(struct tag_data, config->depth);
	for (unsigned tag = 0; tag < config->depth; tag++) {
		data->tags[tag] = (struct tag_data){
			.fixed = { config->first_buffer + tag, 0, fixed_copy_in, fixed_copy_out },
			.data = data,
			.tag = tag,
		};
	}
	return data;
}

void data_free(struct data_path *data)
{
	if (!data)
		return;
	data_memory_unmap(&data->memory);
	for (unsigned tag = 0; tag < data->config.depth; tag++)
		data_shrink(data, tag);
	g_free(data->tags);
	g_free(data);
}
