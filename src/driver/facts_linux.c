/* Gathering facts about this host and the files of a configuration: all system calls that check and
 * plan stand on. A fact is never an error: what cannot be read is told by its errno. */
#include "driver/driver.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver/kernel.h"

#define CAP_NET_BIND_SERVICE_BIT 10
#define PRIVILEGED_PORTS         1024

struct note_reader {
    int fd;
    struct vivi_path_fact *fact;
};

static void read_note(void *arg, uint64_t offset, uint64_t size)
{
    struct note_reader *r = arg;
    struct vivi_path_fact *f = r->fact;
    size_t room = VIVI_FACT_NOTES_MAX - f->notes_len;
    ssize_t n;

    if (size < room)
        room = (size_t)size;
    if (!f->notes || offset > INT64_MAX)
        return;
    n = pread(r->fd, f->notes + f->notes_len, room, (off_t)offset);
    if (n > 0)
        f->notes_len += (size_t)n;
}

static int read_contents(int fd, struct vivi_path_fact *f)
{
    struct note_reader r = {.fd = fd, .fact = f};
    ssize_t n = pread(fd, f->head, sizeof(f->head), 0);

    f->head_len = n > 0 ? (size_t)n : 0;
    if (f->head_len < 4 || memcmp(f->head, "\177ELF", 4) != 0)
        return 0;
    f->notes = calloc(1, VIVI_FACT_NOTES_MAX);
    if (!f->notes)
        return -VIV_E_NO_MEMORY;
    vivi_elf_each_note(f->head, f->head_len, read_note, &r);
    return 0;
}

/* Only regular files and block devices are opened: opening a FIFO or a device could have effects.
 */
static int look_at(struct vivi_path_fact *f)
{
    cleanup_close int fd = -1;
    struct stat st;
    uint64_t device_bytes = 0;

    if (stat(f->path, &st) < 0) {
        f->stat_errno = errno;
        return 0;
    }
    f->mode = (uint32_t)st.st_mode;
    f->size_bytes = (uint64_t)st.st_size;
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return 0;
    fd = open(f->path, (f->writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        f->open_errno = errno;
        return 0;
    }
    if (S_ISBLK(st.st_mode)) {
        if (ioctl(fd, BLKGETSIZE64, &device_bytes) == 0)
            f->size_bytes = device_bytes;
        return 0;
    }
    return read_contents(fd, f);
}

static int add_path(void *arg, const char *path, bool writable)
{
    struct vivi_facts *f = arg;
    struct vivi_path_fact *grown;

    if (vivi_fact_of(f, path))
        return 0;
    grown = realloc(f->paths, (f->n_paths + 1) * sizeof(*grown));
    if (!grown)
        return -VIV_E_NO_MEMORY;
    f->paths = grown;
    memset(&f->paths[f->n_paths], 0, sizeof(*grown));
    f->paths[f->n_paths].writable = writable;
    f->paths[f->n_paths].path = strdup(path);
    if (!f->paths[f->n_paths].path)
        return -VIV_E_NO_MEMORY;
    f->n_paths++;
    return look_at(&f->paths[f->n_paths - 1]);
}

/* One number after a word at the start of a line of a /proc file; 0 = not found. */
static uint64_t proc_number(const char *path, const char *word, int base)
{
    cleanup_fclose FILE *file = fopen(path, "re");
    char line[256];

    while (file && fgets(line, sizeof(line), file))
        if (strncmp(line, word, strlen(word)) == 0)
            return strtoull(line + strlen(word), NULL, base);
    return 0;
}

static uint32_t lowest_port(void)
{
    uint64_t caps = proc_number("/proc/self/status", "CapEff:", 16);
    uint64_t port;

    if (caps & UINT64_C(1) << CAP_NET_BIND_SERVICE_BIT)
        return 1;
    if (access("/proc/sys/net/ipv4/ip_unprivileged_port_start", R_OK) < 0)
        return PRIVILEGED_PORTS;
    port = proc_number("/proc/sys/net/ipv4/ip_unprivileged_port_start", "", 10);
    return port <= 65536 ? (uint32_t)(port > 0 ? port : 1) : PRIVILEGED_PORTS;
}

/* Free in the pool of huge pages of that size. */
static uint64_t free_in_pool(unsigned kib)
{
    char path[80];

    (void)snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%ukB/free_hugepages",
                   kib);
    return proc_number(path, "", 10) * kib * 1024;
}

int vivi_facts_gather(const struct vivi_config *c, const struct vivi_driver *d,
                      const char *cache_dir, struct vivi_facts *ret, viv_error *err)
{
    cleanup_facts struct vivi_facts f = {0};
    long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
    int r;

    f.host_memory_bytes = proc_number("/proc/meminfo", "MemTotal:", 10) * 1024;
    f.huge_2m_bytes = free_in_pool(2048);
    f.huge_1g_bytes = free_in_pool(1024 * 1024);
    f.host_cpus = n_cpus > 0 ? (uint32_t)n_cpus : 1;
    f.lowest_port = lowest_port();
    if (vivi_config_each_path(c, add_path, &f) < 0)
        return vivi_fail_oom(err);
    r = d->probe(cache_dir, c->vmm_path, c->accel, &f.probe, err);
    if (r < 0)
        return r;
    *ret = f;
    f.paths = NULL;
    f.n_paths = 0;
    return 0;
}
