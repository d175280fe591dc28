package poll

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// Move is what a seek does to one shard.
type Move struct {
	Shard    string
	From, To uint64 // running number of the record to read next
	// Again is how many records that were resolved are delivered again, Skipped
	// how many that were not never will be. Where AtMost is set, several units of the
	// shard were under way at once, and records among those skipped were resolved.
	Again, Skipped uint64
	AtMost         bool
	// Window is what becomes of the tumbling window under way: nothing, if there is none.
	Window string
}

// What a seek does to a tumbling window under way.
const (
	WindowKept    = "kept"        // the shard stays where it is, and the window goes on
	WindowEnds    = "ends early"  // its final invocation comes before any record
	WindowDropped = "is given up" // with its state: its records come again, or its final invocation fails
)

// Seek has a trigger go on from another place: at a batch boundary, as a new
// generation, so that nothing of what was under way can come after it. A sequence
// number moves the shard it belongs to; every other position moves all, closed ones
// too: a shard that goes back is finished no more, and those that came from it wait
// for it where they are. Records are counted by shard. With dry nothing is changed, and the counts of a trigger
// that runs are those of a moment ago.
//
// Retries under way in a shard that moves are given up. Its tumbling window ends early if the
// shard goes forward, and is given up with its state if it goes back, since its records
// come again then; wherever it goes, if its final invocation has failed, since nothing else
// is a way out of that. What the function emits for records that come again is emitted again. Dead
// letters stay, and those being redriven go on.
func (m *Manager) Seek(ctx context.Context, name string, to stream.Position, dry bool) (triggers.Mapping, []Move, error) {
	if err := to.Validate(); err != nil {
		return triggers.Mapping{}, nil, err
	}
	if dry {
		mp, err := m.Get(ctx, name)
		if err != nil {
			return mp, nil, err
		}
		_, moves, err := m.plan(ctx, mp, to)
		return mp, moves, err
	}
	mp, rev, unlock, err := m.change(ctx, name)
	if err != nil {
		return mp, nil, err
	}
	defer unlock()
	// What is wrong with the position is found before anything is stopped.
	if _, _, err := m.plan(ctx, mp, to); err != nil {
		return mp, nil, err
	}
	m.drop(ctx, name)
	if mp.Enabled {
		defer func() { m.start(mp) }() // whatever has become of it: the old generation or the new
	}
	if ctx.Err() != nil {
		return mp, nil, context.Cause(ctx)
	}
	checkpoints, moves, err := m.plan(ctx, mp, to)
	if err != nil {
		return mp, nil, err
	}
	next := mp
	next.Generation, next.Modified = mp.Generation+1, time.Now().UTC().Truncate(time.Millisecond)
	// The generation becomes true with its entry, by which time every shard has its
	// place. A crash in between leaves commits that the next seek writes over.
	for i, move := range moves {
		if err := m.begin(ctx, next, move.Shard, checkpoints[i]); err != nil {
			return mp, nil, fmt.Errorf("trigger %s: %w", name, err)
		}
	}
	if _, err := m.d.Mappings.Update(context.WithoutCancel(ctx), name, next, rev); err != nil {
		return mp, nil, err
	}
	for _, move := range moves {
		if move.Window == WindowDropped {
			m.d.Logger.Warn("a seek has given up the tumbling window under way, with its state", "trigger", name, "shard", move.Shard)
		}
	}
	if mp = next; mp.Enabled {
		m.start(mp)
	}
	return m.show(mp), moves, nil
}

// plan works out where each shard would go on, and with what.
func (m *Manager) plan(ctx context.Context, mp triggers.Mapping, to stream.Position) ([]triggers.Checkpoint, []Move, error) {
	desc, err := m.d.Streams.ByID(ctx, mp.StreamID)
	if errors.Is(err, stream.ErrNotFound) {
		return nil, nil, fmt.Errorf("%w: %s", triggers.ErrInvalid, streamGone(mp))
	}
	if err != nil {
		return nil, nil, err
	}
	one := to.Kind == stream.At || to.Kind == stream.After // a place in one shard
	found := false
	var checkpoints []triggers.Checkpoint
	var moves []Move
	var refused error
	for _, info := range desc.Shards {
		cp, err := m.d.Journals.Peek(ctx, triggers.Source{Mapping: mp.ID, Generation: mp.Generation, Shard: info.ID})
		if err != nil {
			return nil, nil, err
		}
		if cp == nil {
			cp = &triggers.Checkpoint{} // found after the mapping was made: from its beginning
		}
		sh, err := m.d.Streams.Shard(ctx, desc.ID, info.ID)
		if errors.Is(err, stream.ErrNotFound) && m.expired(ctx, desc.ID, info.ID) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		move := Move{Shard: info.ID, From: cp.Next, To: cp.Next}
		number, frame, err := sh.Resolve(ctx, to)
		if unmade(info, err) {
			continue // it is found later
		}
		switch {
		case err == nil:
			found = true
			move.To = number
		case one && errors.Is(err, stream.ErrInvalid):
			refused = err
			checkpoints, moves = append(checkpoints, *cp), append(moves, move)
			continue // another shard's: this one stays where it is, retries and all
		default:
			return nil, nil, err
		}
		b, err := sh.Log().Bounds(ctx)
		if err != nil {
			return nil, nil, err
		}
		next := move.plan(cp, number, frame, b.FirstNumber)
		next.Ended = b.Ended && next.Next >= b.NextNumber && len(next.Redrives) == 0 && next.Window == nil
		checkpoints = append(checkpoints, next)
		moves = append(moves, move)
	}
	if one && !found {
		return nil, nil, fmt.Errorf("position is in no shard of stream %s: %w", mp.Config.Stream, refused)
	}
	return checkpoints, moves, nil
}

// plan works out where a shard goes on that moves, and counts. first is the oldest
// record there is.
func (v *Move) plan(cp *triggers.Checkpoint, number, frame, first uint64) triggers.Checkpoint {
	next := triggers.Checkpoint{Next: number, Frame: frame, Redrives: cp.Redrives, Done: cp.Done, Buried: cp.Buried, Gaps: cp.Gaps}
	next.Window = v.window(cp, number)
	if number <= cp.Next {
		v.Again = cp.Next - number + cp.Above
		return next
	}
	// What is resolved beyond the place stays so: only what is open up to there is
	// passed over. Of which numbers the resolved ones are, the checkpoint tells by
	// bucket only.
	beyond := uint64(0) // numbers from the place on that may be resolved
	for _, s := range cp.Finished {
		if s.To > number {
			beyond = max(beyond, s.To-number)
			s.From = max(s.From, number)
			next.Finished = append(next.Finished, s)
		}
	}
	least := cp.Above - min(cp.Above, beyond) // resolved before the place
	next.Above = cp.Above - min(cp.Above, number-cp.Next)
	if lost := min(max(first, cp.Next), number) - cp.Next; lost > 0 {
		next.Gaps += lost - min(lost, least) // beyond retention: lost before the seek
		v.Skipped = number - cp.Next - lost
	} else {
		v.Skipped = number - cp.Next - least
	}
	v.AtMost = beyond > 0 && cp.Above > 0
	return next
}

// window says what becomes of the window under way. One that goes on has its retries anew.
func (v *Move) window(cp *triggers.Checkpoint, number uint64) *triggers.Window {
	if cp.Window == nil {
		return nil
	}
	if number < cp.Next || cp.Window.Closing && cp.Window.Attempts > 0 {
		v.Window = WindowDropped
		return nil
	}
	w := triggers.Window{Start: cp.Window.Start, End: cp.Window.End, State: cp.Window.State, Closing: cp.Window.Closing, Early: cp.Window.Early}
	if number == cp.Next && cp.Above == 0 {
		v.Window = WindowKept
		return &w
	}
	v.Window = WindowEnds
	if !w.Closing {
		w.Closing, w.Early = true, true
	}
	return &w
}
