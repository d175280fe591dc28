// Package journal remembers what a mapping has done in each shard.
//
// A decision of a shard's machine is one message, a commit: the checkpoint and
// the dead letters that make it true, so that both are on disk or neither is.
// Commits of one [triggers.Source] follow each other on one subject, each
// naming the one before it, so that of two owners of a shard only one can go on
// and the other is told [triggers.ErrFenced].
//
// What it promises: a commit that was acknowledged is the newest one [Store.Take]
// finds after any crash, or was followed by another of its owner or a later one;
// letters of a commit are read by [Store.Letters] exactly if the commit is there,
// until [Store.Confirm] says that they are kept elsewhere. Package relay does
// that, package shard decides what is committed and when.
//
// # Streams and subjects
//
// A mapping has one JetStream stream, J_<mapping>:
//
//	j.<mapping>.c.<generation>.<shard>     commits
//	j.<mapping>.b.<generation>.<shard>     blobs: dead letters that a commit names
//	j.<mapping>.mark.<generation>.<shard>  mark: up to which commit letters are confirmed
//
// # Format of a commit
//
// Integers are uvarints unless their width is given; a chunk is a length and as
// many bytes.
//
//	"WJ"  version (1 byte, now 1)
//	epoch
//	attempt (16 bytes)  drawn anew for each decision, not for its repetitions
//	prev                sequence of the last commit before it that has letters, 0: none
//	letters             how many this one has
//	sections            tag, chunk
//	0                   end of sections
//	CRC-32C of all before it (4 bytes, little endian)
//
// Sections:
//
//	1 checkpoint  JSON of triggers.Checkpoint without its finished spans
//	2 owner       text, for people
//	3 finished    the finished spans (see appendSpans)
//	5 letters     as dlq.AppendWire writes them, one behind the other
//	7 in blobs    instead of 5: length and CRC-32C (4 bytes) of those bytes, then
//	              the sequences of the blobs that hold them, in order
//
// A reader passes an even tag that it does not know and refuses an odd one, so
// that a later version can add outputs and redrives without an older one
// dropping them.
//
// A mark is "WM", version 1, then the sequence up to which all letters are
// confirmed, sections and CRC as above.
package journal
