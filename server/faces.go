package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/dlq/morgue"
	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/functions/store"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/pool"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
	"github.com/wasmill/wasmill/telemetry"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/poll"
	"github.com/wasmill/wasmill/triggers/shard"
)

// The faces below turn what the parts say into what package admin asks. They
// hold no rules.

// meteredStreams are the streams, with what is put to them counted.
type meteredStreams struct {
	*natsstream.Store
	meters *telemetry.Telemetry
}

type streamFace struct{ meteredStreams }

func (f meteredStreams) Put(ctx context.Context, ref stream.Ref, entries []stream.Entry) ([]stream.PutResult, error) {
	results, err := f.Store.Put(ctx, ref, entries)
	records, bytes := 0, 0
	for i, r := range results {
		if r.Err == nil {
			records++
			bytes += len(entries[i].Data) + len(entries[i].PartitionKey)
		}
	}
	if records > 0 {
		f.meters.Put(ref.Name, records, bytes)
	}
	return results, err
}

func (f streamFace) Read(ctx context.Context, ref stream.Ref, shard string, pos stream.Position, limit int) (admin.Page, error) {
	p, err := f.Store.Read(ctx, ref, shard, pos, limit)
	return admin.Page{Records: p.Records, Next: p.Next, Ended: p.Ended, Gap: p.Gap}, err
}

func (f streamFace) Stats(ctx context.Context, ref stream.Ref) ([]admin.ShardStats, error) {
	all, err := f.Store.Stats(ctx, ref)
	loads := map[string]natsstream.Load{}
	for _, l := range f.Store.Loads() {
		if l.Ref == ref {
			loads[l.Shard.ID] = l
		}
	}
	out := make([]admin.ShardStats, len(all))
	for i, s := range all {
		l := loads[s.Shard.ID]
		out[i] = admin.ShardStats{Shard: s.Shard.ID, Records: s.Records, Bytes: s.Bytes, First: s.First, Next: s.Next, Oldest: s.Oldest, Newest: s.Newest,
			RecordRate: l.Records, ByteRate: l.Bytes}
	}
	return out, err
}

type triggerFace struct{ *poll.Manager }

func (f triggerFace) Status(ctx context.Context, name string) (admin.TriggerStatus, error) {
	st, err := f.Manager.Status(ctx, name)
	if err != nil {
		return admin.TriggerStatus{}, err
	}
	out := make([]admin.ShardProgress, len(st.Shards))
	for i, s := range st.Shards {
		p := admin.ShardProgress{Shard: s.Shard, Position: s.Position, Explain: s.Explain, Next: s.Next, End: s.Tip, Lag: s.Lag, LagAge: admin.Duration(s.Age.Truncate(time.Millisecond)),
			Done: s.Done, Buried: s.Buried, Gaps: s.Gaps, Filtered: s.Filtered, Ended: s.Ended, Problem: s.Problem}
		if w := s.Window; w != nil {
			p.Window = &admin.TriggerWindow{Start: w.Start, End: w.End, StateBytes: w.StateBytes, Closing: w.State != "", Early: w.Early,
				Attempts: w.Attempts, LastError: strings.TrimPrefix(w.LastError.Type+": "+w.LastError.Message, ": "), RetryAt: w.Until}
		}
		if p.Problem == "" {
			p.Problem = st.Problem
		}
		if m := s.Machine; m != nil {
			p.InFlight, p.LastOutcome, p.Redriving, p.WaitsFor = m.Out, m.LastOutcome, len(m.Redrives), m.WaitsFor
			open := func(attempts int, state shard.UnitState, until time.Time, last triggers.Failure) {
				p.Attempts = max(p.Attempts, attempts)
				if state == shard.UnitBackoff {
					p.Waiting++
					if p.RetryAt.IsZero() || until.Before(p.RetryAt) {
						p.RetryAt = until
					}
				}
				if last.Type != "" || last.Message != "" {
					p.LastError = strings.TrimPrefix(last.Type+": "+last.Message, ": ")
				}
			}
			if w := m.Window; w != nil && w.State != "" {
				open(w.Attempts, w.State, w.Until, w.LastError)
			}
			for _, r := range m.Redrives {
				open(r.Attempts, r.State, r.Until, r.LastError)
			}
			for _, u := range m.Units {
				open(u.Attempts, u.State, u.Until, u.LastError)
			}
		}
		out[i] = p
	}
	return admin.TriggerStatus{Problem: st.Problem, Outputs: st.Outputs, LastResult: st.LastResult, Shards: out}, nil
}

func (f triggerFace) Redrive(ctx context.Context, name string, letters []dlq.Letter, rate float64, report func(admin.Redriven)) error {
	return f.Manager.Redrive(ctx, name, letters, rate, func(r poll.Redriven) {
		v := admin.Redriven{ID: r.ID, Key: r.PartitionKey, Outcome: string(r.Outcome), Letter: r.Letter, Attempts: r.Attempts,
			ErrorType: r.Failure.Type, ErrorMessage: r.Failure.Message}
		if r.Err != nil {
			v.ErrorMessage = r.Err.Error()
		}
		report(v)
	})
}

func (f triggerFace) Seek(ctx context.Context, name string, to stream.Position, dry bool) (triggers.Mapping, []admin.SeekShard, error) {
	m, moves, err := f.Manager.Seek(ctx, name, to, dry)
	out := make([]admin.SeekShard, len(moves))
	for i, v := range moves {
		out[i] = admin.SeekShard(v)
	}
	return m, out, err
}

// replayFace runs dead letters where nothing comes of it.
type replayFace struct {
	functions *store.Store
	pool      *pool.Pool
}

func (f replayFace) Replay(ctx context.Context, function, qualifier string, code []byte, letters []dlq.Letter, c triggers.Config) (functions.Version, runtime.Result, string, error) {
	v, err := f.functions.Version(ctx, function, qualifier)
	if err != nil {
		return v, runtime.Result{}, "", err
	}
	if code == nil {
		if code, err = f.functions.Code(ctx, v.Code.SHA256); err != nil {
			return v, runtime.Result{}, "", err
		}
	} else {
		sum := sha256.Sum256(code)
		v.Code = functions.Code{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(code))}
	}
	b := runtime.Batch{Shard: letters[0].Shard, ARN: letters[0].Stream, Region: stream.DefaultRegion, Identity: poll.Identity(stream.DefaultAccount)}
	for _, l := range letters {
		b.Records = append(b.Records, runtime.Record{Sequence: l.Sequence, PartitionKey: l.PartitionKey, Data: l.Data, Arrival: l.Arrival.UnixMilli()})
	}
	batch := &b
	if c.Deaggregate {
		batch = poll.Deaggregated(batch)
	}
	res, text, err := f.pool.Try(ctx, v, code, &runtime.Invocation{Batch: batch, PartialReplies: c.PartialReplies, Source: "replay"})
	return res.Version, res, text, err
}

type letterFace struct{ *morgue.Morgue }

func (f letterFace) List(ctx context.Context, pick admin.LetterFilter) ([]dlq.Letter, error) {
	return f.Morgue.List(ctx, filter(pick))
}

func (f letterFace) Purge(ctx context.Context, pick admin.LetterFilter) (int, error) {
	return f.Morgue.Purge(ctx, filter(pick))
}

func filter(f admin.LetterFilter) morgue.Filter {
	out := morgue.Filter{Trigger: f.Trigger, Stream: f.Stream, Reason: f.Reason, Error: f.Error, Since: f.Since, Before: f.Before, Limit: f.Limit}
	if f.ID != "" {
		out.IDs = []string{f.ID}
	}
	return out
}

// healthy gives the store a moment: a restart after a full disk is no news.
func healthy(nd *natsd.Server) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return nd.Healthy(ctx)
	}
}

// noRoom knows the store's errors, which package admin does not.
func noRoom(err error) bool {
	return errors.Is(err, natsd.ErrReserve) || errors.Is(err, natsd.ErrDown) || errors.Is(err, natsd.ErrNoAnswer)
}

func (s *Server) info(nd *natsd.Server) admin.Info {
	used, free := nd.Usage()
	v := admin.Info{Version: s.config.Version, PID: os.Getpid(), Endpoint: s.Endpoint(), StateFile: s.config.StateFile, Memory: s.config.Memory,
		Durability: "disk", AllowReset: s.config.AllowReset, Used: used, Free: free, Started: s.started.UTC(), Missing: s.missing}
	if s.config.Relaxed {
		v.Durability = "os"
	}
	var full bool
	if used, v.Limit, full = nd.Quota(); full {
		v.Warning = admin.NearlyFull("the server", used, v.Limit) + "; shorten the retention of streams, delete some, or start it with a larger limit"
	}
	if dir, err := filepath.Abs(s.config.Data); err == nil && s.config.Data != "" {
		v.DataDir = dir
	}
	return v
}

// rooms tells how full the server and the streams with a quota are.
func rooms(nd *natsd.Server, streams *natsstream.Store) func() []telemetry.Room {
	return func() []telemetry.Room {
		used, _ := nd.Usage()
		_, limit, _ := nd.Quota()
		all := []telemetry.Room{{Used: used, Limit: limit}}
		for _, q := range streams.Quotas() {
			all = append(all, telemetry.Room(q))
		}
		return all
	}
}
