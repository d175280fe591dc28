// Functions in AssemblyScript for wasmill, in one file. An entry file says
//
//     import { Batch, Reply, serve } from "./wasmill";
//     export { wm_abi_version, wm_alloc, wm_batch, wm_json } from "./wasmill";
//     serve((batch: Batch, reply: Reply) => { … });
//
// The function is called with each batch of a stream's records, which lie in the
// request: size and byte of a Record read them there, key, text and data make
// copies. The same function serves Lambda's Kinesis events in JSON, as
// `wasmill fn invoke` sends them.
//
// It speaks the guest ABI, version 1 (docs/abi.md).

// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "fd_write")
declare function fd_write(fd: i32, list: usize, count: i32, written: usize): i32;
// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "environ_sizes_get")
declare function environ_sizes_get(count: usize, size: usize): i32;
// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "environ_get")
declare function environ_get(list: usize, texts: usize): i32;
// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "proc_exit")
declare function proc_exit(status: i32): void;
// @ts-ignore: decorator
@external("wasmill", "http")
declare function host_http(request: usize, n: i32): i32;
// @ts-ignore: decorator
@external("wasmill", "http_read")
declare function host_http_read(to: usize, room: i32): i32;

/** One record of a stream. It is valid until the function returns. */
export class Record {
  constructor(private base: usize, private entry: usize) {}
  /** Partition key. */
  get key(): string { return slice(this.base, load<u32>(this.entry, 8), load<u32>(this.entry, 12)); }
  get sequence(): string { return slice(this.base, load<u32>(this.entry, 4), load<u32>(this.entry, 8)); }
  /** Shard id, a colon and the sequence number. */
  get eventId(): string { return slice(this.base, load<u32>(this.entry), load<u32>(this.entry, 8)); }
  /** Unix time in milliseconds. */
  get arrival(): i64 { return load<i64>(this.entry, 24); }
  /** Bytes of data. */
  get size(): i32 { return load<i32>(this.entry, 16); }
  /** The i-th byte of the data, which is not copied for that. */
  byte(i: i32): u8 {
    if (u32(i) >= load<u32>(this.entry, 16)) throw new RangeError("no such byte");
    return load<u8>(this.base + load<u32>(this.entry, 12) + i);
  }
  /** The data, which is UTF-8. */
  get text(): string { return slice(this.base, load<u32>(this.entry, 12), load<u32>(this.entry, 12) + load<u32>(this.entry, 16)); }
  /** A copy of the data. */
  get data(): Uint8Array {
    const copy = new Uint8Array(this.size);
    memory.copy(copy.dataStart, this.base + load<u32>(this.entry, 12), this.size);
    return copy;
  }
}

/** A batch of records, in the order of their shard. */
export class Batch {
  requestId: string = "";
  functionArn: string = "";
  shard: string = "";
  sourceArn: string = "";
  /** Unix time in milliseconds; 0: none. */
  deadline: i64 = 0;
  constructor(private base: usize, private table: usize, public length: i32) {}
  /** The i-th record, 0 to length - 1. */
  get(i: i32): Record {
    if (u32(i) >= u32(this.length)) throw new RangeError("no such record");
    return new Record(this.base, this.table + 32 * i);
  }
}

/** What a function answers. */
export class Reply {
  failures: StaticArray<u32> = new StaticArray<u32>(0);
  failed: i32 = 0;
  emits: Emit[] = [];
  errorType: string = "";
  errorMessage: string = "";
  /** Names the i-th record as failed: its trigger needs partial-replies = true. */
  fail(i: i32): void {
    if (this.failed == this.failures.length) {
      const more = new StaticArray<u32>(max(16, 2 * this.failed));
      memory.copy(changetype<usize>(more), changetype<usize>(this.failures), 4 * this.failed);
      this.failures = more;
    }
    this.failures[this.failed++] = i;
  }
  /**
   * Gives a record out to a stream that the function's settings list (emits). It
   * becomes visible when the batch is done. It comes of the i-th record.
   */
  emit(i: i32, stream: string, key: string, data: ArrayBuffer): void {
    this.emits.push(new Emit(i, stream, key, data));
  }
  /** Fails the whole call. What is thrown does too, and costs the environment. */
  error(type: string, message: string): void {
    this.errorType = type;
    this.errorMessage = message;
  }
}

class Emit {
  constructor(public from: i32, public stream: string, public key: string, public data: ArrayBuffer) {}
}

/** A line for the function's log. */
export function log(text: string): void { write(1, text); }

/** A variable of the function's environment, or null. */
export function env(name: string): string | null {
  const sizes = memory.data(8);
  environ_sizes_get(sizes, sizes + 4);
  const list = heap.alloc(4 * load<u32>(sizes)), texts = heap.alloc(load<u32>(sizes, 4) + 1);
  environ_get(list, texts);
  let found: string | null = null;
  for (let i: u32 = 0; i < load<u32>(sizes); i++) {
    const from: usize = load<u32>(list + 4 * i);
    let to = from;
    while (load<u8>(to)) to++;
    const pair = String.UTF8.decodeUnsafe(from, to - from);
    if (pair.startsWith(name + "=")) {
      found = pair.substring(name.length + 1);
      break;
    }
  }
  heap.free(list);
  heap.free(texts);
  return found;
}

/** What http gives. */
export class HttpResponse {
  /** -1: there was no exchange, and text says why. */
  status: i32 = 0;
  body: ArrayBuffer = new ArrayBuffer(0);
  get text(): string { return String.UTF8.decode(this.body); }
}

/**
 * Does a whole exchange over HTTP or HTTPS, with what the function's settings allow.
 * Headers are lines, "Name: value\n" each.
 */
export function http(method: string, url: string, headers: string = "", body: ArrayBuffer = new ArrayBuffer(0)): HttpResponse {
  const head = String.UTF8.encode(method + " " + url + "\n" + headers + "\n");
  const request = new Uint8Array(head.byteLength + body.byteLength);
  memory.copy(request.dataStart, changetype<usize>(head), head.byteLength);
  memory.copy(request.dataStart + head.byteLength, changetype<usize>(body), body.byteLength);
  const size = host_http(request.dataStart, request.length), found = new HttpResponse();
  const answer = new Uint8Array(size < 0 ? 4096 : size), got = host_http_read(answer.dataStart, answer.length);
  if (size < 0) {
    found.status = -1;
    found.body = answer.buffer.slice(1, max(1, got));
    return found;
  }
  let at = 0;
  while (at + 1 < got && !(answer[at] == 0x0a && answer[at + 1] == 0x0a)) at++;
  found.status = <i32>parseInt(String.UTF8.decodeUnsafe(answer.dataStart, min(got, 3)));
  found.body = answer.buffer.slice(min(got, at + 2), got);
  return found;
}

let handler: (batch: Batch, reply: Reply) => void = (batch: Batch, reply: Reply): void => {
  reply.error("Runtime.NoHandler", "the program calls no serve()");
};

/** Says which function is called. */
export function serve(f: (batch: Batch, reply: Reply) => void): void { handler = f; }

/** What `--use abort=assembly/wasmill/onAbort` has called for an error that is thrown. */
export function onAbort(message: string | null, file: string | null, line: u32, column: u32): void {
  write(2, (message ? message : "abort") + " at " + (file ? file : "?") + ":" + line.toString() + ":" + column.toString());
  proc_exit(1);
}

function write(fd: i32, text: string): void {
  const bytes = String.UTF8.encode(text + "\n"), list = memory.data(12);
  store<u32>(list, changetype<u32>(bytes));
  store<u32>(list, bytes.byteLength, 4);
  fd_write(fd, list, 1, list + 8);
}

function slice(base: usize, from: u32, to: u32): string { return String.UTF8.decodeUnsafe(base + from, to - from); }

// ---- the ABI

let request: usize = 0, room: u32 = 0;
let reply: usize = 0, replyRoom: u32 = 0, replySize: u32 = 0;
let decoded: usize = 0; // table and texts of an event in JSON

export function wm_abi_version(): u32 { return 1; }

export function wm_alloc(n: u32): usize {
  if (n > room) {
    if (request) heap.free(request);
    request = heap.alloc(n);
    room = n;
  }
  return request;
}

function put(n: u32): usize { // room for n more bytes of the reply
  if (replySize + n > replyRoom) {
    replyRoom = 2 * (replySize + n);
    reply = reply ? heap.realloc(reply, replyRoom) : heap.alloc(replyRoom);
  }
  const at = reply + replySize;
  replySize += n;
  return at;
}

function pad(): void { while (replySize & 7) store<u8>(put(1), 0); }

function putText(text: string): u32 {
  const n = <u32>String.UTF8.byteLength(text);
  const at = put(n);
  String.UTF8.encodeUnsafe(changetype<usize>(text), text.length, at);
  return n;
}

function section(tag: u16, flags: u16): u32 { // its place, for close
  const at = put(8);
  store<u16>(at, tag);
  store<u16>(at, flags, 2);
  return replySize;
}

function close(from: u32): void {
  store<u32>(reply + from - 4, replySize - from);
  pad();
}

function finish(status: u16): u64 {
  store<u32>(reply, 0x31524d57); // WMR1
  store<u16>(reply, 1, 4);
  store<u16>(reply, status, 6);
  store<u32>(reply, replySize, 8);
  store<u32>(reply, 0, 12);
  return (<u64>reply << 32) | replySize;
}

function failure(r: Reply): u64 {
  let at = section(16, 0);
  putText(r.errorType);
  close(at);
  at = section(17, 0);
  putText(r.errorMessage);
  close(at);
  return finish(1);
}

// Fills a batch from the sections of the request. False: there is one we would have to know.
function sections(b: Batch): bool {
  b.deadline = load<i64>(request, 16);
  const end = load<u32>(request, 28);
  for (let p: u32 = 32; p + 8 <= end;) {
    const n = load<u32>(request + p, 4), text = slice(request, p + 8, p + 8 + n);
    switch (load<u16>(request + p)) {
      case 1: b.requestId = text; break;
      case 2: b.functionArn = text; break;
      case 3: b.shard = text; break;
      case 4: b.sourceArn = text; break;
      default: if (load<u16>(request + p, 2) & 1) return false;
    }
    p += 8 + ((n + 7) & ~7);
  }
  return true;
}

export function wm_batch(n: u32): u64 {
  replySize = 0;
  put(16);
  const b = new Batch(request, request + load<u32>(request, 28), load<i32>(request, 24));
  if (load<u16>(request, 4) != 1 || load<u16>(request, 6) != 1 || !sections(b)) return finish(2); // the host asks in JSON
  const r = new Reply();
  handler(b, r);
  if (r.errorType.length) return failure(r);
  if (r.failed) {
    const at = section(2, 0);
    memory.copy(put(4 * r.failed), changetype<usize>(r.failures), 4 * r.failed);
    close(at);
  }
  if (r.emits.length) {
    const at = section(3, 1);
    for (let i = 0; i < r.emits.length; i++) {
      const e = r.emits[i], head = replySize;
      put(16);
      const stream = putText(e.stream), key = putText(e.key), size = <u32>e.data.byteLength;
      memory.copy(put(size), changetype<usize>(e.data), size);
      store<u32>(reply + head, e.from);
      store<u32>(reply + head, stream, 4);
      store<u32>(reply + head, key, 8);
      store<u32>(reply + head, size, 12);
      pad();
    }
    close(at);
  }
  return finish(0);
}

export function wm_json(n: u32): u64 {
  replySize = 0;
  put(16);
  const r = new Reply();
  const offset = load<u32>(request, 28), b = fromJson(request + offset, request + offset + load<u32>(request, 24));
  if (b == null) {
    r.error("Runtime.UnknownEvent", "this function takes records of Kinesis streams");
    return failure(r);
  }
  sections(b);
  handler(b, r);
  if (r.errorType.length) return failure(r);
  const at = section(1, 0);
  putText("{\"batchItemFailures\":[");
  for (let i = 0; i < r.failed; i++) {
    putText((i ? "," : "") + "{\"itemIdentifier\":" + quote(identifier(b, r.failures[i])) + "}");
  }
  putText("]");
  for (let i = 0; i < r.emits.length; i++) {
    const e = r.emits[i];
    putText((i ? "," : ",\"emit\":[") + "{\"stream\":" + quote(e.stream) + ",\"partitionKey\":" + quote(e.key) + ",\"data\":\"" + toBase64(e.data) +
      "\",\"itemIdentifier\":" + quote(identifier(b, e.from)) + "}");
  }
  putText(r.emits.length ? "]}" : "}");
  close(at);
  return finish(0);
}

function identifier(b: Batch, i: i32): string { return u32(i) < u32(b.length) ? b.get(i).sequence : ""; }

// ---- JSON, read where it lies. A value is found by the address of its first byte.

function blank(p: usize, end: usize): usize {
  while (p < end && load<u8>(p) <= 0x20) p++;
  return p;
}

function skip(p: usize, end: usize): usize { // the end of the value that begins at p
  let depth = 0, quoted = false;
  for (; p < end; p++) {
    const c = load<u8>(p);
    if (quoted) {
      if (c == 0x5c) p++;
      else if (c == 0x22) {
        quoted = false;
        if (!depth) return p + 1;
      }
    } else if (c == 0x22) quoted = true;
    else if (c == 0x7b || c == 0x5b) depth++;
    else if (c == 0x7d || c == 0x5d) {
      if (!depth) return p;
      if (!--depth) return p + 1;
    } else if (!depth && (c == 0x2c || c == 0x3a || c <= 0x20)) return p;
  }
  return end;
}

function member(p: usize, end: usize, name: string): usize { // 0: there is none
  p = blank(p, end);
  if (p >= end || load<u8>(p) != 0x7b) return 0;
  while (true) {
    p = blank(p + 1, end);
    let q = skip(p, end);
    if (q < p + 2) return 0;
    const found = String.UTF8.decodeUnsafe(p + 1, q - p - 2) == name;
    p = blank(q, end);
    if (p >= end || load<u8>(p) != 0x3a) return 0;
    p = blank(p + 1, end);
    if (found) return p;
    p = blank(skip(p, end), end);
    if (p >= end || load<u8>(p) != 0x2c) return 0;
  }
}

function text(p: usize, end: usize): string { // of a string; empty for anything else
  if (!p || load<u8>(p) != 0x22) return "";
  const raw = String.UTF8.decodeUnsafe(p + 1, skip(p, end) - p - 2);
  if (raw.indexOf("\\") < 0) return raw;
  let out = "";
  for (let i = 0; i < raw.length; i++) {
    let c = raw.charAt(i);
    if (c == "\\" && i + 1 < raw.length) {
      c = raw.charAt(++i);
      if (c == "n") c = "\n";
      else if (c == "t") c = "\t";
      else if (c == "r") c = "\r";
      else if (c == "b") c = "\b";
      else if (c == "f") c = "\f";
      else if (c == "u") {
        c = String.fromCharCode(<i32>parseInt(raw.substr(i + 1, 4), 16));
        i += 4;
      }
    }
    out += c;
  }
  return out;
}

// Lays the records of a Kinesis event out as those of a batch. null: it is none.
function fromJson(p: usize, end: usize): Batch | null {
  let list = member(p, end, "Records");
  if (!list || load<u8>(list) != 0x5b) return null;
  let count = 0;
  const size = end - p;
  for (let at = list + 1; ;) {
    at = blank(at, end);
    const q = skip(at, end);
    if (q == at) break;
    if (!member(at, q, "kinesis")) return null;
    count++;
    at = blank(q, end);
    if (load<u8>(at) != 0x2c) break;
    at++;
  }
  if (!count) return null;
  if (decoded) heap.free(decoded);
  decoded = heap.alloc(32 * count + 3 * size); // texts get no longer than they are written, of ids two
  const b = new Batch(decoded, decoded, count);
  let free: u32 = 32 * count;
  let at = list + 1;
  for (let i = 0; i < count; i++) {
    at = blank(at, end);
    const q = skip(at, end), k = member(at, q, "kinesis"), entry = decoded + 32 * i;
    const sequence = text(member(k, q, "sequenceNumber"), q), key = text(member(k, q, "partitionKey"), q);
    let id = text(member(at, q, "eventID"), q);
    if (!id.endsWith(sequence)) id = sequence;
    store<u32>(entry, free);
    free += <u32>String.UTF8.encodeUnsafe(changetype<usize>(id), id.length, decoded + free);
    store<u32>(entry, free - <u32>String.UTF8.byteLength(sequence), 4);
    store<u32>(entry, free, 8);
    free += <u32>String.UTF8.encodeUnsafe(changetype<usize>(key), key.length, decoded + free);
    store<u32>(entry, free, 12);
    const n = fromBase64(member(k, q, "data"), q, decoded + free);
    store<u32>(entry, n, 16);
    store<u32>(entry, 0, 20);
    free += n;
    const arrival = member(k, q, "approximateArrivalTimestamp");
    store<i64>(entry, arrival ? <i64>(parseFloat(String.UTF8.decodeUnsafe(arrival, skip(arrival, q) - arrival)) * 1000) : 0, 24);
    if (!i) b.sourceArn = text(member(at, q, "eventSourceARN"), q);
    at = blank(q, end) + 1;
  }
  return b;
}

function quote(s: string): string {
  let out = "\"";
  for (let i = 0; i < s.length; i++) {
    const c = s.charCodeAt(i);
    if (c == 0x22 || c == 0x5c) out += "\\" + s.charAt(i);
    else if (c < 0x20) out += "\\u00" + (c < 16 ? "0" : "") + c.toString(16);
    else out += s.charAt(i);
  }
  return out + "\"";
}

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

function toBase64(data: ArrayBuffer): string {
  const bytes = Uint8Array.wrap(data);
  let out = "";
  for (let i = 0; i < bytes.length; i += 3) {
    const left = bytes.length - i;
    const v = (<u32>bytes[i] << 16) | (left > 1 ? <u32>bytes[i + 1] << 8 : 0) | (left > 2 ? <u32>bytes[i + 2] : 0);
    out += DIGITS.charAt(v >> 18) + DIGITS.charAt((v >> 12) & 63) + (left > 1 ? DIGITS.charAt((v >> 6) & 63) : "=") + (left > 2 ? DIGITS.charAt(v & 63) : "=");
  }
  return out;
}

function fromBase64(p: usize, end: usize, to: usize): u32 { // how many bytes
  if (!p || load<u8>(p) != 0x22) return 0;
  const last = skip(p, end) - 1, from = to;
  let v: u32 = 0, bits = 0;
  for (p++; p < last; p++) {
    const c: u32 = load<u8>(p);
    let digit: u32 = 0;
    if (c - 0x41 < 26) digit = c - 0x41;
    else if (c - 0x61 < 26) digit = c - 0x61 + 26;
    else if (c - 0x30 < 10) digit = c - 0x30 + 52;
    else if (c == 0x2b) digit = 62;
    else if (c == 0x2f) digit = 63;
    else continue;
    v = (v << 6) | digit;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      store<u8>(to++, <u8>(v >> bits));
    }
  }
  return <u32>(to - from);
}
