# SPDX-License-Identifier: GPL-2.0-or-later
"""Does what would take many processes in the shell; one of these serves a whole image test.

rc starts it when a test first needs it: helper.py FOLDER. It reads a request from the pipe FOLDER/ask: the
arguments of `ask` in rc, each followed by a NUL. It writes its output to the file FOLDER/answer, then its
status to the pipe FOLDER/answered.
"""
import difflib
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys

RC = sys.argv[1]
SCRATCH = os.environ['SCRATCH']
FORMAT = os.environ['FORMAT']
# Time limit of a command on a hostile image; generous enough for any machine.
SECONDS_TO_HANG = 300
# Files with less data than this are compared by contents.
SMALL = 16 << 20
SANITIZER = re.compile('Sanitizer|runtime error:')

answer = []
before = []


def say(*lines):
    answer.extend(lines)


def run(command, limit=None):
    """The exit status in the shell's terms, standard output, standard error."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit,
                              restore_signals=False, encoding='utf-8', errors='surrogateescape')
    except subprocess.TimeoutExpired as late:
        return 124, '', (late.stderr or b'').decode(errors='surrogateescape')
    except OSError as error:
        return 127, '', str(error)
    status = done.returncode
    return (128 - status if status < 0 else status), done.stdout, done.stderr


def filtered(text):
    """Like filter() in rc."""
    lines = []
    for line in text.splitlines():
        line = line.replace(SCRATCH, 'SCRATCH')
        line = re.sub(r'^(qemu|ubd)-(img|io): ', r'\2: ', line)
        line = re.sub(r'^(.*, [0-9]+ ops); .*', r'\1', line)
        lines.append(re.sub(r'(.)\1{99,}', r'\1...', line))
    return lines


# ---- files ----

def text_of(name):
    with open(os.path.join(RC, name), encoding='utf-8', errors='surrogateescape') as file:
        return file.read()


def extents(fd):
    """Begin and end of each range of a sparse file that has data."""
    end = 0
    while True:
        try:
            begin = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(fd, begin, os.SEEK_HOLE)
        yield begin, end


def copy(source, target):
    """Like cp --sparse=always; the target is a new file."""
    if os.path.lexists(target):
        os.unlink(target)
    with open(source, 'rb') as old, open(target, 'wb') as new:
        new.truncate(os.fstat(old.fileno()).st_size)
        for begin, end in extents(old.fileno()):
            old.seek(begin)
            new.seek(begin)
            shutil.copyfileobj(old, new) if end - begin > SMALL else new.write(old.read(end - begin))


def digest(path, size):
    """A hash of the contents and their offsets."""
    found = hashlib.sha1(b'%d' % size)
    with open(path, 'rb') as file:
        for begin, end in extents(file.fileno()):
            file.seek(begin)
            data = file.read(end - begin)
            # A hole and zeroes count as the same contents.
            if data.strip(b'\0'):
                found.update(b'%d ' % (begin + len(data) - len(data.lstrip(b'\0'))) + data.strip(b'\0'))
    return found.hexdigest()


def snapshot():
    """The scratch folder: a line for each file, with the contents of files that are not huge."""
    lines = []
    for folder, folders, files in os.walk('.'):
        if folder == '.' and '.rc' in folders:
            folders.remove('.rc')
        for name in folders + files:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            line = '%s %o %d' % (path, info.st_mode & 0o170000, info.st_size)
            if info.st_mode & 0o170000 == 0o100000 and info.st_blocks * 512 < SMALL:
                line += ' ' + digest(path, info.st_size)
            lines.append(line)
    return sorted(lines)


# ---- refused and survives, see rc ----

def remember():
    global before
    before = snapshot()


# Lines that QEMU's tools put behind some of their messages.
HINT = re.compile("^Try '.* --help' for more information$|: kilobytes, megabytes|^Optional suffix|^and exabytes|"
                  '^Identifiers consist|: warning: Shrinking|^Could not open backing image|^Detected format of|'
                  '^This option is only supported|^You can use .* instead|: Invalid parameter .snapshot\\.|'
                  '^Is another process using the image ')
# Messages of QEMU's that name something in the image instead.
NAMELESS = re.compile(r'Operation \S+ on bitmap |Could not (create|apply|delete) snapshot ')


def refused(status, reason, file, *command):
    """Its output is in the files output and errors."""
    program = os.path.basename(command[0])
    after = snapshot()
    output, errors = text_of('output'), text_of('errors')
    wrong = []
    if status != '1':
        wrong.append('exit status ' + status)
    if output:
        wrong.append('something on standard output')
    if not re.search('^(lt-)?%s: ' % re.escape(program), errors, re.MULTILINE):
        wrong.append('no name of the program')
    if not re.search(reason, errors, re.MULTILINE | re.IGNORECASE):
        wrong.append("no reason like '%s'" % reason)
    if not program.startswith('qemu-'):
        lines = [line for line in errors.splitlines() if not HINT.search(line)]
        if len(lines) != 1:
            wrong.append('%d lines' % len(lines))
        if file not in errors and not NAMELESS.search(errors):
            wrong.append('no name of the file ' + file)
    if SANITIZER.search(errors):
        wrong.append("a sanitizer's report")
    if before != after:
        wrong.append('files changed')
    words = ' '.join((program.split('-', 1)[-1],) + command[1:])
    shown = '\n'.join(filtered(words)).replace(' -f %s ' % FORMAT, ' -f FORMAT ', 1)
    if not wrong:
        say('refused: ' + shown)
        return
    say('NOT well refused: ' + shown, *('  ' + what for what in wrong))
    say(*('  > ' + line for line in filtered(output + errors)[:20]))
    say(*('  ' + line for line in difflib.unified_diff(before, after, lineterm='', n=0)))


def survives(file, *words):
    """Of the words, a line for each command: the program, and its arguments. VICTIM is a copy of the file."""
    victim = os.path.join(RC, 'victim')
    target = os.path.join(RC, 'copy')
    count = int(words[0])
    commands, words = [], list(words[1:])
    for _ in range(count):
        length = int(words.pop(0))
        commands.append([words.pop(0) for _ in range(length)])
    for command in commands:
        copy(file, victim)
        # A hostile size is large: a conversion must get an error, not fill the disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 20, resource.RLIM_INFINITY))
        status, _, errors = run([victim if word == 'VICTIM' else target if word == 'COPY' else word
                                 for word in command], SECONDS_TO_HANG)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if os.path.exists(target):
            os.unlink(target)
        if status > 3 or SANITIZER.search(errors):
            say('%s: %s %s: exit status %d' % (file, command[0].split('-')[-1], ' '.join(command[1:]), status))
            say(*filtered(errors)[:20])


# ---- JSON ----

def plain(text):
    try:
        return json.dumps(json.loads(text), indent=4, sort_keys=True).splitlines()
    except ValueError as error:
        return [str(error)]


def same_json(what, *arguments):
    status_ours, ours, errors = run((os.environ['UBD_IMG'],) + arguments)
    status_theirs, theirs, _ = run((os.environ['QEMU_IMG'],) + arguments)
    ours, theirs = filtered('\n'.join(plain(ours))), filtered('\n'.join(plain(theirs)))
    if status_ours == status_theirs and ours == theirs:
        say('%s: same, exit status %d' % (what, status_ours))
        return
    say("%s: different (- QEMU's, + ours), exit status %d and %d" % (what, status_theirs, status_ours))
    say(*difflib.unified_diff(theirs, ours, lineterm='', n=0), *filtered(errors))


def bitmap_flags(image):
    _, output, _ = run((os.environ['QEMU_IMG'], 'info', '-U', '--output=json', image))
    for bitmap in json.loads(output)['format-specific']['data'].get('bitmaps', []):
        say(' '.join([bitmap['name'][:60] + ':'] + bitmap['flags']))


def dirty_by_ours(image, bitmap):
    _, output, errors = run((os.environ['UBD_IMG'], 'bitmap', '--dump', '--output=json', image, bitmap))
    for part in json.loads(output)['dirty']:
        say('%d %d' % (part['start'], part['length']))
    say(*filtered(errors))


def repair_counts(tool, what, file):
    status, output, _ = run((tool, 'check', '-r', what, '--output=json', file))
    try:
        found = json.loads(output)
    except ValueError:
        found = {}
    names = ('corruptions-fixed', 'leaks-fixed', 'corruptions', 'leaks', 'check-errors')
    say(', '.join(['exit status %d' % status] + ['%s %d' % (n, found[n]) for n in names if found.get(n)]))


# ---- bytes of a file, and of a qcow2 header ----

OFFSET_MASK = (1 << 56) - 512
COPIED = 1 << 63
COMPRESSED = 1 << 62


class Header:
    """The header of a qcow2 image, and the offsets of its entries."""

    def __init__(self, image):
        self.file = open(image, 'rb')
        self.cluster_size = 1 << self.number(20, 4)
        self.l1 = self.number(40, 8)
        extended = self.number(4, 4) >= 3 and self.number(72, 8) & 16
        self.entry_bytes = 16 if extended else 8

    def number(self, off, size):
        self.file.seek(off)
        data = self.file.read(size)
        if len(data) < size:
            raise EOFError('%s ends before %d' % (self.file.name, off + size))
        return int.from_bytes(data, 'big')

    def l1_entry_offset(self, guest):
        return self.l1 + guest // self.cluster_size // (self.cluster_size // self.entry_bytes) * 8

    def l2_table(self, guest):
        return self.number(self.l1_entry_offset(guest), 8) & OFFSET_MASK

    def l2_entry_offset(self, guest):
        entries = self.cluster_size // self.entry_bytes
        return self.l2_table(guest) + guest // self.cluster_size % entries * self.entry_bytes


def say_number(number):
    """A signed 64-bit number, as in the shell."""
    say(str(number - (1 << 64) if number >> 63 else number))


def peek(file, off, size):
    with open(file, 'rb') as opened:
        opened.seek(int(off))
        say_number(int.from_bytes(opened.read(int(size)), 'big'))


def poke(file, off, digits):
    # Created if it does not exist, but not truncated.
    fd = os.open(file, os.O_WRONLY | os.O_CREAT, 0o666)
    os.pwrite(fd, bytes.fromhex(digits), int(off))
    os.close(fd)


def cluster_type(image, guest):
    header, guest = Header(image), int(guest)
    if header.l2_table(guest) == 0:
        say('no L2 table')
        return
    off = header.l2_entry_offset(guest)
    entry = header.number(off, 8)
    zero = 'zero, allocated' if entry & (OFFSET_MASK | COPIED) else 'zero'
    if entry & COMPRESSED:
        say('compressed')
    elif header.entry_bytes == 16:
        say({0xffffffff00000000: zero, 0xffffffff: 'data', 0: 'unallocated'}.get(
            header.number(off + 8, 8), 'subclusters in different states'))
    elif entry & 1:
        say(zero)
    else:
        say('data' if entry & (OFFSET_MASK | COPIED) else 'unallocated')


def refcount16_offset(image, host):
    header = Header(image)
    cluster = int(host) // header.cluster_size
    entries = header.cluster_size // 2
    block = header.number(header.number(48, 8) + cluster // entries * 8, 8)
    say_number(block + cluster % entries * 2)


def bitmaps_extension(image):
    header = Header(image)
    off = header.number(100, 4)
    while True:
        kind = header.number(off, 4)
        if kind == 0:
            return
        if kind == 0x23852875:
            say_number(off + 8)
        off += 8 + (header.number(off + 4, 4) + 7) // 8 * 8


def subclusters(image, guest):
    header = Header(image)
    off = header.l2_entry_offset(int(guest))
    say('%08x %08x' % (header.number(off + 8, 4), header.number(off + 12, 4)))


def l2_entry(image, guest):
    header = Header(image)
    say_number(header.number(header.l2_entry_offset(int(guest)), 8))


REQUESTS = {
    'bitmap_flags': bitmap_flags,
    'bitmaps_extension': bitmaps_extension,
    'cluster_size': lambda image: say_number(Header(image).cluster_size),
    'cluster_type': cluster_type,
    'copy': copy,
    'dirty_by_ours': dirty_by_ours,
    'l1_entry_offset': lambda image, guest: say_number(Header(image).l1_entry_offset(int(guest))),
    'l2_entry': l2_entry,
    'l2_entry_bytes': lambda image: say_number(Header(image).entry_bytes),
    'l2_entry_offset': lambda image, guest: say_number(Header(image).l2_entry_offset(int(guest))),
    'peek': peek,
    'poke': poke,
    'refcount16_offset': refcount16_offset,
    'refused': refused,
    'remember': remember,
    'repair_counts': repair_counts,
    'same_json': same_json,
    'snapshot': lambda: say(*snapshot()),
    'subclusters': subclusters,
    'survives': survives,
}


def serve(request):
    folder, name, *arguments = request.decode('utf-8', 'surrogateescape').split('\0')[:-1]
    answer.clear()
    status = 0
    try:
        os.chdir(folder)
        REQUESTS[name](*arguments)
    except Exception as error: # any error must reach the test
        say('%s %s: %s: %s' % (name, ' '.join(arguments), type(error).__name__, error))
        status = 1
    with open(RC + '/answer', 'w', encoding='utf-8', errors='surrogateescape') as file:
        file.writelines(line + '\n' for line in answer)
    with open(RC + '/answered', 'w', encoding='ascii') as pipe:
        pipe.write('%d\n' % status)


def main():
    # Do not keep the test's descriptors open: readers must see their end when the test closes them.
    os.closerange(3, 256)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    while True:
        with open(RC + '/ask', 'rb') as pipe:
            request = pipe.read()
        serve(request)


main()
