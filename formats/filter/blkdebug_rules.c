// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The rules of blkdebug; see blkdebug_rules.h. A rule for an event that happens in its state
 * (0: any) takes effect: an error is armed for the requests that follow, until another event arms
 * others; the state changes; or whoever raised the event is suspended. All rules for an event see
 * the state in which it happened.
 */
#include "blkdebug_rules.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "enum_names.h"
#include "values.h"

#define SECTOR_SIZE	 512
#define ANY_SECTOR	 UINT64_MAX
/* A rule that names no kind is for all but questions about the status of blocks. */
#define DEFAULT_REQUESTS ((1u << DEBUG_BLOCK_STATUS) - 1)

enum rule_kind { INJECT_ERROR, SET_STATE, SUSPEND };

struct rule {
	enum rule_kind kind;
	enum image_event event;
	uint64_t state; /* 0: any */
	/* An error ... */
	int error;
	uint64_t sector;
	unsigned requests; /* bits of enum debug_request */
	bool once;
	bool immediately; /* without yielding */
	bool armed;
	/* ... or another state ... */
	uint64_t new_state;
	/* ... or a breakpoint. */
	char *tag;
};

/* Whoever raised an event, and how many breakpoints it still waits at; on its stack. */
struct stop {
	struct coroutine *co;
	unsigned breakpoints;
};

struct suspended {
	struct stop *stop;
	char *tag;
};

struct debug_rules {
	struct thread_lock lock;
	GPtrArray *rules GUARDED_BY(lock);     /* struct rule */
	GPtrArray *suspended GUARDED_BY(lock); /* struct suspended */
	struct coroutine *waiter GUARDED_BY(lock);
	const char *waits_for GUARDED_BY(lock);
	uint64_t state GUARDED_BY(lock);
};

static const struct enum_name event_names[] = {
	{ "l1_update", IMAGE_EVENT_L1_UPDATE },
	{ "l1_grow_alloc_table", IMAGE_EVENT_L1_GROW_ALLOC_TABLE },
	{ "l1_grow_write_table", IMAGE_EVENT_L1_GROW_WRITE_TABLE },
	{ "l1_grow_activate_table", IMAGE_EVENT_L1_GROW_ACTIVATE_TABLE },
	{ "l2_load", IMAGE_EVENT_L2_LOAD },
	{ "l2_update", IMAGE_EVENT_L2_UPDATE },
	{ "l2_update_compressed", IMAGE_EVENT_L2_UPDATE_COMPRESSED },
	{ "l2_alloc_cow_read", IMAGE_EVENT_L2_ALLOC_COW_READ },
	{ "l2_alloc_write", IMAGE_EVENT_L2_ALLOC_WRITE },
	{ "read_aio", IMAGE_EVENT_READ_AIO },
	{ "read_backing_aio", IMAGE_EVENT_READ_BACKING_AIO },
	{ "read_compressed", IMAGE_EVENT_READ_COMPRESSED },
	{ "write_aio", IMAGE_EVENT_WRITE_AIO },
	{ "write_compressed", IMAGE_EVENT_WRITE_COMPRESSED },
	{ "vmstate_load", IMAGE_EVENT_VMSTATE_LOAD },
	{ "vmstate_save", IMAGE_EVENT_VMSTATE_SAVE },
	{ "cow_read", IMAGE_EVENT_COW_READ },
	{ "cow_write", IMAGE_EVENT_COW_WRITE },
	{ "reftable_load", IMAGE_EVENT_REFTABLE_LOAD },
	{ "reftable_grow", IMAGE_EVENT_REFTABLE_GROW },
	{ "reftable_update", IMAGE_EVENT_REFTABLE_UPDATE },
	{ "refblock_load", IMAGE_EVENT_REFBLOCK_LOAD },
	{ "refblock_update", IMAGE_EVENT_REFBLOCK_UPDATE },
	{ "refblock_update_part", IMAGE_EVENT_REFBLOCK_UPDATE_PART },
	{ "refblock_alloc", IMAGE_EVENT_REFBLOCK_ALLOC },
	{ "refblock_alloc_hookup", IMAGE_EVENT_REFBLOCK_ALLOC_HOOKUP },
	{ "refblock_alloc_write", IMAGE_EVENT_REFBLOCK_ALLOC_WRITE },
	{ "refblock_alloc_write_blocks", IMAGE_EVENT_REFBLOCK_ALLOC_WRITE_BLOCKS },
	{ "refblock_alloc_write_table", IMAGE_EVENT_REFBLOCK_ALLOC_WRITE_TABLE },
	{ "refblock_alloc_switch_table", IMAGE_EVENT_REFBLOCK_ALLOC_SWITCH_TABLE },
	{ "cluster_alloc", IMAGE_EVENT_CLUSTER_ALLOC },
	{ "cluster_alloc_bytes", IMAGE_EVENT_CLUSTER_ALLOC_BYTES },
	{ "cluster_free", IMAGE_EVENT_CLUSTER_FREE },
	{ "flush_to_os", IMAGE_EVENT_FLUSH_TO_OS },
	{ "flush_to_disk", IMAGE_EVENT_FLUSH_TO_DISK },
	{ "pwritev_rmw_head", IMAGE_EVENT_PWRITEV_RMW_HEAD },
	{ "pwritev_rmw_after_head", IMAGE_EVENT_PWRITEV_RMW_AFTER_HEAD },
	{ "pwritev_rmw_tail", IMAGE_EVENT_PWRITEV_RMW_TAIL },
	{ "pwritev_rmw_after_tail", IMAGE_EVENT_PWRITEV_RMW_AFTER_TAIL },
	{ "pwritev", IMAGE_EVENT_PWRITEV },
	{ "pwritev_zero", IMAGE_EVENT_PWRITEV_ZERO },
	{ "pwritev_done", IMAGE_EVENT_PWRITEV_DONE },
	{ "empty_image_prepare", IMAGE_EVENT_EMPTY_IMAGE_PREPARE },
	{ "l1_shrink_write_table", IMAGE_EVENT_L1_SHRINK_WRITE_TABLE },
	{ "l1_shrink_free_l2_clusters", IMAGE_EVENT_L1_SHRINK_FREE_L2_CLUSTERS },
	{ "cor_write", IMAGE_EVENT_COR_WRITE },
	{ "cluster_alloc_space", IMAGE_EVENT_CLUSTER_ALLOC_SPACE },
	{ "none", IMAGE_EVENT_NONE },
	{},
};

static const struct enum_name request_names[] = {
	{ "read", DEBUG_READ },
	{ "write", DEBUG_WRITE },
	{ "write-zeroes", DEBUG_WRITE_ZEROES },
	{ "discard", DEBUG_DISCARD },
	{ "flush", DEBUG_FLUSH },
	{ "block-status", DEBUG_BLOCK_STATUS },
	{},
};

/* ---- lists ---- */

static void free_rule(void *arg)
{
	struct rule *rule = arg;

	g_free(rule->tag);
	g_free(rule);
}

struct debug_rules *debug_rules_new(void) NO_THREAD_SAFETY_ANALYSIS /* nobody else knows it yet */
{
	struct debug_rules *rules = g_new0(struct debug_rules, 1);

	thread_lock_init(&rules->lock);
	rules->rules = g_ptr_array_new_with_free_func(free_rule);
	rules->suspended = g_ptr_array_new();
	rules->state = 1;
	return rules;
}

void debug_rules_free(struct debug_rules *rules) NO_THREAD_SAFETY_ANALYSIS /* nor any more */
{
	g_ptr_array_unref(rules->rules);
	g_ptr_array_unref(rules->suspended);
	thread_lock_destroy(&rules->lock);
	g_free(rules);
}

static void add_rule(struct debug_rules *rules, struct rule *rule)
{
	thread_lock(&rules->lock);
	g_ptr_array_add(rules->rules, rule);
	thread_unlock(&rules->lock);
}

/* ---- parsing ---- */

static int set_event(struct rule *rule, const char *text, GError **err)
{
	uint64_t event;

	if (!enum_from_name(event_names, text, &event))
		return error_refuse(err, -EINVAL, "invalid parameter value: %s", text);
	rule->event = event;
	return 0;
}

static int set_request(struct rule *rule, const char *text, GError **err)
{
	uint64_t request;

	if (!enum_from_name(request_names, text, &request))
		return error_refuse(err, -EINVAL, "invalid parameter value: %s", text);
	rule->requests = 1u << request;
	return 0;
}

static int set_number(const char *name, const char *text, uint64_t max, uint64_t *ret_number,
		      GError **err)
{
	if (number_parse(text, 0, max, ret_number))
		return error_refuse(err, -EINVAL, "Parameter '%s' expects a number", name);
	return 0;
}

static int set_bool(const char *name, const char *text, bool *ret_on, GError **err)
{
	if (!bool_parse(text, ret_on))
		return error_refuse(err, -EINVAL, "Parameter '%s' expects 'on' or 'off'", name);
	return 0;
}

static int unknown_name(const char *section, const char *name, GError **err)
{
	return error_refuse(err, -EINVAL, "[%s] section doesn't support the option '%s'", section,
			    name);
}

static int set_error_value(struct rule *rule, const char *name, const char *text, GError **err)
{
	uint64_t error = EIO;
	int ret;

	if (strcmp(name, "iotype") == 0)
		return set_request(rule, text, err);
	if (strcmp(name, "sector") == 0)
		return set_number(name, text, UINT64_MAX, &rule->sector, err);
	if (strcmp(name, "once") == 0)
		return set_bool(name, text, &rule->once, err);
	if (strcmp(name, "immediately") == 0)
		return set_bool(name, text, &rule->immediately, err);
	if (strcmp(name, "errno") != 0)
		return unknown_name("inject-error", name, err);
	ret = set_number(name, text, INT32_MAX, &error, err);
	rule->error = error;
	return ret;
}

static int set_value(struct rule *rule, const char *name, const char *text, GError **err)
{
	if (strcmp(name, "event") == 0)
		return set_event(rule, text, err);
	if (strcmp(name, "state") == 0)
		return set_number(name, text, UINT64_MAX, &rule->state, err);
	if (rule->kind == INJECT_ERROR)
		return set_error_value(rule, name, text, err);
	if (strcmp(name, "new_state") == 0)
		return set_number(name, text, UINT64_MAX, &rule->new_state, err);
	return unknown_name("set-state", name, err);
}

/* Adds a rule with these values. */
static int add_parsed(struct debug_rules *rules, enum rule_kind kind,
		      const struct node_options *values, GError **err)
{
	struct rule *rule = g_new0(struct rule, 1);
	const struct node_value *value;
	int ret = 0;

	rule->kind = kind;
	rule->error = EIO;
	rule->sector = ANY_SECTOR;
	rule->requests = DEFAULT_REQUESTS;
	for (unsigned i = 0; !ret && (value = node_options_at(values, i)); i++)
		ret = set_value(rule, value->name, value->text, err);
	if (!ret && !node_options_find(values, "event"))
		ret = error_refuse(err, -EINVAL, "Missing event name for rule");
	if (ret)
		free_rule(rule);
	else
		add_rule(rules, rule);
	return ret;
}

static int add_array(struct debug_rules *rules, enum rule_kind kind, const char *section,
		     const struct node_options *options, GError **err)
{
	struct node_options *all = node_options_copy(options), *array;
	int ret = 0;

	array = node_options_take_child(all, section);
	for (unsigned i = 0; !ret; i++) {
		g_autofree char *index = g_strdup_printf("%u", i);
		struct node_options *values;

		if (!node_options_has_child(array, index))
			break;
		values = node_options_take_child(array, index);
		ret = add_parsed(rules, kind, values, err);
		node_options_free(values);
	}
	if (!ret && node_options_at(array, 0))
		ret = error_refuse(err, -EINVAL, "Unused option '%s' for [%s]",
				   node_options_at(array, 0)->name, section);
	node_options_free(array);
	node_options_free(all);
	return ret;
}

int debug_rules_add_options(struct debug_rules *rules, const struct node_options *options,
			    GError **err)
{
	return add_array(rules, INJECT_ERROR, "inject-error", options, err)
		       ?: add_array(rules, SET_STATE, "set-state", options, err);
}

/* ---- the configuration file ---- */

/* A section, while its lines are read. */
struct section {
	enum rule_kind kind;
	struct node_options *values; /* NULL: there is none */
};

static int end_section(struct debug_rules *rules, struct section *section, GError **err)
{
	int ret = section->values ? add_parsed(rules, section->kind, section->values, err) : 0;

	node_options_free(section->values);
	section->values = NULL;
	return ret;
}

/* [name] or [name "id"]. */
static int begin_section(struct section *section, const char *line, GError **err)
{
	g_autofree char *name = g_strndup(line + 1, strcspn(line + 1, "] \t"));

	if (strcmp(name, "inject-error") == 0)
		section->kind = INJECT_ERROR;
	else if (strcmp(name, "set-state") == 0)
		section->kind = SET_STATE;
	else
		return error_refuse(err, -EINVAL, "There is no option group '%s'", name);
	section->values = node_options_new();
	return 0;
}

/* name = "value" */
static int take_line(struct section *section, const char *file, const char *line, GError **err)
{
	g_autoptr(GRegex) regex = g_regex_new("^([-_a-z0-9]+)\\s*=\\s*\"([^\"]*)\"$", 0, 0, NULL);
	g_autoptr(GMatchInfo) match = NULL;
	g_autofree char *name = NULL, *value = NULL;

	if (!section->values)
		return error_refuse(err, -EINVAL, "no group defined");
	if (!g_regex_match(regex, line, 0, &match))
		return error_refuse(err, -EINVAL, "%s: parse error: %s", file, line);
	name = g_match_info_fetch(match, 1);
	value = g_match_info_fetch(match, 2);
	node_options_set(section->values, name, NODE_VALUE_STRING, value);
	return 0;
}

int debug_rules_add_config(struct debug_rules *rules, const char *name, const char *text,
			   GError **err)
{
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	struct section section = { 0 };
	int ret = 0, end_ret;

	for (char **line = lines; !ret && *line; line++) {
		g_strstrip(*line);
		if (!**line || **line == '#')
			continue;
		if (**line == '[')
			ret = end_section(rules, &section, err)
				      ?: begin_section(&section, *line, err);
		else
			ret = take_line(&section, name, *line, err);
	}
	end_ret = end_section(rules, &section, ret ? NULL : err);
	return ret ?: end_ret;
}

/* ---- events ---- */

static void suspend(struct debug_rules *rules, struct stop *stop, const char *tag)
	REQUIRES(rules->lock)
{
	struct suspended *suspended = g_new(struct suspended, 1);

	*suspended = (struct suspended){ stop, g_strdup(tag) };
	stop->breakpoints++;
	g_ptr_array_add(rules->suspended, suspended);
	printf("blkdebug: Suspended request '%s'\n", tag);
	if (rules->waiter && strcmp(rules->waits_for, tag) == 0) {
		co_wake(rules->waiter);
		rules->waiter = NULL;
	}
}

static void disarm_all(struct debug_rules *rules) REQUIRES(rules->lock)
{
	for (unsigned i = 0; i < rules->rules->len; i++)
		((struct rule *)rules->rules->pdata[i])->armed = false;
}

/* Applies the rules. */
static void apply(struct debug_rules *rules, enum image_event event, struct stop *stop)
	REQUIRES(rules->lock)
{
	uint64_t old_state = rules->state;
	unsigned i = 0;
	bool arms = false;

	while (i < rules->rules->len) {
		struct rule *rule = rules->rules->pdata[i++];

		if (rule->event != event || (rule->state && rule->state != old_state))
			continue;
		if (rule->kind == SET_STATE) {
			rules->state = rule->new_state;
		} else if (rule->kind == INJECT_ERROR) {
			if (!arms)
				disarm_all(rules);
			arms = true;
			rule->armed = true;
		} else {
			suspend(rules, stop, rule->tag);
			g_ptr_array_remove_index(rules->rules, --i);
		}
	}
}

void debug_rules_co_event(struct debug_rules *rules, enum image_event event)
{
	struct stop stop = { .co = co_self() };
	bool waits;

	thread_lock(&rules->lock);
	apply(rules, event, &stop);
	waits = stop.breakpoints;
	thread_unlock(&rules->lock);
	/* Until the last one is resumed. */
	if (waits)
		co_yield();
}

static bool is_hit(const struct rule *rule, enum debug_request request, uint64_t off,
		   uint64_t bytes)
{
	uint64_t rule_off = rule->sector * SECTOR_SIZE;

	return rule->armed && rule->requests & 1u << request &&
	       (rule->sector == ANY_SECTOR || (rule_off >= off && rule_off - off < bytes));
}

/* The rule that was armed last; NULL: none applies. */
static struct rule *find_hit(struct debug_rules *rules, enum debug_request request, uint64_t off,
			     uint64_t bytes) REQUIRES(rules->lock)
{
	for (unsigned i = rules->rules->len; i--;)
		if (is_hit(rules->rules->pdata[i], request, off, bytes))
			return rules->rules->pdata[i];
	return NULL;
}

int debug_rules_co_check(struct debug_rules *rules, enum debug_request request, uint64_t off,
			 uint64_t bytes)
{
	struct rule *rule;
	bool immediately = true;
	int error = 0;

	thread_lock(&rules->lock);
	rule = find_hit(rules, request, off, bytes);
	if (rule && rule->error) {
		error = rule->error;
		immediately = rule->immediately;
		if (rule->once)
			g_ptr_array_remove(rules->rules, rule);
	}
	thread_unlock(&rules->lock);
	if (!immediately) {
		co_wake(co_self());
		co_yield();
	}
	return -error;
}

/* ---- breakpoints ---- */

int debug_rules_break(struct debug_rules *rules, const char *event, const char *tag)
{
	struct rule *rule = g_new0(struct rule, 1);

	rule->kind = SUSPEND;
	rule->tag = g_strdup(tag);
	if (set_event(rule, event, NULL)) {
		free_rule(rule);
		return -ENOENT;
	}
	add_rule(rules, rule);
	return 0;
}

/* The first one with this tag; NULL: any. */
static struct suspended *find_suspended(struct debug_rules *rules, const char *tag)
	REQUIRES(rules->lock)
{
	for (unsigned i = 0; i < rules->suspended->len; i++) {
		struct suspended *suspended = rules->suspended->pdata[i];

		if (!tag || strcmp(suspended->tag, tag) == 0)
			return suspended;
	}
	return NULL;
}

static bool resume_one(struct debug_rules *rules, const char *tag) REQUIRES(rules->lock)
{
	struct suspended *suspended = find_suspended(rules, tag);

	if (!suspended)
		return false;
	printf("blkdebug: Resuming request '%s'\n", suspended->tag);
	g_ptr_array_remove(rules->suspended, suspended);
	if (!--suspended->stop->breakpoints)
		co_wake(suspended->stop->co);
	g_free(suspended->tag);
	g_free(suspended);
	return true;
}

int debug_rules_resume(struct debug_rules *rules, const char *tag)
{
	int ret;

	thread_lock(&rules->lock);
	ret = resume_one(rules, tag) ? 0 : -ENOENT;
	thread_unlock(&rules->lock);
	return ret;
}

int debug_rules_remove_break(struct debug_rules *rules, const char *tag)
{
	int ret = -ENOENT;
	unsigned i = 0;

	thread_lock(&rules->lock);
	while (i < rules->rules->len) {
		struct rule *rule = rules->rules->pdata[i++];

		if (rule->kind != SUSPEND || (tag && strcmp(rule->tag, tag) != 0))
			continue;
		g_ptr_array_remove_index(rules->rules, --i);
		ret = 0;
	}
	while (resume_one(rules, tag))
		;
	thread_unlock(&rules->lock);
	return ret;
}

void debug_rules_co_wait_break(struct debug_rules *rules, const char *tag)
{
	bool waits;

	thread_lock(&rules->lock);
	waits = !find_suspended(rules, tag);
	if (waits) {
		rules->waiter = co_self();
		rules->waits_for = tag;
	}
	thread_unlock(&rules->lock);
	if (waits)
		co_yield();
}
