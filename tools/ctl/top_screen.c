// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The terminal of ubdctl top: plain ANSI sequences, which all terminals have. Keys come without
 * waiting for a line. Signals are blocked but while we wait, so none is missed.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "tool.h"
#include "top.h"

#define HOME_AND_CLEAR "\033[H\033[J"

static bool has_terminal;
static struct termios original;
static sigset_t while_waiting;
static volatile sig_atomic_t must_end, continued;

static void on_end(int number)
{
	must_end = 1;
}

static void on_continue(int number)
{
	continued = 1;
}

static void on_resize(int number)
{
}

static void take_signals(void)
{
	static const struct {
		int number;
		void (*handler)(int number);
	} all[] = { { SIGINT, on_end },
		    { SIGTERM, on_end },
		    { SIGHUP, on_end },
		    { SIGCONT, on_continue },
		    { SIGWINCH, on_resize } };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
		struct sigaction action = { .sa_handler = all[i].handler };

		sigaction(all[i].number, &action, NULL);
		sigaddset(&set, all[i].number);
	}
	sigprocmask(SIG_BLOCK, &set, &while_waiting);
	for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
		sigdelset(&while_waiting, all[i].number);
}

static void take_terminal(void)
{
	struct termios raw = original;

	raw.c_lflag &= ~(ICANON | ECHO);
	raw.c_cc[VMIN] = 0;
	raw.c_cc[VTIME] = 0;
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

bool top_screen_begin(bool is_batch)
{
	has_terminal = !is_batch;
	if (has_terminal && (!isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &original) < 0)) {
		tool_error("standard input and output are not a terminal; use --batch");
		return false;
	}
	take_signals();
	if (has_terminal)
		take_terminal();
	return true;
}

void top_screen_end(void)
{
	if (has_terminal)
		tcsetattr(STDIN_FILENO, TCSANOW, &original);
}

/* 0: there is none, or it is not a positive number. */
static unsigned variable(const char *name)
{
	const char *text = getenv(name);
	int value = text ? atoi(text) : 0;

	return MAX(value, 0);
}

void top_screen_size(unsigned *ret_width, unsigned *ret_height)
{
	struct winsize size = { 0 };

	if (has_terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
		size = (struct winsize){ .ws_col = 80, .ws_row = 24 };
	*ret_width = size.ws_col ?: variable("COLUMNS") ?: G_MAXINT;
	*ret_height = size.ws_row ?: G_MAXINT;
}

bool top_screen_show(const char *text)
{
	return printf("%s%s", has_terminal ? HOME_AND_CLEAR : "", text) >= 0 && fflush(stdout) == 0;
}

static bool wants_to_quit(void)
{
	char key;
	ssize_t got;

	while ((got = read(STDIN_FILENO, &key, 1)) == 1)
		if (key == 'q' || key == 'Q')
			return true;
	return got < 0 && errno != EINTR && errno != EAGAIN;
}

enum top_event top_screen_wait(gint64 end_us)
{
	gint64 left_us = MAX(0, end_us - g_get_monotonic_time());
	struct timespec left = { left_us / G_USEC_PER_SEC, left_us % G_USEC_PER_SEC * 1000 };
	struct pollfd keys = { STDIN_FILENO, POLLIN, 0 };
	int found = ppoll(&keys, has_terminal ? 1 : 0, &left, &while_waiting);

	if (continued && has_terminal)
		take_terminal();
	continued = 0;
	/* When the terminal has gone, reading from it may look like no key. */
	if (must_end || (found > 0 && (keys.revents & ~POLLIN || wants_to_quit())))
		return TOP_QUIT;
	return found == 0 ? TOP_TIME_OVER : TOP_REDRAW;
}
