/*
 * The one table viv_code → word → exit status. It stands on the lowest floor because the control
 * protocol, the JSON output and the command line all speak these words.
 */
#include <vivarium/vivarium.h>

#include "base/cleanup.h"

static const struct {
    const char *name;
    int exit_status;
} codes[] = {
    [VIV_OK] = {"OK", 0},
    [VIV_E_INTERNAL] = {"INTERNAL", 1},
    [VIV_E_INVALID] = {"INVALID", 2},
    [VIV_E_NOT_FOUND] = {"NOT_FOUND", 3},
    [VIV_E_WRONG_STATE] = {"WRONG_STATE", 4},
    [VIV_E_UNSUPPORTED] = {"UNSUPPORTED", 5},
    [VIV_E_TIMEOUT] = {"TIMEOUT", 6},
    [VIV_E_DENIED] = {"DENIED", 7},
    [VIV_E_EXISTS] = {"EXISTS", 8},
    [VIV_E_BUSY] = {"BUSY", 9},
    [VIV_E_CANCELLED] = {"CANCELLED", 130},
    [VIV_E_NO_MEMORY] = {"NO_MEMORY", 1},
    [VIV_E_IO] = {"IO", 1},
    [VIV_E_PROTOCOL] = {"PROTOCOL", 1},
    [VIV_E_VMM] = {"VMM", 1},
};

static size_t index_of(int code)
{
    /* Through unsigned: -INT_MIN would overflow. */
    unsigned positive = code < 0 ? 0u - (unsigned)code : (unsigned)code;

    return positive < ARRAY_SIZE(codes) ? positive : VIV_E_INTERNAL;
}

const char *viv_code_name(int code)
{
    return codes[index_of(code)].name;
}

int viv_code_exit(int code)
{
    return codes[index_of(code)].exit_status;
}
