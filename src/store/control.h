/*
 * The control protocol between clients (manager) and a VM's monitor: frames of base/frame.h with JSON payload, over run_dir/control.sock.
 *
 *   client: HELLO {"protocol":1,"version":"0.1.0"}         monitor: HELLO {"protocol":1,"version":"0.1.0","pid":…}
 *   client: REQUEST {"id":1,"verb":"start","op":"<uuid>","args":{…}} (+ descriptors)
 *   monitor: REPLY {"id":1,"result":{…}} (+ descriptors) or ERROR {"id":1,"error":{code,errno,vm,field,message,hint}}, once per request
 *   monitor: NOTE {"id":1,…} progress of a request, any number before its end
 *
 * Frame version = protocol. Both sides accept ± 1 and answer in the lower of the two; anything else is refused by name:
 * UNSUPPORTED "this viv speaks control protocol 1, the monitor of web speaks 4". Unknown keys are ignored, unknown verbs answer UNSUPPORTED.
 * A second request with the same op id joins the first (a client that lost its connection asks again).
 */
#pragma once

#include <jansson.h>

#include "base/frame.h"

#define VIVI_CONTROL_PROTOCOL 1

enum vivi_control_op { VIVI_CTL_HELLO = 1, VIVI_CTL_REQUEST = 2, VIVI_CTL_REPLY = 3, VIVI_CTL_ERROR = 4, VIVI_CTL_NOTE = 5 };

int vivi_control_encode(struct vivi_buf *out, uint8_t protocol, enum vivi_control_op op, const json_t *body);
int vivi_control_parse(const struct vivi_frame *f, json_t **ret, viv_error *err); /* PROTOCOL: not a JSON object, … */
int vivi_control_agree(unsigned mine, unsigned theirs, const char *who, unsigned *ret, viv_error *err);
json_t *vivi_error_to_json(const viv_error *e);              /* {"code":"INVALID","errno":"ENOENT"|null,"vm":…,"field":…,"message":…,"hint":…} */
void vivi_error_from_json(const json_t *j, viv_error *ret);  /* bounded copies; unknown code → INTERNAL */
