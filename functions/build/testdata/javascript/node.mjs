// Run by Node and by wasmill: both print the same.
import { inspect, format } from 'node:util';
import { Buffer } from 'node:buffer';

class Point { constructor() { this.x = 1; this.y = 'a\'b'; } }

export const handler = async () => {
  // Buffer
  const b = Buffer.from('aGVsbG8gd8O2cmxk', 'base64');
  console.log(b.toString(), b.length, b.toString('hex'), b.toString('base64'), b.toString('latin1'), b.toString('utf8', 0, 5));
  console.log(Buffer.from('-_-_', 'base64').toString('hex'), Buffer.from('+/+/', 'base64').toString('base64url'), Buffer.from('YQ', 'base64').toString(), Buffer.from('Y Q=\n=', 'base64').toString());
  console.log(Buffer.from('zürich').toString('base64'), Buffer.from('ff00zz', 'hex').toString('hex'), Buffer.from('€', 'utf16le').toString('hex'), Buffer.from([1, 2, 300]).toString('hex'));
  console.log(Buffer.concat([Buffer.from('a'), Buffer.from('bc')]).toString(), Buffer.byteLength('€'), Buffer.isBuffer(b), Buffer.isBuffer(new Uint8Array(1)), b.equals(Buffer.from(b)));
  console.log(JSON.stringify(Buffer.from('ab')), Buffer.compare(Buffer.from('a'), Buffer.from('b')), b.indexOf('wö'), b.includes('x'), b.subarray(1, 3).toString(), b.slice(-3).toString());
  const w = Buffer.alloc(16);
  w.writeUInt16BE(0x1234, 0); w.writeInt32LE(-5, 2); w.writeDoubleBE(1.5, 6); w.writeUInt8(255, 15);
  console.log(w.toString('hex'), w.readUInt16BE(0), w.readInt32LE(2), w.readDoubleBE(6), w.readUInt8(15), w.readUint16LE(0));
  console.log(w, Buffer.from('x'.repeat(60)));
  console.log(Buffer.alloc(5, 'ab').toString(), b.write('HELLO'), b.toString(), Buffer.from(b.buffer, b.byteOffset, 3).toString());
  console.log(Buffer.from([0xff, 0xfe, 0x41]).toString(), Buffer.from('a\u0000b').length);

  // text
  console.log(new TextEncoder().encode('é€').join(','), new TextDecoder().decode(new Uint8Array([0xef, 0xbb, 0xbf, 0x61])), new TextDecoder('utf-8', { ignoreBOM: true }).decode(new Uint8Array([0xef, 0xbb, 0xbf, 0x61])).length);
  try { new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array([0xff])); } catch (e) { console.log(e.name); }
  console.log(atob('aGk='), btoa('hi'));

  // console
  console.log('%s is %d years, %i, %f, %j, %%, %o', 'x', 42, '7.9', '1.5', { a: 1 }, 'rest');
  console.log('a', 1, true, null, undefined, 1n, Symbol('s'), -0, NaN);
  console.log([1, 'two', [3, [4, [5, [6]]]]], {}, [], { a: { b: { c: { d: 1 } } } });
  console.log({ 'a-b': 1, c: 'it\'s', d: undefined, e: null, f: () => 1, g: function named() {} });
  console.log(new Map([['k', { v: 1 }]]), new Set([1, 'a']), new Date(0), /x/g);
  console.log(new Point(), new Uint8Array([1, 2, 3]), [undefined, null]);
  console.log(['a\nb\u0001\\', `'"`, '\'"`']);
  console.log(inspect({ a: [1] }), format('%s!', 'y'));
  console.log({ long: 'x'.repeat(80), other: 1 });
  console.info('info'); console.debug('debug');
  console.group('outer'); console.log('inner\nlines'); console.groupEnd(); console.log('back');
  console.count(); console.count(); console.count('other');

  // the rest
  const clone = structuredClone({ d: new Date(5), m: new Map([[1, { x: 1 }]]), a: [1, , 3].length, u: new Uint8Array([9]) });
  console.log(clone.d.getTime(), clone.m.get(1).x, clone.a, clone.u[0]);
  console.log(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(crypto.randomUUID()), crypto.getRandomValues(new Uint8Array(4)).length);
  const r = Math.random();
  console.log(r >= 0 && r < 1, Math.random() !== r, typeof process.env.PATH === 'string' || true);
  const order = [];
  const t = setTimeout(() => order.push('cancelled'), 1);
  clearTimeout(t);
  let ticks = 0;
  await new Promise((ok) => { const i = setInterval(() => { if (++ticks === 3) { clearInterval(i); ok(); } }, 1); });
  await new Promise((ok) => setImmediate((v) => { order.push(v); ok(); }, 'immediate'));
  console.log(order, ticks);
  console.log([3, 1, 2].toSorted(), 'x'.at(-1), [1, [2]].flat());
};
