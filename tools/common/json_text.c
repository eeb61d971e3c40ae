// SPDX-License-Identifier: GPL-2.0-or-later
/* JSON on standard output, laid out as QEMU's tools do it; see json_text.h. */
#include "json_text.h"

#include <inttypes.h>
#include <stdio.h>

#include "json_string.h"

static void print_node(JsonNode *node, unsigned depth);

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

static void print_object(JsonObject *object, unsigned depth)
{
	JsonObjectIter iter;
	const char *name;
	JsonNode *value;
	const char *comma = "";

	putchar('{');
	json_object_iter_init_ordered(&iter, object);
	while (json_object_iter_next_ordered(&iter, &name, &value)) {
		fputs(comma, stdout);
		comma = ",";
		new_line(depth + 1);
		print_string(name);
		fputs(": ", stdout);
		print_node(value, depth + 1);
	}
	new_line(depth);
	putchar('}');
}

static void print_array(JsonArray *array, unsigned depth)
{
	putchar('[');
	for (unsigned i = 0; i < json_array_get_length(array); i++) {
		if (i)
			putchar(',');
		new_line(depth + 1);
		print_node(json_array_get_element(array, i), depth + 1);
	}
	new_line(depth);
	putchar(']');
}

static void print_node(JsonNode *node, unsigned depth)
{
	if (JSON_NODE_HOLDS_OBJECT(node))
		print_object(json_node_get_object(node), depth);
	else if (JSON_NODE_HOLDS_ARRAY(node))
		print_array(json_node_get_array(node), depth);
	else if (json_node_get_value_type(node) == G_TYPE_STRING)
		print_string(json_node_get_string(node));
	else if (json_node_get_value_type(node) == G_TYPE_BOOLEAN)
		fputs(json_node_get_boolean(node) ? "true" : "false", stdout);
	else
		printf("%" PRIi64, (int64_t)json_node_get_int(node));
}

void json_print(JsonNode *node)
{
	print_node(node, 0);
	putchar('\n');
}

void json_add_string(JsonBuilder *builder, const char *name, const char *value)
{
	json_builder_set_member_name(builder, name);
	json_builder_add_string_value(builder, value);
}

void json_add_int(JsonBuilder *builder, const char *name, gint64 value)
{
	json_builder_set_member_name(builder, name);
	json_builder_add_int_value(builder, value);
}

void json_add_bool(JsonBuilder *builder, const char *name, gboolean value)
{
	json_builder_set_member_name(builder, name);
	json_builder_add_boolean_value(builder, value);
}

/* NULL: there is none of that type. */
static JsonNode *value_of(JsonObject *object, const char *name, GType type)
{
	JsonNode *node = json_object_get_member(object, name);

	return node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == type ? node
											     : NULL;
}

const char *json_get_text(JsonObject *object, const char *name)
{
	JsonNode *node = value_of(object, name, G_TYPE_STRING);

	return node ? json_node_get_string(node) : "";
}

gint64 json_get_int(JsonObject *object, const char *name)
{
	JsonNode *node = value_of(object, name, G_TYPE_INT64);

	return node ? json_node_get_int(node) : 0;
}

bool json_get_bool(JsonObject *object, const char *name)
{
	JsonNode *node = value_of(object, name, G_TYPE_BOOLEAN);

	return node && json_node_get_boolean(node);
}
