// What a program finds around it: the parts of Node that Lambda handlers use,
// and the object that adapter.wat calls. Its last value is that object.
(() => {
  'use strict';

  const host = globalThis.host; // host(what, …), see adapter.wat
  delete globalThis.host;
  const WRITE = 0, ENCODE = 1, DECODE = 2, RANDOM = 3, SLEEP = 4, ENVIRON = 5, HTTP = 6, HTTP_READ = 7;

  const define = (values) => {
    for (const name of Object.keys(values)) {
      Object.defineProperty(globalThis, name, { value: values[name], writable: true, configurable: true });
    }
  };
  const encode = (text) => new Uint8Array(host(ENCODE, text));
  const decode = (bytes, from = 0, to = bytes.byteLength) => host(DECODE, bytes.buffer, bytes.byteOffset + from, Math.max(0, to - from));

  // ---- text and bytes

  class TextEncoder {
    get encoding() { return 'utf-8'; }
    encode(text = '') { return encode(String(text)); }
    encodeInto(text, into) {
      let read = 0, written = 0;
      for (const c of String(text)) {
        const bytes = encode(c);
        if (written + bytes.length > into.length) break;
        into.set(bytes, written);
        written += bytes.length;
        read += c.length;
      }
      return { read, written };
    }
  }

  class TextDecoder {
    #fatal; #bom;
    constructor(label = 'utf-8', { fatal = false, ignoreBOM = false } = {}) {
      if (!/^(utf-?8|unicode-1-1-utf-8)$/i.test(String(label).trim())) throw new RangeError(`encoding ${label} is not supported here, utf-8 alone is`);
      this.#fatal = fatal;
      this.#bom = ignoreBOM;
    }
    get encoding() { return 'utf-8'; }
    get fatal() { return this.#fatal; }
    get ignoreBOM() { return this.#bom; }
    decode(input) {
      if (input === undefined) return '';
      const bytes = ArrayBuffer.isView(input) ? new Uint8Array(input.buffer, input.byteOffset, input.byteLength) : new Uint8Array(input);
      const text = decode(bytes);
      if (this.#fatal && text.includes('\ufffd')) {
        const again = encode(text);
        if (again.length !== bytes.length || again.some((b, i) => b !== bytes[i])) throw new TypeError('the data is not valid UTF-8');
      }
      return !this.#bom && text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
    }
  }

  const encodings = {
    utf8: {
      from: encode,
      to: decode,
    },
    base64: {
      from(text) {
        try {
          return Uint8Array.fromBase64(text);
        } catch { // Node takes what it can
          text = text.replace(/=[^]*$/, '').replace(/-/g, '+').replace(/_/g, '/').replace(/[^A-Za-z0-9+/]/g, '');
          if (text.length % 4 === 1) text = text.slice(0, -1);
          return Uint8Array.fromBase64(text);
        }
      },
      to: (bytes, from, to) => bytes.subarray(from, to).toBase64(),
    },
    base64url: {
      from: (text) => encodings.base64.from(text),
      to: (bytes, from, to) => bytes.subarray(from, to).toBase64({ alphabet: 'base64url', omitPadding: true }),
    },
    hex: {
      from(text) {
        const valid = /^(?:[0-9a-fA-F]{2})*/.exec(text)[0];
        return Uint8Array.fromHex(valid);
      },
      to: (bytes, from, to) => bytes.subarray(from, to).toHex(),
    },
    latin1: {
      from: (text) => Uint8Array.from(text, (c) => c.charCodeAt(0)),
      to(bytes, from, to) {
        let text = '';
        for (let i = from; i < to; i += 4096) text += String.fromCharCode(...bytes.subarray(i, Math.min(to, i + 4096)));
        return text;
      },
    },
    ascii: {
      from: (text) => encodings.latin1.from(text),
      to: (bytes, from, to) => encodings.latin1.to(Uint8Array.from(bytes, (b) => b & 127), from, to),
    },
    utf16le: {
      from(text) {
        const bytes = new Uint8Array(2 * text.length), view = new DataView(bytes.buffer);
        for (let i = 0; i < text.length; i++) view.setUint16(2 * i, text.charCodeAt(i), true);
        return bytes;
      },
      to(bytes, from, to) {
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        let text = '';
        for (let i = from; i + 1 < to; i += 2) text += String.fromCharCode(view.getUint16(i, true));
        return text;
      },
    },
  };
  Object.assign(encodings, { 'utf-8': encodings.utf8, binary: encodings.latin1, 'utf-16le': encodings.utf16le, ucs2: encodings.utf16le, 'ucs-2': encodings.utf16le });
  const encoding = (name = 'utf8') => {
    const found = encodings[name] ?? encodings[String(name).toLowerCase()];
    if (!found) throw new TypeError(`Unknown encoding: ${name}`);
    return found;
  };

  class Buffer extends Uint8Array {
    static #over(bytes) { return new Buffer(bytes.buffer, bytes.byteOffset, bytes.byteLength); }
    static from(value, second, third) {
      if (typeof value === 'string') return Buffer.#over(encoding(second).from(value));
      if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) return new Buffer(value, second, third);
      if (value?.type === 'Buffer' && Array.isArray(value.data)) value = value.data;
      if (value === null || typeof value !== 'object') throw new TypeError('Buffer.from: want text, an array, a buffer or bytes');
      return Buffer.#over(Uint8Array.from(value));
    }
    static alloc(n, fill = 0, name) { const b = new Buffer(n); return fill === 0 ? b : b.fill(fill, 0, n, name); }
    static allocUnsafe(n) { return new Buffer(n); }
    static isBuffer(value) { return value instanceof Buffer; }
    static isEncoding(name) { return typeof name === 'string' && name.toLowerCase() in encodings; }
    static byteLength(value, name) { return typeof value === 'string' ? encoding(name).from(value).length : value.byteLength; }
    static concat(list, total = list.reduce((n, b) => n + b.length, 0)) {
      const all = new Buffer(total);
      let at = 0;
      for (const b of list) {
        if (at >= total) break;
        all.set(b.subarray(0, total - at), at);
        at += b.length;
      }
      return all;
    }
    static compare(a, b) {
      for (let i = 0; i < a.length && i < b.length; i++) if (a[i] !== b[i]) return a[i] < b[i] ? -1 : 1;
      return Math.sign(a.length - b.length);
    }
    toString(name, from = 0, to = this.length) {
      from = Math.max(0, from | 0);
      to = Math.min(this.length, to);
      return from >= to ? '' : encoding(name).to(this, from, to);
    }
    toLocaleString(name) { return this.toString(name); }
    toJSON() { return { type: 'Buffer', data: Array.from(this) }; }
    equals(other) { return Buffer.compare(this, other) === 0; }
    compare(other) { return Buffer.compare(this, other); }
    slice(from, to) { return this.subarray(from, to); }
    copy(into, at = 0, from = 0, to = this.length) {
      const part = this.subarray(from, Math.min(to, from + into.length - at));
      into.set(part, at);
      return part.length;
    }
    write(text, at = 0, length, name) {
      if (typeof at === 'string') [at, name] = [0, at];
      if (typeof length === 'string') [length, name] = [undefined, length];
      const bytes = encoding(name).from(text).subarray(0, Math.min(length ?? Infinity, this.length - at));
      this.set(bytes, at);
      return bytes.length;
    }
    fill(value, from = 0, to = this.length, name) {
      if (typeof value === 'number') return super.fill(value, from, to);
      const bytes = typeof value === 'string' ? encoding(name).from(value) : value;
      if (bytes.length === 0) return super.fill(0, from, to);
      for (let i = from; i < to; i++) this[i] = bytes[(i - from) % bytes.length];
      return this;
    }
    indexOf(value, from = 0, name) {
      if (typeof value === 'number') return super.indexOf(value & 255, from);
      const bytes = typeof value === 'string' ? encoding(name).from(value) : value;
      for (let i = from < 0 ? Math.max(0, this.length + from) : from; i + bytes.length <= this.length; i++) {
        let j = 0;
        while (j < bytes.length && this[i + j] === bytes[j]) j++;
        if (j === bytes.length) return i;
      }
      return -1;
    }
    includes(value, from, name) { return this.indexOf(value, from, name) >= 0; }
  }
  // readUInt16BE and the like, both spellings.
  for (const [name, kind, size] of [['UInt8', 'Uint8', 1], ['Int8', 'Int8', 1], ['UInt16', 'Uint16', 2], ['Int16', 'Int16', 2], ['UInt32', 'Uint32', 4],
    ['Int32', 'Int32', 4], ['BigUInt64', 'BigUint64', 8], ['BigInt64', 'BigInt64', 8], ['Float', 'Float32', 4], ['Double', 'Float64', 8]]) {
    for (const order of size === 1 ? [''] : ['LE', 'BE']) {
      const view = (b) => new DataView(b.buffer, b.byteOffset, b.byteLength);
      const read = function (at = 0) { return view(this)[`get${kind}`](at, order === 'LE'); };
      const write = function (value, at = 0) { view(this)[`set${kind}`](at, value, order === 'LE'); return at + size; };
      for (const spelled of new Set([name, name.replace('UInt', 'Uint')])) {
        Object.defineProperty(Buffer.prototype, `read${spelled}${order}`, { value: read, writable: true, configurable: true });
        Object.defineProperty(Buffer.prototype, `write${spelled}${order}`, { value: write, writable: true, configurable: true });
      }
    }
  }

  // ---- what is printed

  const quote = (text) => {
    const mark = !text.includes("'") ? "'" : !text.includes('"') ? '"' : !text.includes('`') ? '`' : "'";
    const escapes = { '\n': '\\n', '\t': '\\t', '\r': '\\r', '\b': '\\b', '\f': '\\f', '\v': '\\v', '\\': '\\\\' };
    return mark + text.replace(/[\x00-\x1f\\]/g, (c) => escapes[c] ?? `\\x${c.charCodeAt(0).toString(16).padStart(2, '0').toUpperCase()}`).replaceAll(mark, (m) => (m === "'" ? "\\'" : m)) + mark;
  };

  const inspect = (value, { depth = 2 } = {}) => {
    const above = [];
    const show = (v, top) => {
      switch (typeof v) {
        case 'string': return top ? v : quote(v);
        case 'bigint': return `${v}n`;
        case 'symbol': return v.toString();
        case 'function': return v.name ? `[Function: ${v.name}]` : '[Function (anonymous)]';
        case 'object': break;
        default: return Object.is(v, -0) ? '-0' : String(v);
      }
      if (v === null) return 'null';
      if (above.includes(v)) return '[Circular]';
      if (v instanceof Date) return isNaN(v) ? 'Invalid Date' : v.toISOString();
      if (v instanceof RegExp) return String(v);
      if (v instanceof Promise) return 'Promise {}';
      if (v instanceof Error) {
        const own = Object.keys(v).concat(Object.hasOwn(v, 'cause') ? ['cause'] : []);
        const text = stackOf(v).join('\n');
        if (own.length === 0 || above.length > depth) return text;
        above.push(v);
        const more = own.map((k) => `${k}: ${show(v[k])}`).join(', ');
        above.pop();
        return `${text} { ${more} }`;
      }
      if (v instanceof Buffer) return `<Buffer ${v.subarray(0, 50).toHex().replace(/../g, '$& ').trim()}${v.length > 50 ? ` ... ${v.length - 50} more bytes` : ''}>`;
      const name = v.constructor?.name ?? '';
      if (above.length > depth) return Array.isArray(v) ? '[Array]' : `[${name || 'Object'}]`;
      above.push(v);
      let text;
      const list = (parts, open, close) => {
        if (parts.length === 0) return open + close;
        const line = parts.join(', ');
        if (line.length <= 72 && !line.includes('\n')) return `${open} ${line} ${close}`;
        return `${open}\n${parts.map((p) => `  ${p.replace(/\n/g, '\n  ')}`).join(',\n')}\n${close}`;
      };
      const some = (all) => (all.length > 100 ? [...all.slice(0, 100), `... ${all.length - 100} more items`] : all);
      if (Array.isArray(v)) {
        text = list(some(v.slice(0, 101).map((x) => show(x)).concat(v.length > 101 ? Array(v.length - 101).fill('') : [])), '[', ']');
      } else if (ArrayBuffer.isView(v) && !(v instanceof DataView)) {
        text = `${name}(${v.length}) ` + list(some(Array.from(v.subarray(0, 101), String).concat(v.length > 101 ? Array(v.length - 101).fill('') : [])), '[', ']');
      } else if (v instanceof Map) {
        text = `Map(${v.size}) ` + list(Array.from(v, ([k, x]) => `${show(k)} => ${show(x)}`), '{', '}');
      } else if (v instanceof Set) {
        text = `Set(${v.size}) ` + list(Array.from(v, (x) => show(x)), '{', '}');
      } else {
        const key = (k) => (/^[A-Za-z_$][\w$]*$/.test(k) ? k : show(k));
        text = list(Object.keys(v).map((k) => `${key(k)}: ${show(v[k])}`), '{', '}');
        if (name && name !== 'Object') text = `${name} ${text}`;
      }
      above.pop();
      return text;
    };
    return show(value, false);
  };

  const format = (first, ...rest) => {
    let text;
    if (typeof first === 'string' && rest.length > 0) {
      text = first.replace(/%[sdifjoOc%]/g, (what) => {
        if (what === '%%') return '%';
        if (rest.length === 0) return what;
        const v = rest.shift();
        switch (what) {
          case '%s': return typeof v === 'string' ? v : inspect(v, { depth: 0 });
          case '%d': return typeof v === 'bigint' ? `${v}n` : String(Number(v));
          case '%i': return String(parseInt(v, 10));
          case '%f': return String(parseFloat(v));
          case '%j': return JSON.stringify(v);
          case '%c': return '';
          default: return inspect(v);
        }
      });
    } else {
      text = typeof first === 'string' ? first : inspect(first);
    }
    return [text, ...rest.map((v) => (typeof v === 'string' ? v : inspect(v)))].join(' ');
  };

  const counts = new Map(), timings = new Map();
  let indent = '';
  const line = (descriptor) => (...args) => {
    const text = args.length === 0 ? '' : format(...args);
    host(WRITE, descriptor, `${indent}${indent ? text.replace(/\n/g, `\n${indent}`) : text}\n`);
  };
  const out = line(1), err = line(2);
  const console = {
    log: out, info: out, debug: out, dir: (v, options) => out(inspect(v, options ?? {})), table: out,
    warn: err, error: err, trace: (...args) => err(`Trace: ${args.length ? format(...args) : ''}\n${new Error().stack}`),
    assert: (ok, ...args) => { if (!ok) err(args.length ? `Assertion failed: ${format(...args)}` : 'Assertion failed'); },
    count: (label = 'default') => { counts.set(label, (counts.get(label) ?? 0) + 1); out(`${label}: ${counts.get(label)}`); },
    countReset: (label = 'default') => { counts.delete(label); },
    time: (label = 'default') => { timings.set(label, performance.now()); },
    timeLog: (label = 'default', ...args) => out(`${label}: ${(performance.now() - timings.get(label)).toFixed(3)}ms`, ...args),
    timeEnd: (label = 'default') => { console.timeLog(label); timings.delete(label); },
    group: (...args) => { if (args.length) out(...args); indent += '  '; },
    groupEnd: () => { indent = indent.slice(2); },
  };

  // ---- errors

  let places; // for each line of the bundle its place in the program: {sources, lines: [[source, line], …]}
  const source = (text) => text.replace(/\bfunction\.js:(\d+)(:\d+)?/g, (whole, n) => {
    places ??= JSON.parse(globalThis[Symbol.for('wasmill.lines')] ?? '{"lines":[]}');
    const at = places.lines[n - 1];
    return at?.length ? `${places.sources[at[0]]}:${at[1]}` : whole;
  });
  // What an error is called and says. That of a failed fetch is in its cause.
  const head = (e) => {
    if (e.name === 'InternalError' && e.message === 'out of memory') {
      return { type: 'Runtime.OutOfMemory', message: `out of memory: the function has ${env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE} MB; raise its memory` };
    }
    let message = String(e.message ?? '');
    for (let c = e.cause, n = 0; c !== undefined && c !== null && n < 4; c = c.cause, n++) {
      const why = isError(c) ? String(c.message) : shown(c);
      if (why && !message.includes(why)) message += `${message && ': '}${why}`;
    }
    return { type: String(e.name ?? 'Error'), message };
  };
  const stackOf = (e, { type, message } = { type: e.name, message: e.message }) => {
    const frames = String(e.stack ?? '').split('\n').filter((l) => l.trim() && !/\bwasmill(:\d+|\))/.test(l)).map(source);
    return [`${type}${message ? `: ${message}` : ''}`, ...frames];
  };
  // Text of what was thrown and is no error.
  const shown = (v) => {
    if (typeof v !== 'object' || v === null) return String(v);
    try { return JSON.stringify(v) ?? String(v); } catch { return inspect(v); }
  };
  const isError = (e) => e instanceof Error || (typeof e === 'object' && e !== null && 'message' in e && 'stack' in e);
  const failure = (e) => {
    if (!isError(e)) return { type: typeof e, message: shown(e), trace: [] };
    const h = head(e);
    return { ...h, trace: stackOf(e, h) };
  };

  // ---- time

  let timers = [], lastTimer = 0;
  class Timeout {
    constructor(id) { this.id = id; }
    ref() { return this; }
    unref() { return this; }
    hasRef() { return true; }
    [Symbol.toPrimitive]() { return this.id; }
  }
  const addTimer = (call, delay, args, every) => {
    if (typeof call !== 'function') throw new TypeError('the callback is not a function');
    delay = Math.max(1, Number(delay) || 0);
    timers.push({ id: ++lastTimer, due: performance.now() + delay, call, args, every: every ? delay : 0 });
    return new Timeout(lastTimer);
  };
  const clear = (timer) => {
    const id = typeof timer === 'object' && timer !== null ? timer.id : Number(timer);
    timers = timers.filter((t) => t.id !== id);
  };
  // Waits for the next timer and runs it. Says whether there was one.
  const tick = () => {
    if (timers.length === 0) return false;
    const next = timers.reduce((a, b) => (b.due < a.due || (b.due === a.due && b.id < a.id) ? b : a));
    const wait = next.due - performance.now();
    if (wait > 0) host(SLEEP, wait);
    if (next.every) next.due = performance.now() + next.every;
    else clear(next);
    next.call(...next.args);
    return true;
  };

  // ---- chance: a generator of our own, since images are copied

  let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  const draw = () => { // sfc32
    const t = (((s0 + s1) | 0) + s3) | 0;
    s3 = (s3 + 1) | 0;
    s0 = s1 ^ (s1 >>> 9);
    s1 = (s2 + (s2 << 3)) | 0;
    s2 = ((s2 << 21) | (s2 >>> 11)) + t | 0;
    return t >>> 0;
  };
  const reseed = () => { [s0, s1, s2, s3] = new Int32Array(host(RANDOM, 16)); };
  Math.random = () => ((draw() >>> 5) * 0x4000000 + (draw() >>> 6)) / 0x20000000000000;
  reseed();

  const crypto = {
    getRandomValues(into) {
      new Uint8Array(into.buffer, into.byteOffset, into.byteLength).set(new Uint8Array(host(RANDOM, into.byteLength)));
      return into;
    },
    randomUUID() {
      const b = new Uint8Array(host(RANDOM, 16));
      b[6] = (b[6] & 15) | 64;
      b[8] = (b[8] & 63) | 128;
      return b.toHex().replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
    },
    randomBytes: (n) => Buffer.from(host(RANDOM, n)),
  };

  // ---- process

  const env = {};
  for (const pair of decode(new Uint8Array(host(ENVIRON))).split('\0')) {
    const at = pair.indexOf('=');
    if (at > 0) env[pair.slice(0, at)] = pair.slice(at + 1);
  }
  const process = {
    env, argv: ['wasmill'], platform: 'wasi', arch: 'wasm32', pid: 1, version: 'v0.0.0', versions: { quickjs: '' }, exitCode: undefined,
    cwd: () => '/', uptime: () => performance.now() / 1000, nextTick: (call, ...args) => queueMicrotask(() => call(...args)),
    hrtime: Object.assign((since = [0, 0]) => {
      const ns = BigInt(Math.round(performance.now() * 1e6)) - BigInt(since[0]) * 1000000000n - BigInt(since[1]);
      return [Number(ns / 1000000000n), Number(ns % 1000000000n)];
    }, { bigint: () => BigInt(Math.round(performance.now() * 1e6)) }),
    stdout: { write: (text) => { host(WRITE, 1, String(text)); return true; } },
    stderr: { write: (text) => { host(WRITE, 2, String(text)); return true; } },
    memoryUsage: () => ({ rss: 0, heapTotal: 0, heapUsed: 0, external: 0, arrayBuffers: 0 }),
    exit: (code = 0) => { throw Object.assign(new Error(`process.exit(${code}) was called: a function returns or throws instead`), { name: 'Runtime.ExitError' }); },
    on: () => process, once: () => process, off: () => process, emit: () => false, emitWarning: (w) => err(String(w)),
  };

  // ---- fetch, by the host's http (docs/door.md), which has the whole answer when it returns

  class Headers {
    #all = new Map();
    constructor(init = []) {
      const pairs = init instanceof Headers || Array.isArray(init) ? init : Object.entries(init ?? {});
      for (const [name, value] of pairs) this.append(name, value);
    }
    append(name, value) {
      const key = String(name).toLowerCase(), text = String(value).trim();
      if (!/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(key) || /[\r\n\0]/.test(text)) throw new TypeError(`invalid header ${name}`);
      this.#all.set(key, this.#all.has(key) ? `${this.#all.get(key)}, ${text}` : text);
    }
    set(name, value) { this.delete(name); this.append(name, value); }
    get(name) { return this.#all.get(String(name).toLowerCase()) ?? null; }
    has(name) { return this.#all.has(String(name).toLowerCase()); }
    delete(name) { this.#all.delete(String(name).toLowerCase()); }
    forEach(call, self) { for (const [name, value] of this) call.call(self, value, name, this); }
    entries() { return [...this.#all].sort(([a], [b]) => (a < b ? -1 : 1))[Symbol.iterator](); }
    keys() { return [...this.entries()].map(([name]) => name)[Symbol.iterator](); }
    values() { return [...this.entries()].map(([, value]) => value)[Symbol.iterator](); }
    [Symbol.iterator]() { return this.entries(); }
  }

  class Response {
    #bytes; #used = false;
    constructor(bytes, { status, headers, url }) {
      this.#bytes = bytes;
      Object.assign(this, { status, headers, url, ok: status >= 200 && status < 300, statusText: '', redirected: false, type: 'basic' });
    }
    get bodyUsed() { return this.#used; }
    async bytes() {
      if (this.#used) throw new TypeError('Body is unusable: Body has already been read');
      this.#used = true;
      return this.#bytes;
    }
    async arrayBuffer() { const b = await this.bytes(); return b.buffer.slice(b.byteOffset, b.byteOffset + b.byteLength); }
    async text() { return decode(await this.bytes()); }
    async json() { return JSON.parse(await this.text()); }
  }

  const fetch = async (url, { method = 'GET', headers, body } = {}) => {
    const all = new Headers(headers);
    let bytes = new Uint8Array(0);
    if (typeof body === 'string') {
      bytes = encode(body);
      if (!all.has('content-type')) all.set('content-type', 'text/plain;charset=UTF-8');
    } else if (ArrayBuffer.isView(body)) {
      bytes = new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
    } else if (body instanceof ArrayBuffer) {
      bytes = new Uint8Array(body);
    } else if (body !== undefined && body !== null) {
      throw new TypeError('fetch: want a body of text or bytes');
    }
    if (!/^[A-Za-z]+$/.test(method) || /[\s\0]/.test(String(url))) throw new TypeError(`fetch: invalid request ${method} ${url}`);
    const head = encode(`${/^(get|post|put|delete|head|options)$/i.test(method) ? method.toUpperCase() : method} ${url}\n${[...all].map(([n, v]) => `${n}: ${v}\n`).join('')}\n`);
    const request = new Uint8Array(head.length + bytes.length);
    request.set(head);
    request.set(bytes, head.length);
    const size = host(HTTP, request.buffer);
    if (size < 0) {
      throw new TypeError('fetch failed', { cause: new Error(decode(new Uint8Array(host(HTTP_READ, 4096)), 1) || `error ${-size}`) });
    }
    const answer = new Uint8Array(host(HTTP_READ, size));
    let at = 0;
    const line = () => {
      const end = answer.indexOf(10, at), text = decode(answer, at, end < 0 ? answer.length : end);
      at = end < 0 ? answer.length : end + 1;
      return text;
    };
    const status = Number(line()), found = new Headers();
    for (let l = line(); l !== ''; l = line()) found.append(l.slice(0, l.indexOf(':')), l.slice(l.indexOf(':') + 1));
    return new Response(answer.subarray(at), { status, headers: found, url: String(url) });
  };

  const structuredClone = (value) => {
    const seen = new Map();
    const clone = (v) => {
      if (typeof v === 'function' || typeof v === 'symbol') throw new DOMException(`${String(v)} could not be cloned.`, 'DataCloneError');
      if (typeof v !== 'object' || v === null) return v;
      if (seen.has(v)) return seen.get(v);
      const made = (c) => { seen.set(v, c); return c; };
      if (v instanceof Date) return made(new Date(v));
      if (v instanceof RegExp) return made(new RegExp(v));
      if (v instanceof ArrayBuffer) return made(v.slice(0));
      if (ArrayBuffer.isView(v)) return made(new v.constructor(clone(v.buffer), v.byteOffset, v.length ?? v.byteLength));
      if (v instanceof Map) { const c = made(new Map()); for (const [k, x] of v) c.set(clone(k), clone(x)); return c; }
      if (v instanceof Set) { const c = made(new Set()); for (const x of v) c.add(clone(x)); return c; }
      const c = made(Array.isArray(v) ? [] : v instanceof Error ? Object.assign(new v.constructor(v.message), { stack: v.stack }) : {});
      for (const k of Object.keys(v)) c[k] = clone(v[k]);
      return c;
    };
    return clone(value);
  };

  define({
    console, process, crypto, fetch, Headers, Response, Buffer, TextEncoder, TextDecoder, structuredClone, global: globalThis,
    setTimeout: (call, delay, ...args) => addTimer(call, delay, args, false), setInterval: (call, delay, ...args) => addTimer(call, delay, args, true),
    setImmediate: (call, ...args) => addTimer(call, 0, args, false), clearTimeout: clear, clearInterval: clear, clearImmediate: clear,
  });

  Object.defineProperty(globalThis, Symbol.for('wasmill.util'), { value: { inspect, format } }); // for the bundle's node:util

  // ---- the program

  let handler, state = -1; // of the start: -1 under way, 0 ready, 1 failed
  const unable = (text) => { err(text); state = 1; };
  // The last line is the one that stands for the whole failure.
  const unloaded = (e) => {
    const f = failure(e), [line, ...frames] = f.trace.length ? f.trace : [f.message];
    if (frames.length > 1) err(f.trace.join('\n'));
    const at = /\(([^()]+:\d+)\)/.exec(frames[0] ?? '') ?? /at (\S+:\d+)/.exec(frames[0] ?? '');
    unable(line.replace(/\s*\n\s*/g, ' ') + (at ? ` (${at[1]})` : ''));
  };
  Object.defineProperty(globalThis, Symbol.for('wasmill.register'), {
    configurable: true,
    value: (exports, name) => {
      delete globalThis[Symbol.for('wasmill.register')];
      handler = exports.handler ?? exports.default?.handler ?? exports.default;
      if (typeof handler !== 'function') {
        throw Object.assign(new Error(`${name} exports no function named handler: want export const handler = async (event, context) => { … }`), { stack: '' });
      }
    },
  });

  let pending = null; // {done, value, failed} of the invocation
  const tag = (number, bytes) => {
    const section = new Uint8Array(8 + (bytes.length + 7 & ~7)), view = new DataView(section.buffer);
    view.setUint16(0, number, true);
    view.setUint32(4, bytes.length, true);
    section.set(bytes, 8);
    return section;
  };
  const message = (status, ...sections) => {
    const size = sections.reduce((n, s) => n + s.length, 16), all = new Uint8Array(size), view = new DataView(all.buffer);
    view.setUint32(0, 0x31524d57, true); // WMR1
    view.setUint16(4, 1, true);
    view.setUint16(6, status, true);
    view.setUint32(8, size, true);
    let at = 16;
    for (const s of sections) { all.set(s, at); at += s.length; }
    return all.buffer;
  };
  const failed = (e) => {
    const f = failure(e);
    err(`ERROR\tInvoke Error \t${JSON.stringify({ errorType: f.type, errorMessage: f.message, stack: f.trace })}`); // as on Lambda
    return message(1, tag(16, encode(f.type)), tag(17, encode(f.message)), tag(18, encode(JSON.stringify(f.trace))));
  };

  const contextOf = (head) => {
    const view = new DataView(head), bytes = new Uint8Array(head), texts = {};
    const deadline = Number(view.getBigInt64(16, true));
    for (let at = 32; at + 8 <= head.byteLength;) {
      const n = view.getUint32(at + 4, true);
      texts[view.getUint16(at, true)] = decode(bytes, at + 8, at + 8 + n);
      at += 8 + (n + 7 & ~7);
    }
    return {
      callbackWaitsForEmptyEventLoop: true,
      functionName: env.AWS_LAMBDA_FUNCTION_NAME, functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION, memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
      logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME, logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
      awsRequestId: texts[1] ?? '', invokedFunctionArn: texts[2] ?? '',
      getRemainingTimeInMillis: () => (deadline === 0 ? Infinity : Math.max(0, deadline - Date.now())),
    };
  };

  return {
    // The module's promise, or what it threw while it was compiled.
    evaluated(value, threw) {
      if (threw) unloaded(value);
      else value.then(() => { state = 0; }, unloaded);
    },
    started() {
      if (state >= 0) return state;
      try {
        if (!tick()) unable('a top-level await of the program never ends');
      } catch (e) {
        unloaded(e);
      }
      return state;
    },
    reseed,
    invoke(event, head) {
      const mine = pending = { done: false, value: undefined, failed: false };
      const end = (bad) => (value) => { if (!mine.done) { mine.done = true; mine.failed = bad; mine.value = value; } };
      try {
        const result = handler(event, contextOf(head), (e, value) => (e === undefined || e === null ? end(false)(value) : end(true)(e)));
        if (typeof result?.then === 'function') result.then(end(false), end(true));
        else if (result !== undefined || handler.length < 3) end(false)(result);
      } catch (e) {
        end(true)(e);
      }
    },
    // The response, or undefined to be asked again when promises have gone on.
    reply() {
      try {
        if (!pending.done) {
          if (tick()) return undefined;
          throw Object.assign(new Error('the handler\'s promise was never settled, and nothing is left to wait for'), { name: 'Runtime.NodeJsExit', stack: '' });
        }
        if (pending.failed) return failed(pending.value);
        if (pending.value === undefined) return message(0);
        let text;
        try {
          text = JSON.stringify(pending.value);
        } catch (e) {
          throw Object.assign(new Error(`Unable to stringify response body: ${e.message}`), { name: 'Runtime.MarshalError', stack: '' });
        }
        return text === undefined ? message(0) : message(0, tag(1, encode(text)));
      } catch (e) {
        return failed(e);
      }
    },
  };
})()
