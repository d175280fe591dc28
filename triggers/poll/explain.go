package poll

import (
	"cmp"
	"fmt"
	"time"

	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/shard"
)

// explain says where a trigger stands in a shard, in sentences: what is in its way, what is under
// way, how far it is, and what became of what it has read.
func (st *ShardStatus) explain(mp triggers.Mapping, now time.Time) (out []string) {
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if st.Problem != "" {
		say("It stands still: %s.", st.Problem)
	}
	ms := st.Machine
	switch {
	case st.Ended:
		say("The shard is closed and everything in it is done.")
	case ms == nil && !mp.Enabled:
		say("The trigger is paused; it goes on from where it is with: wasmill trigger resume %s", mp.Name)
	case ms == nil && st.Problem == "":
		say("It is about to be taken up.")
	case ms != nil && ms.WaitsFor != "" && st.Problem == "":
		say("It waits: %s.", ms.WaitsFor)
	case ms != nil && ms.Out > 0 && st.Problem == "":
		say("It works.")
	}
	if st.Window != nil {
		out = append(out, explainWindow(mp, st.Window, ms != nil, now))
	}
	if ms != nil {
		out = append(out, explainUnits(ms, now)...)
	}
	switch {
	case st.Ended:
	case st.Lag == 0:
		say("It is at the end of the shard: %s.", count(st.Done, "record was processed so far", "records were processed so far"))
	case st.Position != "":
		say("The oldest unfinished record has sequence number %s and is %s old; %s not done.", st.Position, ago(st.Age), count(st.Lag, "record is", "records are"))
	default:
		say("%s not done.", count(st.Lag, "record is", "records are"))
	}
	if st.Filtered > 0 {
		say("%s through by no filter since the server was started.", count(st.Filtered, "record was let", "records were let"))
	}
	if st.Buried > 0 {
		say("%s: wasmill dlq ls --trigger %s", count(st.Buried, "record was given up and is a dead letter", "records were given up and are dead letters, as far as they were not redriven or purged"), mp.Name)
	}
	if st.Gaps > 0 {
		say("%s lost to retention or damage.", count(st.Gaps, "record was", "records were"))
	}
	if ms != nil && ms.LastOutcome != "" {
		say("The last invocation ended with: %s.", outcomes[ms.LastOutcome])
	}
	return out
}

// outcomes are what runtime.Outcome calls them, for people.
var outcomes = map[string]string{
	"done": "success", "partial": "a reply that named failed items", "error": "an error of the function", "timeout": "a timeout",
	"throttled": "no room for it, which costs no attempt", "infra": "it could not be run, which costs no attempt",
}

// explainWindow says where a tumbling window stands. running: the trigger has the shard.
func explainWindow(mp triggers.Mapping, w *shard.WindowStatus, running bool, now time.Time) string {
	span := fmt.Sprintf("tumbling window from %s to %s", w.Start.Format(time.RFC3339), w.End.Format(time.RFC3339))
	state := fmt.Sprintf(" (%d bytes of state)", w.StateBytes)
	if w.State == "" {
		if running {
			return fmt.Sprintf("The %s is under way%s.", span, state)
		}
		return fmt.Sprintf("The %s is open%s; its final invocation comes when the trigger goes on.", span, state)
	}
	over := "is over"
	switch {
	case w.Early && w.StateBytes > triggers.MaxState:
		over = fmt.Sprintf("was ended before its time, since its state of %d bytes is larger than the %d that may be", w.StateBytes, triggers.MaxState)
	case w.Early:
		over = "was ended before its time"
	}
	text := fmt.Sprintf("The %s %s; its final invocation ", span, over)
	switch {
	case !running:
		text += "comes when the trigger goes on" + attempt(w.Attempts, w.LastError)
	case w.State == shard.UnitOut:
		text += "is at the function" + attempt(w.Attempts, w.LastError)
	default:
		text += doing(w.State, w.Until, now) + attempt(w.Attempts, w.LastError)
	}
	text += ". Nothing else of the shard goes before it has succeeded."
	if w.Attempts > 0 {
		text += " " + giveUp(mp)
	}
	return text
}

// giveUp says what can be done about a window whose final invocation fails.
func giveUp(mp triggers.Mapping) string {
	return fmt.Sprintf("Mend the function, or give the window up, and with it what is not done, with: wasmill trigger seek %s --to latest", mp.Name)
}

func explainUnits(ms *shard.Status, now time.Time) (out []string) {
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	halves := 0
	for i, u := range ms.Units {
		if u.State == shard.UnitSibling {
			halves++
		}
		if i == mostTold {
			say("… and %d more batches.", len(ms.Units)-mostTold)
		}
		if i >= mostTold {
			continue
		}
		say("A batch of %s, from number %d on, %s%s.", count(uint64(u.Records), "record", "records"), u.From, doing(u.State, u.Until, now), attempt(u.Attempts, u.LastError))
	}
	if halves > 0 {
		say("%s for the one before to be through.", count(uint64(halves), "half of a batch that failed waits", "parts of batches that failed wait"))
	}
	for i, r := range ms.Redrives {
		if i == mostTold {
			say("… and %d more dead letters.", len(ms.Redrives)-mostTold)
			break
		}
		say("Dead letter %s, which is delivered again, %s%s.", r.Letter, doing(r.State, r.Until, now), attempt(r.Attempts, r.LastError))
	}
	return out
}

// mostTold is how many batches and letters are told of one by one.
const mostTold = 10

func doing(s shard.UnitState, until, now time.Time) string {
	switch s {
	case shard.UnitOut:
		return "is at the function"
	case shard.UnitBackoff:
		return fmt.Sprintf("is tried again in %s", ago(until.Sub(now)))
	case shard.UnitSibling:
		return "waits for those of its keys before it"
	case shard.UnitReading:
		return "is being read again"
	case shard.UnitCommit:
		return "waits for what was decided about it to be on disk"
	default:
		return "waits for a free slot"
	}
}

func attempt(n int, last triggers.Failure) string {
	why := last.Type
	if last.Message != "" {
		why = cmp.Or(why, "an error") + ": " + last.Message
	}
	switch {
	case n == 0 && why == "":
		return ""
	case n == 0:
		return fmt.Sprintf(" (before that: %.300s)", why)
	}
	return fmt.Sprintf(" after %s (%.300s)", count(uint64(n), "failed attempt", "failed attempts"), why)
}

func count(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// ago is a length of time, roughly.
func ago(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
