// SPDX-License-Identifier: GPL-2.0-or-later
/* What an image's format alone tells of it, and its snapshots; see info_specific.h. */
#include "info_specific.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "json_text.h"
#include "values.h"

#define INDENT 4

static bool is_list(GVariant *value)
{
	return g_variant_is_of_type(value, G_VARIANT_TYPE("av"));
}

static bool is_dict(GVariant *value)
{
	return g_variant_is_of_type(value, G_VARIANT_TYPE_VARDICT);
}

/* ---- text ---- */

static void print_value(GVariant *value, unsigned depth);

/* Names are those of JSON, with blanks. */
static void print_pair(const char *name, GVariant *value, unsigned depth)
{
	printf("%*s", depth * INDENT, "");
	for (const char *c = name; *c; c++)
		putchar(*c == '-' ? ' ' : *c);
	putchar(':');
	print_value(value, depth + 1);
}

static void print_dict(GVariant *dict, unsigned depth)
{
	const char *name;
	GVariantIter iter;
	GVariant *value;

	g_variant_iter_init(&iter, dict);
	while (g_variant_iter_loop(&iter, "{&sv}", &name, &value))
		print_pair(name, value, depth);
}

static void print_list(GVariant *list, unsigned depth)
{
	GVariantIter iter;
	GVariant *value;

	g_variant_iter_init(&iter, list);
	for (unsigned i = 0; g_variant_iter_loop(&iter, "v", &value); i++) {
		char name[16];

		snprintf(name, sizeof(name), "[%u]", i);
		print_pair(name, value, depth);
	}
}

static void print_value(GVariant *value, unsigned depth)
{
	if (is_dict(value)) {
		putchar('\n');
		print_dict(value, depth);
	} else if (is_list(value)) {
		putchar('\n');
		print_list(value, depth);
	} else if (g_variant_is_of_type(value, G_VARIANT_TYPE_BYTESTRING)) {
		printf(" %s\n", g_variant_get_bytestring(value));
	} else if (g_variant_is_of_type(value, G_VARIANT_TYPE_BOOLEAN)) {
		printf(" %s\n", g_variant_get_boolean(value) ? "true" : "false");
	} else {
		printf(" %" PRIu64 "\n", g_variant_get_uint64(value));
	}
}

void info_print_specific(const struct image_info *info)
{
	if (!info->specific)
		return;
	printf("Format specific information:\n");
	print_dict(info->specific, 1);
}

/* ---- JSON ---- */

static json_t *value_to_json(GVariant *value);

static json_t *dict_to_json(GVariant *dict)
{
	json_t *object = json_object();
	const char *name;
	GVariantIter iter;
	GVariant *value;

	g_variant_iter_init(&iter, dict);
	while (g_variant_iter_loop(&iter, "{&sv}", &name, &value))
		json_add(object, name, value_to_json(value));
	return object;
}

static json_t *list_to_json(GVariant *list)
{
	json_t *array = json_array();
	GVariantIter iter;
	GVariant *value;

	g_variant_iter_init(&iter, list);
	while (g_variant_iter_loop(&iter, "v", &value))
		json_append(array, value_to_json(value));
	return array;
}

static json_t *value_to_json(GVariant *value)
{
	if (is_dict(value))
		return dict_to_json(value);
	if (is_list(value))
		return list_to_json(value);
	if (g_variant_is_of_type(value, G_VARIANT_TYPE_BYTESTRING))
		return json_string_nocheck(g_variant_get_bytestring(value));
	if (g_variant_is_of_type(value, G_VARIANT_TYPE_BOOLEAN))
		return json_boolean(g_variant_get_boolean(value));
	return json_integer(g_variant_get_uint64(value));
}

void info_add_specific(json_t *object, const struct image_info *info)
{
	json_t *specific;

	if (!info->specific)
		return;
	specific = json_object();
	json_add_string(specific, "type", info->format);
	json_add(specific, "data", dict_to_json(info->specific));
	json_add(object, "format-specific", specific);
}

/* ---- snapshots ---- */

static void print_snapshot(const struct image_snapshot *snapshot)
{
	uint64_t clock_ms = snapshot->vm_clock_nsec / 1000000;
	g_autofree char *vm_size = size_to_text(snapshot->vm_state_size);
	char date[20] = "", clock[40], icount[21] = "";
	time_t when = snapshot->date_sec;
	struct tm local;

	if (localtime_r(&when, &local))
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &local);
	snprintf(clock, sizeof(clock), "%02" PRIu64 ":%02u:%02u.%03u", clock_ms / 3600000,
		 (unsigned)(clock_ms / 60000 % 60), (unsigned)(clock_ms / 1000 % 60),
		 (unsigned)(clock_ms % 1000));
	if (snapshot->icount != UINT64_MAX)
		snprintf(icount, sizeof(icount), "%" PRIu64, snapshot->icount);
	printf("%-9s %-16s %8s %19s%13s%11s\n", snapshot->id, snapshot->name, vm_size, date, clock,
	       icount);
}

void info_print_snapshots(const GArray *list)
{
	if (!list->len)
		return;
	printf("Snapshot list:\n"
	       "%-9s %-16s %8s %19s%13s%11s\n",
	       "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
	for (guint i = 0; i < list->len; i++)
		print_snapshot(&g_array_index(list, struct image_snapshot, i));
}
