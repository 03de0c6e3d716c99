/* Whether this host's KVM can run ordinary guests. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * Usable means: /dev/kvm opens, the CPU has vmx or svm (or is aarch64: a paravirtual KVM without
 * them opens fine and then cannot run ordinary kernels), and a VM can be created. The last is
 * remembered in cache_dir (absolute, NULL = not) for this boot of the host, because creating one
 * takes milliseconds. No: ret_reason "/dev/kvm: permission denied", ret_fix what to do about it.
 */
bool vivi_kvm_usable(const char *cache_dir, char *ret_reason, char *ret_fix, size_t size);
