// Looks at every record and keeps nothing.
#define WASMILL_IMPLEMENTATION
#include "wasmill.h"

static uint64_t bytes;

void wm_handle(const wm_batch *batch) {
	for (uint32_t i = 0; i < batch->count; i++) {
		wm_record r = wm_get(batch, i);
		bytes += r.data.n + (r.data.n > 0 ? (uint8_t)r.data.at[0] : 0);
	}
}
