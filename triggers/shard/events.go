package shard

import (
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
)

// Buckets is how many buckets the keys of a shard fall into. A record's bucket
// is the low 6 bits of the MD5 of its partition key, never of the explicit
// hash key.
const Buckets = 64

// MaxRedrives is how many dead letters a machine delivers again at a time: all of
// them stand in every commit.
const MaxRedrives = 100

// Config is what the machine needs to know of a trigger. Values are not
// checked: package triggers did.
type Config struct {
	// Parallel is how many units may be out at once, n. 1 to 10; less than 1 counts as 1.
	Parallel int
	// BatchSize is the most records of a unit, 1 to 10,000.
	BatchSize int
	// Window is how long a first record waits for company. 0: not at all.
	Window time.Duration
	// Retries is how often a failing unit is tried again; negative: for ever.
	Retries int
	// RecordAge is the age above which a record is given up; 0 or less: never.
	RecordAge time.Duration
	// Retention is the age above which a record is beyond its stream's retention
	// and is lost, counted and without a dead letter, also when it is in memory.
	// 0 or less: never. RecordAge, where it is exceeded as well, comes first.
	Retention time.Duration
	// Bisect halves a failing unit of more than one record.
	Bisect bool
	// PartialReplies lets an outcome Partial count; without it Partial is Done.
	PartialReplies bool
	// Backoff is the first wait before a unit is tried again. 0: triggers.DefaultBackoff.
	Backoff time.Duration
	// MaxBytes is the most a unit's JSON event may take. 0: triggers.MaxPayload.
	MaxBytes int
	// Tumbling is the length of tumbling windows; 0: none. It wants Parallel 1.
	Tumbling time.Duration
	// PinnedBytes bounds what the machine lets the caller hold in memory. 0: 32 MiB.
	PinnedBytes int64
}

// Record is what the machine knows of a record; its payload stays with the caller.
type Record struct {
	Number uint64 // running number in the shard
	Bucket uint8  // 0 to 63
	// Filtered: no filter lets it through. It goes to no unit, and is finished when all
	// before it of its bucket is; its payload is not held, so Pinned counts nothing.
	Filtered bool
	Also     uint64 // a record of several keys: the buckets of all of them, bit i bucket i
	Size     int32  // bytes of its JSON event, comma included
	Pinned   int32  // bytes that holding it costs
	Arrival  int64  // Unix milliseconds
}

// Event is what happened. The types below are all there are.
type Event interface{ event() }

// Fetched answers a [Fetch] with records of contiguous numbers from From, which
// may be fewer than asked for. None means that none can be had for now, either
// because nothing is stored there yet or, with Again, because of trouble: the
// machine asks again after Woken with Arrived.
type Fetched struct {
	From    uint64
	Records []Record // not kept by the machine
	Caught  bool     // nothing more is stored right now
	// Withheld: more may be stored, and cannot be had for now.
	Withheld bool
	// Enough: so much was read that what there is waits for no more of it.
	Enough bool
}

// Gap answers a [Fetch]: the numbers [From, To) cannot be read and never will
// be, From being the Fetch's. Those that are not resolved are lost: counted,
// told by [Lost], and passed. With To not above From it says nothing of any
// record, and is taken as a Fetched without records.
type Gap struct {
	From, To uint64
	Reason   string
}

// End answers a [Fetch] without Again: the shard is closed, and Next is the number after its
// last record. To a Fetch Again it is taken as a Fetched without records.
type End struct{ Next uint64 }

// Settled is how the invocation of a unit ended.
type Settled struct {
	Unit    uint64
	Outcome runtime.Outcome
	// FirstFailed is, with outcome Partial, the index in Invoke.Numbers of the
	// lowest record the function named; -1 when a named id is not in the batch.
	// Of a dead letter either is a failed attempt.
	FirstFailed int
	// Outputs are what the function emitted, less those of records at or above
	// FirstFailed. They are committed with the records they come from, and
	// dropped if the invocation resolved none.
	Outputs []triggers.Output
	// State is what becomes the state of the window, with Done and Partial in one.
	State []byte
	// Failure is ignored with Done. Of an attempt it is kept for dead letters;
	// of a throttle and the like it is for [Status] alone.
	Failure triggers.Failure
}

// CommitResult is how a commit ended.
type CommitResult uint8

const (
	OK     CommitResult = iota // it is durable
	Fenced                     // another owner has the shard
	Failed                     // unknown; the machine asks for the same commit again, after a wait
)

// Committed answers a [Commit].
type Committed struct {
	ID     uint64
	Result CommitResult
}

// Woken is the timer of [WakeAt], or news of the shard. It is also the event
// to start a new machine with.
type Woken struct {
	Arrived bool // something was appended to the shard since the last Fetch was answered
}

// Configured changes the trigger's settings. An invocation that is out is still judged by
// the settings it was started with.
type Configured struct{ Config Config }

// Refiltered tells which of the records that are held no filter lets through any more, since
// the filters have changed. Those that are in no unit yet go to none.
type Refiltered struct {
	Numbers []uint64         // ascending
	Sizes   map[uint64]int32 // of others, where it may be another than it was
}

// Resized changes Config.Parallel alone.
type Resized struct{ Parallel int }

// Redrive delivers dead letters again, each alone and in the order given for each
// bucket. A letter of an id that waits, is under way, or is settled by a commit
// that is not durable yet is left as it is; whoever sends one must have found it
// among the dead letters after that. No more than [MaxRedrives] may be open, that
// is neither done nor buried again; the caller counts ([Status].Redrives,
// Checkpoint.Redrives), and what is over is ignored. So is everything after the
// commit that says Ended. A letter is taken for sure when it stands in
// Checkpoint.Redrives of a durable commit. That is so while draining too: it is
// then delivered by the next machine.
type Redrive struct{ Letters []Redriven }

// Redriven is a dead letter to deliver again.
type Redriven struct {
	Letter string // id
	Bucket uint8  // of its key, 0 to 63
}

// Held starts no new invocation while Why is not empty; those out may end. Why
// is then [Status].WaitsFor.
type Held struct{ Why string }

// Drain starts nothing more. Finished comes once nothing is out and all is committed.
type Drain struct{}

func (Fetched) event()    {}
func (Gap) event()        {}
func (End) event()        {}
func (Settled) event()    {}
func (Committed) event()  {}
func (Woken) event()      {}
func (Configured) event() {}
func (Refiltered) event() {}
func (Resized) event()    {}
func (Redrive) event()    {}
func (Held) event()       {}
func (Drain) event()      {}

// Effect is what the caller has to do. The types below are all there are.
// Slices in it are the machine's: they may be read until the next Step, those
// of an Invoke until its unit is settled, those of a Commit for ever.
type Effect interface{ effect() }

// Fetch asks for records from a number on. At most one is outstanding; it is answered by
// exactly one of Fetched, Gap and End.
type Fetch struct {
	From    uint64
	Records int // at most
	Bytes   int // of Record.Pinned, at most; but at least one record
	// Again: these were released before; only Records numbers are meant.
	Again bool
	// Must: open units cannot go on without them, so they are not to be held back
	// for want of memory.
	Must bool
}

// Invoke hands records to the function, ascending. Answered by Settled.
type Invoke struct {
	Unit       uint64 // a new one for every half and remainder; the same for a retry
	Numbers    []uint64
	Letter     string // id of a dead letter that is delivered again, instead of Numbers
	Attempt    int    // 1 + those that counted against the quota so far
	Invocation int    // 1 + all invocations of this unit so far
	// Window is the tumbling window that the records are in, with the state that its last
	// invocation has left; nil without. Final: it is over, and there are neither Numbers nor
	// a Letter. From is then the number of the first record behind it.
	Window *triggers.Window
	Final  bool
	From   uint64
}

// Commit makes a checkpoint, its dead letters and outputs durable, as one. At most one
// is outstanding. Answered by Committed.
type Commit struct {
	ID         uint64
	Checkpoint triggers.Checkpoint
	Buried     []Burial
	// Discards are the batches that Buried come from, less redriven letters.
	Discards []Discard
	// Outputs are what functions have emitted, in the order of their invocations' ends.
	Outputs []triggers.Output
	// Redriven are ids of dead letters that are done, or buried again (then they
	// are in Buried too): the letter of that id is no more.
	Redriven []string
	// Urgent: it carries dead letters, outputs, retry state, redrives or an ending. Otherwise it is
	// mere progress, which the machine has held back for a moment already.
	Urgent bool
}

// Burial turns a record into a dead letter. Its payload is still held: it is
// released after the commit.
type Burial struct {
	Number       uint64
	Letter       string // id of the redriven letter that is buried again, instead of Number
	Reason       dlq.Reason
	Attempts     int // that counted
	Invocations  int // all, of the unit it was in last
	FirstFailure time.Time
	Failure      triggers.Failure // the last; zero if it never failed
	Position     int              // in the unit, from 0
	Size         int              // of the unit, in records
}

// Discard is a batch, or what was too old of one, that is given up as a whole.
type Discard struct {
	Reason      dlq.Reason
	Attempts    int              // that counted
	Invocations int              // all
	Failure     triggers.Failure // the last; zero if it never failed
	Numbers     []uint64         // ascending
	Window      *triggers.Window // that they are in, as the last invocation had it; nil without
}

// WakeAt asks for a Woken at Time, and replaces any earlier such wish. The
// zero time: no timer.
type WakeAt struct{ Time time.Time }

// Release says which records need not be held any longer: all below Below, and Numbers.
type Release struct {
	Below   uint64
	Numbers []uint64 // not below Below, ascending within a run
}

// Lost says that records have just been counted into Checkpoint.Gaps: by a
// [Gap], those of its numbers which were neither resolved nor still in memory, or
// by Config.Retention. Within a life of the machine no record is told of twice;
// what was not committed at a crash is told of again in the next.
type Lost struct {
	From, To uint64 // exclusive
	// Records is how many of them were counted: all, but for those which a
	// machine before this one resolved, if only their number is known. At least 1.
	Records uint64
	Reason  string // the Gap's, or one of those below
}

// Reasons of [Lost] that are no Gap's.
const (
	LostToRetention = "retention"
	LostBeforeEnd   = "not there when the shard ended" // an End above the last number read
)

// Finished is the last effect of a machine. Neither flag: it was drained.
type Finished struct {
	Ended  bool // the shard is closed, and everything in it resolved and committed
	Fenced bool // another owner has it
}

func (Fetch) effect()    {}
func (Invoke) effect()   {}
func (Commit) effect()   {}
func (WakeAt) effect()   {}
func (Release) effect()  {}
func (Lost) effect()     {}
func (Finished) effect() {}
