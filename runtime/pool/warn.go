package pool

import (
	"fmt"
	"time"

	"github.com/wasmill/wasmill/runtime"
)

// What a function is warned of, once for each revision of a version: a bit each.
const (
	warnedUnread uint32 = 1 << iota
	warnedEmits
	warnedPrewarm
)

// warn says of a batch that counts as done what of its reply nobody has read,
// for nobody would see it otherwise.
func (p *Pool) warn(s *set, e *environment, inv *runtime.Invocation, r *runtime.Result) {
	say := func(what, then, remedy string) {
		e.log.write(time.Now(), inv.ID, "[wasmill: "+what+"; "+then+": "+remedy+"]")
		p.opts.Logger.Warn(what, "function", s.version.Function, "version", s.version.Version, "trigger", inv.Source, "remedy", remedy)
	}
	if s.warned.Load()&warnedUnread == 0 {
		// The function names failed records to a trigger that does not read it: what
		// failed is lost.
		if n := runtime.UnreadFailures(inv, r); n > 0 && p.first(s, warnedUnread) {
			say(fmt.Sprintf("the function named %d of %d records as failed, but trigger %s does not read batchItemFailures: all count as done", n, len(inv.Batch.Records), inv.Source),
				"have it read them with", "wasmill trigger update "+inv.Source+" --partial-replies")
		}
	}
	if s.warned.Load()&warnedEmits == 0 {
		if n := runtime.IgnoredEmits(inv, r); n > 0 && p.first(s, warnedEmits) {
			say(ignoredEmits(n), "records to emit are", runtime.WantedEmit)
		}
	}
}

func ignoredEmits(n int) string {
	return fmt.Sprintf(`the function's reply has an "emit" that was ignored: it lists %d, none of which looks like a record to emit`, n)
}

// first says whether a revision is to be warned of that, and notes that it was:
// also for when its environments and program are gone.
func (p *Pool) first(s *set, what uint32) bool {
	if s.warned.Or(what)&what != 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.warned[keyOf(s.version)] |= what
	return true
}
