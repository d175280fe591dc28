// Readings of sensors: the partition key is a sensor's name, the data its
// temperature as text. Readings over LIMIT, 30 unless the environment says
// otherwise, are given out to the stream alerts; what is no number fails alone.
#define WASMILL_IMPLEMENTATION
#include "wasmill.h"

void wm_handle(const wm_batch *batch) {
	const char *setting = getenv("LIMIT");
	double limit = setting != NULL ? atof(setting) : 30;
	for (uint32_t i = 0; i < batch->count; i++) {
		wm_record r = wm_get(batch, i);
		char text[32], *end;
		if (r.data.n == 0 || r.data.n >= sizeof text) {
			wm_fail(i);
			continue;
		}
		memcpy(text, r.data.at, r.data.n);
		text[r.data.n] = 0;
		double celsius = strtod(text, &end);
		if (*end != 0) {
			printf("%.*s sent %s, which is no number\n", WM_ARG(r.key), text);
			wm_fail(i);
		} else if (celsius > limit) {
			wm_emit(i, "alerts", r.key, r.data);
		}
	}
}
