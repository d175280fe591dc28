// Package shard is the machine that decides what happens to the records of one
// shard for one trigger: which go to the function together, what a failure
// means, when a record is given up, what is written down.
//
// It is pure. [Machine.Step] takes the time and an [Event] and returns what is
// to be done as [Effect] values; there is no goroutine, clock, store or map
// order in it, and its only chance is the seed of the jitter. The caller keeps
// the records' payloads and carries the effects out, in the order given.
//
// # Buckets and units
//
// The keys of a shard fall into 64 buckets. A unit is a list of records that
// go to the function in one invocation. It claims the buckets of its records
// when it is formed and holds them until all its records are resolved (done,
// buried, or lost to a gap or to retention), through every retry and both halves of a bisect;
// so at most one unit that contains a key exists, and order per key holds
// whatever n, the number of units that may be out at once, is or was. A unit
// claims at most ceil(64/n) idle buckets, those with the oldest waiting records
// first, and takes their oldest records; at n = 1 that is all, and order is
// that of the shard. A unit in back-off keeps its buckets and its slot.
//
// A record of several keys (an aggregate that is taken apart for the function) waits in the
// queues of all its buckets, goes when it is the first in each, and its unit claims them
// all, be they more than its share. A unit ends before such a record of which it cannot have
// all buckets. In all else the record is of one bucket: marks, spans of checkpoints and
// redrives know it by that.
//
// # Failures (AWS Lambda's rules for Kinesis, and where it is silent, ours)
//
//   - A function error, timeout or invalid partial reply is an attempt;
//     throttles and failures of wasmill are not, and have a back-off of their own.
//     A unit is tried 1 + Retries times.
//   - With Bisect a failing unit of more than one record is halved before the
//     first retry, the left half being n/2 rounded down. Each half has a full
//     quota, also with Retries 0. The left one runs to its end before the right one.
//   - A partial reply resolves what is before the lowest record named, and the
//     rest goes on as a new unit with a full quota: the invocation that made
//     progress does not count for it. Without progress it is an ordinary failed
//     attempt, which with Bisect halves too: otherwise a poison record at the
//     front of its unit would take its neighbours with it.
//   - Halves and rests go at once; only trying the same unit again backs off.
//   - Record age is looked at before each invocation, for each record. What is
//     too old is buried, and the others go in one batch. A record from the
//     future has age 0.
//   - Retention is looked at there too, also of what is in memory: AWS drops what
//     is beyond it silently, here it is counted and told of ([Lost]).
//   - A record whose event alone exceeds 6 MB is buried without an attempt.
//
// # Filters
//
// The caller says of each record whether a filter lets it through. One that none does is
// in no unit and in no queue: it counts neither for a batch nor for the bounds below, is finished
// when all before it of its bucket is, and costs a read again after a restart. Records read
// and in no unit are judged again when the filters change ([Refiltered]). What was dropped stays
// so where a unit or a finished record of one of its buckets has gone past it, as otherwise it would
// come out of order: a checkpoint tells that from any record the filters let through after a restart.
//
// # Tumbling windows
//
// With Tumbling there is one lane, and a unit has records of one window only: the one their arrival
// lies in, windows being aligned to their length since 1970. One window is under way at a time. It
// begins with a unit's first invocation, with no state; each invocation that resolves records leaves
// the state for the next, in one commit with them. It is over when a record of another window is next, when the
// last record read is of a later one, when everything is read and its end was a second ago, or when
// the shard ends. Then it has one invocation more, without records, before which nothing else is
// invoked and which no number of failures gives up. It ends early when its state exceeds 1 MB or
// leaves no room for the next record, when the settings say another length, and when a record comes
// late: that opens its own window anew, with no state, and so does the next one for this.
//
// # Discards
//
// A unit that is given up, and what is too old of one, is told of as one [Discard] beside the
// burials of its records. Redriven letters are not.
//
// # Outputs
//
// What an invocation emits goes into the commit of the records that it resolves,
// or nowhere: a failed attempt emits nothing, and a partial reply only what comes
// from before its lowest failed record. Thus an output is in exactly one durable commit
// if its record was done, however often the function ran.
//
// # Redrives
//
// A dead letter can be delivered again ([Redrive]): alone, with a full quota and
// an age that counts from the command. It is no unit of records and has no slot.
// Once it is durable that it is redriven it takes its bucket, as soon as no
// unit has that, and keeps it, through its back-offs, until it is done or buried
// again; so it goes before whatever waits there, and letters of a bucket go one after the
// other. It is invoked when fewer than n invocations are out, and takes turns
// with units for that. At n = 1, where a unit claims all buckets, one that is
// formed while a letter has a bucket claims those it takes records from, so that a
// letter that keeps failing holds up no other keys, up to the look-ahead below.
// Every commit names the letters under way, and the one that ends a letter
// says so.
//
// # Commits
//
// A commit holds the checkpoint and the dead letters in one. It carries the
// whole retry state, so that a machine made from it goes on with the same units
// and counts; the invocation that was out at a crash is repeated and was
// not counted. Nothing that follows a dead letter in its buckets is invoked before
// the letter is durable. Failures, splits, dead letters, redrives and outputs go at once; mere
// progress waits up to 5 ms while other work is out, or until the commit
// before it is answered. While the journal fails nothing new is invoked.
//
// # Memory
//
// At most 10 x n x BatchSize numbers lie between the lowest unresolved record
// and the last one read, and at most 32 MiB are pinned, outputs that are not durable
// included; when these alone are as much, or 10,000 of them, nothing is invoked. When that is reached
// and a slot is idle because every record in memory is behind a unit of its
// bucket, those records are released and read again when their turn comes.
package shard
