package logs

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Line is one line of a function's log.
type Line struct {
	Time      time.Time `json:"time"`
	RequestID string    `json:"requestId,omitempty"` // empty: written by a start-up
	Stream    string    `json:"stream"`              // of the environment
	Text      string    `json:"text"`                // without line end
}

const (
	// logRate is how many bytes a second a function may write for long, and
	// logBurst how many at once. What is more is dropped and counted: a function
	// that writes without end would take the processor from all others, and push
	// out of its own log what can still be read.
	logRate  = 64 << 10
	logBurst = 4 << 20
	// noteEvery is how often a log says at most how much was dropped.
	noteEvery = time.Second
)

// StreamName is the name of the log stream of an environment that starts now.
func StreamName(now time.Time, version string) string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return now.UTC().Format("2006/01/02/[") + version + "]" + hex.EncodeToString(id[:])
}

// Log is where one function writes, and what is read of it as lines.
type Log struct {
	store *Store
	name  string // of the group
	group atomic.Pointer[group]

	mu      sync.Mutex
	printed budget    // by the function
	sent    budget    // by the function over the API
	dropped int       // lines since the last note
	lost    int       // bytes of them
	last    Line      // the last of them, without text
	noted   time.Time // when the last note was written
}

// Function is the log of a function, whether or not it has ever written.
func (s *Store) Function(name string) *Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.logs[name]
	if l == nil {
		l = &Log{store: s, name: FunctionGroup(name)}
		s.logs[name] = l
	}
	return l
}

// Write appends lines of wasmill's own to one stream; they are few and never dropped.
func (l *Log) Write(lines ...Line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(lines) > 0 {
		l.note(lines[0].Time, false)
	}
	l.append(lines...)
}

// Guest appends a line that the function wrote, unless it writes too much.
func (l *Log) Guest(line Line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	cost := len(line.Text) + 1
	if !l.printed.spend(line.Time, cost) {
		l.dropped++
		l.lost += cost
		l.last = Line{RequestID: line.RequestID, Stream: line.Stream}
		return
	}
	l.note(line.Time, false)
	l.append(line)
}

// Spend asks whether the function may put so many bytes beside what it prints: as much of
// them for long, and as many at once. False: not now.
func (l *Log) Spend(now time.Time, bytes int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent.spend(now, bytes)
}

// budget is how much of logRate and logBurst is used up.
type budget struct {
	spent  float64   // bytes of the burst, as of filled
	filled time.Time // when spent was right
}

func (b *budget) spend(now time.Time, bytes int) bool {
	b.spent = max(0, b.spent-now.Sub(b.filled).Seconds()*logRate)
	b.filled = now
	if b.spent+float64(bytes) > logBurst {
		return false
	}
	b.spent += float64(bytes)
	return true
}

// note writes how much was dropped since the last note, if that is not too long
// ago or if at once.
func (l *Log) note(now time.Time, atOnce bool) {
	if l.dropped == 0 || !atOnce && now.Sub(l.noted) < noteEvery {
		return
	}
	line := l.last
	line.Time = now
	line.Text = fmt.Sprintf("[wasmill: %d lines, %d KB, were dropped: a function may log %d KB a second for long, and %d MB at once]", l.dropped, (l.lost+1023)>>10, logRate>>10, logBurst>>20)
	l.dropped, l.lost, l.noted = 0, 0, now
	l.append(line)
}

func (l *Log) append(lines ...Line) {
	var room [3]Input
	in := room[:0]
	for i, line := range lines {
		in = append(in, Input{Time: line.Time, RequestID: line.RequestID, Text: line.Text, Line: true})
		if i == len(lines)-1 || lines[i+1].Stream != line.Stream {
			l.put(line.Stream, in)
			in = in[:0]
		}
	}
}

func (l *Log) put(stream string, in []Input) {
	for {
		g := l.group.Load()
		if g == nil {
			var err error
			if g, _, err = l.store.make(l.name, 2*maxGroups); err != nil {
				return // more groups than there may be, even for functions
			}
			l.group.Store(g)
		}
		if g.append(stream, in...) {
			return
		}
		l.group.Store(nil) // deleted; it begins anew
	}
}

// Tail returns the last n lines that are kept, oldest first; all for n < 0.
func (l *Log) Tail(n int) []Line { return slices.Collect(l.Lines(n)) }

// Lines is Tail for those who do not want to hold all of it.
func (l *Log) Lines(n int) iter.Seq[Line] {
	return func(yield func(Line) bool) {
		l.settle()
		c := l.store.cursor(l.name, n)
		for end := c.end; c.id < end; {
			lines, _, _ := c.next()
			if len(lines) == 0 {
				return
			}
			if c.id > end { // written since
				lines = lines[:max(0, len(lines)-int(c.id-end))]
			}
			for _, line := range lines {
				if !yield(line) {
					return
				}
			}
		}
	}
}

func (l *Log) settle() {
	l.mu.Lock()
	l.note(time.Now(), true)
	l.mu.Unlock()
}

// Follow sends every line written from now on, until ctx ends; then it closes
// the channel. A reader that falls behind what the log keeps gets one line that
// says how many it missed.
func (l *Log) Follow(ctx context.Context) <-chan Line { return l.FollowTail(ctx, 0) }

// FollowTail is Follow with the last n lines before it, none missing between; all for n < 0.
func (l *Log) FollowTail(ctx context.Context, n int) <-chan Line {
	if n != 0 {
		l.settle()
	}
	c := l.store.cursor(l.name, n)
	out := make(chan Line, 64) // this goroutine sends and closes
	go func() {
		defer close(out)
		for {
			lines, missed, more := c.next()
			if missed > 0 {
				lines = slices.Insert(lines, 0, Line{Time: time.Now(), Text: "[wasmill: " + strconv.FormatUint(missed, 10) + " lines missed: the log is written faster than it is read]"})
			}
			for _, line := range lines {
				select {
				case out <- line:
				case <-ctx.Done():
					return
				}
			}
			if len(lines) > 0 {
				continue
			}
			select {
			case <-more:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}
