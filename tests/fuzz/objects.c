// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Objects that a user defines: the input as a list of properties and as JSON. Secrets must come out
 * as they went in, and requests are counted by throttle groups.
 */
#include <glib.h>
#include <string.h>

#include "fuzz.h"
#include "object.h"
#include "secret.h"
#include "throttle_group.h"

#define SEC 1000000000ull

/* Each request starts when it comes, or later. */
static void use_group(struct throttle_group *group)
{
	static const uint64_t sizes[] = { 0, 1, 4096, 1 << 20, UINT64_MAX };

	for (unsigned i = 0; i < 3 * G_N_ELEMENTS(sizes); i++) {
		uint64_t now_ns = i * SEC;

		g_assert_cmpuint(
			throttle_group_take(group, now_ns, i % 2, sizes[i % G_N_ELEMENTS(sizes)]),
			>=, now_ns);
	}
}

static void use(const char *id)
{
	g_autoptr(GBytes) secret = secret_exists(id) ? secret_get(id, NULL) : NULL;
	struct throttle_group *group = throttle_group_find(id);

	g_assert_true(secret || !secret_exists(id));
	if (group)
		use_group(group);
}

static void create(const char *text, const char *id)
{
	g_autoptr(GError) err = NULL;
	int ret = object_create(text, &err);

	g_assert_true(ret ? err && *err->message : !err);
	if (!ret)
		use(id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static unsigned count;
	g_autofree char *text = g_strndup((const char *)data, size);
	g_autofree char *id = g_strdup_printf("object%u", count++);
	g_autofree char *list = g_strdup_printf("%s,id=%s", text, id);
	g_autofree char *json = g_strdup_printf("{\"id\": \"%s\", %s}", id, text);

	/* Nothing outside this folder is to be read. */
	if (strchr(text, '/'))
		return 0;
	g_free(object_help(text));
	create(list, id);
	create(json, id);
	return 0;
}
