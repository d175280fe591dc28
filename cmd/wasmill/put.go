package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/stream"
)

// putBytes is the most data of one call; well below what a call may have.
const putBytes = 4 << 20

func (c *cli) streamPut() *cobra.Command {
	p := putter{c: c}
	var data, file, key, field string
	cmd := &cobra.Command{
		Use: "put NAME", Short: "Put records into a stream", Args: takes("NAME"), ValidArgsFunction: c.names(streamNames),
		Long: help("Puts one record, --data, or every line of a file or of standard input as a record of its own.",
			"Empty lines are passed over. Records go in batches of 500, several at once; records of one key",
			"keep their order.",
			"",
			"The partition key is found by --key '$.path' in each record's JSON, or by --key-field NAME, a field of",
			"the top level by its literal name. --key without a $ is the key of all records. Without any of these",
			"each record gets a random key."),
		Example: help("  wasmill stream put orders --data '{\"id\":1}' --key 1",
			"  wasmill stream put orders --file orders.ndjson --key '$.customer.id'",
			"  producer | wasmill stream put orders --key-field customer"),
		RunE: func(cmd *cobra.Command, args []string) error {
			p.stream = args[0]
			if p.parallel < 1 || p.parallel > 64 {
				return usageError{fmt.Errorf("--parallel %d: want 1 to 64", p.parallel)}
			}
			if key != "" && field != "" {
				return usageError{errors.New("--key and --key-field: want one of them")}
			}
			switch {
			case field != "":
				p.path = keyPath{text: field, steps: []any{field}}
			case key != "" && key[0] == '$':
				var err error
				if p.path, err = parsePath(key); err != nil {
					return usageError{fmt.Errorf("--key %w", err)}
				}
			default:
				p.key = key
			}
			if cmd.Flags().Changed("data") {
				if file != "" {
					return usageError{errors.New("--data and --file: want one of them")}
				}
				return p.one(cmd.Context(), []byte(data))
			}
			in, total := c.in, int64(0)
			if file != "" && file != "-" {
				f, err := os.Open(file)
				if err != nil {
					return err
				}
				defer f.Close()
				if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
					total = info.Size()
				}
				in = f
			} else if c.inTTY && file == "" {
				return usage(cmd, "no records: want --data, --file or something on standard input")
			}
			return p.all(cmd.Context(), in, total)
		},
	}
	f := cmd.Flags()
	f.StringVar(&data, "data", "", "one record's `data`")
	f.StringVarP(&file, "file", "f", "", "a `file` of one record a line; - is standard input, the default")
	f.StringVar(&key, "key", "", "partition `key`: $.path into each record, or one for all")
	f.StringVar(&field, "key-field", "", "partition key: that `field` of each record, by its literal name")
	f.StringVar(&p.hashKey, "hash-key", "", "explicit hash `key` of all records, 0 to 2^128-1")
	f.IntVar(&p.parallel, "parallel", 4, "`calls` at once, 1 to 64")
	return cmd
}

// putter reads records and puts them.
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
	stored  uint64
	bytes   uint64
	shards  map[string]uint64
	lost    uint64 // given up
	failure error  // the first
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
	return p.c.done(map[string]any{"stream": p.stream, "records": 1, "bytes": len(data), "key": e.Key, "shard": r.Shard, "sequence": r.Sequence},
		printLine(r.Shard+"  "+r.Sequence))
}

// all puts every line of in. Each key belongs to one worker, which has one call
// under way at a time: so calls go out in parallel and a key's records in order.
func (p *putter) all(ctx context.Context, in io.Reader, total int64) error {
	p.shards = map[string]uint64{}
	v, err := p.c.server().Stream(ctx, p.stream)
	if err != nil {
		return err // before anything is read
	}
	p.recordBytes = v.RecordBytes
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	queues := make([]chan admin.Entry, p.parallel) // from feed, which closes them
	var workers sync.WaitGroup
	for i := range queues {
		queues[i] = make(chan admin.Entry, stream.MaxPutRecords)
		workers.Go(func() {
			if err := p.work(ctx, queues[i]); err != nil {
				p.fail(err)
				cancel()
			}
		})
	}
	start, shown := time.Now(), p.c.progress()
	fed := make(chan error, 1)
	go func() {
		fed <- p.feed(ctx, in, queues, func(read int64) {
			shown.show(func() string { return p.state(start, read, total) })
		})
	}()
	var bad error
	select {
	case bad = <-fed:
	case <-ctx.Done():
		// A read from a pipe or terminal cannot be called back: it is left
		// behind, and ends with the process.
	}
	workers.Wait()
	shown.clear()
	return p.finish(ctx, bad, time.Since(start))
}

// feed reads lines until their end and gives each to its key's worker.
func (p *putter) feed(ctx context.Context, in io.Reader, queues []chan admin.Entry, progress func(read int64)) error {
	defer func() {
		for _, q := range queues {
			close(q)
		}
	}()
	lines, read, seed := bufio.NewReaderSize(in, 1<<20), int64(0), maphash.MakeSeed()
	for number := 1; ; number++ {
		line, err := readLine(lines)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && err != io.EOF {
			return admin.NewError(admin.CodeInput, "line %d: %v", number, err)
		}
		end := err == io.EOF
		read += int64(len(line))
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			e, err := p.entry(line)
			if err == nil {
				// The server would refuse the whole batch.
				err = stream.Entry{PartitionKey: e.Key, ExplicitHashKey: e.HashKey, Data: line}.Validate(p.recordBytes)
			}
			if err != nil {
				return admin.NewError(admin.CodeInput, "line %d %s", number, strings.NewReplacer("\n"+stream.ErrInvalid.Error()+":", " and a", stream.ErrInvalid.Error()+":", "has a").Replace(err.Error())).With("line", number)
			}
			select {
			case queues[maphash.String(seed, e.Key)%uint64(len(queues))] <- e:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		progress(read)
		if end {
			return nil
		}
	}
}

// readLine returns the next line with its end. It is the caller's until the next call or longer.
func readLine(r *bufio.Reader) ([]byte, error) {
	var whole []byte
	for {
		part, err := r.ReadSlice('\n')
		if err != bufio.ErrBufferFull {
			if whole == nil {
				return part, err
			}
			return append(whole, part...), err
		}
		whole = append(whole, part...)
		if len(whole) > stream.MaxRecordBytes {
			return nil, fmt.Errorf("a line of more than %s is no record", size(stream.MaxRecordBytes))
		}
	}
}

func (p *putter) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure == nil {
		p.failure = err
	}
}

// work puts what comes through a queue. It does not wait for a batch to fill,
// so that a slow producer's records go out at once.
func (p *putter) work(ctx context.Context, queue <-chan admin.Entry) error {
	var batch []admin.Entry
	var carried *admin.Entry // did not fit the last batch
	for {
		batch = batch[:0]
		bytes := 0
		if carried != nil {
			batch, bytes, carried = append(batch, *carried), entrySize(*carried), nil
		} else {
			select {
			case e, ok := <-queue:
				if !ok {
					return nil
				}
				batch, bytes = append(batch, e), entrySize(e)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	filling:
		for len(batch) < stream.MaxPutRecords {
			select {
			case e, ok := <-queue:
				if !ok {
					break filling
				}
				if bytes+entrySize(e) > putBytes {
					carried = &e
					break filling
				}
				batch, bytes = append(batch, e), bytes+entrySize(e)
			default:
				break filling
			}
		}
		if err := p.put(ctx, batch); err != nil {
			return err
		}
	}
}

func entrySize(e admin.Entry) int { return len(e.Text) + len(e.Data) + len(e.Key) }

// patience is how long a put that cannot be stored now is repeated.
const patience = 30 * time.Second

// put stores a batch. Records that were certainly not stored and may be later
// are sent again; a call whose answer was lost is not, since it may be stored.
func (p *putter) put(ctx context.Context, batch []admin.Entry) error {
	wait, until := 50*time.Millisecond, time.Now().Add(patience)
	for {
		answer, err := p.c.server().Put(ctx, p.stream, batch)
		if err == nil && len(answer.Results) != len(batch) {
			err = admin.NewError(admin.CodeVersion, "%d records were put and %d results came", len(batch), len(answer.Results))
		}
		var again []admin.Entry
		if hasCode(err, admin.CodeUnavailable) {
			again = batch
		} else if err != nil {
			p.mu.Lock()
			p.lost += uint64(len(batch))
			p.mu.Unlock()
			return err
		}
		p.mu.Lock()
		for i, r := range answer.Results {
			switch {
			case r.Error == nil:
				p.stored++
				p.bytes += uint64(entrySize(batch[i]) - len(batch[i].Key))
				p.shards[r.Shard]++
			case r.Error.Retryable:
				again = append(again, batch[i])
				err = r.Error
			default:
				p.lost++
				if p.failure == nil {
					p.failure = r.Error
				}
			}
		}
		p.mu.Unlock()
		if len(again) == 0 {
			return nil
		}
		p.stalled.Do(func() { p.c.say("the server cannot store now, trying again for %s: %v", span(patience), err) })
		if time.Now().After(until) {
			p.mu.Lock()
			p.lost += uint64(len(again))
			p.mu.Unlock()
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		batch, wait = again, min(2*wait, time.Second)
	}
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

func (p *putter) finish(ctx context.Context, bad error, took time.Duration) error {
	rate := int(float64(p.stored) / max(took.Seconds(), 1e-6))
	data := map[string]any{"stream": p.stream, "records": p.stored, "bytes": p.bytes, "failed": p.lost, "seconds": took.Seconds(), "perSecond": rate, "shards": p.shards}
	err := p.failure
	if err == nil || errors.Is(err, context.Canceled) {
		err = bad
	}
	if err == nil && ctx.Err() != nil {
		err = admin.NewError(admin.CodeInterrupted, "interrupted")
	}
	summary := fmt.Sprintf("%s put into %s (%s) in %s, %s/s", plural(p.stored, "record"), p.stream, size(p.bytes), span(took), count(rate))
	if err == nil {
		p.c.say("%s", summary)
		return p.c.done(data, nil)
	}
	e := p.c.toError(context.Background(), nil, err)
	if p.lost > 0 && p.stored > 0 && e.Category == admin.Invalid {
		e = admin.NewError(admin.CodePutPartly, "the first that was refused: %s (%s)", e.Message, e.Code).With("cause", e)
	}
	if p.stored > 0 || p.lost > 0 {
		e.Message += fmt.Sprintf("; %s before, %s not stored", summary, count(p.lost))
		e.Details["put"] = data
	}
	return e
}
