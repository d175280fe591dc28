package poll

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/shard"
)

// Status is where a trigger stands.
type Status struct {
	Mapping triggers.Mapping `json:"mapping"`
	Problem string           `json:"problem,omitempty"` // why it does not run, and what to do
	Trouble string           `json:"trouble,omitempty"` // see [Manager.Trouble]
	// Outputs says what keeps what the function has emitted from its streams.
	Outputs string `json:"outputs,omitempty"`
	// LastResult is one of the Result words.
	LastResult string        `json:"lastResult"`
	Shards     []ShardStatus `json:"shards"`
}

// ShardStatus is where it stands in one shard.
type ShardStatus struct {
	Shard string `json:"shard"`
	// Position is the sequence number of the lowest unfinished record; empty: all that is
	// there is finished.
	Position string `json:"position,omitempty"`
	// Explain says where it stands and what it waits for, in sentences for people, most
	// important first.
	Explain []string      `json:"explain"`
	Next    uint64        `json:"next"`         // committed: running number of the lowest unfinished record
	Tip     uint64        `json:"tip"`          // number of the next record to arrive
	Lag     uint64        `json:"lag"`          // records between them
	Age     time.Duration `json:"age"`          // of the oldest unfinished record
	Done    uint64        `json:"done"`         // records that succeeded, ever
	Buried  uint64        `json:"deadLettered"` // records that were dead-lettered, ever
	Gaps    uint64        `json:"lost"`         // records lost to retention or damage, ever
	// Filtered are records that no filter has let through since the server runs.
	Filtered uint64 `json:"filtered"`
	// Window is the tumbling window that is open, also while the trigger is paused; nil: none.
	Window  *shard.WindowStatus `json:"window,omitempty"`
	Ended   bool                `json:"ended"` // the shard is closed and wholly processed
	Problem string              `json:"problem,omitempty"`
	Machine *shard.Status       `json:"machine,omitempty"` // nil when the trigger is paused, or the shard ended
}

// OutputProblem says what keeps what a mapping's function has emitted from its
// streams, or nothing.
func (m *Manager) OutputProblem(mapping string) string { return m.d.Relay.Problem(mapping) }

// Status reports a trigger's place in each shard, running or not.
func (m *Manager) Status(ctx context.Context, name string) (Status, error) {
	mp, err := m.Get(ctx, name)
	if err != nil {
		return Status{}, err
	}
	out := Status{Mapping: mp, LastResult: m.LastResult(mp), Shards: []ShardStatus{}, Outputs: m.d.Relay.Problem(mp.ID), Trouble: m.Trouble(ctx, mp)}
	desc, err := m.d.Streams.ByID(ctx, mp.StreamID)
	if err != nil {
		out.Problem = streamGone(mp)
		return out, nil
	}
	r := m.runner(name)
	if r != nil {
		r.mu.Lock()
		out.Problem = r.problem
		r.mu.Unlock()
	}
	for _, info := range desc.Shards {
		st, ok, waits := ShardStatus{}, false, ""
		if r != nil {
			var p *poller
			if p, waits = r.standing(desc.Shards, info); p != nil {
				bounded, cancel := context.WithTimeout(ctx, patience)
				st, ok, _ = p.ask(bounded, ask{})
				cancel()
			}
		}
		bounded, cancel := context.WithTimeout(ctx, patience)
		if !ok || st.Machine == nil { // stopped, waiting, finished, or not taken up yet
			problem := st.Problem
			cp, err := m.d.Journals.Peek(bounded, triggers.Source{Mapping: mp.ID, Generation: mp.Generation, Shard: info.ID})
			if cp != nil {
				st = shardStatus(*cp)
			}
			if st.Problem = problem; err != nil {
				st.Problem = "its journal cannot be read: " + err.Error()
			}
			if waits != "" {
				st.Machine = &shard.Status{Next: st.Next, Committed: st.Next, Read: st.Next, Done: st.Done, Buried: st.Buried, Gaps: st.Gaps, WaitsFor: waits}
			}
		}
		st.Shard = info.ID
		m.mu.Lock()
		st.Filtered = m.passed[triggers.Source{Mapping: mp.ID, Shard: info.ID}]
		m.mu.Unlock()
		if err := m.lag(bounded, mp, &st); err != nil && st.Problem == "" && info.State != stream.Creating {
			st.Problem = "its stream cannot be read: " + err.Error()
		}
		cancel()
		st.Explain = st.explain(mp, time.Now())
		out.Shards = append(out.Shards, st)
	}
	out.Shards = append(out.Shards, m.missed(mp, desc)...)
	return out, nil
}

// missed are the shards that the stream has forgotten and of which the mapping has
// lost records.
func (m *Manager) missed(mp triggers.Mapping, desc stream.Description) (out []ShardStatus) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for src, p := range m.past {
		if src.Mapping == mp.ID && src.Generation == mp.Generation && p.done && p.lost > 0 && !has(desc, src.Shard) {
			out = append(out, ShardStatus{Shard: src.Shard, Gaps: p.lost, Ended: true,
				Explain: []string{fmt.Sprintf("The stream has forgotten the shard; %s lost.", count(p.lost, "record was", "records were"))}})
		}
	}
	slices.SortFunc(out, func(a, b ShardStatus) int { return cmp.Compare(a.Shard, b.Shard) })
	return out
}

func shardStatus(cp triggers.Checkpoint) ShardStatus {
	return ShardStatus{Next: cp.Next, Done: cp.Done, Buried: cp.Buried, Gaps: cp.Gaps, Ended: cp.Ended, Window: stored(cp.Window, time.Now())}
}

// stored is where a window stands that no machine has.
func stored(w *triggers.Window, now time.Time) *shard.WindowStatus {
	if w == nil {
		return nil
	}
	out := &shard.WindowStatus{Start: w.Start, End: w.End, StateBytes: len(w.State), Early: w.Early, Attempts: w.Attempts, Invocations: w.Invocations,
		FirstFailure: w.FirstFailure, LastError: w.LastError}
	switch {
	case !w.Closing:
	case w.NotBefore.After(now):
		out.State, out.Until = shard.UnitBackoff, w.NotBefore
	default:
		out.State = shard.UnitReady
	}
	return out
}

// lag adds what the shard knows: how far its end is, and how old the oldest
// unfinished record.
func (m *Manager) lag(ctx context.Context, mp triggers.Mapping, st *ShardStatus) error {
	sh, err := m.d.Streams.Shard(ctx, mp.StreamID, st.Shard)
	if err != nil {
		return err
	}
	b, err := sh.Log().Bounds(ctx)
	if err != nil {
		return err
	}
	st.Tip = b.NextNumber
	if st.Next >= st.Tip {
		return nil
	}
	st.Lag = st.Tip - st.Next
	f, err := sh.Log().Find(ctx, max(st.Next, b.FirstNumber), 0)
	if err != nil || f.End || len(f.Records) == 0 {
		return nil // the poller names what is wrong with the data
	}
	at := int(max(st.Next, f.First) - f.First)
	st.Age = max(0, time.Since(time.UnixMilli(f.Records[at].Arrival)))
	st.Position = sh.Sequence(f, at).String()
	return nil
}

// patience is how long a status waits for a poller or a journal that may be
// waiting for the store itself.
const patience = 2 * time.Second

// ask puts a question to the poller; ok is false when it has stopped.
func (p *poller) ask(ctx context.Context, a ask) (st ShardStatus, ok bool, err error) {
	a.ctx, a.reply = ctx, make(chan ShardStatus, 1)
	select {
	case p.asked <- a:
	case <-p.gone:
		return st, false, nil
	case <-ctx.Done():
		return st, false, context.Cause(ctx)
	}
	select {
	case st = <-a.reply:
		return st, true, nil
	case <-p.gone:
		return st, false, nil
	case <-ctx.Done():
		return st, false, context.Cause(ctx)
	}
}

// answer runs on the poller's goroutine.
func (p *poller) answer(a ask) {
	if a.wait {
		p.waiting = append(p.waiting, a)
		p.hear()
		return
	}
	a.reply <- p.status()
}

func (p *poller) status() ShardStatus {
	st := shardStatus(p.saved)
	st.Problem = cmp.Or(p.unwritten, p.unread, p.lostSight)
	if p.machine != nil {
		ms := p.machine.Status()
		st.Machine, st.Window = &ms, ms.Window
	}
	return st
}

// WaitDrained returns when every record acknowledged before the call is
// resolved, and the dead letters among them can be seen.
func (m *Manager) WaitDrained(ctx context.Context, name string) error {
	mp, err := m.Get(ctx, name)
	if err != nil {
		return err
	}
	desc, err := m.d.Streams.ByID(ctx, mp.StreamID)
	if err != nil {
		return err
	}
	// What was acknowledged is settled first: a wait may take long, and more comes.
	targets := make([]uint64, len(desc.Shards))
	for i, info := range desc.Shards {
		sh, err := m.d.Streams.Shard(ctx, mp.StreamID, info.ID)
		var b log.Bounds
		if err == nil {
			b, err = sh.Log().Bounds(ctx)
		}
		if err != nil && !unmade(info, err) && !m.expired(ctx, mp.StreamID, info.ID) {
			return err
		}
		targets[i] = b.NextNumber
	}
	for i, info := range desc.Shards {
		if err := m.waitFor(ctx, mp, info.ID, targets[i]); err != nil {
			return err
		}
	}
	return m.d.Relay.Drained(ctx, mp.ID)
}

// waitFor returns when a shard's committed checkpoint has reached target.
func (m *Manager) waitFor(ctx context.Context, mp triggers.Mapping, shardID string, target uint64) error {
	for target > 0 {
		if r := m.runner(mp.Name); r != nil {
			if p := r.poller(shardID); p != nil {
				st, ok, err := p.ask(ctx, ask{target: target, wait: true})
				if err != nil || ok && st.Next >= target {
					return err
				}
			}
		}
		// It does not run, or not yet, or no more: the journal tells.
		cp, err := m.d.Journals.Peek(ctx, triggers.Source{Mapping: mp.ID, Generation: mp.Generation, Shard: shardID})
		if err != nil {
			return err
		}
		if cp != nil && (cp.Next >= target || cp.Ended) {
			return nil // a shard that was removed may end below
		}
		if now, err := m.Get(ctx, mp.Name); err != nil {
			return err
		} else if now.ID != mp.ID {
			return fmt.Errorf("%w: trigger %s was removed while it was waited for", triggers.ErrNotFound, mp.Name)
		} else if now.State == triggers.Disabled {
			return fmt.Errorf("%w: trigger %s is paused with records left; resume it first", triggers.ErrInvalid, mp.Name)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
