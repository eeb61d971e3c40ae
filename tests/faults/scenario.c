// SPDX-License-Identifier: GPL-2.0-or-later
/* One run of a scenario; see scenario.h. */
#include "scenario.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fixed.h"
#include "history.h"
#include "scratch.h"

#define READ_BYTES (64u << 10)

struct run {
	const struct stage *stage;
	const struct fault *fault;
	struct structural structural; /* with the open image */
	struct history history;
	uint64_t ticks;
	uint32_t becoming;
	uint8_t *buf;
	struct fixed_memory fixed; /* the same, if the scenario wants that */
	/* An fdatasync() failed: no flush succeeds any more. */
	bool no_flush;
	/* Something is not known to be durable, and yet the image was closed. */
	bool lost;
	char *open_error; /* of the last open that failed */
	char *failure;
};

/* ---- the image to start with ---- */

void stage_init(struct stage *stage, const struct scenario *scenario)
{
	struct rng rng = rng_of(1, 0x696d616765);
	g_autoptr(GError) err = NULL;

	*stage = (struct stage){ .scenario = scenario, .folder = scratch_new() };
	stage->filename = prepare_image(stage->folder, &scenario->spec, &rng, &stage->initial);
	if (!g_file_get_contents(stage->filename, (char **)&stage->contents, &stage->bytes, &err))
		g_error("%s", err->message);
}

void stage_destroy(struct stage *stage)
{
	scratch_remove(stage->folder);
	g_free(stage->folder);
	g_free(stage->filename);
	g_free(stage->contents);
	g_free(stage->initial);
}

static void restore(const struct stage *stage)
{
	int fd = open(stage->filename, O_WRONLY | O_TRUNC);

	if (fd < 0 || write(fd, stage->contents, stage->bytes) != (ssize_t)stage->bytes)
		g_error("%s: cannot be written", stage->filename);
	close(fd);
}

/* ---- open, and what operations ask for ---- */

/* Takes over @failure; the first one stays. */
static void fail(struct run *run, char *failure)
{
	if (!run->failure)
		run->failure = g_steal_pointer(&failure);
	g_free(failure);
}

static void fail_to_open(struct run *run, const char *when)
{
	fail(run, g_strdup_printf("it does not open %s: %s", when, run->open_error));
}

static bool may_fail(const struct run *run)
{
	return !fault_must_be_hidden(run->fault->kind) && inject_hits();
}

static int co_open(struct run *run, unsigned flags, struct image **ret_img)
{
	const struct scenario *scenario = run->stage->scenario;
	g_autoptr(GError) err = NULL;
	struct image_open_opts opts = {
		.format = scenario->spec.format,
		.flags = flags | (scenario->unmap ? IMAGE_UNMAP : 0),
		.cache_bytes = scenario->cache_bytes,
	};
	int ret = image_co_open(run->stage->filename, &opts, ret_img, &err);

	if (ret < 0)
		*ret_img = NULL;
	g_clear_pointer(&run->open_error, g_free);
	if (err)
		run->open_error = g_strdup(err->message);
	if (ret < 0 && (!err || !strstr(err->message, run->stage->filename)))
		fail(run, g_strdup_printf("an error of open that names no file: %s",
					  err ? err->message : "none"));
	return ret;
}

/* Without faults: what cannot be written at close is lost, and nobody knows what. */
static int co_reopen(struct structural *s)
{
	struct run *run = s->arg;
	int ret;

	inject_pause(true);
	ret = image_co_close(g_steal_pointer(&s->img));
	run->lost |= ret < 0;
	if (co_open(run, IMAGE_RDWR, &s->img) < 0)
		fail_to_open(run, "");
	inject_pause(false);
	if (ret < 0 && run->no_flush)
		ret = 0;
	run->no_flush = false;
	return ret;
}

static uint64_t tick(struct structural *s)
{
	struct run *run = s->arg;

	return ++run->ticks;
}

static void begin_become(struct structural *s, const uint32_t *versions, uint64_t size)
{
	struct run *run = s->arg;

	run->becoming = history_begin_become(&run->history, versions, size, tick(s));
}

static void end_become(struct structural *s, bool failed)
{
	struct run *run = s->arg;

	history_end_become(&run->history, run->becoming, tick(s), failed, image_size(s->img));
}

static void run_init(struct run *run, const struct stage *stage, const struct fault *fault)
{
	const struct image_spec *spec = &stage->scenario->spec;
	uint64_t max = structural_max_size(spec);
	struct structural *s = &run->structural;

	memset(run, 0, sizeof(*run));
	run->stage = stage;
	run->fault = fault;
	run->buf = g_malloc(max);
	if (stage->scenario->fixed)
		fixed_memory_init(&run->fixed, 0, run->buf, max);
	history_init(&run->history, spec->size, max, stage->initial);
	structural_init(s, spec, 1);
	s->faults = !fault_must_be_hidden(fault->kind);
	s->co_reopen = co_reopen;
	s->begin = begin_become;
	s->end = end_become;
	s->now = tick;
	s->arg = run;
}

static void run_destroy(struct run *run)
{
	structural_destroy(&run->structural);
	history_destroy(&run->history);
	if (run->stage->scenario->fixed)
		fixed_memory_destroy(&run->fixed);
	g_free(run->buf);
	g_free(run->open_error);
}

/* ---- steps ---- */

/* Does it with the run's memory. */
static int co_perform(struct run *run, const struct request *request)
{
	struct iovec iov;
	struct iobuf mem = IOBUF(&iov, run->buf, request->bytes);

	if (run->stage->scenario->fixed)
		mem = fixed_memory_view(&run->fixed);
	return request_co_perform(request, run->structural.img, mem);
}

static int co_change(struct run *run, const struct step *step)
{
	const struct request *request = &step->request;
	struct structural *s = &run->structural;
	bool durable = request->kind == REQUEST_FLUSH || request->flags & IMAGE_REQ_FUA;
	uint32_t version;
	int ret;

	version = history_begin_request(&run->history, request, false, tick(s), run->buf);
	ret = co_perform(run, request);
	history_end(&run->history, version, tick(s), ret < 0);
	run->no_flush |= inject_take_sync();
	if (ret >= 0 && durable && run->no_flush)
		fail(run, g_strdup("a flush succeeded after one of the file had failed"));
	return ret;
}

static int co_read(struct run *run, uint64_t off, uint64_t bytes)
{
	struct request request = { .kind = REQUEST_READ, .off = off, .bytes = bytes };
	uint64_t start = tick(&run->structural);
	int ret = co_perform(run, &request);
	char *wrong = NULL;

	if (ret < 0)
		return ret;
	if (run->lost)
		wrong = history_check_cut(&run->history, run->ticks,
					  history_settled_at(&run->history, run->ticks), off, bytes,
					  run->buf);
	else
		wrong = history_check_read(&run->history, start, tick(&run->structural), off, bytes,
					   run->buf);
	if (wrong)
		fail(run, wrong);
	return 0;
}

static int co_do(struct run *run, const struct step *step)
{
	struct request request = step->request;

	if (step->operation)
		return structural_co_perform(&run->structural, run->stage->scenario->operation);
	/* An operation may have made the disk smaller. */
	if (request.off + request.bytes > image_size(run->structural.img))
		return 0;
	if (request.kind == REQUEST_READ)
		return co_read(run, request.off, request.bytes);
	return co_change(run, step);
}

static void co_do_all(struct run *run)
{
	const struct scenario *scenario = run->stage->scenario;

	for (unsigned i = 0; i < scenario->nr_steps && !run->failure; i++) {
		int ret = co_do(run, &scenario->steps[i]);
		g_autofree char *what = request_describe(&scenario->steps[i].request);

		if (ret < 0 && !may_fail(run))
			fail(run, g_strdup_printf("step %u (%s): %s", i,
						  scenario->steps[i].operation
							  ? scenario->operation->name
							  : what,
						  strerror(-ret)));
	}
	if (run->structural.failure)
		fail(run, g_steal_pointer(&run->structural.failure));
}

/* ---- looking at it ---- */

static void co_read_all(struct run *run, const char *when)
{
	uint64_t size = image_size(run->structural.img);

	for (uint64_t off = 0; off < size && !run->failure; off += READ_BYTES) {
		int ret = co_read(run, off, MIN(READ_BYTES, size - off));

		if (ret < 0 && !run->no_flush)
			fail(run, g_strdup_printf("a read %s: %s", when, strerror(-ret)));
	}
}

static int co_open_once_more(const struct structural_view *view, const struct image_open_opts *opts,
			     struct image **ret_img, GError **err)
{
	const struct run *run = view->arg;

	return image_co_open(run->stage->filename, opts, ret_img, err);
}

static void add_finding(void *arg, const char *line)
{
	g_string_append_printf(arg, "\n  %s", line);
}

static void co_check_metadata(struct run *run, struct image *img)
{
	g_autoptr(GString) findings = g_string_new(NULL);
	struct image_check_result result;
	int ret = image_co_check(img, add_finding, findings, &result);

	if (ret == -ENOTSUP)
		return;
	if (ret < 0)
		fail(run, g_strdup_printf("check: %s", strerror(-ret)));
	else if (result.corruptions || result.check_errors || (result.leaks && !may_fail(run)))
		fail(run, g_strdup_printf("check finds:%s", findings->str));
}

static bool co_is_dirty(struct image *img)
{
	struct image_info info;
	bool dirty;

	if (image_co_get_info(img, &info, NULL) < 0)
		return false;
	dirty = info.dirty;
	image_info_clear(&info);
	return dirty;
}

/* The file as it is now, opened only for reading. */
static void co_look(struct run *run, const char *when)
{
	struct structural *s = &run->structural;
	struct structural_view view = { NULL, run->ticks, co_open_once_more, run };
	char *wrong;

	if (co_open(run, 0, &s->img) < 0) {
		fail_to_open(run, when);
		return;
	}
	/* A dirty image is repaired when it is opened for writing, and checked again after that. */
	if (!co_is_dirty(s->img))
		co_check_metadata(run, s->img);
	co_read_all(run, when);
	view.img = s->img;
	wrong = run->failure ? NULL : structural_co_verify(s, &view);
	if (wrong)
		fail(run, wrong);
	image_co_close(g_steal_pointer(&s->img));
}

/* ---- when the fault is gone ---- */

static void co_use_further(struct run *run, const char *when)
{
	static const struct step more[] = {
		{ false, { REQUEST_WRITE, 0, false, 6 << 10, 5 << 10 } },
		{ false, { REQUEST_DISCARD, 0, false, 16 << 10, 8 << 10 } },
		{ false, { REQUEST_WRITE, 0, false, 70 << 10, 9 << 10 } },
		{ .request = { .kind = REQUEST_FLUSH } },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(more) && !run->failure; i++) {
		int ret = co_do(run, &more[i]);

		if (ret < 0 && !run->no_flush)
			fail(run, g_strdup_printf("request %u %s: %s", i, when, strerror(-ret)));
	}
}

static void co_close(struct run *run, const char *when)
{
	int ret = image_co_close(g_steal_pointer(&run->structural.img));

	if (ret < 0 && !run->no_flush)
		fail(run, g_strdup_printf("close %s: %s", when, strerror(-ret)));
	run->lost |= ret < 0;
}

/* What was lost cannot be told from what was written later: start anew with what is there. */
static void co_begin_anew(struct run *run)
{
	uint64_t max = structural_max_size(&run->stage->scenario->spec);
	g_autofree char *wrong = NULL;
	g_autofree uint32_t *versions = NULL;
	uint64_t size;

	if (!run->lost)
		return;
	if (co_open(run, 0, &run->structural.img) < 0)
		return;
	versions = structural_co_versions(run->structural.img, &wrong);
	size = image_size(run->structural.img);
	image_co_close(g_steal_pointer(&run->structural.img));
	if (!versions) {
		fail(run, g_steal_pointer(&wrong));
		return;
	}
	history_destroy(&run->history);
	history_init(&run->history, size, MAX(max, size), versions);
	run->lost = false;
}

static void co_run(struct run *run)
{
	struct structural *s = &run->structural;

	if (co_open(run, IMAGE_RDWR, &s->img) == 0)
		co_do_all(run);
	else if (!may_fail(run))
		fail_to_open(run, "");
	inject_stop();
	run->no_flush |= inject_take_sync();
	if (!run->failure && s->img) {
		co_read_all(run, "when the fault was gone");
		co_use_further(run, "when the fault was gone");
	}
	if (s->img)
		co_close(run, "when the fault was gone");
	if (!run->failure)
		co_look(run, "after it was closed");
	if (!run->failure)
		co_begin_anew(run);
	run->no_flush = false;
	if (run->failure)
		return;
	if (co_open(run, IMAGE_RDWR, &s->img) < 0) {
		fail_to_open(run, "for writing again");
		return;
	}
	co_use_further(run, "after it was opened again");
	co_close(run, "after it was opened again");
	if (!run->failure)
		co_look(run, "at the end");
}

char *stage_co_run(const struct stage *stage, const struct fault *fault, bool by_qemu_img,
		   unsigned *ret_calls)
{
	struct run run;
	char *wrong = NULL;

	restore(stage);
	run_init(&run, stage, fault);
	inject_start(fault->kind, fault->at, fault->lasting);
	co_run(&run);
	*ret_calls = inject_calls();
	if (stage->scenario->fixed && !fault->kind && !inject_fixed_calls())
		fail(&run, g_strdup("no transfer used the registered buffer"));
	if (!run.failure && by_qemu_img && g_str_equal(stage->scenario->spec.format, "qcow2") &&
	    !qemu_img_check(stage->filename, true, &wrong))
		fail(&run, wrong);
	run_destroy(&run);
	return run.failure;
}
