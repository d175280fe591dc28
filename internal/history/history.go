// Package history writes down what a run of wasmill did, one line an event, and
// checks afterwards that it kept its promises.
//
// A history is a file of JSON lines, opened for appending, one write(2) a line,
// so that it survives SIGKILL and may be written by several processes: order in
// the file is order in time. Events come from observers: producers write what
// they put and what was acknowledged, the pool's door what was invoked and how
// it ended, the journal what it acknowledged. A final read-back of the streams
// and the dead letters is the independent side. [Check] reads all of it and
// names each broken promise.
package history

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// Kind is what an event tells.
type Kind string

const (
	Put     Kind = "put"     // a producer is about to put: Req, Stream, Key, Hash
	PutOK   Kind = "putok"   // it was acknowledged: Req, Stream, Shard, Seq, Hash
	PutFail Kind = "putfail" // it was refused: Req
	Inv     Kind = "inv"     // an invocation starts: ID, Trigger, Gen, Stream, Shard, Seqs; of a redriven letter also Letter, and Gen, Shard and Seqs are then the letter's
	InvEnd  Kind = "invend"  // it ended: ID, Outcome, and for a partial reply Seq, the lowest failed
	Ckpt    Kind = "ckpt"    // the journal is asked (Result: asked) or answered: Trigger, Gen, Stream, Shard, Epoch, To (lowest unfinished number), Dead, DeadIDs, Out, Redriving, Redriven, Again, Ended, Result
	Take    Kind = "take"    // a poller takes a shard up: Stream, Trigger, Gen, Shard, Epoch (of its first commit), To, Spans (what is finished), Redriving and Ended
	Gap     Kind = "gap"     // records were lost and counted: Trigger, Gen, Stream, Shard, From, To (exclusive), Reason
	Fault   Kind = "fault"   // the test broke something: Reason
	Read    Kind = "read"    // read-back of a record: Stream, Shard, Seq, Number, Key, Hash; ID of the output that it is, which is then Seen
	Shard   Kind = "shard"   // read-back of a shard: Stream, Shard, Parents and, unless records have explicit hash keys, Low and High
	Letter  Kind = "letter"  // read-back of a dead letter: ID, Trigger, Gen, Stream, Shard, Seq, Hash
	Seen    Kind = "seen"    // read-back of an output, in a stream without Read or as a dead letter whose target is gone: Stream (the target), ID
)

// Event is one line. Which fields it has depends on Kind. Shard ids are those of
// a stream: whatever names a shard names its stream too.
type Event struct {
	At      int64    `json:"at"` // Unix nanoseconds, for people; order is that of the lines
	Kind    Kind     `json:"e"`
	Req     string   `json:"req,omitempty"`
	ID      string   `json:"id,omitempty"`
	Stream  string   `json:"stream,omitempty"`
	Trigger string   `json:"trigger,omitempty"`
	Gen     int      `json:"gen,omitempty"`
	Shard   string   `json:"shard,omitempty"`
	Epoch   uint64   `json:"epoch,omitempty"`
	Seq     string   `json:"seq,omitempty"`
	Seqs    []string `json:"seqs,omitempty"`
	Number  uint64   `json:"n,omitempty"`
	From    uint64   `json:"from,omitempty"`
	To      uint64   `json:"to,omitempty"`
	Key     string   `json:"key,omitempty"`
	Hash    string   `json:"hash,omitempty"`
	Outcome string   `json:"outcome,omitempty"` // done, partial, error, timeout, throttled, infra
	Result  string   `json:"result,omitempty"`  // ok, stale, unknown; asked: on its way
	Dead    []string `json:"dead,omitempty"`    // sequence numbers of records that this commit buries for the first time
	DeadIDs []string `json:"deadIds,omitempty"` // their letters' ids, in the same order
	// Final: the invocation is the last one of a tumbling window, and has no records.
	Final bool `json:"final,omitempty"`
	// Letter is the id of the dead letter that is invoked.
	Letter string `json:"letter,omitempty"`
	// Out are the outputs that a commit holds, as [OutName] writes them.
	Out []string `json:"out,omitempty"`
	// Redriving are the ids of letters that stand in the checkpoint as being
	// delivered again, in its order.
	Redriving []string `json:"redriving,omitempty"`
	// Redriven are the ids of letters that a commit ends, by success or because
	// they are buried again: then Again has, at the same index, the new letter's
	// id. It may be left out when none was.
	Redriven []string `json:"redriven,omitempty"`
	Again    []string `json:"again,omitempty"`
	Spans    []Span   `json:"spans,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	// Ended says of a Ckpt or a Take that the shard is closed and wholly finished.
	Ended bool `json:"ended,omitempty"`
	// Parents are the shards that one came from; Low and High its first and last
	// hash key, decimal.
	Parents []string `json:"parents,omitempty"`
	Low     string   `json:"low,omitempty"`
	High    string   `json:"high,omitempty"`
}

// Span is the records of [From, To) whose bucket (the low six bits of the MD5
// of the partition key) is in Buckets.
type Span struct {
	Buckets uint64 `json:"b"`
	From    uint64 `json:"f"`
	To      uint64 `json:"t"` // exclusive
}

// OutName is how Event.Out names an output: by the name of its target stream and its id.
func OutName(stream, id string) string { return stream + "/" + id }

// Hash is the digest by which histories name payloads.
func Hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:12])
}

// Writer appends events to a file. A nil Writer takes and drops them, so that
// callers need not ask whether a history is wanted.
type Writer struct {
	mu   sync.Mutex
	file *os.File
}

// Open appends to the file at path, made if missing.
func Open(path string) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	return &Writer{file: f}, nil
}

// FromEnv opens the file that WASMILL_HISTORY names; nil when it names none.
func FromEnv() (*Writer, error) {
	if path := os.Getenv("WASMILL_HISTORY"); path != "" {
		return Open(path)
	}
	return nil, nil
}

// Add appends one event. A line that cannot be written is logged: a history with
// holes would accuse the innocent.
func (w *Writer) Add(e Event) {
	if w == nil {
		return
	}
	e.At = time.Now().UnixNano()
	line, err := json.Marshal(e)
	if err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		// The line end comes first too: it is the end of a line that a kill has torn.
		_, err = w.file.Write(slices.Concat([]byte{'\n'}, line, []byte{'\n'}))
	}
	if err != nil {
		slog.Error("history: line lost", "kind", e.Kind, "err", err)
	}
}

// Close closes the file.
func (w *Writer) Close() error {
	if w == nil {
		return nil
	}
	return w.file.Close()
}
