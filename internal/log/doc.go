// Package log keeps append-only logs of records on JetStream: one stream a log,
// one message a frame of many records.
//
// It knows nothing of the streams, queues and tables that stand on it. What it
// promises: a record whose [Log.Append] returned is on disk; the records of one
// log have running numbers without holes, from 0, in the order of the calls;
// arrivals never fall; a frame that is not as it was written is a
// [CorruptError], never silence.
//
// # Appending
//
// Each log has one appender, a goroutine that lives while there is something to
// write. While a frame is being acknowledged puts collect for the next one
// (group commit without a timer). A frame aims at 512 KiB, a larger single
// record travels alone. It is published with Nats-Expected-Last-Sequence, and
// until its fate is certain no other is sent: see settle.go.
//
// What a source gives out by [Log.AppendFrom] goes through the same queue, as
// frames of its own. They lie on a subject of the source, carry its mark, and
// have Nats-Expected-Last-Subject-Sequence as a second fence: so what was stored
// of a source can be told, and nothing of it is stored twice. Readers see no
// difference.
//
// # Reading
//
// [Log.At], [Log.Find] and [Log.Since] return whole decoded frames from a cache
// shared by all logs of a [Set]. Frames are immutable; the strings and data of
// their records alias one buffer. A frame may have no records: the END frame has
// none, nor has a sequence that a failed write used up (on a full disk, say),
// which is known from a lost frame by the numbers going on behind it.
//
// # Wire format
//
// Integers are little endian; uvarint and its lengths are those of
// encoding/binary. A frame is a head of 88 bytes and a body.
//
//	 0  u8     version, 1
//	 1  u8     kind: 0 records, 1 END
//	 2  u16    number of records, at most 65,535; 0 in an END frame
//	 4  u32    epoch of the log
//	 8  [16]   attempt id, random: tells our frame from another writer's
//	24  u64    JetStream sequence the frame was made for, from 1
//	32  u64    running number of its first record
//	40  u64    bytes of all records before it
//	48  i64    arrival of its first record, Unix ms (in an END frame: of the last record before it)
//	56  i64    arrival of its last record, likewise
//	64  u64    bytes of its records: keys and data
//	72  u32    length of the body
//	76  u32    0, reserved
//	80  u32    CRC-32C (Castagnoli) of the body
//	84  u32    CRC-32C of bytes 0 to 83
//
// The head has a checksum of its own, which covers that of the body: so both
// together cover everything, and damage to a record's data leaves the frame's
// place in the numbering known.
//
// The body is the extensions of the frame, then the records:
//
//	uvarint length, extensions
//	record: uvarint length, key
//	        uvarint length, explicit hash key (empty: none)
//	        uvarint arrival, as the difference to the record before (the first: to the head's)
//	        uvarint length, data
//	        uvarint length, extensions
//
// Extensions are any number of (uvarint tag, uvarint length, bytes). A tag that
// the reader does not know is skipped. Of a record tag 1 is its W3C traceparent
// and tag 2 the id of the output that it is. Of a frame tag 1 is the mark of its
// source, 16 bytes, so that it can be read though the records are damaged:
//
//	 0  u64     sequence
//	 8  u32     index
//	12  u32     CRC-32C of the attempt id and bytes 0 to 11
//
// A frame without a mark lies on subject L.<id>.d, one with a mark on
// L.<id>.r.<source>.
package log
