# SPDX-License-Identifier: GPL-2.0-or-later
"""The virtual machine of those parts of `make bench` that need a kernel: how it is booted, and what its
figures mean. What the scripts in it share is in `guest`.

The machine is emulated, and its clock counts instructions, 2 ns each, unless UBD_ACCEL says otherwise.
So a figure is the number of instructions of a request, in client, kernel and server together, and runs
differ by one or two percent at most; it does not show caches, memory or devices. Two CPUs take turns, and the
clock counts both: with two queues, figures show what a request costs, not how much faster two are.
"""

import os
import subprocess
import sys

import rows

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ACCEL = os.environ.get("UBD_ACCEL", "count")
# Whether to print the functions that took the most instructions, which then slows everything down.
PROFILE = bool(os.environ.get("UBD_BENCH_PROFILE"))
# With a clock that counts instructions, 6.1 does not get its second CPU up.
ONE_CPU = ("6.1",)
# The kernels whose machines ended badly: what they had measured until then counts, but parts then end with
# a status for it.
failed = []
OPERATIONS = ("read", "write", "allocate", "read-128k", "write-128k", "read-1m", "write-1m")


def output(*command, **how):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, **how).stdout.strip()


def kernel(version):
    return output(os.path.join(TOP, "tests/vm/kernel"), version)


def queues(version):
    """The numbers of queues to measure: a queue has its own CPU."""
    return (1,) if version in ONE_CPU else (1, 2)


def build_driver(build, version):
    """ubd.ko for a kernel."""
    out = os.path.join(build, "bench", f"driver-{version}")
    made = subprocess.run(["make", "-s", "-C", os.path.join(TOP, "driver"),
                           f"KDIR={kernel(version)}/build", f"O={out}"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if made.returncode != 0:
        sys.exit(made.stdout)
    return os.path.join(out, "ubd.ko")


def boot(build, version, script, *arguments, programs=(), modules=(), files=(), seconds=600):
    """Runs a script of this folder in a machine with the driver, the server and null-bench; yields the words
    of each line it prints. @seconds is the longest silence."""
    subprocess.run(["ninja", "-j2", "-C", build, "server/ubd-serve", "tools/img/ubd-img", "bench/null-bench"],
                   check=True, stdout=subprocess.DEVNULL)
    if PROFILE:
        programs = [*programs, "perf"]
    programs = [*(os.path.join(build, name) for name in
                  ("server/ubd-serve", "tools/img/ubd-img", "bench/null-bench")),
                "mkfs.ext4", "losetup", *programs]
    modules = ["brd", "loop", *modules]
    if version not in ONE_CPU:
        modules.append("ublk_drv")
    files = [f"{build_driver(build, version)}:/root/ubd.ko", f"{TOP}/bench/guest:/root/guest", *files]
    command = [os.path.join(TOP, "tests/vm/run"), "--time", str(seconds), "--memory", "3072",
               "--cpus", str(max(queues(version)))]
    for option, values in ("program", programs), ("module", modules), ("file", files):
        for value in values:
            command += ["--" + option, value]
    command += [os.path.join(TOP, "bench", script), *map(str, arguments)]
    env = {**os.environ, "UBD_ACCEL": ACCEL, "UBD_KERNEL_DIR": kernel(version)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as guest:
        for line in guest.stdout:
            yield line.split()
    if guest.returncode != 0:
        print(f"bench: the machine with Linux {version} ended with status {guest.returncode}", file=sys.stderr)
        failed.append(version)


def measure(*args, other=lambda words: print("#", *words, flush=True), **how):
    """What boot() takes. Requests per second by target, queues and operation, from the lines of `measure` in
    the guest; prints each as it comes. @other gets the words of other lines."""
    rates = {}
    for words in boot(*args, **how):
        if len(words) == 4 and words[2] in OPERATIONS:
            target, nr_queues, operation, rate = words
            rates[target, int(nr_queues), operation] = float(rate)
            print(f"{args[1]:5} {target:24} {nr_queues} queue(s) {operation:11} {float(rate):9,.0f}/s",
                  flush=True)
        else:
            other(words)
    return rates


def best(rates, target, nr_queues, operation):
    """Name and rate of the target, or of the fastest of its settings, TARGET/SETTING; None if there is none."""
    found = {key[0]: rate for key, rate in rates.items()
             if key[0].split("/")[0] == target and key[1:] == (nr_queues, operation)}
    name = max(found, key=found.get, default=None)
    return name, found.get(name)


def write_row(key, rate, other, note=""):
    """Of two rates: in instructions of a request, and their ratio in favour of the first."""
    if ACCEL != "count":
        rows.missing(key, "the machine's clock does not count instructions")
    else:
        rows.write(key, 5e8 / rate, 5e8 / other, ratio=rate / other, unit="instructions", note=note)
