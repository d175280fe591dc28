package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/dlq/store"
	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
	"github.com/wasmill/wasmill/triggers"
)

// Targets is the streams that outputs go to, by the ids of their incarnations.
// What errors mean is said by [natsstream.Store].
type Targets interface {
	Progress(ctx context.Context, streamID, source string) (*natsstream.Progress, error)
	Route(streamID string, key stream.HashKey) (shard string, err error)
	Relay(ctx context.Context, streamID, source string, p *natsstream.Progress, at log.Mark, shard string, recs []log.Record) error
}

const (
	// A run, which becomes one frame, has at most so many bytes and outputs. An
	// output that is larger goes alone.
	runBytes = 512 << 10
	runMax   = math.MaxUint16
	// reroutes is how often in a row the shard of a run may turn out to be closed,
	// or the progress to be outdated, before there is a pause.
	reroutes = 4
)

// target is one incarnation of a stream that a source has outputs for.
type target struct {
	id, arn  string
	progress *natsstream.Progress // nil: to be asked for
	gone     bool
	tail     *store.Tail  // of its lane, once it is gone; nil: to be asked for
	done     dlq.Position // up to here all is in the stream, or in the morgue
	waits    bool         // outputs of commits that were looked at are not done
	behind   uint64       // a commit before all those
	most     int          // bytes of a run while the stream is nearly full; 0: runBytes

	// Guarded by Relay.mu.
	retry retry
	alive bool // an output has got there, or it has been found to be there
}

func (r *Relay) target(s *source, o *triggers.Output) *target {
	t := s.targets[o.StreamID]
	if t == nil {
		t = &target{id: o.StreamID, arn: o.Stream}
		r.mu.Lock()
		s.targets[o.StreamID] = t
		r.mu.Unlock()
	}
	return t
}

// placed is an output with its place.
type placed struct {
	triggers.Output
	at      dlq.Position
	behind  uint64 // a commit before its own
	trigger string // name at the time
}

// size is what an output takes in memory and in a frame, about.
func size(o *triggers.Output) int {
	return len(o.PartitionKey) + len(o.Data) + len(o.TraceParent) + len(o.ID) + 48
}

// sourceName is what a source is called in targets: [Relay.Confirmed] reads it.
func sourceName(src triggers.Source) string {
	return src.Mapping + "." + strconv.Itoa(src.Generation) + "." + src.Shard
}

// Confirmed says whether all outputs of a source up to m are done for good, so
// that a target need not tell any more how far the source has come. It is what
// [natsstream.Options] asks by Keep.
func (r *Relay) Confirmed(ctx context.Context, source string, m log.Mark) (bool, error) {
	parts := strings.Split(source, ".")
	if len(parts) != 3 {
		return false, fmt.Errorf("relay: %q names no source", source)
	}
	generation, err := strconv.Atoi(parts[1])
	if err != nil {
		return false, fmt.Errorf("relay: %q names no source: %w", source, err)
	}
	mark, err := r.journals.Confirmed(ctx, triggers.Source{Mapping: parts[0], Generation: generation, Shard: parts[2]})
	return mark >= m.Sequence, err
}

// deliver moves outputs that come next for their target; they are its first that wait.
func (r *Relay) deliver(ctx context.Context, src triggers.Source, t *target, outputs []placed) {
	n, err := r.send(ctx, src, t, outputs)
	if err == nil {
		t.waits = false
	} else if n < len(outputs) {
		t.behind = outputs[n].behind
	}
	r.note(ctx, &t.retry, err, "outputs of a trigger cannot be relayed yet", "mapping", src.Mapping, "shard", src.Shard, "stream", t.arn)
}

// catchUp moves a stride of what waits for one target. After a failure it takes no
// more than a run: the target may be as full as before.
func (r *Relay) catchUp(ctx context.Context, src triggers.Source, s *source, t *target) {
	limit := strideBytes
	r.mu.Lock()
	if t.retry.err != nil {
		limit = runBytes
	}
	r.mu.Unlock()
	var outputs []placed
	bytes, behind := 0, t.behind
	err := r.journals.Outputs(ctx, src, t.id, t.behind, s.read, func(at dlq.Position, trigger string, all []triggers.Output) error {
		if len(all) > 0 && bytes >= limit {
			return errStride
		}
		for i := range all {
			here := dlq.Position{Sequence: at.Sequence, Index: at.Index + uint32(i)}
			if here.Compare(t.done) > 0 {
				outputs = append(outputs, placed{all[i], here, behind, trigger})
				bytes += size(&all[i])
			}
		}
		behind = at.Sequence
		return nil
	})
	more := errors.Is(err, errStride)
	if err == nil || more {
		var n int
		if n, err = r.send(ctx, src, t, outputs); err != nil && n < len(outputs) {
			behind = outputs[n].behind
		}
		t.behind, t.waits = behind, more || err != nil
	}
	r.note(ctx, &t.retry, err, "outputs of a trigger cannot be relayed yet", "mapping", src.Mapping, "shard", src.Shard, "stream", t.arn)
}

// send brings outputs to their stream in order, or to the morgue if the stream is
// gone. n are done when it fails.
func (r *Relay) send(ctx context.Context, src triggers.Source, t *target, outputs []placed) (n int, err error) {
	for tries := 0; ; {
		if t.gone {
			m, err := r.bury(ctx, src, t, outputs[n:])
			return n + m, err
		}
		if t.progress == nil {
			t.progress, err = r.streams.Progress(ctx, t.id, sourceName(src))
			if err == nil {
				r.found(src, t)
			}
		}
		if err == nil {
			var m int
			if m, err = r.relay(ctx, src, t, outputs[n:]); err == nil {
				return len(outputs), nil
			}
			if n += m; m > 0 {
				tries = 0
			}
		}
		switch tries++; {
		case ctx.Err() != nil:
			return n, err
		case errors.Is(err, stream.ErrNotFound):
			t.gone, t.progress, err = true, nil, nil
			r.log.Warn("a stream that a trigger emits to was deleted; outputs that were on their way become dead letters",
				"mapping", src.Mapping, "shard", src.Shard, "stream", t.arn)
		case tries < reroutes && errors.Is(err, stream.ErrClosed):
			err = nil // another shard has taken over
		case tries < reroutes && errors.Is(err, natsstream.ErrStale):
			t.progress, err = nil, nil
		default:
			t.progress = nil
			return n, err
		}
	}
}

// found notes how far a stream says that it has the source's outputs.
func (r *Relay) found(src triggers.Source, t *target) {
	if at := position(t.progress.At); at.Compare(t.done) > 0 {
		t.done = at
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.alive {
		return
	}
	t.alive = true
	maps.DeleteFunc(r.family(src.Mapping).graves, func(id string, g *grave) bool { return g.arn == t.arn && id != t.id })
}

func position(m log.Mark) dlq.Position { return dlq.Position{Sequence: m.Sequence, Index: m.Index} }

// relay appends outputs to their stream, run by run: those that follow each other
// and belong to one shard now. What does not fit into a stream that is nearly full
// goes in shorter runs: as much as there is room for.
func (r *Relay) relay(ctx context.Context, src triggers.Source, t *target, outputs []placed) (n int, err error) {
	for n < len(outputs) {
		if outputs[n].at.Compare(t.done) <= 0 {
			n++
			continue
		}
		shard, err := r.streams.Route(t.id, stream.HashOf(outputs[n].PartitionKey))
		if err != nil {
			return n, err
		}
		var run []log.Record
		most := cmp.Or(t.most, runBytes)
		bytes, end := 0, n
		for ; end < len(outputs) && len(run) < runMax; end++ {
			o := &outputs[end]
			more := size(&o.Output)
			if end > n {
				if bytes+more > most {
					break
				}
				other, err := r.streams.Route(t.id, stream.HashOf(o.PartitionKey))
				if err != nil {
					return n, err
				}
				if other != shard {
					break
				}
			}
			bytes += more
			run = append(run, log.Record{Key: o.PartitionKey, Data: o.Data, Trace: o.TraceParent, ID: o.ID})
		}
		at := outputs[end-1].at
		if err := r.crash("before relay"); err != nil {
			return n, err
		}
		if err := r.streams.Relay(ctx, t.id, sourceName(src), t.progress, log.Mark{Sequence: at.Sequence, Index: at.Index}, shard, run); err != nil {
			if errors.Is(err, stream.ErrQuota) && len(run) > 1 {
				t.most = bytes / 2
				continue
			}
			return n, err
		}
		t.most = min(2*most, runBytes)
		if err := r.crash("after relay"); err != nil {
			return n, err
		}
		t.done, n = at, end
	}
	return n, nil
}

// bury makes dead letters of outputs whose stream is gone.
func (r *Relay) bury(ctx context.Context, src triggers.Source, t *target, outputs []placed) (n int, err error) {
	lane := store.Lane{Source: src, Target: t.id}
	if t.tail == nil {
		tail, err := r.graves.Tail(ctx, lane)
		if err != nil {
			return 0, err
		}
		t.tail = &tail
		if tail.Position.Compare(t.done) > 0 {
			t.done = tail.Position
		}
	}
	for ; n < len(outputs); n++ {
		o := &outputs[n]
		if o.at.Compare(t.done) <= 0 {
			continue
		}
		l := dlq.Letter{
			Kind: dlq.KindOutput, ID: dlq.OutputLetterID(src.Mapping, src.Generation, src.Shard, t.id, o.at), OutputID: o.ID,
			Trigger: o.trigger, Mapping: src.Mapping, Generation: src.Generation, Stream: o.Stream, StreamID: o.StreamID,
			PartitionKey: o.PartitionKey, TraceParent: o.TraceParent, Data: o.Data, Reason: dlq.TargetGone,
			ErrorMessage: "stream " + name(o.Stream) + " was deleted before this output got there", Buried: time.Now().UTC(), Burial: 1,
		}
		if err := r.crash("before bury"); err != nil {
			return n, err
		}
		tail, err := r.graves.Append(ctx, lane, *t.tail, o.at, &l)
		if err != nil {
			t.tail = nil
			return n, err
		}
		t.tail, t.done = &tail, o.at
		r.mu.Lock()
		graves := r.family(src.Mapping).graves
		if graves[t.id] == nil {
			graves[t.id] = &grave{arn: t.arn}
		}
		graves[t.id].buried++
		r.mu.Unlock()
		if err := r.crash("after bury"); err != nil {
			return n, err
		}
	}
	return n, nil
}

// name is that of the stream with that ARN.
func name(arn string) string {
	if _, name, ok := strings.Cut(arn, ":stream/"); ok {
		return name
	}
	return arn
}

// there says whether an incarnation of a stream is not deleted. It asks nobody.
func (r *Relay) there(id string) bool {
	_, err := r.streams.Route(id, stream.HashKey{})
	return !errors.Is(err, stream.ErrNotFound)
}

// Problem says in words for people why outputs or notices of a mapping are not where
// they belong; empty: there is no problem. Streams that were deleted are told of until
// outputs get to another of their name, or a restart.
func (r *Relay) Problem(mapping string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.mappings[mapping]
	if f == nil {
		return ""
	}
	gone, alive, waiting := map[string]int{}, map[string]bool{}, map[string]error{}
	for _, g := range f.graves {
		gone[g.arn] += g.buried
	}
	var letters error
	for _, s := range f.sources {
		letters = cmp.Or(letters, s.letters.err)
		for id, t := range s.targets {
			if gone[t.arn] > 0 && t.alive && r.there(id) { // who has nothing waiting for it does not know
				alive[t.arn] = true
			}
			if t.retry.err != nil {
				waiting[t.arn] = t.retry.err
			}
		}
	}
	var all []string
	if letters != nil {
		all = append(all, fmt.Sprintf("dead letters wait: %v", letters))
	}
	for arn, err := range waiting {
		all = append(all, fmt.Sprintf("outputs wait for stream %s: %v", name(arn), err))
	}
	for arn, n := range gone {
		if !alive[arn] {
			all = append(all, fmt.Sprintf("stream %s was deleted, and %d outputs to it are dead letters", name(arn), n))
		}
	}
	all = append(all, r.noticeProblems(f)...)
	slices.SortFunc(all, cmp.Compare)
	return strings.Join(all, "; ")
}
