/*
 * The control protocol between clients (manager) and a VM's monitor: frames of base/frame.h with a
 * JSON payload, over run_dir/control.sock.
 *
 *   client: HELLO {"protocol":1,"version":"0.1.0"}   monitor: HELLO {…the same…,"pid":…}
 *   client: REQUEST {"id":1,"verb":"start","op":"<uuid>","args":{…}} (+ descriptors)
 *   monitor: REPLY {"id":1,"result":{…}} (+ descriptors), or
 *            ERROR {"id":1,"error":{code,errno,vm,field,message,hint}}: one of them per request
 *   monitor: NOTE {"id":1,…} progress of a request, any number before its end
 *
 * Frame version = the sender's protocol. Both sides accept ± 1 and speak the lower of the two;
 * anything else is refused by name: UNSUPPORTED "this viv speaks control protocol 1, the monitor of
 * web speaks 4". A side that refuses still sends its HELLO first, so that the other one can name it
 * too. Unknown keys are ignored, unknown verbs answer UNSUPPORTED. A second request with the same
 * op id joins the first (a client that lost its connection asks again).
 */
#pragma once

#include <jansson.h>

#include "base/frame.h"

#define VIVI_CONTROL_PROTOCOL 1

enum vivi_control_op {
    VIVI_CTL_HELLO = 1,
    VIVI_CTL_REQUEST = 2,
    VIVI_CTL_REPLY = 3,
    VIVI_CTL_ERROR = 4,
    VIVI_CTL_NOTE = 5
};

/* Appends one frame; body is borrowed. NO_MEMORY, PROTOCOL (out's ceiling). */
int vivi_control_encode(struct vivi_buf *out, uint8_t protocol, enum vivi_control_op op,
                        const json_t *body);
/* The same for a frame that n_fds descriptors go with, sent with its first byte. */
int vivi_control_encode_fds(struct vivi_buf *out, uint8_t protocol, enum vivi_control_op op,
                            const json_t *body, size_t n_fds);
/* The payload, an object; new reference. PROTOCOL: not a JSON object. */
int vivi_control_parse(const struct vivi_frame *f, json_t **ret, viv_error *err);
/* who: "the monitor of web". *ret: what both speak. */
int vivi_control_agree(unsigned mine, unsigned theirs, const char *who, unsigned *ret,
                       viv_error *err);

/* {"code":"INVALID","errno":"ENOENT"|null,"vm":…,"field":…,"message":…,"hint":…,"retry":false}, ""
 * as null. */
json_t *vivi_error_to_json(const viv_error *e);
/* Bounded copies; unknown code → INTERNAL. ret's size is kept. */
void vivi_error_from_json(const json_t *j, viv_error *ret);

/* The code of a word as viv_code_name says it, > 0; unknown → VIV_E_INTERNAL. */
int vivi_code_parse(const char *name);
