// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Rules of blkdebug: the input as a configuration file, and as the options of the node. What is
 * accepted is applied to some events and requests.
 */
#include <glib.h>

#include "aio.h"
#include "filter/blkdebug_rules.h"
#include "fuzz.h"
#include "node_json.h"

static struct aio_loop *loop;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	g_autoptr(GError) err = NULL;

	loop = aio_loop_new(16, &err);
	if (err)
		g_error("%s", err->message);
	return 0;
}

static void apply_co(void *arg)
{
	static const enum image_event events[] = { IMAGE_EVENT_NONE, IMAGE_EVENT_READ_AIO,
						   IMAGE_EVENT_L2_LOAD, IMAGE_EVENT_READ_AIO };
	struct debug_rules *rules = arg;

	for (unsigned i = 0; i < G_N_ELEMENTS(events); i++) {
		debug_rules_co_event(rules, events[i]);
		for (int kind = DEBUG_READ; kind <= DEBUG_BLOCK_STATUS; kind++)
			debug_rules_co_check(rules, kind, i * 4096, kind == DEBUG_FLUSH ? 0 : 512);
	}
}

static void try_rules(struct debug_rules *rules, int ret)
{
	if (!ret)
		aio_loop_run_co(loop, apply_co, rules);
	debug_rules_free(rules);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	g_autofree char *text = g_strndup((const char *)data, size);
	struct node_options *options = node_options_from_json(text, "", NULL);
	struct debug_rules *rules = debug_rules_new();

	try_rules(rules, debug_rules_add_config(rules, "config", text, NULL));
	if (options) {
		rules = debug_rules_new();
		try_rules(rules, debug_rules_add_options(rules, options, NULL));
	}
	node_options_free(options);
	return 0;
}
