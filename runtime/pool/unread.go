package pool

import (
	"fmt"

	"github.com/wasmill/wasmill/runtime"
)

// warnUnread says, once for each revision of a version, that the function names
// failed records to a trigger that does not read it: the batch counts as done,
// and what failed is lost. Nobody would see it otherwise.
func (p *Pool) warnUnread(s *set, e *environment, inv *runtime.Invocation, r *runtime.Result) {
	if s.unread.Load() {
		return
	}
	n := runtime.UnreadFailures(inv, r)
	if n == 0 || s.unread.Swap(true) {
		return
	}
	p.mu.Lock()
	p.unread[keyOf(s.version)] = true
	p.mu.Unlock()
	what := fmt.Sprintf("the function named %d of %d records as failed, but trigger %s does not read batchItemFailures: all count as done", n, len(inv.Batch.Records), inv.Source)
	remedy := "wasmill trigger update " + inv.Source + " --partial-replies"
	e.log.write(inv.ID, "[wasmill: "+what+"; have it read them with: "+remedy+"]")
	p.opts.Logger.Warn(what, "function", s.version.Function, "version", s.version.Version, "trigger", inv.Source, "remedy", remedy)
}
