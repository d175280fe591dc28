package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wasmill/wasmill/stream"
)

func (h *handler) listStreams(w http.ResponseWriter, r *http.Request) error {
	if err := parameters(r).done(); err != nil {
		return err
	}
	all, err := h.Streams.List(r.Context())
	if err != nil {
		return err
	}
	out := make([]Stream, len(all))
	for i, d := range all {
		out[i] = viewStream(d)
	}
	writeJSON(w, http.StatusOK, map[string]any{"streams": out})
	return nil
}

func (h *handler) createStream(w http.ResponseWriter, r *http.Request) error {
	var spec StreamSpec
	if err := readJSON(w, r, maxJSON, &spec); err != nil {
		return err
	}
	if spec.Name == "" {
		return newError(CodeStreamInvalid, "a stream needs a name").With("field", "name")
	}
	if spec.Mode == stream.OnDemand {
		spec.Shards = cmp.Or(spec.Shards, stream.OnDemandShards)
	}
	d, err := h.Streams.Create(r.Context(), stream.Local(spec.Name),
		stream.Config{Shards: spec.Shards, Retention: time.Duration(spec.Retention), RecordBytes: spec.RecordBytes, MaxBytes: spec.MaxBytes, Mode: spec.Mode})
	if err != nil {
		return h.ofStream(r.Context(), err, spec.Name)
	}
	writeJSON(w, http.StatusCreated, viewStream(d))
	return nil
}

func (h *handler) updateStream(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	var change StreamChange
	if err := readJSON(w, r, maxJSON, &change); err != nil {
		return err
	}
	if change == (StreamChange{}) {
		return newError(CodeBadRequest, "nothing to change: want retention, maxBytes or mode")
	}
	d, err := h.Streams.Update(r.Context(), stream.Local(name), func(c *stream.Config) {
		if change.Retention != nil {
			c.Retention = time.Duration(*change.Retention)
		}
		if change.MaxBytes != nil {
			c.MaxBytes = *change.MaxBytes
		}
		if change.Mode != nil {
			c.Mode = *change.Mode
		}
	})
	if err != nil {
		return h.ofStream(r.Context(), err, name)
	}
	writeJSON(w, http.StatusOK, viewStream(d))
	return nil
}

// NearlyFull says that a limit is nearly reached.
func NearlyFull(what string, used, limit int64) string {
	return fmt.Sprintf("%s holds %d of the %d bytes that it may, %d %%", what, used, limit, 100*used/limit)
}

func (h *handler) getStream(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	d, err := h.Streams.Describe(r.Context(), stream.Local(name))
	if err != nil {
		return h.ofStream(r.Context(), err, name)
	}
	stats, err := h.Streams.Stats(r.Context(), d.Ref)
	if err != nil {
		return h.ofStream(r.Context(), err, name)
	}
	v := viewStream(d)
	for _, s := range d.Shards {
		shard := Shard{ID: s.ID, State: s.State, From: s.From, To: s.To, Parents: s.Parents, KeyShare: keyShare(s), Closed: s.Closed}
		if i := slices.IndexFunc(stats, func(st ShardStats) bool { return st.Shard == s.ID }); i >= 0 {
			st := stats[i]
			shard.Records, shard.Bytes, shard.FirstNo, shard.NextNo, shard.Oldest, shard.Newest = st.Records, st.Bytes, st.First, st.Next, st.Oldest, st.Newest
			shard.RecordRate, shard.ByteRate = st.RecordRate, st.ByteRate
		}
		v.Records += shard.Records
		v.Bytes += shard.Bytes
		v.Shards = append(v.Shards, shard)
	}
	for _, c := range d.Attributes.Consumers {
		v.Consumers = append(v.Consumers, Consumer{Name: c.Name, ARN: fmt.Sprintf("%s/consumer/%s:%d", d.ARN(), c.Name, c.Created.Unix()), Created: c.Created.UTC()})
	}
	if v.MaxBytes > 0 && float64(v.Bytes) >= stream.QuotaShare*float64(v.MaxBytes) {
		v.Warning = NearlyFull("the stream", int64(v.Bytes), v.MaxBytes) + "; more is refused at 100 %: raise the quota by `wasmill stream update " + name + " --max-bytes`, or shorten the retention"
	}
	if h.StreamWarning != nil {
		if text := h.StreamWarning(d.Ref); text != "" {
			v.Warning = strings.TrimPrefix(v.Warning+"; "+text, "; ")
		}
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

func (h *handler) deleteStream(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	q := parameters(r)
	force := q.flag("force")
	if err := q.done(); err != nil {
		return err
	}
	d, err := h.Streams.Describe(r.Context(), stream.Local(name))
	if err != nil {
		return h.ofStream(r.Context(), err, name)
	}
	if !force {
		all, err := h.Triggers.List(r.Context())
		if err != nil {
			return err
		}
		var readers, told []string
		for _, m := range all {
			if m.StreamID == d.ID {
				readers = append(readers, m.Name)
			} else if m.Config.OnFailure == d.ARN() {
				told = append(told, m.Name)
			}
		}
		if len(readers) > 0 {
			by := "trigger " + readers[0]
			if len(readers) > 1 {
				by = "triggers " + strings.Join(readers, ", ")
			}
			return newError(CodeStreamInUse, "stream %s is read by %s", name, by).Named(readers[0]).With("triggers", readers)
		}
		if len(told) > 0 {
			e := newError(CodeStreamInUse, "stream %s is where trigger %s tells of discarded batches", name, strings.Join(told, " and "))
			e.Actions = nil
			return e.With("triggers", told).Do("have it tell another, or none", "wasmill trigger update "+told[0]+" --on-failure none").
				Do("delete the stream all the same: its notices wait then; add --force", "")
		}
	}
	if err := h.Streams.Delete(r.Context(), stream.Local(name)); err != nil {
		return h.ofStream(r.Context(), err, name)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func viewStream(d stream.Description) Stream {
	return Stream{Name: d.Name, ARN: d.ARN(), ID: d.ID, State: d.State, Created: d.Created.UTC(),
		Retention: Duration(d.Retention), RecordBytes: d.RecordBytes, ShardCount: openShards(d), Mode: d.Mode, MaxBytes: d.MaxBytes}
}

func openShards(d stream.Description) (n int) {
	for _, s := range d.Shards {
		if s.State == stream.Active {
			n++
		}
	}
	return n
}

// keyShare is which part of all hash keys a shard owns.
func keyShare(s stream.Shard) float64 {
	from, ok1 := new(big.Float).SetString(s.From.String())
	to, ok2 := new(big.Float).SetString(s.To.String())
	if !ok1 || !ok2 {
		return 0
	}
	all := new(big.Float).SetInt(new(big.Int).Lsh(big.NewInt(1), 128))
	share, _ := new(big.Float).Quo(to.Sub(to, from), all).Float64()
	return share
}

// ofStream turns an error about a stream into one that names its like.
func (h *handler) ofStream(ctx context.Context, err error, name string) error {
	if errors.Is(err, stream.ErrExists) {
		text := fmt.Sprintf("a stream named %s exists already", name)
		if d, described := h.Streams.Describe(ctx, stream.Local(name)); described == nil && d.State != stream.Active && d.State != stream.Updating {
			text += fmt.Sprintf("; it is %s", d.State)
		}
		return newError(CodeStreamExists, "%s", text).Named(name).With("stream", name)
	}
	if _, done := errors.AsType[*Error](err); done || !errors.Is(err, stream.ErrNotFound) {
		return h.named(err, name)
	}
	if d, described := h.Streams.Describe(ctx, stream.Local(name)); described == nil {
		if d.State != stream.Active && d.State != stream.Updating {
			return newError(CodeStreamBusy, "stream %s is %s", name, d.State).Named(d.Name)
		}
		return newError(CodeShardNotFound, "%s", plain(err, stream.ErrNotFound)).Named(d.Name)
	}
	all, _ := h.Streams.List(ctx) // a suggestion only
	var names []string
	elsewhere := ""
	for _, d := range all {
		switch {
		case d.Ref == stream.Local(d.Name):
			names = append(names, d.Name)
		case d.Name == name:
			elsewhere = fmt.Sprintf("; there is one in account %s, region %s, but commands and triggers see those of account %s, region %s only", d.Account, d.Region, stream.DefaultAccount, stream.DefaultRegion)
		}
	}
	return newError(CodeStreamNotFound, "there is no stream %q%s", name, elsewhere).Named(name).With("stream", name).suggest(name, names)
}

// named fills a resource's name into an error's actions.
func (h *handler) named(err error, name string) error { return h.toError(err).Named(name) }

func (h *handler) putRecords(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	var spec PutSpec
	if err := readJSON(w, r, maxPut, &spec); err != nil {
		return err
	}
	entries := make([]stream.Entry, len(spec.Records))
	caller := r.Header.Get("traceparent") // of the whole call, for records without their own
	for i, e := range spec.Records {
		data := e.Data
		if e.Text != "" {
			if len(e.Data) > 0 {
				return newError(CodeBadRequest, "record %d has both text and data: want one", i)
			}
			data = []byte(e.Text)
		}
		entries[i] = stream.Entry{PartitionKey: e.Key, ExplicitHashKey: e.HashKey, Data: data, TraceParent: cmp.Or(e.TraceParent, caller)}
	}
	results, err := h.Streams.Put(r.Context(), stream.Local(name), entries)
	if err != nil {
		return h.ofStream(r.Context(), err, name)
	}
	answer := PutAnswer{Results: make([]PutResult, len(results))}
	for i, res := range results {
		if res.Err != nil {
			answer.Failed++
			answer.Results[i].Error = h.toError(res.Err).Named(name)
			continue
		}
		answer.Results[i] = PutResult{Shard: res.Shard, Sequence: res.Sequence.String()}
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// pageSize is how many records a tail reads at a time.
const pageSize = 1000

// tailRecords sends a stream's records: first what is stored, of all shards
// together in the order of arrival, then with follow what comes.
func (h *handler) tailRecords(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := h.untilClosing(r.Context())
	defer cancel()
	name := r.PathValue("name")
	q := parameters(r)
	follow, only, limit := q.flag("follow"), q.text("shard"), q.number("limit", 0, 0, 1<<31-1)
	from := q.text("from")
	if from == "" {
		from = "trim-horizon"
		if follow {
			from = "latest"
		}
	}
	if err := q.done(); err != nil {
		return err
	}
	pos, err := ParseFrom(from, time.Now())
	if err != nil {
		return newError(CodeBadRequest, "parameter from: %v", err).With("parameter", "from")
	}
	if (pos.Kind == stream.At || pos.Kind == stream.After) && only == "" {
		return newError(CodeBadRequest, "a sequence number belongs to one shard: say which with the parameter shard").With("parameter", "shard")
	}
	d, err := h.Streams.Describe(ctx, stream.Local(name))
	if err != nil {
		return h.ofStream(ctx, err, name)
	}
	t := &tail{streams: h.Streams, ref: d.Ref, out: newLines(w), limit: uint64(limit), single: only != ""}
	var ids []string
	// A shard may also be called by its index, as people see it.
	if n, err := strconv.ParseUint(only, 10, 32); err == nil {
		only = fmt.Sprintf("shardId-%012d", n)
	}
	for _, s := range d.Shards {
		ids = append(ids, s.ID)
		if only == "" || only == s.ID {
			t.shards = append(t.shards, &tailShard{id: s.ID, pos: pos})
		}
	}
	if len(t.shards) == 0 {
		return newError(CodeShardNotFound, "stream %s has no shard %q", name, only).Named(name).suggest(only, ids)
	}
	if !follow {
		// What is stored now is all there is to it: a stream that is written to
		// all the time would never end.
		stats, err := h.Streams.Stats(ctx, d.Ref)
		if err != nil {
			return h.ofStream(ctx, err, name)
		}
		for _, s := range t.shards {
			for _, st := range stats {
				if st.Shard == s.id {
					s.until = st.Next
				}
			}
		}
	}
	// The first page of every shard, before the header: positions that cannot be read are still an error of the call,
	// and "latest" is settled for all shards before the caller learns that the tail has begun.
	for _, s := range t.shards {
		if err := t.fill(ctx, s); err != nil {
			return h.ofStream(ctx, err, name)
		}
	}
	err = t.run(ctx, follow)
	if h.closing() {
		err = newError(CodeStopping, "the server is stopping")
	} else if r.Context().Err() != nil {
		return nil // the caller has gone
	}
	if err != nil {
		t.out.send(TailLine{Error: h.toError(err)})
		return nil
	}
	t.out.send(TailLine{End: &End{Records: t.sent, More: t.full()}})
	return nil
}

// untilClosing ends with the call, and when the server closes.
func (h *handler) untilClosing(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	if h.Closing == nil {
		return ctx, cancel
	}
	go func() {
		select {
		case <-h.Closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

type tail struct {
	streams Streams
	ref     stream.Ref
	shards  []*tailShard
	out     *lines
	limit   uint64 // 0: none
	single  bool   // only the shard that was asked for
	sent    uint64
}

type tailShard struct {
	id    string
	pos   stream.Position
	page  []stream.Record // read and not sent
	ended bool
	until uint64 // running number that is not sent any more; 0: none
}

func (t *tail) full() bool { return t.limit > 0 && t.sent >= t.limit }

// fill reads a shard's next page.
func (t *tail) fill(ctx context.Context, s *tailShard) error {
	page, err := t.streams.Read(ctx, t.ref, s.id, s.pos, pageSize)
	if err != nil {
		return err
	}
	if page.Gap > 0 {
		if err := t.out.write(TailLine{Gap: &Gap{s.id, page.Gap}}); err != nil {
			return err
		}
	}
	s.page, s.pos, s.ended = page.Records, page.Next, page.Ended
	if n := len(s.page); s.until > 0 && n > 0 && s.page[n-1].Number >= s.until-1 {
		s.ended = true
		s.page = slices.DeleteFunc(s.page, func(r stream.Record) bool { return r.Number >= s.until })
	}
	return nil
}

func (t *tail) run(ctx context.Context, follow bool) error {
	if err := t.out.begin(); err != nil {
		return err
	}
	if err := t.stored(ctx); err != nil || !follow || t.full() {
		return err
	}
	if err := t.out.send(TailLine{CaughtUp: true}); err != nil {
		return err
	}
	return t.coming(ctx)
}

// stored merges the shards by arrival until none has more.
func (t *tail) stored(ctx context.Context) error {
	for !t.full() {
		var next *tailShard
		for _, s := range t.shards {
			if len(s.page) == 0 {
				continue
			}
			if next == nil || s.page[0].Arrival.Before(next.page[0].Arrival) {
				next = s
			}
		}
		if next == nil {
			return t.out.ctl.Flush()
		}
		if err := t.write(&next.page[0]); err != nil {
			return err
		}
		next.page = next.page[1:]
		if len(next.page) == 0 && !next.ended {
			if err := t.fill(ctx, next); err != nil {
				return err
			}
		}
	}
	return nil
}

// coming sends records as they arrive, also of the shards that those it follows
// become. One goroutine a shard reads, this one writes; all end with ctx or at the
// first error.
func (t *tail) coming(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	pages := make(chan []stream.Record) // from the readers
	ends := make(chan error)            // from a reader when it ends: at its shard's end, or for an error
	open := map[string]bool{}           // shards that are followed, or were
	reading := 0
	follow := func(s *tailShard) {
		open[s.id] = !s.ended
		if s.ended {
			return
		}
		reading++
		readers.Go(func() {
			err := t.follow(ctx, s, pages)
			if err == nil {
				err = shardEnded(s.id)
			}
			select {
			case ends <- err:
			case <-ctx.Done():
			}
		})
	}
	for _, s := range t.shards {
		follow(s)
	}
	for {
		if err := t.heirs(ctx, open, follow); err != nil || reading == 0 {
			return err
		}
		var ended error
		for ended == nil {
			select {
			case page := <-pages:
				for i := range page {
					if err := t.write(&page[i]); err != nil {
						return err
					}
					if t.full() {
						return nil
					}
				}
				if err := t.out.ctl.Flush(); err != nil {
					return err
				}
			case ended = <-ends:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		id, ok := ended.(shardEnded)
		if !ok {
			return ended
		}
		open[string(id)] = false
		reading--
	}
}

// shardEnded says that a shard is read to its end.
type shardEnded string

func (e shardEnded) Error() string { return string(e) + " is read to its end" }

// heirs follows the shards that those read to their ends have become, each when all
// that it came from is read. Who has asked for one shard gets no other.
func (t *tail) heirs(ctx context.Context, open map[string]bool, follow func(*tailShard)) error {
	if t.single {
		return nil
	}
	d, err := t.streams.Describe(ctx, t.ref)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, s := range d.Shards { // parents come before their children
		there[s.ID] = true
		_, known := open[s.ID]
		waits := slices.ContainsFunc(s.Parents, func(id string) bool {
			unread, known := open[id]
			return there[id] && (unread || !known)
		})
		if !known && !waits {
			follow(&tailShard{id: s.ID, pos: stream.Position{Kind: stream.TrimHorizon}})
		}
	}
	return nil
}

func (t *tail) follow(ctx context.Context, s *tailShard, pages chan<- []stream.Record) error {
	woken, stop, err := t.streams.Wait(ctx, t.ref, s.id)
	if err != nil {
		return err
	}
	defer stop()
	pos := s.pos
	for {
		// Read before waiting: what arrived before the watch began woke nobody.
		page, err := t.streams.Read(ctx, t.ref, s.id, pos, pageSize)
		if err != nil {
			return err
		}
		pos = page.Next
		if len(page.Records) > 0 {
			select {
			case pages <- page.Records:
			case <-ctx.Done():
				return nil
			}
			continue
		}
		if page.Ended {
			return nil
		}
		select {
		case <-woken:
		case <-ctx.Done():
			return nil
		}
	}
}

func (t *tail) write(r *stream.Record) error {
	t.sent++
	v := Record{Shard: r.Shard, Sequence: r.Sequence.String(), Number: r.Number, Key: r.PartitionKey, HashKey: r.ExplicitHashKey,
		Arrival: r.Arrival.UTC(), TraceParent: r.TraceParent, OutputID: r.OutputID, Text: text(r.Data)}
	if v.Text == nil {
		v.Data = r.Data
	}
	return t.out.write(TailLine{Record: &v})
}
