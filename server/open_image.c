// SPDX-License-Identifier: GPL-2.0-or-later
/* Opening the image that is served; see open_image.h. */
#include "open_image.h"

#include <errno.h>

#include "aio.h"
#include "error.h"
#include "report.h"

#define NS_PER_S	    UINT64_C(1000000000)
/* Report a last server that keeps the image locked after this time, and then once a minute. */
#define UNLOCK_SECONDS	    2
#define UNLOCK_NOTE_SECONDS 60

struct open_job {
	const struct options *options;
	const struct takeover *takeover;
	struct image_open_opts opts;
	open_image_enter_fn *co_enter;
	void *enter_arg;
	bool has_entered;
	struct file_id entered_id; /* of the file with which it has */
	struct image *image;
	GError *err;
	int res;
};

static void warn(const char *line)
{
	report_note("%s", line);
}

/* All that was checked is true of one file, whatever has its name by now. */
static int check_file_again(const struct open_job *job, const struct image *file, GError **err)
{
	struct file_id id = image_file_id(file);

	if (file_id_equal(&id, &job->entered_id) || (!id.known && !job->entered_id.known))
		return 0;
	return error_refuse(err, -ESTALE, "%s: it was replaced while it was being opened",
			    job->options->filename);
}

static int claim_image_co(void *arg, struct image *file, GError **err)
{
	struct open_job *job = arg;
	int char_fd = -1, res = 0;

	/* The image may be opened again, read-only or once others have let go of it. */
	if (job->has_entered)
		return check_file_again(job, file, err);
	if (job->takeover->transport)
		res = takeover_claim(job->takeover, file, &char_fd, err);
	if (res < 0)
		return res;
	job->has_entered = true;
	job->entered_id = image_file_id(file);
	/* Not an error after which the image is opened in another way, past all this. */
	return job->co_enter(job->enter_arg, file, char_fd, err) < 0 ? -EINVAL : 0;
}

static void co_try(struct open_job *job)
{
	job->opts.co_claim = claim_image_co;
	job->opts.claim_arg = job;
	job->res = image_co_open(job->options->filename, &job->opts, &job->image, &job->err);
}

/* Its deadline has passed, or somebody has stopped it. */
static bool has_ended(struct transport *transport)
{
	struct transport_info info;

	return transport->ops->get_info(transport, &info) < 0 || info.state == TRANSPORT_STOPPED ||
	       info.stopping;
}

/*
 * The I/O of the last server may continue for a while after its death, and holds the lock of the
 * image until it has ended. Two servers that write would destroy the image. Others can take a lock,
 * too, all who may read the image; the device, whose users wait, is not given up for that.
 */
static void co_open_when_unlocked(struct open_job *job)
{
	struct transport *transport = job->takeover->transport;
	uint64_t note = aio_ns_from_now(UNLOCK_SECONDS * NS_PER_S), pause = NS_PER_S / 20;

	co_try(job);
	while (job->res == -EBUSY && transport) {
		if (has_ended(transport)) {
			g_prefix_error(&job->err, "%s has ended: ", transport->path);
			return;
		}
		if (aio_now_ns() >= note) {
			report_note("%s; retrying until it ends", job->err->message);
			note += UNLOCK_NOTE_SECONDS * NS_PER_S;
			pause = NS_PER_S;
		}
		g_clear_error(&job->err);
		co_sleep_ns(pause);
		co_try(job);
	}
}

/* A file that may only be read becomes a read-only device, as with a real disk. */
static int co_open_writable_or_not(struct open_job *job)
{
	co_open_when_unlocked(job);
	if (!image_is_write_refusal(job->res) || !(job->opts.flags & IMAGE_RDWR) ||
	    job->options->copy_on_read)
		return job->res;

	g_autoptr(GError) why = g_steal_pointer(&job->err);

	job->opts.flags &= ~IMAGE_RDWR;
	co_open_when_unlocked(job);
	if (job->res == 0)
		report_note("%s; the %s is read-only", why->message,
			    job->options->exports ? "export" : "device");
	return job->res;
}

struct image *open_image_co(const struct options *options, const struct takeover *takeover,
			    struct image_shared *shared, open_image_enter_fn *co_enter,
			    void *enter_arg, GError **err)
{
	struct open_job job = { .options = options,
				.takeover = takeover,
				.opts = { .format = options->format,
					  .snapshot = options->snapshot,
					  .cache_bytes = options->cache_bytes,
					  .memory_limit = options->memory_limit,
					  .policy = &options->policy,
					  .shared = shared,
					  .warn = warn },
				.co_enter = co_enter,
				.enter_arg = enter_arg };
	int res;

	if (!takeover->read_only && !options->snapshot && !options->temporary)
		job.opts.flags |= IMAGE_RDWR | (options->copy_on_read ? IMAGE_COPY_ON_READ : 0);
	if (options->direct)
		job.opts.flags |= IMAGE_DIRECT;
	if (options->no_lock)
		job.opts.flags |= IMAGE_WRITE_UNLOCKED;
	if (takeover->discard)
		job.opts.flags |= IMAGE_UNMAP;
	res = co_open_writable_or_not(&job);
	if (res < 0) {
		g_propagate_error(err, job.err);
		return NULL;
	}
	if (options->direct && !image_limits(job.image)->direct)
		report_verbose("%s: O_DIRECT is not supported here; using the page cache",
			       options->filename);
	return job.image;
}

/*
 * Guessing "raw" would be a trap: whoever can write to a raw disk can write a qcow2 header to its
 * start, which names any file as its backing file, to be read at the next start.
 */
int open_image_check_format(const struct options *options, const struct image *image, GError **err)
{
	/* An image that forgets has no contents that could be mistaken for a header. */
	if (!image_was_probed(image) || !image_is_headerless(image) || image_forgets(image))
		return 0;
	return error_refuse(
		err, -EMEDIUMTYPE,
		"%s: its header is not of a known format; if it is a raw image, give --format raw",
		options->filename);
}
