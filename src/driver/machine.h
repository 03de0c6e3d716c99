/*
 * Checked dispatch: for users of drivers (the monitor). State and capability are checked once,
 * here, so drivers do not. Messages: WRONG_STATE "only a running VM can be paused (it is stopped)",
 * UNSUPPORTED "driver fake cannot pause here: <reason>".
 */
#pragma once

#include "driver/driver.h"

struct vivi_machine {
    const struct vivi_driver *driver;
    const struct vivi_driver_effects *fx;
    struct vivi_caps caps; /* what the probe left */
    enum viv_state state;  /* kept by the monitor */
    void *priv;            /* owned; fx->machine_size bytes */
};

/* A SLOT row is set exactly when its slot is filled: the word of the first row where that is not
 * so, or NULL. Asserted at registration. */
const char *vivi_machine_mismatch(const struct vivi_caps *caps,
                                  const struct vivi_driver_effects *fx);

/* The effects of a VM of that configuration: fx, or what it names instead; NULL stays NULL. */
const struct vivi_driver_effects *vivi_effects_for(const struct vivi_driver_effects *fx,
                                                   const struct vivi_config *c);
/* Without the rows of slots that this table does not fill. */
void vivi_machine_narrow(struct vivi_caps *caps, const struct vivi_driver_effects *fx);

int vivi_machine_init(struct vivi_machine *m, const struct vivi_driver *d,
                      const struct vivi_driver_effects *fx, const struct vivi_caps *caps,
                      viv_error *err);
void vivi_machine_done(struct vivi_machine *m); /* calls fx->done once; NULL-safe, repeatable */

int vivi_machine_start(struct vivi_machine *m, const struct vivi_machine_start *s, uint64_t op,
                       viv_error *err);
int vivi_machine_adopt(struct vivi_machine *m, const struct vivi_machine_start *s, uint64_t op,
                       viv_error *err);
int vivi_machine_pause(struct vivi_machine *m, uint64_t op, viv_error *err);
int vivi_machine_resume(struct vivi_machine *m, uint64_t op, viv_error *err);
int vivi_machine_reset(struct vivi_machine *m, uint64_t op, viv_error *err);
int vivi_machine_power_button(struct vivi_machine *m, uint64_t op, viv_error *err);
int vivi_machine_quit(struct vivi_machine *m, uint64_t op, viv_error *err);
int vivi_machine_agent_connect(struct vivi_machine *m, uint64_t op, viv_error *err);
int vivi_machine_query(struct vivi_machine *m, uint64_t op, viv_error *err);
int vivi_machine_device_add(struct vivi_machine *m, const struct vivi_device *d, uint64_t op,
                            viv_error *err);
int vivi_machine_device_remove(struct vivi_machine *m, enum vivi_device_kind kind, const char *id,
                               uint64_t op, viv_error *err);
int vivi_machine_resize(struct vivi_machine *m, const struct vivi_resize *what, uint64_t op,
                        viv_error *err);
int vivi_machine_counters(struct vivi_machine *m, uint64_t op, viv_error *err);
int vivi_machine_snapshot(struct vivi_machine *m, const char *dir, uint64_t op, viv_error *err);
int vivi_machine_nmi(struct vivi_machine *m, uint64_t op, viv_error *err);
int vivi_machine_coredump(struct vivi_machine *m, const char *path, uint64_t op, viv_error *err);
int vivi_machine_raw(struct vivi_machine *m, const struct vivi_raw *call, uint64_t op,
                     viv_error *err);
int vivi_machine_migrate_send(struct vivi_machine *m, const struct vivi_migration *to, uint64_t op,
                              viv_error *err);
int vivi_machine_receive_abort(struct vivi_machine *m, viv_error *err);
/* The verb tests alone, without doing it: what state and capability say. verb: "pause", "resume",
 * "reset", "stop", … */
int vivi_machine_may(const struct vivi_machine *m, const char *verb, viv_error *err);
int vivi_machine_may_device(const struct vivi_machine *m, enum vivi_device_kind kind, bool adding,
                            viv_error *err);
/* The size as well, where the driver knows this run's limits. */
int vivi_machine_may_resize(const struct vivi_machine *m, const struct vivi_resize *what,
                            viv_error *err);
int vivi_machine_may_raw(const struct vivi_machine *m, viv_error *err);
