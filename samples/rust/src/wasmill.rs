//! Functions in Rust for wasmill, in one file and without dependencies.
//!
//! ```ignore
//! mod wasmill;
//! use wasmill::{Batch, Error, Reply};
//!
//! fn handle(batch: &Batch, reply: &mut Reply) -> Result<(), Error> { … }
//! wasmill::function!(handle);
//! ```
//!
//! The function is called with each batch of a stream's records. Nothing is copied
//! or parsed for that: keys and data lie in the request. The same function serves
//! Lambda's Kinesis events in JSON, as `wasmill fn invoke` sends them; for other
//! events there is `wasmill::function!(handle, json = handle_json)`, with a
//! `fn handle_json(event: &str) -> Result<String, Error>`.
//!
//! An error fails the whole call. A panic does too, and costs its environment. What
//! is printed goes to the function's log.
//!
//! It speaks the guest ABI, version 1 (docs/abi.md).
#![allow(dead_code)]

use std::borrow::Cow;
use std::cell::UnsafeCell;
use std::fmt;

/// One record of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Partition key.
    pub key: &'a str,
    /// The bytes that were put.
    pub data: &'a [u8],
    pub sequence: &'a str,
    /// Shard id, a colon and the sequence number.
    pub event_id: &'a str,
    /// Unix time in milliseconds.
    pub arrival_ms: i64,
}

/// What a call is about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    pub request_id: &'a str,
    pub function_arn: &'a str,
    pub shard: &'a str,
    pub source_arn: &'a str,
    /// Unix time in milliseconds; 0: none.
    pub deadline_ms: i64,
}

/// A batch of records, in the order of their shard.
pub struct Batch<'a> {
    pub context: Context<'a>,
    records: Records<'a>,
}

enum Records<'a> {
    Binary { message: &'a [u8], table: usize, count: usize },
    Decoded(&'a [Owned]),
}

struct Owned {
    key: String,
    data: Vec<u8>,
    sequence: String,
    event_id: String,
    arrival_ms: i64,
}

impl<'a> Batch<'a> {
    pub fn len(&self) -> usize {
        match self.records {
            Records::Binary { count, .. } => count,
            Records::Decoded(all) => all.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The i-th record. Panics beyond the last one.
    pub fn get(&self, i: usize) -> Record<'a> {
        match self.records {
            Records::Binary { message, table, .. } => {
                let r = &message[table + 32 * i..table + 32 * i + 32];
                let (event, sequence, key, data) = (u32_at(r, 0), u32_at(r, 4), u32_at(r, 8), u32_at(r, 12));
                // The host writes texts as UTF-8.
                unsafe {
                    Record {
                        key: std::str::from_utf8_unchecked(&message[key..data]),
                        data: &message[data..data + u32_at(r, 16)],
                        sequence: std::str::from_utf8_unchecked(&message[sequence..key]),
                        event_id: std::str::from_utf8_unchecked(&message[event..key]),
                        arrival_ms: i64_at(r, 24),
                    }
                }
            }
            Records::Decoded(all) => {
                let o = &all[i];
                Record { key: &o.key, data: &o.data, sequence: &o.sequence, event_id: &o.event_id, arrival_ms: o.arrival_ms }
            }
        }
    }

    /// All records with their places.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Record<'a>)> + '_ {
        (0..self.len()).map(move |i| (i, self.get(i)))
    }
}

/// What a function answers besides an error.
#[derive(Default)]
pub struct Reply {
    failures: Vec<u32>,
    emits: Vec<Emit>,
}

struct Emit {
    from: usize,
    stream: String,
    key: String,
    data: Vec<u8>,
}

impl Reply {
    /// Names the i-th record as failed: its trigger needs partial-replies = true.
    pub fn fail(&mut self, i: usize) {
        self.failures.push(i as u32);
    }

    /// Gives a record out to a stream that the function's settings list (emits). It
    /// becomes visible when the batch is done. It comes of the i-th record.
    pub fn emit(&mut self, i: usize, stream: &str, key: &str, data: &[u8]) {
        self.emits.push(Emit { from: i, stream: stream.to_owned(), key: key.to_owned(), data: data.to_owned() });
    }
}

/// Why a call failed. Any `std::error::Error` becomes one by `?`.
#[derive(Debug)]
pub struct Error {
    /// For programs.
    pub kind: String,
    pub message: String,
}

impl Error {
    pub fn new(kind: &str, message: impl fmt::Display) -> Self {
        Error { kind: kind.to_owned(), message: message.to_string() }
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(e: E) -> Self {
        Error::new(std::any::type_name::<E>(), e)
    }
}

/// Exports the calls of the ABI for a handler.
#[macro_export]
macro_rules! wasmill_function {
    ($handle:path) => {
        $crate::wasmill::function!($handle, json = $crate::wasmill::no_json);
    };
    ($handle:path, json = $json:path) => {
        #[no_mangle]
        pub extern "C" fn wm_abi_version() -> u32 {
            1
        }
        #[no_mangle]
        pub extern "C" fn wm_alloc(n: u32) -> *mut u8 {
            $crate::wasmill::alloc(n as usize)
        }
        #[no_mangle]
        pub extern "C" fn wm_batch(n: u32) -> u64 {
            $crate::wasmill::batch(n as usize, $handle)
        }
        #[no_mangle]
        pub extern "C" fn wm_json(n: u32) -> u64 {
            $crate::wasmill::json(n as usize, $handle, $json)
        }
    };
}
pub use crate::wasmill_function as function;

// ---- the ABI

/// One instance has one call at a time, and WASI no threads.
struct Buffer(UnsafeCell<Vec<u8>>);
unsafe impl Sync for Buffer {}
static REQUEST: Buffer = Buffer(UnsafeCell::new(Vec::new()));
static REPLY: Buffer = Buffer(UnsafeCell::new(Vec::new()));

#[doc(hidden)]
pub fn alloc(n: usize) -> *mut u8 {
    let request = unsafe { &mut *REQUEST.0.get() };
    if request.len() < n {
        *request = Vec::new();
        if request.try_reserve_exact(n + 8).is_err() {
            return std::ptr::null_mut();
        }
        request.resize(n, 0);
    }
    request.as_mut_ptr() // aligned by 8, as allocators do
}

fn request(n: usize) -> &'static [u8] {
    unsafe { &(&*REQUEST.0.get())[..n] }
}

fn u16_at(b: &[u8], p: usize) -> u16 {
    u16::from_le_bytes([b[p], b[p + 1]])
}

fn u32_at(b: &[u8], p: usize) -> usize {
    u32::from_le_bytes([b[p], b[p + 1], b[p + 2], b[p + 3]]) as usize
}

fn i64_at(b: &[u8], p: usize) -> i64 {
    let mut v = [0; 8];
    v.copy_from_slice(&b[p..p + 8]);
    i64::from_le_bytes(v)
}

/// The sections of a request; None if there is one that we would have to know.
fn context(m: &[u8]) -> Option<Context<'_>> {
    let mut c = Context { deadline_ms: i64_at(m, 16), ..Context::default() };
    let (mut p, end) = (32, u32_at(m, 28));
    while p + 8 <= end {
        let n = u32_at(m, p + 4);
        let text = std::str::from_utf8(&m[p + 8..p + 8 + n]).unwrap_or("");
        match u16_at(m, p) {
            1 => c.request_id = text,
            2 => c.function_arn = text,
            3 => c.shard = text,
            4 => c.source_arn = text,
            _ if u16_at(m, p + 2) & 1 != 0 => return None,
            _ => {}
        }
        p += 8 + (n + 7) / 8 * 8;
    }
    Some(c)
}

fn section(out: &mut Vec<u8>, tag: u16, flags: u16, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&tag.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let n = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&n.to_le_bytes());
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    while out.len() % 8 != 0 {
        out.push(0);
    }
}

fn respond(status: u16, write: impl FnOnce(&mut Vec<u8>)) -> u64 {
    let out = unsafe { &mut *REPLY.0.get() };
    out.clear();
    out.extend_from_slice(b"WMR1\x01\x00");
    out.extend_from_slice(&status.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    write(out);
    let n = out.len() as u32;
    out[8..12].copy_from_slice(&n.to_le_bytes());
    (out.as_ptr() as u64) << 32 | n as u64
}

fn respond_error(e: Error) -> u64 {
    respond(1, |out| {
        section(out, 16, 0, |out| out.extend_from_slice(e.kind.as_bytes()));
        section(out, 17, 0, |out| out.extend_from_slice(e.message.as_bytes()));
    })
}

#[doc(hidden)]
pub fn batch(n: usize, handle: fn(&Batch, &mut Reply) -> Result<(), Error>) -> u64 {
    let m = request(n);
    let context = match context(m) {
        Some(c) if u16_at(m, 4) == 1 && u16_at(m, 6) == 1 => c,
        _ => return respond(2, |_| {}), // not understood: the host asks in JSON
    };
    let records = Records::Binary { message: m, table: u32_at(m, 28), count: u32_at(m, 24) };
    let mut reply = Reply::default();
    if let Err(e) = handle(&Batch { context, records }, &mut reply) {
        return respond_error(e);
    }
    respond(0, |out| {
        if !reply.failures.is_empty() {
            section(out, 2, 0, |out| reply.failures.iter().for_each(|i| out.extend_from_slice(&i.to_le_bytes())));
        }
        if !reply.emits.is_empty() {
            section(out, 3, 1, |out| {
                for e in &reply.emits {
                    for v in [e.from, e.stream.len(), e.key.len(), e.data.len()] {
                        out.extend_from_slice(&(v as u32).to_le_bytes());
                    }
                    for part in [e.stream.as_bytes(), e.key.as_bytes(), &e.data] {
                        out.extend_from_slice(part);
                    }
                    pad(out); // the section begins at a multiple of 8
                }
            });
        }
    })
}

#[doc(hidden)]
pub fn no_json(_: &str) -> Result<String, Error> {
    Err(Error::new("Runtime.UnknownEvent", "this function takes records of Kinesis streams; wasmill::function!(handle, json = …) takes other events"))
}

#[doc(hidden)]
pub fn json(n: usize, handle: fn(&Batch, &mut Reply) -> Result<(), Error>, other: fn(&str) -> Result<String, Error>) -> u64 {
    let m = request(n);
    let offset = u32_at(m, 28);
    let event = match std::str::from_utf8(&m[offset..offset + u32_at(m, 24)]) {
        Ok(text) => text,
        Err(e) => return respond_error(e.into()),
    };
    match answer(context(m).unwrap_or_default(), event, handle, other) {
        Ok(text) => respond(0, |out| section(out, 1, 0, |out| out.extend_from_slice(text.as_bytes()))),
        Err(e) => respond_error(e),
    }
}

fn answer(
    context: Context,
    event: &str,
    handle: fn(&Batch, &mut Reply) -> Result<(), Error>,
    other: fn(&str) -> Result<String, Error>,
) -> Result<String, Error> {
    let records: Vec<Json> = Json(event).member("Records").map(|r| r.items().collect()).unwrap_or_default();
    if records.first().and_then(|r| r.member("kinesis")).is_none() {
        return other(event);
    }
    let source = records[0].member("eventSourceARN").map(|v| v.string().into_owned()).unwrap_or_default();
    let context = Context { source_arn: &source, ..context };
    let mut all = Vec::with_capacity(records.len());
    for r in &records {
        let k = r.member("kinesis").unwrap_or(Json(""));
        let text = |of: &Json, name: &str| of.member(name).map(|v| v.string().into_owned()).unwrap_or_default();
        all.push(Owned {
            key: text(&k, "partitionKey"),
            data: from_base64(&text(&k, "data")).ok_or_else(|| Error::new("Runtime.UnknownEvent", "the data of a record is not base64"))?,
            sequence: text(&k, "sequenceNumber"),
            event_id: text(r, "eventID"),
            arrival_ms: (k.member("approximateArrivalTimestamp").map(|v| v.number()).unwrap_or_default() * 1000.0) as i64,
        });
    }
    let mut reply = Reply::default();
    handle(&Batch { context, records: Records::Decoded(&all) }, &mut reply)?;
    let sequence = |i: usize| quote(all.get(i).map_or("", |r| &r.sequence));
    let failures: Vec<String> = reply.failures.iter().map(|&i| format!("{{\"itemIdentifier\":{}}}", sequence(i as usize))).collect();
    let mut out = format!("{{\"batchItemFailures\":[{}]", failures.join(","));
    if !reply.emits.is_empty() {
        let emits: Vec<String> = reply.emits.iter().map(|e| {
            format!("{{\"stream\":{},\"partitionKey\":{},\"data\":\"{}\",\"itemIdentifier\":{}}}", quote(&e.stream), quote(&e.key), to_base64(&e.data), sequence(e.from))
        }).collect();
        out += &format!(",\"emit\":[{}]", emits.join(","));
    }
    Ok(out + "}")
}

// ---- HTTP (docs/door.md)

mod host {
    #[link(wasm_import_module = "wasmill")]
    extern "C" {
        pub fn http(request: *const u8, n: usize) -> i32;
        pub fn http_read(to: *mut u8, room: usize) -> i32;
    }
}

/// Does a whole exchange over HTTP or HTTPS, with what the function's settings
/// allow. Gives the status and the body.
pub fn http(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<(u16, Vec<u8>), Error> {
    let mut request = format!("{} {}\n", method, url).into_bytes();
    for (name, value) in headers {
        request.extend_from_slice(format!("{}: {}\n", name, value).as_bytes());
    }
    request.push(b'\n');
    request.extend_from_slice(body);
    let size = unsafe { host::http(request.as_ptr(), request.len()) };
    let mut answer = vec![0; if size < 0 { 4096 } else { size as usize }];
    let got = unsafe { host::http_read(answer.as_mut_ptr(), answer.len()) };
    answer.truncate(got.max(0) as usize);
    if size < 0 {
        return Err(Error::new("HTTP", String::from_utf8_lossy(answer.get(1..).unwrap_or_default())));
    }
    let head = answer.windows(2).position(|w| w == b"\n\n").map_or(answer.len(), |at| at + 2);
    let body = answer.split_off(head);
    let status = answer.split(|&b| b == b'\n').next().unwrap_or_default();
    Ok((String::from_utf8_lossy(status).trim().parse().unwrap_or_default(), body))
}

// ---- JSON without a tree

/// A JSON value, as the text it is written as.
#[derive(Clone, Copy, Debug)]
pub struct Json<'a>(pub &'a str);

fn blank(b: &[u8], mut p: usize) -> usize {
    while p < b.len() && b[p].is_ascii_whitespace() {
        p += 1;
    }
    p
}

/// The end of the value that begins at p.
fn skip(b: &[u8], mut p: usize) -> usize {
    let (mut depth, mut quoted) = (0, false);
    while p < b.len() {
        match b[p] {
            b'\\' if quoted => p += 1,
            b'"' if quoted => {
                quoted = false;
                if depth == 0 {
                    return p + 1;
                }
            }
            _ if quoted => {}
            b'"' => quoted = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                if depth == 0 {
                    return p;
                }
                depth -= 1;
                if depth == 0 {
                    return p + 1;
                }
            }
            b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return p,
            _ => {}
        }
        p += 1;
    }
    b.len()
}

impl<'a> Json<'a> {
    /// A member of an object.
    pub fn member(&self, name: &str) -> Option<Json<'a>> {
        let b = self.0.as_bytes();
        let mut p = blank(b, 0);
        if b.get(p) != Some(&b'{') {
            return None;
        }
        loop {
            p = blank(b, p + 1);
            let q = skip(b, p);
            let key = self.0.get(p + 1..q.max(1) - 1);
            p = blank(b, q);
            if b.get(p) != Some(&b':') {
                return None;
            }
            p = blank(b, p + 1);
            let q = skip(b, p);
            if key == Some(name) {
                return Some(Json(&self.0[p..q]));
            }
            p = blank(b, q);
            if b.get(p) != Some(&b',') {
                return None;
            }
        }
    }

    /// The values of an array.
    pub fn items(&self) -> impl Iterator<Item = Json<'a>> {
        let (text, mut p) = (self.0, blank(self.0.as_bytes(), 0));
        let array = text.as_bytes().get(p) == Some(&b'[');
        std::iter::from_fn(move || {
            let b = text.as_bytes();
            if !array || p >= b.len() {
                return None;
            }
            let from = blank(b, p + 1);
            let to = skip(b, from);
            p = blank(b, to);
            if from == to { None } else { Some(Json(&text[from..to])) }
        })
    }

    /// The characters of a string; none of anything else.
    pub fn string(&self) -> Cow<'a, str> {
        let inner = match self.0.strip_prefix('"').and_then(|s| s.strip_suffix('"')) {
            Some(s) => s,
            None => return Cow::Borrowed(""),
        };
        if !inner.contains('\\') {
            return Cow::Borrowed(inner);
        }
        let mut units: Vec<u16> = Vec::with_capacity(inner.len());
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            let mut pair = [0; 2];
            match if c == '\\' { chars.next() } else { None } {
                Some('u') => {
                    let hex: String = chars.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&hex, 16).unwrap_or(0xfffd));
                }
                escaped => {
                    let c = match escaped {
                        Some('n') => '\n',
                        Some('t') => '\t',
                        Some('r') => '\r',
                        Some('b') => '\u{8}',
                        Some('f') => '\u{c}',
                        Some(other) => other,
                        None => c,
                    };
                    units.extend_from_slice(c.encode_utf16(&mut pair));
                }
            }
        }
        Cow::Owned(String::from_utf16_lossy(&units))
    }

    /// A number; 0 of anything else.
    pub fn number(&self) -> f64 {
        self.0.trim().parse().unwrap_or_default()
    }
}

/// A text as JSON.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => out += &format!("\\u{:04x}", c as u32),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub fn to_base64(data: &[u8]) -> String {
    let mut out = String::with_capacity(data.len() / 3 * 4 + 4);
    for three in data.chunks(3) {
        let v = (three[0] as u32) << 16 | (*three.get(1).unwrap_or(&0) as u32) << 8 | *three.get(2).unwrap_or(&0) as u32;
        for i in 0..4 {
            let digit = DIGITS[(v >> (18 - 6 * i) & 63) as usize] as char;
            out.push(if i <= three.len() { digit } else { '=' });
        }
    }
    out
}

pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut v, mut bits) = (Vec::with_capacity(text.len() / 4 * 3), 0u32, 0);
    for c in text.trim_end_matches('=').bytes() {
        let digit = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        v = v << 6 | digit as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((v >> bits) as u8);
        }
    }
    Some(out)
}
