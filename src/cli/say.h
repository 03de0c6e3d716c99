/* Sentences about a VM that several commands say alike. */
#pragma once

#include "cli/ops.h"

/* "web: ready 192.0.2.7 after 2.31 s", of the job's result. */
void vivi_say_ready(struct vivi_cli *c, FILE *to, const struct vivi_job *job);
/* "web: «word»", "web: stopped already", "web: does not run (created)". */
void vivi_say_ended(struct vivi_cli *c, const struct vivi_job *job, const char *word);
/* "web: «word»", or "web: «word» already" when the result says that nothing changed. */
void vivi_say_state(struct vivi_cli *c, const struct vivi_job *job, const char *word);
/* The one line about emulation, if the result carries one. Each text is said once per command. */
void vivi_say_accel(struct vivi_cli *c, const viv_rec *result);
/* After a ready time-out: the last step of the boot timeline and the last five serial lines. */
void vivi_say_tail(struct vivi_cli *c, viv_vm *vm);
/* For vivi_verb.explain of verbs that wait for ready. */
void vivi_explain_wait(struct vivi_cli *c, const struct vivi_job *job);
