// SPDX-License-Identifier: GPL-2.0-or-later
/* Values as people write and read them; see values.h. */
#include "values.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

static const char suffixes[] = "bkmgtpe";

/* The power of two that a suffix stands for, -1 if it is none; no suffix is 0. */
static int suffix_shift(const char *suffix)
{
	const char *found;

	if (!*suffix)
		return 0;
	found = strchr(suffixes, g_ascii_tolower(*suffix));
	return found && !suffix[1] ? 10 * (found - suffixes) : -1;
}

/* ".625" and the like, or ".", or nothing; *ret_end is behind it. */
static void parse_fraction(const char *text, double *ret_fraction, const char **ret_end)
{
	double weight = 1;

	*ret_fraction = 0;
	*ret_end = text;
	if (*text != '.')
		return;
	for (text++; g_ascii_isdigit(*text); text++) {
		weight /= 10;
		*ret_fraction += weight * g_ascii_digit_value(*text);
	}
	*ret_end = text;
}

static const char *skip_sign(const char *text)
{
	while (g_ascii_isspace(*text))
		text++;
	return text + (*text == '+');
}

int size_parse(const char *text, uint64_t *ret_bytes)
{
	bool hex;
	const char *suffix;
	double fraction;
	uint64_t whole, part;
	char *end;
	int shift;

	text = skip_sign(text);
	if (!g_ascii_isdigit(*text))
		return -EINVAL;
	hex = text[0] == '0' && g_ascii_tolower(text[1]) == 'x';
	if (hex && !g_ascii_isxdigit(text[2]))
		return -EINVAL;
	errno = 0;
	whole = g_ascii_strtoull(text, &end, hex ? 16 : 10);
	if (errno)
		return -errno;
	if (hex && *end == '.')
		return -EINVAL;
	parse_fraction(end, &fraction, &suffix);
	shift = suffix_shift(suffix);
	/* There is no half of a byte. */
	if (shift < 0 || (fraction > 0 && shift == 0))
		return -EINVAL;
	part = fraction * (1ull << shift) + 0.5;
	if (whole > ((uint64_t)INT64_MAX - part) >> shift)
		return -ERANGE;
	*ret_bytes = (whole << shift) + part;
	return 0;
}

char *size_to_text(uint64_t bytes)
{
	static const char *const units[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei" };
	double value = bytes;
	unsigned unit = 0;

	/* Use the next unit from 1000 on, so that three digits suffice. */
	while (value >= 1000 && unit < G_N_ELEMENTS(units) - 1) {
		value /= 1024;
		unit++;
	}
	return g_strdup_printf("%.3g %sB", value, units[unit]);
}

char *size_to_io_text(double bytes)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	g_autofree char *number = NULL;
	unsigned unit = 0;

	while (bytes >= 1024 && unit < G_N_ELEMENTS(units) - 1) {
		bytes /= 1024;
		unit++;
	}
	number = g_strdup_printf("%.3f", bytes);
	if (g_str_has_suffix(number, ".000"))
		*strchr(number, '.') = '\0';
	return g_strdup_printf("%s %s", number, units[unit]);
}

int number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *ret_number)
{
	uint64_t number;
	char *end;

	text = skip_sign(text);
	if (!g_ascii_isdigit(*text))
		return -EINVAL;
	errno = 0;
	number = g_ascii_strtoull(text, &end, 0);
	if (*end)
		return -EINVAL;
	if (errno || number < min || number > max)
		return -ERANGE;
	*ret_number = number;
	return 0;
}

bool bool_parse(const char *text, bool *ret_on)
{
	static const char *const on[] = { "on", "yes", "true", "y", NULL }, *const off[] = {
		"off", "no", "false", "n", NULL
	};

	*ret_on = g_strv_contains(on, text);
	return *ret_on || g_strv_contains(off, text);
}
