// SPDX-License-Identifier: GPL-2.0-or-later
/* What the main loop watches; see watch.h. */
#include "watch.h"

#include "disk.h"
#include "inspector.h"
#include "params.h"
#include "report.h"
#include "space.h"

/* How often to check whether requests that wait delay the end of the device. */
#define STATE_CHECK_US G_USEC_PER_SEC
/* A disk with hardly any space left may become full again and again. */
#define HOLD_QUIET_US  (FAILURES_QUIET_SECONDS * G_USEC_PER_SEC)
/*
 * How often a request may wait in a node and still be answered in time: a write for an L2 table, a
 * refcount block, both ends of what it copies, its data, and tables that make room in the caches.
 */
#define NODE_WAITS     8

struct watch {
	struct watch_config config;
	struct inspector *inspector;
	struct failures failures;
	struct failure last;
	gint64 last_time;
	unsigned told_troubles;
	uint32_t request_timeout; /* of the device, as in struct device_params */
	struct request_limits limits;
	gint64 state_check;	 /* the next one, while requests wait */
	gint64 held_since;	 /* 0: no request is held */
	gint64 held_quiet_until; /* do not report held requests before */
	bool told_held;
	struct failure held;
	unsigned space_level; /* that was told */
};

static struct image *image_of(const struct watch *watch)
{
	return disk_image(watch->config.disk);
}

static struct report_subject subject_of(const struct watch *watch)
{
	return (struct report_subject){ watch->config.device, image_filename(image_of(watch)) };
}

/* ---- how long requests may wait ---- */

static void update_limits(struct watch *watch)
{
	const struct watch_config *config = &watch->config;
	unsigned seconds = 0;

	if (config->transport)
		seconds = config->transport->ops->request_timeout(watch->request_timeout,
								  config->unprivileged);
	atomic_store(&watch->limits.held_us, hold_limit_us(&config->hold));
	atomic_store(&watch->limits.all_us, hold_driver_limit_us(seconds));
}

const struct request_limits *watch_limits(const struct watch *watch)
{
	return &watch->limits;
}

/* ---- requests that wait ---- */

/* Nobody waits for such requests when the device is stopped or handed over. */
static void check_state(struct watch *watch)
{
	struct transport *transport = watch->config.transport;
	struct transport_info info;

	if (!transport || transport->ops->get_info(transport, &info) < 0)
		return;
	if (info.state == TRANSPORT_QUIESCED && info.recovery == RECOVERY_REISSUE)
		watch->config.release_held(watch->config.arg, SERVE_LEAVES);
	else if (info.state == TRANSPORT_QUIESCED || info.state == TRANSPORT_STOPPED ||
		 info.stopping)
		watch->config.release_held(watch->config.arg, SERVE_FAILS);
}

/* While requests are held, or wait for their turn. The driver does not tell us of such an end. */
static gint64 look_at_state(struct watch *watch, gint64 now)
{
	const struct watch_config *config = &watch->config;

	if (config->count_held(config->arg) == 0 &&
	    (!config->count_late || config->count_late(config->arg) == 0))
		return G_MAXINT64;
	if (now >= watch->state_check) {
		update_limits(watch);
		check_state(watch);
		watch->state_check = now + STATE_CHECK_US;
	}
	return watch->state_check;
}

static void tell_of_hold(struct watch *watch)
{
	g_autofree char *what = failure_describe(&watch->held), *limit = NULL;
	gint64 limit_us = MIN(watch->limits.held_us, watch->limits.all_us);
	struct report_subject subject = subject_of(watch);

	if (limit_us < G_MAXINT64)
		limit = g_strdup_printf(", each for up to %d seconds",
					(int)(limit_us / G_USEC_PER_SEC));
	report_event(REPORT_HELD, &subject, "%s: %s; holding and retrying such requests%s",
		     subject.image, what, limit ?: "");
}

static void tell_of_end_of_hold(const struct watch *watch, gint64 now)
{
	struct report_subject subject = subject_of(watch);

	report_event(REPORT_HELD_OVER, &subject, "%s: no more requests are held, after %d seconds",
		     subject.image, (int)((now - watch->held_since) / G_USEC_PER_SEC));
}

static void look_at_held(struct watch *watch, gint64 now)
{
	if (watch->config.count_held(watch->config.arg) == 0) {
		if (watch->told_held)
			tell_of_end_of_hold(watch, now);
		watch->held_since = 0;
		watch->told_held = false;
		return;
	}
	if (!watch->held_since)
		watch->held_since = now;
	if (!watch->told_held && now >= watch->held_quiet_until) {
		tell_of_hold(watch);
		watch->told_held = true;
		watch->held_quiet_until = now + HOLD_QUIET_US;
	}
}

/* ---- failed requests ---- */

static void say_failure(void *arg, const char *line)
{
	struct report_subject subject = subject_of(arg);

	report_event(REPORT_FAILED, &subject, "%s", line);
}

void watch_take(struct watch *watch, const struct serve_events *events)
{
	for (unsigned op = 0; op < REQUEST_OPS; op++) {
		if (!events->failed[op].count)
			continue;
		failures_add(&watch->failures, &events->failed[op]);
		watch->last = events->failed[op];
		watch->last_time = g_get_real_time() / G_USEC_PER_SEC;
	}
	if (events->held.count)
		watch->held = events->held;
}

void watch_tell_rest(struct watch *watch)
{
	/* Before the image is open, there were no requests. */
	if (image_of(watch))
		failures_tell(&watch->failures, image_filename(image_of(watch)), G_MAXINT64,
			      say_failure, watch);
}

struct failure watch_last_failure(const struct watch *watch, gint64 *ret_time)
{
	*ret_time = watch->last_time;
	return watch->last;
}

/* ---- the image's files ---- */

static void look_at_files(struct watch *watch)
{
	static const struct {
		enum image_trouble trouble;
		enum report_event event;
		const char *text;
	} all[] = {
		{ IMAGE_TROUBLE_LOST, REPORT_LOST,
		  "a flush failed: data written before it may be lost, so every "
		  "later flush also fails" },
		{ IMAGE_TROUBLE_CUT, REPORT_CUT,
		  "another program has truncated this file: reads of the missing "
		  "part fail" },
		{ IMAGE_TROUBLE_DELETED, REPORT_DELETED,
		  "this file was deleted and will be lost when the server exits: copy "
		  "the device before that" },
	};
	unsigned troubles = image_troubles(image_of(watch));
	struct report_subject subject = subject_of(watch);

	for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
		if (all[i].trouble & troubles & ~watch->told_troubles)
			report_event(all[i].event, &subject, "%s: %s",
				     image_troubled_file(image_of(watch), all[i].trouble),
				     all[i].text);
	watch->told_troubles |= troubles;
}

static void look_at_space(struct watch *watch)
{
	struct image_space space = image_space(image_of(watch));
	unsigned level = space_level(&space, watch->space_level);
	struct report_subject subject = subject_of(watch);
	g_autofree char *text = NULL;

	if (level == watch->space_level)
		return;
	text = space_describe(&space, level);
	/* That it is better but not yet good is not told. */
	if (space_got_less(level, watch->space_level) || !level)
		report_event(level ? REPORT_SPACE_LOW : REPORT_SPACE_ENOUGH, &subject, "%s: %s",
			     subject.image, text);
	watch->space_level = level;
}

gint64 watch_look(struct watch *watch, gint64 now)
{
	gint64 failures, state;

	failures = failures_tell(&watch->failures, image_filename(image_of(watch)), now,
				 say_failure, watch);
	look_at_files(watch);
	look_at_space(watch);
	state = look_at_state(watch, now);
	look_at_held(watch, now);
	return MIN(failures, state);
}

/* ---- begin and end ---- */

struct watch *watch_new(const struct watch_config *config)
{
	struct watch *watch = g_new0(struct watch, 1);
	struct device_params params;

	watch->config = *config;
	if (config->transport &&
	    config->transport->ops->get_params(config->transport, &params) == 0)
		watch->request_timeout = params.request_timeout;
	update_limits(watch);
	if (watch->limits.all_us < G_MAXINT64)
		disk_set_patience(config->disk, watch->limits.all_us * 1000 / NODE_WAITS);
	return watch;
}

int watch_inspect(struct watch *watch, GError **err)
{
	watch->inspector = inspector_new(image_of(watch), watch->config.event_fd, err);
	return watch->inspector ? 0 : -1;
}

void watch_co_free(struct watch *watch)
{
	if (!watch)
		return;
	inspector_co_free(watch->inspector);
	g_free(watch);
}
