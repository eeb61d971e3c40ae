// SPDX-License-Identifier: GPL-2.0-or-later
/* The command "add"; see adder.h. */
#include "adder.h"

#include <errno.h>
#include <string.h>

#include "added.h"
#include "answer.h"
#include "clients.h"
#include "error.h"
#include "queue_threads.h"
#include "uuid.h"

void adder_init(struct adder *adder, struct servers *all, char *const *places)
{
	*adder = (struct adder){ .all = all, .places = places, .looks = g_ptr_array_new() };
	adder->nr_adding = places ? g_new0(unsigned, g_strv_length((char **)places) + 1) : NULL;
	co_mutex_init(&adder->parses);
}

void adder_co_destroy(struct adder *adder)
{
	co_group_wait(&adder->group);
	g_ptr_array_unref(adder->looks);
	g_free(adder->nr_adding);
	co_mutex_destroy(&adder->parses);
}

/* ---- the file ---- */

/* At the file of an image, which may take for ever. */
struct look {
	struct adder *adder;
	char *image;
	struct added_file file;
	int res;
	bool is_done, is_abandoned;
	struct coroutine *waiter;
};

static void free_look(struct look *look)
{
	added_file_clear(&look->file);
	g_free(look->image);
	g_free(look);
}

static int call_look(void *arg)
{
	struct look *look = arg;

	added_look(look->adder->places, look->image, &look->file);
	return 0;
}

static void look_co(void *arg)
{
	struct look *look = arg;

	look->res = co_run_on_thread("ubd-look", call_look, look);
	look->is_done = true;
	g_ptr_array_remove_fast(look->adder->looks, look);
	if (look->is_abandoned)
		free_look(look);
	else
		co_wake_at(&look->waiter);
}

static int refuse_to_wait(GError **err)
{
	return error_refuse(err, -ECANCELED, "the server is ending");
}

/* Stores whether and as what the image may be added. < 0 with @err set: that is not known. */
static int co_look(struct adder *adder, const char *image, struct added_file *ret_file,
		   GError **err)
{
	struct look *look = g_new0(struct look, 1);
	int res;

	look->adder = adder;
	look->image = g_strdup(image);
	g_ptr_array_add(adder->looks, look);
	co_group_start(&adder->group, look_co, look);
	while (!look->is_done && !adder->is_ending)
		co_wait_at(&look->waiter);
	if (!look->is_done) {
		look->is_abandoned = true;
		return refuse_to_wait(err);
	}
	res = look->res;
	if (res < 0) {
		error_set(err, res, "%s", image);
	} else {
		*ret_file = look->file;
		look->file = (struct added_file){ 0 };
	}
	free_look(look);
	return res;
}

void adder_end(struct adder *adder)
{
	adder->is_ending = true;
	for (unsigned i = 0; i < adder->looks->len; i++)
		co_wake_at(&((struct look *)adder->looks->pdata[i])->waiter);
}

bool adder_is_looking(const struct adder *adder)
{
	return adder->looks->len;
}

/* ---- the options ---- */

struct parse {
	char *const *places;
	const char *image;
	const struct added_file *file;
	char *const *words;
	struct options *options;
	GError *err;
};

static int call_parse(void *arg)
{
	struct parse *parse = arg;

	parse->options =
		added_options(parse->places, parse->image, parse->file, parse->words, &parse->err);
	return 0;
}

/* NULL with @err set. */
static struct options *co_parse(struct adder *adder, const char *image, char *const *words,
				GError **err)
{
	struct added_file file;
	struct parse parse = {
		.places = adder->places,
		.image = image,
		.file = &file,
		.words = words,
	};

	if (co_look(adder, image, &file, err) < 0)
		return NULL;
	co_mutex_lock(&adder->parses);
	co_block_on_worker(call_parse, &parse);
	co_mutex_unlock(&adder->parses);
	added_file_clear(&file);
	if (parse.err)
		g_propagate_error(err, parse.err);
	return parse.options;
}

/* ---- the disk ---- */

/*
 * This process may not add a device: somebody who may does so, and passes its control fd on, or
 * orders it from the keeper (control/keeper_order.h).
 */
static int want_device(struct adder *adder, const struct options *options, json_t *answer,
		       GError **err)
{
	const struct transport_info info = server_describe_device(options);
	g_autofree char *uuid = uuid_to_text(options->identity.uuid);
	json_t *wanted;
	int res = queue_threads_prepare(adder->all->common.threads, info.queues, err);

	if (res < 0)
		return res;
	wanted = json_object();
	answer_set_text(wanted, "driver", adder->all->common.driver->name);
	answer_set_number(wanted, "id", info.id);
	answer_set_number(wanted, "queues", info.queues);
	answer_set_number(wanted, "depth", info.depth);
	answer_set_number(wanted, "data", options->data);
	answer_set_bool(wanted, "no-partition-scan", info.no_partition_scan);
	answer_set_bool(wanted, "writes", !options->read_only);
	answer_set_text(wanted, "uuid", uuid);
	json_object_set_new(answer, "wanted", wanted);
	return 0;
}

static int co_add(struct adder *adder, const char *image, char *const *words, int *fd,
		  json_t *answer, GError **err)
{
	struct options *options = co_parse(adder, image, words, err);
	g_autofree char *name = NULL;
	int device_fd = -1;

	if (!options)
		return -EINVAL;
	if (!options->exports && *fd < 0) {
		int res = want_device(adder, options, answer, err);

		options_free(options);
		return res;
	}
	if (!options->exports) {
		device_fd = *fd;
		*fd = -1;
	}
	name = servers_co_add(adder->all, options, device_fd, err);
	if (!name)
		return -EIO;
	answer_set_text(answer, "device", name);
	return 0;
}

/* ---- how many ---- */

static bool is_below(const char *name, const char *place)
{
	const char *rest = g_str_has_prefix(name, place) ? name + strlen(place) : NULL;

	return rest && (*rest == '/' || g_str_has_suffix(place, "/"));
}

/* By the image's name alone: to look at the file is what may take for ever. */
static unsigned *nr_adding_beside(struct adder *adder, const char *image)
{
	g_autofree char *name = g_canonicalize_filename(image, NULL);
	unsigned i = 0;

	while (adder->places[i] && !is_below(name, adder->places[i]))
		i++;
	return &adder->nr_adding[i];
}

int adder_co_add(struct adder *adder, const char *image, char *const *words, int *fd,
		 json_t *answer, GError **err)
{
	unsigned *nr = nr_adding_beside(adder, image);
	int res;

	if (*nr == WAITING_MAX / 2)
		return error_refuse(err, -EBUSY,
				    "%s: %u images in its place are being added already", image,
				    *nr);
	++*nr;
	res = co_add(adder, image, words, fd, answer, err);
	--*nr;
	return res;
}
