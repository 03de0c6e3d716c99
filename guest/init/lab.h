/*
 * lab.h: the same program 1 in the KVM lab: the host's root file system as the guest's, one
 * command.
 */
#pragma once

#include "console.h"
#include "options.h"

/* Runs options->lab in the host's root, reports "VIV_LAB_EXIT <n>" and returns when all is printed.
 */
void guest_lab_run(struct guest_consoles *c, const struct guest_options *o);
