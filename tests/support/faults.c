/* Fails at the N-th file operation below a folder: a library for LD_PRELOAD, whose state forked children share. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum mode { COUNT, ENOSPC_FROM, EIO_ONCE, KILL_BEFORE, TORN };
enum kind { ALLOCATES, REMOVES };
enum verdict { PROCEED, FAIL, TEAR };

static struct {
    char prefix[PATH_MAX];
    long at;
    enum mode mode;
    int log;
    int armed;
    long seen;
} *state;

__attribute__((constructor)) static void begin(void) {
    state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* Fail at operation number `at` of those below `prefix`, and write down each of them in `log`. */
void faults_arm(const char *prefix, long at, int mode, int log) {
    snprintf(state->prefix, sizeof state->prefix, "%s", prefix);
    state->at = at;
    state->mode = mode;
    state->log = log;
    state->seen = 0;
    state->armed = 1;
}

void faults_disarm(void) { state->armed = 0; }

long faults_count(void) { return state->seen; }

static int below(const char *path) {
    size_t length = strlen(state->prefix);
    return strncmp(path, state->prefix, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static void path_of(int descriptor, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = syscall(SYS_readlink, link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
}

static void whole_path(int folder, const char *name, char *path) {
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
        return;
    }
    if (folder == AT_FDCWD) {
        if (syscall(SYS_getcwd, path, (size_t)PATH_MAX) < 0) path[0] = 0;
    } else {
        path_of(folder, path);
    }
    size_t length = strlen(path);
    snprintf(path + length, PATH_MAX - length, "/%s", name);
}

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

static enum verdict fail(int reason) {
    errno = reason;
    return FAIL;
}

static enum verdict judge(const char *operation, enum kind kind, const char *path) {
    if (!below(path)) return PROCEED;
    long number = __atomic_add_fetch(&state->seen, 1, __ATOMIC_SEQ_CST);
    char line[PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%s\t%s\n", operation, path + strlen(state->prefix));
    if (state->mode == COUNT || number <= state->at) syscall(SYS_write, state->log, line, (size_t)length);
    switch (state->mode) {
    case ENOSPC_FROM: /* removing needs no room */
        return number >= state->at && kind == ALLOCATES ? fail(ENOSPC) : PROCEED;
    case EIO_ONCE:
        return number == state->at ? fail(EIO) : PROCEED;
    case KILL_BEFORE:
        if (number == state->at) die();
        return PROCEED;
    case TORN:
        return number == state->at ? TEAR : PROCEED;
    default:
        return PROCEED;
    }
}

static enum verdict judge_descriptor(const char *operation, int descriptor) {
    if (!state || !state->armed) return PROCEED;
    char path[PATH_MAX];
    path_of(descriptor, path);
    return judge(operation, ALLOCATES, path);
}

static enum verdict judge_name(const char *operation, enum kind kind, int folder, const char *name) {
    if (!state || !state->armed) return PROCEED;
    char path[PATH_MAX];
    whole_path(folder, name, path);
    return judge(operation, kind, path);
}

#define REAL(type, name, ...)                                       \
    static type (*real)(__VA_ARGS__);                               \
    if (!real) *(void **)(&real) = dlsym(RTLD_NEXT, #name)

/* After a verdict: fail, or do the operation (when it tears, `half` of it) and die if it tears. */
#define DO(type, asked, whole, half)     \
    enum verdict judged = asked;         \
    if (judged == FAIL) return -1;       \
    if (judged == PROCEED) return whole; \
    type torn = half;                    \
    die();                               \
    return torn

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    DO(ssize_t, judge_descriptor("write", fd), real(fd, data, size), real(fd, data, size / 2));
}

size_t fwrite(const void *data, size_t size, size_t count, FILE *file) { /* NumPy's; what it writes is not seen below */
    REAL(size_t, fwrite, const void *, size_t, size_t, FILE *);
    enum verdict judged = judge_descriptor("write", fileno(file));
    if (judged == FAIL) return 0;
    if (judged == PROCEED) return real(data, size, count, file);
    real(data, size, count / 2, file);
    fflush(file);
    die();
    return 0;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    DO(ssize_t, judge_descriptor("write", fd), real(fd, data, size, offset), real(fd, data, size / 2, offset));
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    DO(ssize_t, judge_descriptor("write", fd), real(fd, data, size, offset), real(fd, data, size / 2, offset));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    DO(ssize_t, judge_descriptor("write", fd), real(fd, parts, count), real(fd, parts, count / 2));
}

ssize_t sendfile(int to, int from, off_t *offset, size_t size) {
    REAL(ssize_t, sendfile, int, int, off_t *, size_t);
    DO(ssize_t, judge_descriptor("write", to), real(to, from, offset, size), real(to, from, offset, 100));
}

ssize_t sendfile64(int to, int from, off64_t *offset, size_t size) {
    REAL(ssize_t, sendfile64, int, int, off64_t *, size_t);
    DO(ssize_t, judge_descriptor("write", to), real(to, from, offset, size), real(to, from, offset, 100));
}

ssize_t copy_file_range(int from, off64_t *in, int to, off64_t *out, size_t size, unsigned flags) {
    REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned);
    DO(ssize_t, judge_descriptor("write", to), real(from, in, to, out, size, flags), real(from, in, to, out, 100, flags));
}

int ftruncate(int fd, off_t size) {
    REAL(int, ftruncate, int, off_t);
    DO(int, judge_descriptor("truncate", fd), real(fd, size), real(fd, size));
}

int ftruncate64(int fd, off64_t size) {
    REAL(int, ftruncate64, int, off64_t);
    DO(int, judge_descriptor("truncate", fd), real(fd, size), real(fd, size));
}

int fsync(int fd) {
    REAL(int, fsync, int);
    DO(int, judge_descriptor("fsync", fd), real(fd), real(fd));
}

int fdatasync(int fd) {
    REAL(int, fdatasync, int);
    DO(int, judge_descriptor("fsync", fd), real(fd), real(fd));
}

int rename(const char *old, const char *new) {
    REAL(int, rename, const char *, const char *);
    DO(int, judge_name("rename", ALLOCATES, AT_FDCWD, new), real(old, new), real(old, new));
}

int renameat(int a, const char *old, int b, const char *new) {
    REAL(int, renameat, int, const char *, int, const char *);
    DO(int, judge_name("rename", ALLOCATES, b, new), real(a, old, b, new), real(a, old, b, new));
}

int renameat2(int a, const char *old, int b, const char *new, unsigned flags) {
    REAL(int, renameat2, int, const char *, int, const char *, unsigned);
    DO(int, judge_name("rename", ALLOCATES, b, new), real(a, old, b, new, flags), real(a, old, b, new, flags));
}

int link(const char *old, const char *new) {
    REAL(int, link, const char *, const char *);
    DO(int, judge_name("link", ALLOCATES, AT_FDCWD, new), real(old, new), real(old, new));
}

int symlink(const char *old, const char *new) {
    REAL(int, symlink, const char *, const char *);
    DO(int, judge_name("link", ALLOCATES, AT_FDCWD, new), real(old, new), real(old, new));
}

int unlink(const char *name) {
    REAL(int, unlink, const char *);
    DO(int, judge_name("unlink", REMOVES, AT_FDCWD, name), real(name), real(name));
}

int unlinkat(int folder, const char *name, int flags) {
    REAL(int, unlinkat, int, const char *, int);
    const char *operation = flags & AT_REMOVEDIR ? "rmdir" : "unlink";
    DO(int, judge_name(operation, REMOVES, folder, name), real(folder, name, flags), real(folder, name, flags));
}

int rmdir(const char *name) {
    REAL(int, rmdir, const char *);
    DO(int, judge_name("rmdir", REMOVES, AT_FDCWD, name), real(name), real(name));
}

int mkdir(const char *name, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    DO(int, judge_name("mkdir", ALLOCATES, AT_FDCWD, name), real(name, mode), real(name, mode));
}

int mkdirat(int folder, const char *name, mode_t mode) {
    REAL(int, mkdirat, int, const char *, mode_t);
    DO(int, judge_name("mkdir", ALLOCATES, folder, name), real(folder, name, mode), real(folder, name, mode));
}

static mode_t mode_of(int flags, va_list arguments) {
    return flags & (O_CREAT | __O_TMPFILE) ? (mode_t)va_arg(arguments, int) : 0;
}

#define OPENS(name, folder, ...)                                                                      \
    va_list arguments;                                                                                \
    va_start(arguments, flags);                                                                       \
    mode_t mode = mode_of(flags, arguments);                                                          \
    va_end(arguments);                                                                                \
    enum verdict opened = flags & O_CREAT ? judge_name("create", ALLOCATES, folder, path) : PROCEED;   \
    DO(int, opened, real(__VA_ARGS__, flags, mode), real(__VA_ARGS__, flags, mode))

int open(const char *path, int flags, ...) {
    REAL(int, open, const char *, int, ...);
    OPENS(open, AT_FDCWD, path);
}

int open64(const char *path, int flags, ...) {
    REAL(int, open64, const char *, int, ...);
    OPENS(open64, AT_FDCWD, path);
}

int openat(int folder, const char *path, int flags, ...) {
    REAL(int, openat, int, const char *, int, ...);
    OPENS(openat, folder, folder, path);
}

int openat64(int folder, const char *path, int flags, ...) {
    REAL(int, openat64, int, const char *, int, ...);
    OPENS(openat64, folder, folder, path);
}
