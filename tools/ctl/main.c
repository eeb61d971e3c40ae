// SPDX-License-Identifier: GPL-2.0-or-later
/* ubdctl: shows devices, ends them, and hands them to others. */
#include <stdio.h>

#include "ctl.h"
#include "std_fds.h"

static const struct command commands[] = {
	{ "add", "Add a disk to a server with --allow-add", ctl_add },
	{ "delete", "Stop and delete a device, and free its number", ctl_delete },
	{ "events", "Print events of a server's disks as they happen", ctl_events },
	{ "grant", "Pass descriptors of a device to another process", ctl_grant },
	{ "info", "Show information about a device", ctl_info },
	{ "list", "List all devices", ctl_list },
	{ "metrics", "Print statistics of servers for Prometheus", ctl_metrics },
	{ "quiesce", "Ask the server of a device with recovery to leave", ctl_quiesce },
	{ "receive", "Run a program with descriptors that were granted", ctl_receive },
	{ "remove", "The same as stop", ctl_stop },
	{ "resize", "Ask a server to grow its disk", ctl_resize },
	{ "run", "Run a program with descriptors of a device", ctl_run },
	{ "stats", "Show the servers' request counts and latencies", ctl_stats },
	{ "status", "Show a server's counters and its last failure", ctl_status },
	{ "stop", "Stop a device: its disk goes away", ctl_stop },
	{ "throttle", "Show or change the limits of a disk's requests", ctl_throttle },
	{ "top", "Watch what servers are doing", ctl_top },
	{ "upgrade", "Replace the server of a device while it is in use", ctl_upgrade },
};

static void print_help(void)
{
	printf("Usage:\n"
	       "  ubdctl COMMAND [OPTION...] [DEVICE] [ARGUMENT...]\n"
	       "\n"
	       "Control the block devices of ubd-serve and other servers.\n"
	       "\n"
	       "Options:\n"
	       "  -h, --help        Show this help, or a command's help after its name\n"
	       "  -V, --version     Print the version and exit\n"
	       "\n"
	       "Commands:\n");
	command_print_all(commands, G_N_ELEMENTS(commands));
}

/* ---- main ---- */

int main(int argc, char **argv)
{
	std_fds_open();
	return command_main("ubdctl", commands, G_N_ELEMENTS(commands), print_help, NULL, argc,
			    argv);
}
