/* Refuse: makes calls of the file system fail, about files below one folder. Loaded before libc by LD_PRELOAD.
 *
 * CHAOS_FOLDER  where
 * CHAOS_CALL    which: open read write fsync rename link unlink mkdir
 * CHAOS_ERROR   with which errno
 * CHAOS_FROM    from which such call of a process on, counted from 1
 * CHAOS_TIMES   how many of them; negative: all
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *folder, *call;
static long error, from, times;
static atomic_long seen;

__attribute__((constructor)) static void begin(void) {
    folder = getenv("CHAOS_FOLDER");
    call = getenv("CHAOS_CALL");
    error = folder && call ? atol(getenv("CHAOS_ERROR")) : 0;
    from = error ? atol(getenv("CHAOS_FROM")) : 0;
    times = error ? atol(getenv("CHAOS_TIMES")) : 0;
}

static int refused(const char *name, const char *path) {
    if (!error || !path || strcmp(name, call) || strncmp(path, folder, strlen(folder)))
        return 0;
    long count = atomic_fetch_add(&seen, 1) + 1;
    if (count < from || (times >= 0 && count >= from + times))
        return 0;
    errno = (int)error;
    return 1;
}

static int refused_of(const char *name, int number) {
    if (!error || strcmp(name, call))
        return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", number);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return refused(name, path);
}

#define REAL(result, name, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) \
        real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

#define OPEN(symbol) \
    int symbol(const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        REAL(int, #symbol, const char *, int, ...); \
        return refused("open", path) ? -1 : real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(symbol) \
    int symbol(int at, const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        REAL(int, #symbol, int, const char *, int, ...); \
        return refused("open", path) ? -1 : real(at, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

#define MOVE(symbol, name, type) \
    ssize_t symbol(int number, type what, size_t count) { \
        REAL(ssize_t, #symbol, int, type, size_t); \
        return refused_of(name, number) ? -1 : real(number, what, count); \
    }
MOVE(read, "read", void *)
MOVE(write, "write", const void *)

#define MOVE_AT(symbol, name, type) \
    ssize_t symbol(int number, type what, size_t count, off_t place) { \
        REAL(ssize_t, #symbol, int, type, size_t, off_t); \
        return refused_of(name, number) ? -1 : real(number, what, count, place); \
    }
MOVE_AT(pread, "read", void *)
MOVE_AT(pread64, "read", void *)
MOVE_AT(pwrite, "write", const void *)
MOVE_AT(pwrite64, "write", const void *)

int fsync(int number) {
    REAL(int, "fsync", int);
    return refused_of("fsync", number) ? -1 : real(number);
}

#define TWO(symbol, name) \
    int symbol(const char *one, const char *other) { \
        REAL(int, #symbol, const char *, const char *); \
        return refused(name, one) ? -1 : real(one, other); \
    }
TWO(rename, "rename")
TWO(link, "link")

int renameat(int at, const char *one, int to, const char *other) {
    REAL(int, "renameat", int, const char *, int, const char *);
    return refused("rename", one) ? -1 : real(at, one, to, other);
}

int linkat(int at, const char *one, int to, const char *other, int flags) {
    REAL(int, "linkat", int, const char *, int, const char *, int);
    return refused("link", one) ? -1 : real(at, one, to, other, flags);
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    return refused("unlink", path) ? -1 : real(path);
}

int unlinkat(int at, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    return refused("unlink", path) ? -1 : real(at, path, flags);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    return refused("mkdir", path) ? -1 : real(path, mode);
}
