// SPDX-License-Identifier: GPL-2.0-or-later
/* JSON on standard output, laid out as QEMU's tools do it; see json_text.h. */
#include "json_text.h"

#include <stdio.h>

#include "json_string.h"

static void print_value(const json_t *value, unsigned depth);

static void print_string(const char *text)
{
	g_autoptr(GString) json = g_string_new(NULL);

	json_append_string(json, text);
	fputs(json->str, stdout);
}

static void new_line(unsigned depth)
{
	printf("\n%*s", depth * 4, "");
}

static void print_object(const json_t *object, unsigned depth)
{
	const char *name, *comma = "";
	json_t *value;

	putchar('{');
	json_object_foreach((json_t *)object, name, value)
	{
		fputs(comma, stdout);
		comma = ",";
		new_line(depth + 1);
		print_string(name);
		fputs(": ", stdout);
		print_value(value, depth + 1);
	}
	new_line(depth);
	putchar('}');
}

static void print_array(const json_t *array, unsigned depth)
{
	size_t i;
	json_t *value;

	putchar('[');
	json_array_foreach(array, i, value)
	{
		if (i)
			putchar(',');
		new_line(depth + 1);
		print_value(value, depth + 1);
	}
	new_line(depth);
	putchar(']');
}

static void print_value(const json_t *value, unsigned depth)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		print_object(value, depth);
		break;
	case JSON_ARRAY:
		print_array(value, depth);
		break;
	case JSON_STRING:
		print_string(json_string_value(value));
		break;
	case JSON_INTEGER:
		printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
		break;
	case JSON_REAL:
		printf("%.17g", json_real_value(value));
		break;
	case JSON_TRUE:
		fputs("true", stdout);
		break;
	case JSON_FALSE:
		fputs("false", stdout);
		break;
	case JSON_NULL:
		fputs("null", stdout);
		break;
	}
}

void json_print(const json_t *value)
{
	print_value(value, 0);
	putchar('\n');
}

/* ---- what is printed ---- */

/* A text without one of its members would look valid. */
static void check_memory(int res)
{
	if (res < 0)
		g_error("out of memory");
}

void json_add(json_t *object, const char *name, json_t *take_value)
{
	check_memory(json_object_set_new_nocheck(object, name, take_value));
}

void json_add_string(json_t *object, const char *name, const char *value)
{
	/* The library refuses what is not UTF-8; print_string() makes it valid. */
	json_add(object, name, json_string_nocheck(value));
}

void json_add_int(json_t *object, const char *name, int64_t value)
{
	json_add(object, name, json_integer(value));
}

void json_add_bool(json_t *object, const char *name, bool value)
{
	json_add(object, name, json_boolean(value));
}

void json_append(json_t *array, json_t *take_value)
{
	check_memory(json_array_append_new(array, take_value));
}

/* ---- what another program has sent ---- */

const char *json_get_text(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name)) ?: "";
}

int64_t json_get_int(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

bool json_get_bool(const json_t *object, const char *name)
{
	return json_is_true(json_object_get(object, name));
}
