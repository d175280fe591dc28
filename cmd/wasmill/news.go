package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wasmill/wasmill/api/admin"
)

const (
	newsEvery = 500 * time.Millisecond
	// newsLines is how many dead letters or records of a stream are shown of
	// what came in newsEvery; the others are counted.
	newsLines = 10
)

// news shows what a function does, as it comes.
type news struct {
	c        *cli
	function string
	triggers []string
	emits    []string
	since    time.Time // what is older is no news

	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex     // guards standard output, and what follows
	shown map[string]int // by stream: records since the last tick
}

// follow shows news of a job's function, in place of what was followed before.
func (d *dev) follow(ctx context.Context, j *job) {
	n := &news{c: d.cli, function: j.Function.Name, emits: j.Function.Config.Emits, since: d.started, shown: map[string]int{}}
	for _, t := range j.Triggers {
		n.triggers = append(n.triggers, t.Name)
	}
	if d.news != nil {
		if d.news.function == n.function && slices.Equal(d.news.triggers, n.triggers) && slices.Equal(d.news.emits, n.emits) {
			return
		}
		d.stopFollowing()
		n.since = time.Now()
	}
	d.news = n
	ctx, n.cancel = context.WithCancel(ctx)
	n.wg.Go(func() { n.logs(ctx) })
	n.wg.Go(func() { n.troubles(ctx) })
	for _, s := range n.emits {
		n.wg.Go(func() { n.records(ctx, s) })
	}
}

// stopFollowing ends the news; nothing of them is left then.
func (d *dev) stopFollowing() {
	if d.news != nil {
		d.news.cancel()
		d.news.wg.Wait()
	}
}

// tell shows one thing, to people as a line and to programs as an event.
func (n *news) tell(kind string, fields map[string]any, format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.c.json {
		n.c.event(kind, fields)
		return
	}
	fmt.Fprintf(n.c.out, format+"\n", args...)
}

// rest lets some time pass, and says whether to go on.
func rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// logs shows what the function writes. A follower is cut off when the function
// is deleted, or its server is away for a moment.
func (n *news) logs(ctx context.Context) {
	since, last := n.since, n.since
	for {
		n.c.server().Logs(ctx, n.function, 1000, true, func(l admin.LogLine) error {
			if l.Time.Before(since) {
				return nil
			}
			last = l.Time
			if text := printable(strings.TrimRight(l.Line, "\n")); !routineLine(text) {
				n.tell("log", map[string]any{"function": n.function, "log": l}, "%s  %s", clock(l.Time), text)
			}
			return nil
		})
		if last.After(since) {
			since = last.Add(1) // shown already
		}
		if !rest(ctx, newsEvery) {
			return
		}
	}
}

// routineLine says whether Lambda's own lines around a call are all it is.
func routineLine(text string) bool {
	for _, prefix := range []string{"START RequestId: ", "END RequestId: ", "REPORT RequestId: "} {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return false
}

func clock(t time.Time) string { return t.Local().Format("15:04:05.000") }

// records shows what arrives in a stream that the function emits to.
func (n *news) records(ctx context.Context, stream string) {
	from := n.since
	for {
		n.c.server().Tail(ctx, stream, admin.TailOptions{Follow: true, From: from.UTC().Format(time.RFC3339Nano)}, func(l admin.TailLine) error {
			if l.Record == nil {
				return nil
			}
			from = l.Record.Arrival.Add(time.Millisecond)
			n.mu.Lock()
			n.shown[stream]++
			many := n.shown[stream] > newsLines
			n.mu.Unlock()
			if !many {
				n.tell("record", map[string]any{"stream": stream, "record": l.Record}, "%s  -> %s  %s  %s",
					clock(l.Record.Arrival), stream, oneLine([]byte(l.Record.Key)), cut(oneLine(l.Record.Payload()), 120))
			}
			return nil
		})
		if !rest(ctx, newsEvery) {
			return
		}
	}
}

// troubles shows dead letters, and what keeps triggers from getting on.
func (n *news) troubles(ctx context.Context) {
	seen, said := map[string]bool{}, map[string]string{}
	for rest(ctx, newsEvery) {
		n.more()
		for _, name := range n.triggers {
			n.letters(ctx, name, seen)
			if t, err := n.c.server().Trigger(ctx, name); err == nil {
				n.trigger(t, said)
			}
		}
	}
}

// more counts the records that were too many to show.
func (n *news) more() {
	n.mu.Lock()
	shown := n.shown
	n.shown = map[string]int{}
	n.mu.Unlock()
	for _, stream := range slices.Sorted(maps.Keys(shown)) {
		if hidden := shown[stream] - newsLines; hidden > 0 {
			n.tell("more", map[string]any{"stream": stream, "records": hidden}, "%s  -> %s  and %s more", clock(time.Now()), stream, plural(hidden, "record"))
		}
	}
}

// letters shows the dead letters of a trigger that were not seen before.
func (n *news) letters(ctx context.Context, trigger string, seen map[string]bool) {
	all, _, err := n.c.server().Letters(ctx, admin.LetterFilter{Trigger: trigger, Since: n.since, Limit: 1000})
	if err != nil {
		return // the next time
	}
	all = slices.DeleteFunc(all, func(l admin.Letter) bool { return seen[l.ID] })
	for i, l := range all {
		seen[l.ID] = true
		if i < newsLines {
			n.tell("deadLetter", map[string]any{"deadLetter": l}, "%s  %s  %s: look at it with: wasmill dlq show %s",
				clock(l.Buried), n.c.tinted(red, "dead letter"), cut(failure(l), 160), l.ID)
		}
	}
	if hidden := len(all) - newsLines; hidden > 0 {
		n.tell("more", map[string]any{"trigger": trigger, "deadLetters": hidden}, "%s  and %s more: wasmill dlq ls --trigger %s", clock(time.Now()), plural(hidden, "dead letter"), trigger)
	}
}

// trigger shows what keeps one from getting on, each reason once while it lasts.
func (n *news) trigger(t admin.Trigger, said map[string]string) {
	note := func(where, why string) {
		before := said[where]
		said[where] = why
		if why != "" && why != before {
			n.tell("problem", map[string]any{"trigger": t.Name, "where": where, "problem": why}, "%s  %s  %s: %s", clock(time.Now()), n.c.tinted(yellow, "problem"), where, why)
		}
	}
	note("trigger "+t.Name, t.Problem)
	for _, s := range t.Shards {
		why := ""
		switch {
		case s.Problem != "":
			why = "it has stopped: " + s.Problem
		case s.Waiting > 0 && s.LastError != "": // without how often, which changes all the time
			why = "a batch fails and is tried again; last error: " + s.LastError
		}
		note("trigger "+t.Name+", "+shortShard(s.Shard), cut(oneLine([]byte(why)), 200))
	}
}

// tinted colours text for standard output.
func (c *cli) tinted(colour, text string) string {
	if !c.outTTY || c.plain() {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
