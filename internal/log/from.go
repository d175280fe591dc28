package log

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"unique"

	"github.com/wasmill/wasmill/internal/natsd"
)

// validSource is one or more subject tokens.
var validSource = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

const maxSource = 200 // characters

// AppendFrom stores records that a source gives out as one frame of their own,
// with m, the mark of the last of them, which must not be zero. The newest frame
// of that source in this log must be after (0: there is none), else the error is
// [ErrRefused] and nothing is stored. It returns the frame's sequence. source is
// made of letters, digits, - and _, with single dots between, 200 at most.
//
// It may use the reserve that [natsd.Journal] may use: to give records out is how
// a source gets rid of what it keeps of them elsewhere.
//
// Other errors are those of [Log.Append], [ErrTooLarge] also for more records than
// fit into one frame (65,535, or 31 MiB). Nothing is stored with any of them but
// [ErrUnknown]. If ctx ends first the records may become durable yet; [Log.LastFrom]
// waits until that is certain.
//
// A source must have one writer, which tells by LastFrom what is there already:
// so each of its records is stored once, whatever happens to the writer.
func (l *Log) AppendFrom(ctx context.Context, source string, m Mark, after uint64, recs []Record) (frame uint64, err error) {
	switch {
	case !validSource.MatchString(source) || len(source) > maxSource:
		return 0, fmt.Errorf("source %q: want 1 to %d letters, digits, - and _ with single dots between", source, maxSource)
	case m == (Mark{}):
		return 0, errors.New("log: the zero mark lies before all records")
	case len(recs) == 0:
		return 0, errors.New("log: no records to append")
	case len(recs) > maxRecords:
		return 0, fmt.Errorf("%d records for one frame: %w", len(recs), ErrTooLarge)
	}
	bytes := markBytes
	for i := range recs {
		bytes += maxEncoded(&recs[i])
	}
	if bytes > MaxRecordBytes {
		return 0, fmt.Errorf("frame of %d bytes: %w", bytes, ErrTooLarge)
	}
	if err := l.set.srv.Admit(natsd.Journal, bytes+headBytes); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	p := &Pending{records: recs, bytes: int64(bytes), from: fence{source, m, after}, done: make(chan struct{}), places: make([]Place, 0, len(recs))}
	if err := l.enqueue(p); err != nil {
		return 0, err
	}
	places, err := p.Wait(ctx)
	if err != nil {
		return 0, err
	}
	return places[0].Frame, nil
}

// relaying notes an append that is not settled; it needs mu.
func (l *Log) relaying(p *Pending) {
	if l.sending == nil {
		l.sending = map[string]*Pending{}
	}
	l.sending[p.from.source] = p
}

// relayed ends what relaying began.
func (l *Log) relayed(p *Pending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sending[p.from.source] == p { // later ones are settled later
		delete(l.sending, p.from.source)
	}
}

// setFrom needs mu. The same sources stand in the logs of many shards, so their
// names share memory.
func (l *Log) setFrom(source string, f From) {
	if l.froms == nil {
		l.froms = map[string]From{}
	}
	l.froms[unique.Make(source).Value()] = f
}

// LastFrom is the newest frame of a source here; zero values if there is none. It
// waits until appends of that source which were started before are settled. It
// asks the server once for a log and once for a source, then answers from memory.
// [*CorruptError] if the frame's mark is damaged, [ErrNotFound], [ErrUnavailable].
func (l *Log) LastFrom(ctx context.Context, source string) (Mark, uint64, error) {
	if err := l.settled(ctx, source); err != nil {
		return Mark{}, 0, err
	}
	if err := l.loadFroms(ctx); err != nil {
		return Mark{}, 0, err
	}
	l.mu.Lock()
	f, there := l.froms[source]
	l.mu.Unlock()
	if there && f.Frame == 0 {
		var err error
		if f, err = l.readFrom(ctx, source); err != nil {
			return Mark{}, 0, err
		}
	}
	return f.Mark, f.Frame, nil
}

// LastFroms is the newest frame of every source here. One whose mark is damaged has
// a zero mark, and the lowest frame that may be its newest. It reads those that were
// not looked at before, and those damaged, one by one.
func (l *Log) LastFroms(ctx context.Context) (map[string]From, error) {
	if err := l.loadFroms(ctx); err != nil {
		return nil, err
	}
	l.mu.Lock()
	all := maps.Clone(l.froms)
	l.mu.Unlock()
	for source := range all {
		m, frame, err := l.LastFrom(ctx, source)
		if _, ok := errors.AsType[*CorruptError](err); ok {
			t, err := l.state(ctx)
			if err != nil {
				return nil, err
			}
			all[source] = From{Frame: t.first} // what cannot be read tells no place
			continue
		}
		if err != nil {
			return nil, err
		}
		if all[source] = (From{m, frame}); frame == 0 {
			delete(all, source) // trimmed meanwhile
		}
	}
	return all, nil
}

// settled waits for the appends of a source that were started before.
func (l *Log) settled(ctx context.Context, source string) error {
	l.mu.Lock()
	p := l.sending[source]
	l.mu.Unlock()
	if p == nil {
		return nil
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// loadFroms finds out what sources there are. JetStream tells that from its
// index: it would not tell a frame that it cannot read from one that never was.
func (l *Log) loadFroms(ctx context.Context) error {
	l.mu.Lock()
	loaded, gone := l.fromsLoaded, l.gone
	l.mu.Unlock()
	switch {
	case gone:
		return fmt.Errorf("log %s: %w", l.id, ErrNotFound)
	case loaded:
		return nil
	}
	list, err := l.listFroms(ctx, ">")
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, source := range list {
		if _, ok := l.froms[source]; !ok { // else an append of ours was settled meanwhile
			l.setFrom(source, From{})
		}
	}
	l.fromsLoaded = true
	return nil
}

func (l *Log) listFroms(ctx context.Context, match string) (list []string, err error) {
	err = l.set.calmly(ctx, func() error {
		ctx, cancel := l.set.srv.ReadContext(ctx)
		defer cancel()
		list, err = l.set.nats.sources(ctx, l.id, match)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list sources of log %s: %w", l.id, l.unavailable(ctx, err))
	}
	return list, nil
}

// readFrom asks the server for the newest frame of a source and remembers it.
func (l *Log) readFrom(ctx context.Context, source string) (From, error) {
	var data []byte
	err := l.set.calmly(ctx, func() (err error) {
		ctx, cancel := l.set.srv.ReadContext(ctx)
		defer cancel()
		data, err = l.set.nats.newest(ctx, l.id, source)
		return err
	})
	var f From
	switch {
	case errors.Is(err, errNoMessage):
		list, err := l.listFroms(ctx, source)
		if err != nil {
			return From{}, err
		}
		if slices.Contains(list, source) {
			return From{}, &CorruptError{Log: l.id, Reason: "the newest frame of source " + source + " cannot be read"}
		}
	case err != nil:
		return From{}, fmt.Errorf("read the newest frame of source %s in log %s: %w", source, l.id, l.unavailable(ctx, err))
	default:
		if f.Mark, f.Frame, err = markOf(data); err != nil {
			return From{}, &CorruptError{Log: l.id, Seq: f.Frame, Reason: "newest frame of source " + source + ": " + err.Error()}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch known := l.froms[source]; {
	case known.Frame > f.Frame: // an append of ours was settled meanwhile
		return known, nil
	case f.Frame > 0:
		l.setFrom(source, f)
	default:
		delete(l.froms, source)
	}
	return f, nil
}

// moved says whether it is for certain that the newest frame of a source is
// another than a frame was made for. Only the appender calls it, so that none of
// our frames is under way.
func (l *Log) moved(from fence) bool {
	if from.source == "" {
		return false
	}
	// What is in memory has misled the caller, or it was trimmed since.
	l.mu.Lock()
	l.setFrom(from.source, From{})
	l.mu.Unlock()
	f, err := l.readFrom(l.set.base, from.source)
	return err == nil && f.Frame != from.after
}
