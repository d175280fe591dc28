package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/stream"
)

const (
	// putBytes is the most data of one call; well below what a call may have.
	putBytes = 4 << 20
	// patience is how long a put that cannot be stored now is repeated.
	patience = 30 * time.Second
	// lastAnswers is how long a put that is cut short waits for the answers of
	// the calls under way.
	lastAnswers = 5 * time.Second
)

// item is a record on its way.
type item struct {
	admin.Entry
	line int // of the input, from 1
}

func (e item) size() int { return len(e.Text) + len(e.Data) + len(e.Key) }

// putter reads records and puts them. Each record that was read ends in exactly
// one of four ways: stored, refused (it is not stored), unknown (it was sent and
// no answer came) or never attempted.
type putter struct {
	c        *cli
	stream   string
	path     keyPath // empty: key
	key      string  // empty: random
	hashKey  string
	parallel int
	// recordBytes is the most a record of the stream may have.
	recordBytes int
	stalled     sync.Once // tells of the first wait for a server that cannot store

	mu      sync.Mutex // guards what follows
	last    int        // line that was read
	whole   bool       // the input was read to its end
	stored  uint64
	bytes   uint64
	shards  map[string]uint64
	refused lineSet
	unknown lineSet
	skipped lineSet      // never attempted
	refusal *admin.Error // the first of a single record
	byInput bool         // refusal is a line that was never sent
	failure error        // the first that ended it all
}

// lineSet counts lines, and remembers the lowest of them.
type lineSet struct {
	count uint64
	lines []int // ascending, maxLines at most
}

// maxLines is how many line numbers are remembered of each kind.
const maxLines = 100

func (s *lineSet) add(line int) {
	s.count++
	at, _ := slices.BinarySearch(s.lines, line)
	if at < maxLines {
		s.lines = slices.Insert(s.lines, at, line)
		s.lines = s.lines[:min(len(s.lines), maxLines)]
	}
}

// String is "3 (lines 1, 2, 7)".
func (s *lineSet) String() string {
	const shown = 10
	if s.count == 0 {
		return "0"
	}
	word, more := "lines", ""
	if s.count == 1 {
		word = "line"
	}
	if s.count > shown {
		more = ", …"
	}
	numbers := strings.Join(strings.Fields(strings.Trim(fmt.Sprint(s.lines[:min(len(s.lines), shown)]), "[]")), ", ")
	return fmt.Sprintf("%s (%s %s%s)", count(s.count), word, numbers, more)
}

func (p *putter) entry(data []byte) (admin.Entry, error) {
	e := admin.Entry{Key: p.key, HashKey: p.hashKey}
	if len(p.path.steps) > 0 {
		key, err := p.path.find(data)
		if err != nil {
			return e, err
		}
		e.Key = key
	} else if e.Key == "" {
		e.Key = uuid.NewString()
	}
	if utf8.Valid(data) {
		e.Text = string(data)
	} else {
		e.Data = bytes.Clone(data)
	}
	return e, nil
}

// one puts a single record and says where it went.
func (p *putter) one(ctx context.Context, data []byte) error {
	e, err := p.entry(data)
	if err != nil {
		return admin.NewError(admin.CodeInput, "the record %v", err)
	}
	answer, err := p.c.server().Put(ctx, p.stream, []admin.Entry{e})
	if err != nil {
		return err
	}
	if len(answer.Results) != 1 {
		return admin.NewError(admin.CodeVersion, "one record was put and %d results came", len(answer.Results))
	}
	r := answer.Results[0]
	if r.Error != nil {
		return r.Error
	}
	p.nearlyFull(ctx)
	return p.c.done(map[string]any{"stream": p.stream, "records": 1, "bytes": len(data), "key": e.Key, "shard": r.Shard, "sequence": r.Sequence},
		printLine(r.Shard+"  "+r.Sequence))
}

// nearlyFull warns of a stream that will soon take no more.
func (p *putter) nearlyFull(ctx context.Context) {
	if v, err := p.c.server().Stream(ctx, p.stream); err == nil && v.Warning != "" {
		p.c.warn(v.Warning)
	}
}

// all puts every line of in. Each key belongs to one worker, which has one call
// under way at a time: so calls go out in parallel and a key's records in order.
func (p *putter) all(parent context.Context, in io.Reader, total int64) error {
	p.shards = map[string]uint64{}
	v, err := p.c.server().Stream(parent, p.stream)
	if err != nil {
		return err // before anything is read
	}
	p.recordBytes = v.RecordBytes
	// Two steps: when feeding ends no call begins any more, and a while later
	// those under way are given up.
	feeding, stop := context.WithCancel(parent)
	defer stop()
	calls, giveUp := context.WithCancel(context.WithoutCancel(parent))
	defer giveUp()
	queues := make([]chan item, p.parallel) // from feed, which closes them
	var workers sync.WaitGroup
	for i := range queues {
		queues[i] = make(chan item, stream.MaxPutRecords)
		workers.Go(func() {
			if err := p.work(feeding, calls, queues[i]); err != nil {
				p.fail(err)
				stop()
			}
		})
	}
	start, shown := time.Now(), p.c.progress()
	fed := make(chan struct{}) // closed by the feeder
	go func() {
		defer close(fed)
		if err := p.feed(feeding, in, queues, func(read int64) {
			shown.show(func() string { return p.state(start, read, total) })
		}); err != nil {
			p.fail(err)
			stop()
		}
	}()
	select {
	case <-fed:
	case <-feeding.Done():
	}
	answered := make(chan struct{}) // closed when no worker is left
	go func() {
		defer close(answered)
		workers.Wait()
	}()
	select {
	case <-answered:
	case <-feeding.Done():
		p.c.say("stopping: waiting for the answers of the calls under way, %s at most", span(lastAnswers))
		select {
		case <-answered:
		case <-time.After(lastAnswers):
			giveUp()
			<-answered
		}
	}
	// The feeder ends at once, unless it waits for a pipe or terminal: that read
	// cannot be called back, and ends with the process.
	select {
	case <-fed:
		for _, q := range queues {
			for e := range q {
				p.note(&p.skipped, e)
			}
		}
	case <-time.After(100 * time.Millisecond):
		for _, q := range queues {
			p.drain(q)
		}
	}
	shown.clear()
	return p.finish(parent, time.Since(start))
}

func (p *putter) drain(q <-chan item) {
	for {
		select {
		case e := <-q:
			p.note(&p.skipped, e)
		default:
			return
		}
	}
}

func (p *putter) note(set *lineSet, items ...item) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range items {
		set.add(e.line)
	}
}

// refuse notes that a record is not stored, for a reason of its own.
func (p *putter) refuse(line int, why *admin.Error, byInput bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused.add(line)
	if p.refusal == nil || line < p.refusal.Details["line"].(int) {
		p.refusal, p.byInput = why.With("line", line), byInput
	}
}

func (p *putter) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure == nil && !errors.Is(err, context.Canceled) {
		p.failure = err
	}
}

// feed reads lines until their end and gives each to its key's worker.
func (p *putter) feed(ctx context.Context, in io.Reader, queues []chan item, progress func(read int64)) error {
	defer func() {
		for _, q := range queues {
			close(q)
		}
	}()
	lines, read, seed := bufio.NewReaderSize(in, 1<<20), int64(0), maphash.MakeSeed()
	for number := 1; ; number++ {
		line, n, err := readLine(lines)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && err != io.EOF && err != errLong {
			return admin.NewError(admin.CodeInput, "line %d: %v", number, err)
		}
		read += n
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 || err == errLong {
			p.mu.Lock()
			p.last = number
			p.mu.Unlock()
			if e, bad := p.check(line, err); bad != nil {
				text := strings.NewReplacer("\n"+stream.ErrInvalid.Error()+":", " and a", stream.ErrInvalid.Error()+":", "has a").Replace(bad.Error())
				p.refuse(number, admin.NewError(admin.CodeInput, "line %d %s", number, text), true)
			} else {
				next := item{e, number}
				select {
				case queues[maphash.String(seed, e.Key)%uint64(len(queues))] <- next:
				case <-ctx.Done():
					p.note(&p.skipped, next)
					return ctx.Err()
				}
			}
		}
		progress(read)
		if err == io.EOF {
			p.mu.Lock()
			p.whole = true
			p.mu.Unlock()
			return nil
		}
	}
}

// check makes a record of a line, or says why it cannot be one. The server
// would refuse its whole batch.
func (p *putter) check(line []byte, err error) (admin.Entry, error) {
	if err == errLong {
		return admin.Entry{}, err
	}
	e, err := p.entry(line)
	if err == nil {
		err = stream.Entry{PartitionKey: e.Key, ExplicitHashKey: e.HashKey, Data: line}.Validate(p.recordBytes)
	}
	return e, err
}

var errLong = fmt.Errorf("has more than %s, which no record may", size(stream.MaxRecordBytes))

// readLine returns the next line with its end, and how much it has read. The
// line is the caller's until the next call or longer. Of a line that is longer
// than any record may be nothing is returned but errLong.
func readLine(r *bufio.Reader) (line []byte, read int64, err error) {
	long := false
	for {
		part, err := r.ReadSlice('\n')
		read += int64(len(part))
		switch {
		case read > stream.MaxRecordBytes+2: // and its end
			line, long = nil, true
		case err == bufio.ErrBufferFull || line != nil:
			line = append(line, part...)
		default:
			return part, read, err
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if long && (err == nil || err == io.EOF) {
			err = errLong // at the end of the input the next call says so
		}
		return line, read, err
	}
}

// work puts what comes through a queue, until feeding ends. It does not wait
// for a batch to fill, so that a slow producer's records go out at once.
func (p *putter) work(feeding, calls context.Context, queue <-chan item) error {
	var batch []item
	var carried *item // did not fit the last batch
	for {
		batch = batch[:0]
		bytes := 0
		if carried != nil {
			batch, bytes, carried = append(batch, *carried), carried.size(), nil
		} else {
			select {
			case e, ok := <-queue:
				if !ok {
					return nil
				}
				batch, bytes = append(batch, e), e.size()
			case <-feeding.Done():
				return feeding.Err()
			}
		}
	filling:
		for len(batch) < stream.MaxPutRecords {
			select {
			case e, ok := <-queue:
				if !ok {
					break filling
				}
				if bytes+e.size() > putBytes {
					carried = &e
					break filling
				}
				batch, bytes = append(batch, e), bytes+e.size()
			default:
				break filling
			}
		}
		err := feeding.Err()
		if err != nil {
			p.note(&p.skipped, batch...)
		} else {
			err = p.put(feeding, calls, batch)
		}
		if err != nil {
			if carried != nil {
				p.note(&p.skipped, *carried)
			}
			return err
		}
	}
}

// put stores a batch. Records that were certainly not stored and may be later
// are sent again; a call whose answer was lost is not, since it may be stored.
// The error, if any, is one that no further call would fare better with.
func (p *putter) put(feeding, calls context.Context, batch []item) error {
	wait, until := 50*time.Millisecond, time.Now().Add(patience)
	for {
		again, err := p.call(calls, batch)
		if len(again) == 0 {
			return err
		}
		if bad := (*admin.Error)(nil); errors.As(err, &bad) && tooMuch[bad.Code] {
			// One record spoils its whole call: halve it until that one is alone.
			if len(again) == 1 {
				p.refuse(again[0].line, admin.NewError(bad.Code, "line %d: %s", again[0].line, strings.TrimPrefix(bad.Message, "record 0: ")), false)
				return nil
			}
			half := len(again) / 2
			if err := p.put(feeding, calls, again[:half]); err != nil {
				p.note(&p.skipped, again[half:]...)
				return err
			}
			batch = again[half:]
			continue
		}
		p.stalled.Do(func() { p.c.say("the server cannot store now, trying again for %s: %v", span(patience), err) })
		if time.Now().After(until) {
			p.note(&p.refused, again...)
			return err
		}
		select {
		case <-time.After(wait):
		case <-feeding.Done():
			p.note(&p.refused, again...)
			return feeding.Err()
		}
		batch, wait = again, min(2*wait, time.Second)
	}
}

// tooMuch are the codes of a call that is refused as a whole for what one or all of
// its records are.
var tooMuch = map[string]bool{admin.CodeStreamInvalid: true, admin.CodeTooLarge: true, admin.CodeBadRequest: true}

// notStored are the codes that say for certain that a record is not stored.
var notStored = map[string]bool{admin.CodeStreamInvalid: true, admin.CodeTooLarge: true, admin.CodeBadRequest: true, admin.CodeUnavailable: true, admin.CodeShardClosed: true,
	admin.CodeStreamNotFound: true, admin.CodeForeign: true, admin.CodeForeignHost: true, admin.CodeNoSuchPath: true, admin.CodeUsage: true}

// call makes one call and notes what became of each record, but for those to be
// sent again.
func (p *putter) call(ctx context.Context, batch []item) (again []item, err error) {
	entries := make([]admin.Entry, len(batch))
	for i, e := range batch {
		entries[i] = e.Entry
	}
	answer, err := p.c.server().Put(ctx, p.stream, entries)
	if err == nil && len(answer.Results) != len(batch) {
		err = admin.NewError(admin.CodeVersion, "%d records were put and %d results came", len(batch), len(answer.Results))
	}
	if err != nil {
		switch e, _ := errors.AsType[*admin.Error](err); {
		case e != nil && (e.Code == admin.CodeUnavailable || tooMuch[e.Code]):
			return batch, err
		case e != nil && notStored[e.Code] || neverSent(err):
			p.note(&p.refused, batch...)
		default:
			p.note(&p.unknown, batch...)
		}
		return nil, err
	}
	for i, r := range answer.Results {
		switch {
		case r.Error == nil:
			p.mu.Lock()
			p.stored++
			p.bytes += uint64(batch[i].size() - len(batch[i].Key))
			p.shards[r.Shard]++
			p.mu.Unlock()
		case r.Error.Code == admin.CodeUnavailable || r.Error.Code == admin.CodeShardClosed:
			again, err = append(again, batch[i]), r.Error
		case r.Error.Code == admin.CodeStreamFull:
			// Time alone makes no room soon, and the next would be refused too.
			p.note(&p.refused, batch[i])
			p.fail(r.Error)
		case notStored[r.Error.Code]:
			p.refuse(batch[i].line, r.Error, false)
		default:
			p.note(&p.unknown, batch[i])
			p.fail(r.Error)
		}
	}
	return again, err
}

// neverSent says that there was no connection to send a call on.
func neverSent(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// state is a line of progress.
func (p *putter) state(start time.Time, read, total int64) string {
	p.mu.Lock()
	stored := p.stored
	p.mu.Unlock()
	took := time.Since(start)
	line := fmt.Sprintf("%s put, %s/s", plural(stored, "record"), count(int(float64(stored)/took.Seconds())))
	if total > 0 && read > 0 {
		left := time.Duration(float64(took) * float64(total-read) / float64(read))
		line += fmt.Sprintf(", %d %%, %s left", 100*read/total, span(left))
	}
	return line
}

// finish says how it went. Nothing is under way any more.
func (p *putter) finish(ctx context.Context, took time.Duration) error {
	p.mu.Lock() // the feeder may be left behind
	defer p.mu.Unlock()
	rate := int(float64(p.stored) / max(took.Seconds(), 1e-6))
	data := map[string]any{"stream": p.stream, "records": p.stored, "bytes": p.bytes, "seconds": took.Seconds(), "perSecond": rate, "shards": p.shards,
		"refused": p.refused.count, "unknown": p.unknown.count, "notAttempted": p.skipped.count, "lastLineRead": p.last, "wholeInputRead": p.whole,
		"refusedLines": notNil(p.refused.lines), "unknownLines": notNil(p.unknown.lines), "notAttemptedLines": notNil(p.skipped.lines)}
	summary := fmt.Sprintf("%s put into %s (%s) in %s, %s/s", plural(p.stored, "record"), p.stream, size(p.bytes), span(took), count(rate))
	var e *admin.Error
	mixed := p.stored+p.unknown.count > 0
	switch {
	case ctx.Err() != nil:
		e = admin.NewError(admin.CodeInterrupted, "interrupted")
		if mixed {
			e.Retryable = false // unchanged it would put the same records twice
			e.Actions = []admin.Action{{Text: "put the lines that are not stored; all of them again would store the others twice"}}
		}
	case p.failure != nil:
		e = p.c.toError(context.Background(), nil, p.failure)
		if mixed {
			cause := e
			e = admin.NewError(admin.CodePutPartly, "%s (%s)", cause.Message, cause.Code).With("cause", cause)
			if cause.Code == admin.CodeStreamFull { // which takes somebody to end
				e.Actions = slices.Concat(cause.Actions, e.Actions)
			}
		}
	case p.refusal != nil && (p.byInput || p.stored == 0):
		e = p.refusal
	case p.refusal != nil:
		e = admin.NewError(admin.CodePutPartly, "the first that was refused: %s (%s)", p.refusal.Message, p.refusal.Code).With("cause", p.refusal)
	default:
		p.c.say("%s", summary)
		p.nearlyFull(ctx)
		return p.c.done(data, nil)
	}
	e.Message += "; " + summary
	for _, part := range []struct {
		set  *lineSet
		text string
	}{{&p.refused, "not stored"}, {&p.unknown, "unknown: sent, and no answer came"}, {&p.skipped, "read and never attempted"}} {
		if part.set.count > 0 {
			e.Message += fmt.Sprintf("; %s %s", part.set, part.text)
		}
	}
	if !p.whole {
		e.Message += fmt.Sprintf("; the input after line %d was not read", p.last)
	}
	return e.With("put", data)
}
