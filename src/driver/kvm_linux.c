/* Looking at KVM. */
#include "driver/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/errno_text.h"
#include "base/file.h"
#include "base/proc.h"

#define CPUINFO_BYTES                                                          \
    8192 /* the first CPU's entry; more would take milliseconds on large hosts \
          */
#define NO_VIRT_FIX \
    "enable virtualisation in the firmware, or nested virtualisation where this host is a VM"

/* Whether flags has word as a whole word. */
static bool has_word(const char *flags, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = flags; (at = strstr(at, word)); at += len)
        if ((at == flags || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0'))
            return true;
    return false;
}

static bool cpu_can(void)
{
#if defined(__aarch64__)
    return true;
#else
    cleanup_close int fd = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);
    char text[CPUINFO_BYTES], *flags, *end;
    size_t len = 0;
    ssize_t n;

    if (fd < 0)
        return false;
    while (len < sizeof(text) - 1 && (n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
        len += (size_t)n;
    text[len] = '\0';
    flags = strstr(text, "\nflags");
    if (!flags)
        return false;
    end = strchr(flags + 1, '\n');
    if (end)
        *end = '\0';
    return has_word(flags, "vmx") || has_word(flags, "svm");
#endif
}

static void open_fix(int error, char *ret, size_t size)
{
    if (error == ENOENT)
        (void)snprintf(ret, size, "modprobe kvm_intel or kvm_amd; %s", NO_VIRT_FIX);
    else if (error == EACCES || error == EPERM)
        (void)snprintf(ret, size, "sudo usermod -aG kvm $USER, then log in again");
    else
        (void)snprintf(ret, size, "see what the kernel says: dmesg | grep kvm");
}

static bool remembered(const char *cache_dir, const char *boot_id)
{
    struct vivi_buf seen = VIVI_BUF(256);
    char path[512];
    bool same;

    if (!cache_dir)
        return false;
    (void)snprintf(path, sizeof(path), "%s/probe-kvm", cache_dir);
    same = vivi_read_file_at(AT_FDCWD, path, &seen, NULL) == 0 && seen.data &&
           strcmp(seen.data, boot_id) == 0;
    vivi_buf_done(&seen);
    return same;
}

static void remember(const char *cache_dir, const char *boot_id)
{
    char path[512];

    if (!cache_dir || vivi_mkdir_path(cache_dir, 0700, NULL) < 0)
        return;
    (void)snprintf(path, sizeof(path), "%s/probe-kvm", cache_dir);
    (void)vivi_write_file_at(AT_FDCWD, path, boot_id, strlen(boot_id), VIVI_FAST, NULL);
}

bool vivi_kvm_usable(const char *cache_dir, char *ret_reason, char *ret_fix, size_t size)
{
    cleanup_close int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    cleanup_close int vm = -1;
    char boot_id[VIVI_BOOT_ID_SIZE] = "";

    if (fd < 0) {
        int error = errno;

        (void)snprintf(ret_reason, size, "/dev/kvm: %s", vivi_errno_text(error));
        open_fix(error, ret_fix, size);
        return false;
    }
    if (!cpu_can()) {
        (void)snprintf(ret_reason, size, "this CPU has no vmx or svm");
        (void)snprintf(ret_fix, size, "%s", NO_VIRT_FIX);
        return false;
    }
    if (vivi_host_boot_id(boot_id, NULL) == 0 && remembered(cache_dir, boot_id))
        return true;
    vm = ioctl(fd, KVM_CREATE_VM, 0);
    if (vm < 0) {
        (void)snprintf(ret_reason, size, "/dev/kvm: cannot create a VM: %s",
                       vivi_errno_text(errno));
        (void)snprintf(ret_fix, size, "see what the kernel says: dmesg | grep kvm");
        return false;
    }
    if (*boot_id)
        remember(cache_dir, boot_id);
    return true;
}
