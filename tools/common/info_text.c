// SPDX-License-Identifier: GPL-2.0-or-later
/* The part of an image's information that its format alone has; see info_text.h. */
#include "info_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "size.h"

static const char *truth(bool value)
{
	return value ? "true" : "false";
}

static void print_bitmaps(const GPtrArray *bitmaps)
{
	if (!bitmaps || !bitmaps->len)
		return;
	printf("    bitmaps:\n");
	for (guint i = 0; i < bitmaps->len; i++) {
		const struct image_bitmap *bitmap = bitmaps->pdata[i];
		unsigned nr_flags = 0;

		printf("        [%u]:\n"
		       "            flags:\n",
		       i);
		if (bitmap->inconsistent)
			printf("                [%u]: in-use\n", nr_flags++);
		if (bitmap->enabled)
			printf("                [%u]: auto\n", nr_flags);
		printf("            name: %s\n"
		       "            granularity: %" PRIu64 "\n",
		       bitmap->name, bitmap->granularity);
	}
}

void info_print_specific(const struct image_info *info)
{
	bool is_v3;

	if (strcmp(info->format, "qcow2") != 0)
		return;
	is_v3 = strcmp(info->compat, "0.10") != 0;
	printf("Format specific information:\n"
	       "    compat: %s\n"
	       "    compression type: %s\n",
	       info->compat, info->compression_type);
	/* Version 2 has no room in its header for the others. */
	if (is_v3)
		printf("    lazy refcounts: %s\n", truth(info->lazy_refcounts));
	print_bitmaps(info->bitmaps);
	printf("    refcount bits: %u\n", info->refcount_bits);
	if (info->encryption)
		printf("    encrypt:\n"
		       "        format: %s\n",
		       info->encryption);
	if (info->data_file)
		printf("    data file: %s\n"
		       "    data file raw: %s\n",
		       info->data_file, truth(info->data_file_raw));
	if (is_v3)
		printf("    corrupt: %s\n"
		       "    extended l2: %s\n",
		       truth(info->corrupt), truth(info->extended_l2));
}

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
