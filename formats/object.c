// SPDX-License-Identifier: GPL-2.0-or-later
/* Objects that a user defines; see object.h. */
#include "object.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "error.h"
#include "node_json.h"
#include "node_name.h"
#include "node_options.h"
#include "option_list.h"
#include "secret.h"
#include "throttle_limits.h"
#include "tls_creds.h"
#include "values.h"

/* Beside "qom-type" and "id". */
struct property {
	const char *name; /* NULL ends a table */
	const char *type; /* for people; NULL: part of another property, which they are told of */
	const char *const *choices;
	enum {
		PROPERTY_STRING,
		PROPERTY_BOOL, /* on or off */
		PROPERTY_NUMBER,
		PROPERTY_OBJECT, /* its members are properties, too */
	} kind;
};

struct object_type {
	const char *name;
	const struct property *properties;
	bool (*exists)(const char *id);
	int (*create)(const char *id, const struct node_options *options, GError **err);
};

/* ---- secret ---- */

static const char *const secret_formats[] = { "raw", "base64", NULL };

static const struct property secret_properties[] = {
	{ .name = "data", .type = "string" },
	{ .name = "file", .type = "string" },
	{ .name = "format", .type = "QCryptoSecretFormat", .choices = secret_formats },
	{ .name = "iv", .type = "string" },
	{ .name = "keyid", .type = "string" },
	{},
};

static int create_secret(const char *id, const struct node_options *options, GError **err)
{
	struct secret_source source = {
		.data = node_options_text(options, "data"),
		.file = node_options_text(options, "file"),
		.base64 = g_strcmp0(node_options_text(options, "format"), "base64") == 0,
		.keyid = node_options_text(options, "keyid"),
		.iv = node_options_text(options, "iv"),
	};

	return secret_add(id, &source, err);
}

/* ---- TLS credentials ---- */

#define TLS_PROPERTIES                                                                             \
	{ .name = "dir", .type = "string" },                                                       \
		{ .name = "endpoint",                                                              \
		  .type = "QCryptoTLSCredsEndpoint",                                               \
		  .choices = tls_endpoints },                                                      \
		{ .name = "priority", .type = "string" },                                          \
	{                                                                                          \
		.name = "verify-peer", .type = "bool", .kind = PROPERTY_BOOL                       \
	}

static const char *const tls_endpoints[] = { "client", "server", NULL };

static const struct property tls_x509_properties[] = {
	TLS_PROPERTIES,
	{ .name = "passwordid", .type = "string" },
	{ .name = "sanity-check", .type = "bool", .kind = PROPERTY_BOOL },
	{},
};

static const struct property tls_psk_properties[] = {
	TLS_PROPERTIES,
	{ .name = "username", .type = "string" },
	{},
};

static int create_tls(const char *id, const struct node_options *options, bool is_psk, GError **err)
{
	const struct tls_creds creds = {
		.dir = (char *)node_options_text(options, "dir"),
		.is_psk = is_psk,
		.is_server =
			g_strcmp0(node_options_text(options, "endpoint"), tls_endpoints[1]) == 0,
		.any_peer = !node_options_bool(options, "verify-peer", true),
		.username = (char *)(node_options_text(options, "username") ?: "qemu"),
		.priority = (char *)node_options_text(options, "priority"),
		.passwordid = (char *)node_options_text(options, "passwordid"),
	};

	return tls_creds_add(id, &creds, err);
}

static int create_tls_x509(const char *id, const struct node_options *options, GError **err)
{
	return create_tls(id, options, false, err);
}

static int create_tls_psk(const char *id, const struct node_options *options, GError **err)
{
	return create_tls(id, options, true, err);
}

/* ---- throttle group ---- */

/* Two names for each: that of a member of "limits", and an older one. */
#define LIMIT(limit)                                                                               \
	{ .name = "x-" limit, .type = "int", .kind = PROPERTY_NUMBER },                            \
	{                                                                                          \
		.name = "limits." limit, .kind = PROPERTY_NUMBER                                   \
	}
#define LIMITS(limit) LIMIT(limit "-max-length"), LIMIT(limit "-max"), LIMIT(limit)

static const struct property throttle_properties[] = {
	{ .name = "limits", .type = "ThrottleLimits", .kind = PROPERTY_OBJECT },
	LIMITS("bps-read"),
	LIMITS("bps-total"),
	LIMITS("bps-write"),
	LIMITS("iops-read"),
	LIMIT("iops-size"),
	LIMITS("iops-total"),
	LIMITS("iops-write"),
	{},
};

/* Under one of its names, the newer one first; @otherwise if neither was given. */
static uint64_t limit_value(const struct node_options *options, const char *limit,
			    const char *suffix, uint64_t otherwise)
{
	g_autofree char *member = g_strconcat("limits.", limit, suffix, NULL);
	g_autofree char *older = g_strconcat("x-", limit, suffix, NULL);
	const struct node_value *value =
		node_options_find(options, member) ?: node_options_find(options, older);
	uint64_t number = otherwise;

	/* A negative one has the wrong sign to be in range. */
	if (value && number_parse(value->text, 0, INT64_MAX, &number))
		number = UINT64_MAX;
	return number;
}

static int create_throttle_group(const char *id, const struct node_options *options, GError **err)
{
	struct throttle_config config = { .iops_size = limit_value(options, "iops-size", "", 0) };

	for (unsigned kind = 0; kind < THROTTLE_KINDS; kind++)
		config.limits[kind] = (struct throttle_limit){
			.rate = limit_value(options, throttle_kind_names[kind], "", 0),
			.burst_rate = limit_value(options, throttle_kind_names[kind], "-max", 0),
			.burst_length =
				limit_value(options, throttle_kind_names[kind], "-max-length", 1),
		};
	return throttle_group_add(id, &config, err);
}

/* ---- types ---- */

static const struct object_type types[] = {
	{ "secret", secret_properties, secret_exists, create_secret },
	{ "throttle-group", throttle_properties, throttle_group_exists, create_throttle_group },
	{ "tls-creds-psk", tls_psk_properties, tls_creds_exist, create_tls_psk },
	{ "tls-creds-x509", tls_x509_properties, tls_creds_exist, create_tls_x509 },
};

static const struct object_type *find_type(const char *name)
{
	for (unsigned i = 0; name && i < G_N_ELEMENTS(types); i++)
		if (strcmp(types[i].name, name) == 0)
			return &types[i];
	return NULL;
}

static const struct property *find_property(const struct object_type *type, const char *name)
{
	static const struct property common[] = {
		{ .name = "qom-type", .type = "string" },
		{ .name = "id", .type = "string" },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(common); i++)
		if (strcmp(common[i].name, name) == 0)
			return &common[i];
	for (const struct property *p = type->properties; p->name; p++)
		if (strcmp(p->name, name) == 0)
			return p;
	return NULL;
}

/* ---- lists ---- */

static bool is_help(const char *part)
{
	return strcmp(part, "help") == 0 || strcmp(part, "?") == 0;
}

/* The first part may be the type alone. */
static int add_part(struct node_options *options, char *part, bool is_first, GError **err)
{
	char *value = strchr(part, '=');
	const char *name = part;

	if (value) {
		*value++ = '\0';
	} else if (is_first) {
		value = part;
		name = "qom-type";
	} else {
		return error_refuse(err, -EINVAL, "Expected '=' after parameter '%s'", part);
	}
	if (!node_name_is_identifier(name))
		return error_refuse(err, -EINVAL, "Invalid parameter '%s'", name);
	if (!node_options_set(options, name, NODE_VALUE_STRING, value))
		return error_refuse(err, -EINVAL, "too many parameters");
	return 0;
}

static struct node_options *parse_list(const char *list, GError **err)
{
	struct node_options *options = node_options_new();
	bool is_first = true;
	int ret = 0;

	while (!ret && list && *list) {
		g_autofree char *part = option_list_next(&list);

		ret = add_part(options, part, is_first, err);
		is_first = false;
	}
	if (!ret)
		return options;
	node_options_free(options);
	return NULL;
}

/* ---- help ---- */

/* The type that a list with "help" in it names; false if there is no "help". */
static bool asks_help(const char *list, const struct object_type **ret_type)
{
	bool asked = false, is_first = true;

	*ret_type = NULL;
	for (; list && *list; is_first = false) {
		g_autofree char *part = option_list_next(&list);

		asked |= is_help(part);
		if (g_str_has_prefix(part, "qom-type="))
			*ret_type = find_type(part + strlen("qom-type="));
		else if (is_first)
			*ret_type = find_type(part);
	}
	return asked;
}

char *object_help(const char *text)
{
	const struct object_type *type;
	GString *help;

	if (*text == '{' || !asks_help(text, &type))
		return NULL;
	help = g_string_new(NULL);
	if (type) {
		g_string_printf(help, "%s options:\n", type->name);
		for (const struct property *p = type->properties; p->name; p++)
			if (p->type)
				g_string_append_printf(help, "  %s=<%s>\n", p->name, p->type);
	} else {
		g_string_assign(help, "List of user creatable objects:\n");
		for (unsigned i = 0; i < G_N_ELEMENTS(types); i++)
			g_string_append_printf(help, "  %s\n", types[i].name);
	}
	return g_string_free(help, FALSE);
}

/* ---- create ---- */

static int check_string(const struct node_options *options, const char *name)
{
	const struct node_value *value = node_options_find(options, name);

	return value && value->type != NODE_VALUE_STRING ? -EINVAL : 0;
}

static int wrong_type(const char *name, const char *expected, GError **err)
{
	return error_refuse(err, -EINVAL, "Invalid parameter type for '%s', expected: %s", name,
			    expected);
}

/* Whether a property that every object has was given, as a string. */
static int check_given(const struct node_options *options, const char *name, GError **err)
{
	if (node_options_text(options, name))
		return 0;
	if (check_string(options, name))
		return wrong_type(name, "string", err);
	return error_refuse(err, -EINVAL, "Parameter '%s' is missing", name);
}

static int check_bool(const char *name, const struct node_options *options, GError **err)
{
	const struct node_value *value = node_options_find(options, name);
	const char *text = node_options_text(options, name);

	if (!value || value->type == NODE_VALUE_BOOL ||
	    (text && (strcmp(text, "on") == 0 || strcmp(text, "off") == 0)))
		return 0;
	return error_refuse(err, -EINVAL, "Parameter '%s' expects 'on' or 'off'", name);
}

static int check_number(const char *name, const struct node_options *options, GError **err)
{
	const struct node_value *value = node_options_find(options, name);
	const char *digits;
	uint64_t number;

	if (!value)
		return 0;
	digits = *value->text == '-' ? value->text + 1 : value->text;
	if (value->type > NODE_VALUE_NUMBER)
		return wrong_type(name, "integer", err);
	if (number_parse(digits, 0, INT64_MAX, &number))
		return error_refuse(err, -EINVAL, "Parameter '%s' expects integer", name);
	if (digits != value->text && g_str_has_prefix(name, "x-"))
		return error_refuse(err, -EINVAL, "Property values cannot be negative");
	return 0;
}

static int check_text(const struct property *property, const struct node_options *options,
		      GError **err)
{
	const char *text = node_options_text(options, property->name);

	if (check_string(options, property->name))
		return wrong_type(property->name, "string", err);
	if (text && property->choices && !g_strv_contains(property->choices, text))
		return error_refuse(err, -EINVAL, "Parameter '%s' does not accept value '%s'",
				    property->name, text);
	return 0;
}

/* Whether what was given of a property is possible. */
static int check_property(const struct property *property, const struct node_options *options,
			  GError **err)
{
	const char *name = property->name;
	bool is_object = property->kind == PROPERTY_OBJECT;

	if (is_object ? node_options_find(options, name) != NULL
		      : node_options_has_child(options, name))
		return wrong_type(name, is_object ? "object" : "string", err);
	switch (property->kind) {
	case PROPERTY_BOOL:
		return check_bool(name, options, err);
	case PROPERTY_NUMBER:
		return check_number(name, options, err);
	case PROPERTY_OBJECT:
		return 0;
	case PROPERTY_STRING:
		break;
	}
	return check_text(property, options, err);
}

static int check_unexpected(const struct object_type *type, const struct node_options *options,
			    GError **err)
{
	const struct node_value *value;

	for (unsigned i = 0; (value = node_options_at(options, i)); i++)
		if (!find_property(type, value->name))
			return error_refuse(err, -EINVAL, "Parameter '%s' is unexpected",
					    value->name);
	return 0;
}

static bool is_taken(const char *id)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(types); i++)
		if (types[i].exists(id))
			return true;
	return false;
}

static int check_id(const char *id, GError **err)
{
	if (!node_name_is_identifier(id))
		return error_refuse(err, -EINVAL,
				    "Parameter 'id' expects an identifier\n"
				    "Identifiers consist of letters, digits, '-', '.', '_', "
				    "starting with a letter.");
	if (is_taken(id))
		return error_refuse(
			err, -EEXIST,
			"attempt to add duplicate property '%s' to object (type 'container')", id);
	return 0;
}

static int create(const struct node_options *options, GError **err)
{
	const struct object_type *type;
	const char *name, *id;
	int ret = check_given(options, "qom-type", err);

	if (ret)
		return ret;
	name = node_options_text(options, "qom-type");
	type = find_type(name);
	if (!type)
		return error_refuse(err, -EINVAL, "Parameter 'qom-type' does not accept value '%s'",
				    name);
	ret = check_given(options, "id", err);
	for (const struct property *p = type->properties; !ret && p->name; p++)
		ret = check_property(p, options, err);
	id = node_options_text(options, "id");
	return ret ?: check_unexpected(type, options, err) ?: check_id(id, err) ?:
	       type->create(id, options, err);
}

int object_create(const char *text, GError **err)
{
	struct node_options *options =
		*text == '{' ? node_options_from_json(text, "", err) : parse_list(text, err);
	int ret = options ? create(options, err) : -EINVAL;

	node_options_free(options);
	return ret;
}
