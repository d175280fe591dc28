package poll

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// What a mapping's last invocation came to, in AWS's words (LastProcessingResult).
const (
	ResultNone     = "No records processed"
	ResultOK       = "OK"
	ResultBad      = "PROBLEM: Function call failed"
	ResultNoStream = "PROBLEM: Stream not found" // of our own making: AWS's word for it is not known
)

// idle is how long an [ResultOK] is told of when nothing comes any more. (AWS forgets it
// with an empty poll, of which there is one a second, and does not say when exactly.)
const idle = time.Minute

// result is how the last invocation of a mapping ended.
type result struct {
	failed bool
	at     time.Time
}

// ended notes how an invocation ended. One that the function has not seen changes nothing.
func (m *Manager) ended(d *delivery, res runtime.Result) {
	failed := runtime.Attempted(res.Outcome)
	if res.Outcome != runtime.Done && !failed {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lately[d.mp.ID] = result{failed: failed, at: time.Now()}
	switch {
	case !d.Final || d.Letter != "":
	case failed && (res.Outcome != runtime.Partial || d.mp.Config.PartialReplies):
		m.stuck[d.from] = strings.TrimPrefix(res.ErrorType+": "+res.ErrorMessage, ": ")
	default:
		delete(m.stuck, d.from)
	}
}

// passedBy counts records that no filter has let through.
func (m *Manager) passedBy(src triggers.Source, records int) {
	if records == 0 {
		return
	}
	src.Generation = 0 // a seek does not begin anew
	m.mu.Lock()
	defer m.mu.Unlock()
	m.passed[src] += uint64(records)
}

// forget drops what is remembered of a mapping that is gone.
func (m *Manager) forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.lately, id)
	for src := range m.passed {
		if src.Mapping == id {
			delete(m.passed, src)
		}
	}
	for src := range m.stuck {
		if src.Mapping == id {
			delete(m.stuck, src)
		}
	}
}

// LastResult is what the newest invocation of a mapping came to since the server runs:
// one of the Result words above. A success is forgotten after a minute without
// another invocation, a failure is not. Where the function or the stream is gone, that
// is the result, whether or not there are records.
func (m *Manager) LastResult(mp triggers.Mapping) string {
	if mp.Enabled {
		if _, err := m.d.Streams.ByID(context.Background(), mp.StreamID); errors.Is(err, stream.ErrNotFound) {
			return ResultNoStream
		}
		if m.functionGone(mp) {
			return ResultBad
		}
	}
	m.mu.Lock()
	r, known := m.lately[mp.ID]
	m.mu.Unlock()
	switch {
	case !known || !r.failed && time.Since(r.at) > idle:
		return ResultNone
	case r.failed:
		return ResultBad
	}
	return ResultOK
}

// functionGone asks nobody but the registry's memory.
func (m *Manager) functionGone(mp triggers.Mapping) bool {
	_, err := m.d.Functions.Version(context.Background(), mp.Config.Function, mp.Config.Qualifier)
	return errors.Is(err, functions.ErrNotFound)
}

// Trouble says what keeps a mapping from its work though it runs, and what to do about that:
// its function is gone, its filters can match nothing, or the final invocation of a window
// fails. Empty: nothing that is known. It asks no disk.
func (m *Manager) Trouble(_ context.Context, mp triggers.Mapping) string {
	var all []string
	c := mp.Config
	if m.functionGone(mp) {
		otherwise := fmt.Sprintf("or call another with: wasmill trigger update %s --fn …; or remove the trigger with: wasmill trigger rm %s", mp.Name, mp.Name)
		if _, err := m.d.Functions.Version(context.Background(), c.Function, ""); err == nil {
			all = append(all, fmt.Sprintf("function %s has no version and no alias %s any more; make one with: wasmill fn alias set %s %s VERSION; %s", c.Function, c.Qualifier, c.Function, c.Qualifier, otherwise))
		} else {
			all = append(all, fmt.Sprintf("function %s does not exist any more; make it with: wasmill fn create %s …; %s", c.Function, c.Function, otherwise))
		}
	}
	if set, err := compile(c); err == nil && set != nil {
		if never := set.Never(); len(never) == len(c.Filters) {
			all = append(all, fmt.Sprintf("no record passes: the filter asks for %s; set another with: wasmill trigger update %s --filter …", never[0].Reason, mp.Name))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var shards []string
	why := ""
	for src, failure := range m.stuck {
		if src.Mapping == mp.ID && src.Generation == mp.Generation {
			shards, why = append(shards, src.Shard), failure
		}
	}
	if slices.Sort(shards); len(shards) > 0 {
		where := shards[0]
		if len(shards) > 1 {
			where = fmt.Sprintf("%s and %d more shards", where, len(shards)-1)
		}
		all = append(all, fmt.Sprintf("the final invocation of a tumbling window fails in %s, and nothing else goes there before it has succeeded (%.300s). %s", where, why, giveUp(mp)))
	}
	return strings.Join(all, "; ")
}

// CheckDestination says whether triggers may have that destination now.
func (m *Manager) CheckDestination(ctx context.Context, destination string) error {
	if d := m.d.Destinations; d != nil && destination != "" {
		return d.Check(ctx, destination)
	}
	return nil
}
