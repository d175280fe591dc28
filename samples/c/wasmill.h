/* wasmill.h: functions in C for wasmill, in one file.
 *
 * One of your .c files says
 *
 *     #define WASMILL_IMPLEMENTATION
 *     #include "wasmill.h"
 *
 * and defines wm_handle, which is called with each batch of a stream's records.
 * Nothing is copied or parsed for that: keys and data lie in the request, which
 * stays as it is until wm_handle returns. The same function serves Lambda's
 * Kinesis events in JSON, as `wasmill fn invoke` sends them. For other events
 * define wm_handle_json too.
 *
 * wm_fail names a record that failed, wm_emit gives a record out to a stream,
 * wm_error fails the call. What is printed goes to the function's log.
 *
 * It speaks the guest ABI, version 1 (docs/abi.md). */
#ifndef WASMILL_H
#define WASMILL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes that somebody else owns. Texts are UTF-8, and no zero follows them. */
typedef struct {
	const char *at;
	size_t n;
} wm_bytes;

/* For printf: printf("%.*s", WM_ARG(key)) */
#define WM_ARG(b) (int)(b).n, (b).at

typedef struct {
	wm_bytes key;       /* partition key */
	wm_bytes data;      /* as it was put */
	wm_bytes sequence;  /* sequence number */
	wm_bytes event_id;  /* shardId-…:sequence number */
	int64_t arrival_ms; /* Unix time in milliseconds */
} wm_record;

typedef struct {
	uint32_t count;      /* of records */
	int64_t deadline_ms; /* Unix time in milliseconds; 0: none */
	wm_bytes request_id, function_arn, shard, source_arn;
	const uint8_t *message; /* for wm_get */
	uint32_t table;
	wm_record *decoded; /* of an event in JSON; NULL otherwise */
} wm_batch;

/* The i-th record of a batch, 0 to count - 1. */
static inline wm_record wm_get(const wm_batch *b, uint32_t i);

/* You write these two. The second may be left out. Its event is JSON. */
void wm_handle(const wm_batch *batch);
void wm_handle_json(wm_bytes event);

/* Names the i-th record as failed: its trigger needs partial-replies = true. */
void wm_fail(uint32_t i);

/* Gives a record out to a stream that the function's settings list (emits). It
 * becomes visible when the batch is done. It comes of the i-th record. */
void wm_emit(uint32_t i, const char *stream, wm_bytes key, wm_bytes data);

/* Fails the call. Type is a word for programs, the rest is as for printf. */
void wm_error(const char *type, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Says what wm_handle_json returns: one JSON value. Nothing said is null. */
void wm_return(wm_bytes json);

/* Does a whole exchange over HTTP or HTTPS, with what the function's settings allow.
 * Headers are lines, "Name: value\n" each, or "". Returns the status, and the body in
 * *response; or -1, and why. That is valid until the call returns. */
int wm_http(const char *method, const char *url, const char *headers, wm_bytes body, wm_bytes *response);

/* A text that a zero ends. */
static inline wm_bytes wm_text(const char *s) { return (wm_bytes){s, strlen(s)}; }

static inline bool wm_equal(wm_bytes b, const char *s) { return b.n == strlen(s) && memcmp(b.at, s, b.n) == 0; }

/* JSON without a tree. A value is the bytes it is written as; n is 0 where there
 * is none. */
wm_bytes wm_json_member(wm_bytes object, const char *name);
bool wm_json_next(wm_bytes *array, wm_bytes *value); /* takes the next value off an array */
wm_bytes wm_json_string(wm_bytes value);             /* its characters; valid until the call returns */
double wm_json_number(wm_bytes value);               /* 0 where it is none */
wm_bytes wm_base64_decode(wm_bytes text);            /* valid until the call returns; at is NULL if it is none */

static inline uint16_t wm_u16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static inline uint32_t wm_u32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline int64_t wm_i64(const uint8_t *p) { int64_t v; memcpy(&v, p, 8); return v; }

static inline wm_record wm_get(const wm_batch *b, uint32_t i) {
	if (b->decoded != NULL) return b->decoded[i];
	const uint8_t *r = b->message + b->table + 32 * i;
	uint32_t event = wm_u32(r), sequence = wm_u32(r + 4), key = wm_u32(r + 8), data = wm_u32(r + 12);
	const char *m = (const char *)b->message;
	return (wm_record){
		.event_id = {m + event, key - event},
		.sequence = {m + sequence, key - sequence},
		.key = {m + key, data - key},
		.data = {m + data, wm_u32(r + 16)},
		.arrival_ms = wm_i64(r + 24),
	};
}

#ifdef WASMILL_IMPLEMENTATION

typedef struct {
	uint8_t *at;
	size_t n, room;
} wm__buffer;

static struct {
	wm__buffer request, reply, error_type, error_text, failures, emits, result;
	void *kept[16]; /* memory of this call, in blocks */
	int blocks;
	size_t left;
	char *next;
	const wm_batch *batch;
	bool failed;
} wm__;

static void wm__die(const char *why) {
	fprintf(stderr, "wasmill.h: %s\n", why);
	abort();
}

static uint8_t *wm__room(wm__buffer *b, size_t n) {
	if (b->n + n > b->room) {
		size_t room = 2 * (b->n + n);
		b->at = realloc(b->at, room);
		if (b->at == NULL) wm__die("out of memory");
		b->room = room;
	}
	uint8_t *p = b->at + b->n;
	b->n += n;
	return p;
}

static void wm__put(wm__buffer *b, const void *p, size_t n) {
	if (n > 0) memcpy(wm__room(b, n), p, n);
}

static void wm__put32(wm__buffer *b, uint32_t v) { wm__put(b, &v, 4); }

static void wm__puts(wm__buffer *b, const char *s) { wm__put(b, s, strlen(s)); }

static void wm__pad(wm__buffer *b) {
	while (b->n % 8 != 0) *wm__room(b, 1) = 0;
}

/* Memory until the call returns. */
static void *wm__keep(size_t n) {
	n = (n + 7) & ~(size_t)7;
	if (n > wm__.left) {
		if (wm__.blocks == 16) wm__die("out of memory");
		size_t size = (size_t)65536 << wm__.blocks;
		if (size < n) size = n;
		wm__.next = wm__.kept[wm__.blocks] = malloc(size);
		if (wm__.next == NULL) wm__die("out of memory");
		wm__.blocks++;
		wm__.left = size;
	}
	void *p = wm__.next;
	wm__.next += n;
	wm__.left -= n;
	return p;
}

static void wm__begin(void) {
	for (int i = 0; i < wm__.blocks; i++) free(wm__.kept[i]);
	wm__.blocks = 0;
	wm__.left = 0;
	wm__.reply.n = wm__.error_type.n = wm__.error_text.n = wm__.failures.n = wm__.emits.n = wm__.result.n = 0;
	wm__.failed = false;
	wm__.batch = NULL;
}

/* ---- what a handler says */

void wm_fail(uint32_t i) { wm__put32(&wm__.failures, i); }

static void wm__base64(wm__buffer *b, wm_bytes data) {
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	for (size_t i = 0; i < data.n; i += 3) {
		uint32_t v = (uint32_t)(uint8_t)data.at[i] << 16;
		if (i + 1 < data.n) v |= (uint32_t)(uint8_t)data.at[i + 1] << 8;
		if (i + 2 < data.n) v |= (uint8_t)data.at[i + 2];
		char four[4] = {digits[v >> 18], digits[v >> 12 & 63], i + 1 < data.n ? digits[v >> 6 & 63] : '=', i + 2 < data.n ? digits[v & 63] : '='};
		wm__put(b, four, 4);
	}
}

static void wm__quote(wm__buffer *b, wm_bytes text) {
	wm__puts(b, "\"");
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.at[i];
		char escaped[8];
		if (c == '"' || c == '\\') {
			escaped[0] = '\\', escaped[1] = (char)c;
			wm__put(b, escaped, 2);
		} else if (c < 0x20) {
			wm__put(b, escaped, (size_t)snprintf(escaped, sizeof escaped, "\\u%04x", c));
		} else {
			wm__put(b, &c, 1);
		}
	}
	wm__puts(b, "\"");
}

void wm_emit(uint32_t i, const char *stream, wm_bytes key, wm_bytes data) {
	wm__buffer *b = &wm__.emits;
	if (wm__.batch != NULL && wm__.batch->decoded != NULL) { /* the reply is JSON too */
		wm__puts(b, b->n > 0 ? ",{\"stream\":" : "{\"stream\":");
		wm__quote(b, wm_text(stream));
		wm__puts(b, ",\"partitionKey\":");
		wm__quote(b, key);
		wm__puts(b, ",\"data\":\"");
		wm__base64(b, data);
		wm__puts(b, "\",\"itemIdentifier\":");
		wm__quote(b, i < wm__.batch->count ? wm__.batch->decoded[i].sequence : wm_text(""));
		wm__puts(b, "}");
		return;
	}
	wm__put32(b, i);
	wm__put32(b, (uint32_t)strlen(stream));
	wm__put32(b, (uint32_t)key.n);
	wm__put32(b, (uint32_t)data.n);
	wm__puts(b, stream);
	wm__put(b, key.at, key.n);
	wm__put(b, data.at, data.n);
	wm__pad(b);
}

void wm_error(const char *type, const char *format, ...) {
	wm__.failed = true;
	wm__.error_type.n = wm__.error_text.n = 0;
	wm__puts(&wm__.error_type, type);
	va_list args, again;
	va_start(args, format);
	va_copy(again, args);
	int n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (n > 0) {
		vsnprintf((char *)wm__room(&wm__.error_text, (size_t)n + 1), (size_t)n + 1, format, again);
		wm__.error_text.n--;
	}
	va_end(again);
}

void wm_return(wm_bytes json) {
	wm__.result.n = 0;
	wm__put(&wm__.result, json.at, json.n);
}

/* ---- JSON */

static const char *wm__blank(const char *p, const char *end) {
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) p++;
	return p;
}

/* The end of the value that begins at p. */
static const char *wm__skip(const char *p, const char *end) {
	int depth = 0;
	bool quoted = false;
	for (; p < end; p++) {
		if (quoted) {
			if (*p == '\\') p++;
			else if (*p == '"' && (quoted = false, depth == 0)) return p + 1;
			continue;
		}
		switch (*p) {
		case '"': quoted = true; break;
		case '{': case '[': depth++; break;
		case '}': case ']':
			if (depth == 0) return p;
			if (--depth == 0) return p + 1;
			break;
		case ',': case ':': case ' ': case '\t': case '\n': case '\r':
			if (depth == 0) return p;
		}
	}
	return end;
}

bool wm_json_next(wm_bytes *array, wm_bytes *value) {
	const char *end = array->at + array->n, *p = wm__blank(array->at, end);
	if (p < end && (*p == '[' || *p == ',')) p = wm__blank(p + 1, end);
	const char *q = wm__skip(p, end);
	*value = (wm_bytes){p, (size_t)(q - p)};
	q = wm__blank(q, end);
	*array = (wm_bytes){q, (size_t)(end - q)};
	return value->n > 0;
}

wm_bytes wm_json_member(wm_bytes object, const char *name) {
	const char *end = object.at + object.n, *p = wm__blank(object.at, end);
	if (p == end || *p != '{') return (wm_bytes){p, 0};
	for (p++;;) {
		p = wm__blank(p, end);
		const char *q = wm__skip(p, end);
		wm_bytes key = {p + 1, q > p + 1 ? (size_t)(q - p - 2) : 0};
		p = wm__blank(q, end);
		if (p == end || *p != ':') return (wm_bytes){p, 0};
		p = wm__blank(p + 1, end);
		q = wm__skip(p, end);
		if (wm_equal(key, name)) return (wm_bytes){p, (size_t)(q - p)};
		p = wm__blank(q, end);
		if (p == end || *p != ',') return (wm_bytes){p, 0};
		p++;
	}
}

static uint32_t wm__hex4(const char *p) {
	uint32_t v = 0;
	for (int i = 0; i < 4; i++) {
		char c = p[i];
		v = v << 4 | (uint32_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
	}
	return v;
}

wm_bytes wm_json_string(wm_bytes value) {
	if (value.n < 2 || value.at[0] != '"') return (wm_bytes){value.at, 0};
	const char *p = value.at + 1, *end = value.at + value.n - 1;
	if (memchr(p, '\\', (size_t)(end - p)) == NULL) return (wm_bytes){p, (size_t)(end - p)};
	char *out = wm__keep(value.n), *o = out;
	while (p < end) {
		if (*p != '\\' || p + 1 == end) {
			*o++ = *p++;
			continue;
		}
		char c = p[1];
		p += 2;
		if (c != 'u' || end - p < 4) {
			*o++ = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c == 'b' ? '\b' : c == 'f' ? '\f' : c;
			continue;
		}
		uint32_t r = wm__hex4(p);
		p += 4;
		if (r >= 0xd800 && r < 0xdc00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u') {
			r = 0x10000 + ((r - 0xd800) << 10) + (wm__hex4(p + 2) - 0xdc00);
			p += 6;
		}
		if (r < 0x80) {
			*o++ = (char)r;
		} else if (r < 0x800) {
			*o++ = (char)(0xc0 | r >> 6), *o++ = (char)(0x80 | (r & 63));
		} else if (r < 0x10000) {
			*o++ = (char)(0xe0 | r >> 12), *o++ = (char)(0x80 | (r >> 6 & 63)), *o++ = (char)(0x80 | (r & 63));
		} else {
			*o++ = (char)(0xf0 | r >> 18), *o++ = (char)(0x80 | (r >> 12 & 63)), *o++ = (char)(0x80 | (r >> 6 & 63)), *o++ = (char)(0x80 | (r & 63));
		}
	}
	return (wm_bytes){out, (size_t)(o - out)};
}

double wm_json_number(wm_bytes value) {
	char text[64];
	size_t n = value.n < sizeof text - 1 ? value.n : sizeof text - 1;
	memcpy(text, value.at, n);
	text[n] = 0;
	return strtod(text, NULL);
}

wm_bytes wm_base64_decode(wm_bytes text) {
	uint8_t *out = wm__keep(text.n / 4 * 3 + 3), *o = out;
	uint32_t v = 0;
	int bits = 0;
	for (size_t i = 0; i < text.n && text.at[i] != '='; i++) {
		char c = text.at[i];
		int d = c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : c >= '0' && c <= '9' ? c - '0' + 52 : c == '+' ? 62 : c == '/' ? 63 : -1;
		if (d < 0) return (wm_bytes){NULL, 0};
		v = v << 6 | (uint32_t)d;
		if ((bits += 6) >= 8) *o++ = (uint8_t)(v >> (bits -= 8));
	}
	return (wm_bytes){(const char *)out, (size_t)(o - out)};
}

/* ---- HTTP (docs/door.md) */

__attribute__((import_module("wasmill"), import_name("http"))) int32_t wm__http(const void *request, uint32_t n);
__attribute__((import_module("wasmill"), import_name("http_read"))) int32_t wm__http_read(void *to, uint32_t room);

int wm_http(const char *method, const char *url, const char *headers, wm_bytes body, wm_bytes *response) {
	size_t room = strlen(method) + strlen(url) + strlen(headers) + body.n + 4;
	char *request = wm__keep(room);
	size_t n = (size_t)snprintf(request, room, "%s %s\n%s\n", method, url, headers);
	if (body.n > 0) memcpy(request + n, body.at, body.n);
	int32_t size = wm__http(request, (uint32_t)(n + body.n));
	uint32_t most = size < 0 ? 4096 : (uint32_t)size;
	char *answer = wm__keep(most + 1);
	int32_t got = wm__http_read(answer, most);
	answer[got] = 0;
	if (size < 0) {
		*response = (wm_bytes){answer + 1, got > 0 ? (size_t)got - 1 : 0};
		return -1;
	}
	char *end = strstr(answer, "\n\n"); /* no header line is empty */
	*response = (wm_bytes){end == NULL ? answer + got : end + 2, end == NULL ? 0 : (size_t)(answer + got - end - 2)};
	return atoi(answer);
}

/* ---- the ABI */

static uint64_t wm__reply_with(uint16_t status) {
	wm__buffer *b = &wm__.reply;
	uint32_t size = (uint32_t)b->n;
	memcpy(b->at, "WMR1\1\0", 6);
	memcpy(b->at + 6, &status, 2);
	memcpy(b->at + 8, &size, 4);
	memset(b->at + 12, 0, 4);
	fflush(stdout);
	return (uint64_t)(uintptr_t)b->at << 32 | size;
}

static void wm__section(uint16_t tag, uint16_t flags, const wm__buffer *from) {
	if (from->n == 0) return;
	wm__put(&wm__.reply, &tag, 2);
	wm__put(&wm__.reply, &flags, 2);
	wm__put32(&wm__.reply, (uint32_t)from->n);
	wm__put(&wm__.reply, from->at, from->n);
	wm__pad(&wm__.reply);
}

static uint64_t wm__finish(void) {
	wm__room(&wm__.reply, 16);
	if (wm__.failed) {
		wm__section(16, 0, &wm__.error_type);
		wm__section(17, 0, &wm__.error_text);
		return wm__reply_with(1);
	}
	if (wm__.batch == NULL) {
		wm__section(1, 0, &wm__.result);
	} else {
		wm__section(2, 0, &wm__.failures);
		wm__section(3, 1, &wm__.emits);
	}
	return wm__reply_with(0);
}

static wm_bytes wm__header(wm_batch *b, uint32_t n) {
	const uint8_t *m = wm__.request.at;
	*b = (wm_batch){.message = m, .deadline_ms = wm_i64(m + 16), .count = wm_u32(m + 24), .table = wm_u32(m + 28)};
	for (uint32_t p = 32; p + 8 <= b->table && p + 8 <= n;) {
		wm_bytes s = {(const char *)m + p + 8, wm_u32(m + p + 4)};
		switch (wm_u16(m + p)) {
		case 1: b->request_id = s; break;
		case 2: b->function_arn = s; break;
		case 3: b->shard = s; break;
		case 4: b->source_arn = s; break;
		default:
			if (wm_u16(m + p + 2) & 1) return (wm_bytes){NULL, 0}; /* one that we must know */
		}
		p += 8 + ((uint32_t)(s.n + 7) & ~7u);
	}
	return (wm_bytes){(const char *)m + b->table, b->count};
}

__attribute__((export_name("wm_abi_version"))) uint32_t wm__abi_version(void) { return 1; }

__attribute__((export_name("wm_alloc"))) void *wm__alloc(uint32_t n) {
	wm__.request.n = 0;
	if (n > wm__.request.room) {
		free(wm__.request.at);
		wm__.request.room = 0;
		if ((wm__.request.at = malloc(n)) == NULL) return NULL;
		wm__.request.room = n;
	}
	return wm__.request.at;
}

__attribute__((export_name("wm_batch"))) uint64_t wm__call_batch(uint32_t n) {
	wm__begin();
	wm_batch batch;
	wm_bytes rest = wm__header(&batch, n);
	if (wm_u16(wm__.request.at + 4) != 1 || wm_u16(wm__.request.at + 6) != 1 || rest.at == NULL) {
		wm__room(&wm__.reply, 16);
		return wm__reply_with(2); /* not understood: the host asks in JSON */
	}
	wm__.batch = &batch;
	wm_handle(&batch);
	return wm__finish();
}

__attribute__((weak)) void wm_handle_json(wm_bytes event) {
	(void)event;
	wm_error("Runtime.UnknownEvent", "this function takes records of Kinesis streams; define wm_handle_json for other events");
}

__attribute__((export_name("wm_json"))) uint64_t wm__call_json(uint32_t n) {
	wm__begin();
	wm_batch batch;
	wm_bytes event = wm__header(&batch, n), one;
	wm_bytes records = wm_json_member(event, "Records"), list = records;
	if (records.n == 0 || !wm_json_next(&list, &one) || wm_json_member(one, "kinesis").n == 0) {
		wm_handle_json(event);
		return wm__finish();
	}
	batch.count = 0;
	for (list = records; wm_json_next(&list, &one);) batch.count++;
	batch.decoded = wm__keep(batch.count * sizeof(wm_record));
	list = records;
	for (uint32_t i = 0; wm_json_next(&list, &one); i++) {
		wm_bytes k = wm_json_member(one, "kinesis");
		batch.source_arn = wm_json_string(wm_json_member(one, "eventSourceARN"));
		batch.decoded[i] = (wm_record){
			.event_id = wm_json_string(wm_json_member(one, "eventID")),
			.sequence = wm_json_string(wm_json_member(k, "sequenceNumber")),
			.key = wm_json_string(wm_json_member(k, "partitionKey")),
			.data = wm_base64_decode(wm_json_string(wm_json_member(k, "data"))),
			.arrival_ms = (int64_t)(wm_json_number(wm_json_member(k, "approximateArrivalTimestamp")) * 1000),
		};
		if (batch.decoded[i].data.at == NULL) {
			wm_error("Runtime.UnknownEvent", "record %u: its data is not base64", (unsigned)i);
			return wm__finish();
		}
	}
	wm__.batch = &batch;
	wm_handle(&batch);
	wm__.batch = NULL;
	if (!wm__.failed) { /* the same in JSON */
		wm__buffer *b = &wm__.result;
		wm__puts(b, "{\"batchItemFailures\":[");
		for (size_t i = 0; i < wm__.failures.n; i += 4) {
			uint32_t at = wm_u32(wm__.failures.at + i);
			wm__puts(b, i > 0 ? ",{\"itemIdentifier\":" : "{\"itemIdentifier\":");
			wm__quote(b, at < batch.count ? batch.decoded[at].sequence : wm_text(""));
			wm__puts(b, "}");
		}
		wm__puts(b, "]");
		if (wm__.emits.n > 0) {
			wm__puts(b, ",\"emit\":[");
			wm__put(b, wm__.emits.at, wm__.emits.n);
			wm__puts(b, "]");
		}
		wm__puts(b, "}");
	}
	return wm__finish();
}

#endif /* WASMILL_IMPLEMENTATION */
#endif /* WASMILL_H */
