/* A machine that leaves for another monitor (migrate.c), or comes from one (incoming.c). */
#pragma once

#include "monitor/monitor.h"

struct vivi_client;

/* ---- migrate.c: this end sends ---- */

/*
 * args of "migrate": step "offer" tells what the other end has to know, and all that is in the way;
 * "send" (url, tls_dir, local, downtime_ms, timeout_s, connections, to) does it; "settle" (arrived)
 * says what became of it when this end cannot know.
 */
enum vivi_migrate_step { VIVI_MIGRATE_OFFER, VIVI_MIGRATE_SEND, VIVI_MIGRATE_SETTLE };
struct vivi_migrate_ask {
    enum vivi_migrate_step step;
    struct vivi_migration to; /* borrows from the request */
    const char *name;         /* of the destination, for people */
    bool arrived;
};
int vivi_migrate_parse(const json_t *args, struct vivi_migrate_ask *ret, viv_error *err);
/* All that can be refused. */
int vivi_migrate_may(struct vivi_monitor *m, const struct vivi_migrate_ask *a, viv_error *err);
/* New reference; NULL: no memory. */
json_t *vivi_migrate_offer(struct vivi_monitor *m);
/* 1: it stood still, and has to be resumed now. */
int vivi_migrate_settle(struct vivi_monitor *m, bool arrived, viv_error *err);
/* Begins, for the operation in flight; its end is the end of the operation. */
void vivi_migrate_now(struct vivi_monitor *m, const struct vivi_migrate_ask *a);
void vivi_migrate_progress(struct vivi_monitor *m, const char *text);
/* From here on only the other end can say where it is, unless our VMM can. */
void vivi_migrate_handed_over(struct vivi_monitor *m);
/* It stands still here because it may run there. */
bool vivi_migrate_in_doubt(const struct vivi_monitor *m);
/* WRONG_STATE for what could make it run, while that is so. */
int vivi_migrate_allows(struct vivi_monitor *m, enum vivi_verb v, viv_error *err);
/* The driver's answer, always an error: the machine is here as it was. */
void vivi_migrate_failed(struct vivi_monitor *m, const viv_error *err);
/* Before a run's end is recorded. */
void vivi_migrate_concluded(struct vivi_monitor *m, enum vivi_reason reason);
/* The run has ended, now or while no monitor was there: what that means for the operation. */
void vivi_migrate_ended(struct vivi_monitor *m, const char *text);
/* A former monitor died meanwhile; the VM is adopted. */
void vivi_migrate_resume(struct vivi_monitor *m);
void vivi_migrate_drop(struct vivi_monitor *m);

/* ---- incoming.c: this end receives ---- */

/* args of "incoming": listen ("unix", "tcp:host:port"), tls_dir, config (of the run there), nonce,
 * ip (the guest is ready), wait_ms; or abort. */
struct vivi_incoming_ask {
    bool abort;
    const char *listen, *tls_dir, *nonce, *ip; /* borrowed from the request */
    const json_t *config;
    int64_t wait_ms;
};
int vivi_incoming_parse(const json_t *args, struct vivi_incoming_ask *ret, viv_error *err);
int vivi_incoming_prepare(struct vivi_monitor *m, const struct vivi_incoming_ask *a,
                          struct vivi_launch *ret, viv_error *err);
void vivi_incoming_now(struct vivi_monitor *m, const struct vivi_incoming_ask *a,
                       struct vivi_launch *l_consume);
/* Nobody will come; whoever is on the way arrives all the same. */
void vivi_incoming_abort(struct vivi_monitor *m);
void vivi_incoming_listening(struct vivi_monitor *m);
/* Tells a client that has just asked, if there is something to tell. */
void vivi_incoming_tell(struct vivi_monitor *m, struct vivi_client *c, uint64_t id);
/* What the driver told of it. */
void vivi_incoming_state(struct vivi_monitor *m, enum viv_state state);
/* Before a run's end is recorded. */
void vivi_incoming_ended(struct vivi_monitor *m);
/* It runs here. */
void vivi_incoming_arrived(struct vivi_monitor *m);
/* Adopted: a former monitor had begun to wait. */
void vivi_incoming_adopted(struct vivi_monitor *m);
void vivi_incoming_drop(struct vivi_monitor *m);
