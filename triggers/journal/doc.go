// Package journal remembers what a mapping has done in each shard.
//
// A decision of a shard's machine is one message, a commit: the checkpoint and
// the [Cargo] that makes it true, so that both are on disk or neither is. Cargo
// is dead letters, outputs, notices to destinations, and the ids of dead letters that
// are settled.
// Commits of one [triggers.Source] follow each other on one subject, each
// naming the one before it, so that of two owners of a shard only one can go on
// and the other is told [triggers.ErrFenced].
//
// What it promises: a commit that was acknowledged is the newest one [Store.Take]
// finds after any crash, or was followed by another of its owner or a later one;
// the cargo of a commit is read by [Store.Read] exactly if the commit is there,
// until [Store.Confirm] says that it is kept elsewhere. Package relay does that,
// package shard decides what is committed and when.
//
// # Streams and subjects
//
// A mapping has one JetStream stream, J_<mapping>:
//
//	j.<mapping>.c.<generation>.<shard>     commits
//	j.<mapping>.b.<generation>.<shard>     blobs: letters, outputs and notices that a commit names
//	j.<mapping>.mark.<generation>.<shard>  mark: up to which commit cargo is confirmed
//
// # Format of a commit
//
// Integers are uvarints unless their width is given; a chunk is a length and as
// many bytes.
//
//	"WJ"  version (1 byte, now 1)
//	epoch
//	attempt (16 bytes)  drawn anew for each decision, not for its repetitions
//	prev                sequence of the last commit before it that has cargo, 0: none
//	letters             how many this one has
//	sections            tag, chunk
//	0                   end of sections
//	CRC-32C of all before it (4 bytes, little endian)
//
// Sections:
//
//	1 checkpoint  JSON of triggers.Checkpoint without its finished spans and its
//	              window's state
//	2 owner       text, for people
//	3 finished    the finished spans (see appendSpans)
//	5 letters     as dlq.AppendWire writes them, one behind the other
//	7 in blobs    instead of 5: length and CRC-32C (4 bytes) of those bytes, then
//	              the sequences of the blobs that hold them, in order
//	9 outputs     name of the trigger (chunk), then for each target: id of the
//	              stream, its ARN (chunks), how many outputs, and their bytes in 11
//	11 payloads   of the outputs, in the same order: id, partition key,
//	              traceparent, data (chunks)
//	13 in blobs   instead of 11: as 7
//	15 redriven   ids of dead letters (chunks)
//	17 notices    for each destination: its name (chunk), how many notices, and
//	              their bytes in 19
//	19 notices    in the same order: id (chunk), 1 if it may be dropped or 0 (1 byte),
//	              mapping, shard (chunks), time (Unix milliseconds, 8 bytes, little
//	              endian), records, body, payload (chunks)
//	21 in blobs   instead of 19: as 7
//	23 state      of the tumbling window; without it, what the JSON says
//
// Notices are sorted by destination, in order of decision where these are equal.
// Outputs are sorted by the id of their stream and the hash key of their
// partition key, in order of emission where these are equal. So those of one
// target shard are one run, whatever the target's shards are by then. The place
// of an output is the sequence of its commit and its index in that order.
//
// A reader passes an even tag that it does not know and refuses an odd one, so
// that an older release drops nothing that a later one has committed.
//
// A mark is "WM", version 1, then the sequence up to which all cargo is
// confirmed, sections and CRC as above.
package journal
