package pool

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// LogLine is one line of a function's log.
type LogLine struct {
	Time      time.Time `json:"time"`
	RequestID string    `json:"requestId,omitempty"` // empty: written by a start-up
	Version   string    `json:"version"`
	Text      string    `json:"text"` // without line end
}

const (
	// maxLogs is how many bytes of a function's log are kept.
	maxLogs = 4 << 20
	// lineCost is what a line takes beside its text.
	lineCost = 96

	// logRate is how many bytes a second a function may write for long, and
	// logBurst how many at once. What is more is dropped and counted: a function
	// that writes without end would take the processor from all others, and push
	// out of its own log what can still be read.
	logRate  = 64 << 10
	logBurst = 4 << 20
	// noteEvery is how often a log says at most how much was dropped.
	noteEvery = time.Second
)

// Logs is the log of one function, the last 4 MiB of it.
type Logs struct {
	mu    sync.Mutex
	lines []LogLine // a queue: lines[head:] are kept
	head  int
	first uint64 // number of lines[head]; numbers count from the first line ever
	bytes int
	more  chan struct{} // closed at the next line; nil while nobody waits

	spent   float64   // bytes of the burst, as of filled
	filled  time.Time // when spent was right
	dropped int       // lines since the last note
	lost    int       // bytes of them
	last    LogLine   // the last of them, without text
	noted   time.Time // when the last note was written
}

// add appends lines of wasmill's own, which are few and never dropped.
func (l *Logs) add(lines ...LogLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range lines {
		l.note(line.Time, false)
		l.append(line)
	}
}

// guest appends a line that the function wrote, unless it writes too much.
func (l *Logs) guest(line LogLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	cost := len(line.Text) + 1
	l.spent = max(0, l.spent-line.Time.Sub(l.filled).Seconds()*logRate)
	l.filled = line.Time
	if l.spent+float64(cost) > logBurst {
		l.dropped++
		l.lost += cost
		l.last = LogLine{RequestID: line.RequestID, Version: line.Version}
		return
	}
	l.spent += float64(cost)
	l.note(line.Time, false)
	l.append(line)
}

// note writes how much was dropped since the last note, if that is not too long
// ago or if at once.
func (l *Logs) note(now time.Time, atOnce bool) {
	if l.dropped == 0 || !atOnce && now.Sub(l.noted) < noteEvery {
		return
	}
	line := l.last
	line.Time = now
	line.Text = fmt.Sprintf("[wasmill: %d lines, %d KB, were dropped: a function may log %d KB a second for long, and %d MB at once]", l.dropped, (l.lost+1023)>>10, logRate>>10, logBurst>>20)
	l.dropped, l.lost, l.noted = 0, 0, now
	l.append(line)
}

func (l *Logs) append(line LogLine) {
	l.lines = append(l.lines, line)
	l.bytes += len(line.Text) + lineCost
	for l.bytes > maxLogs && l.head < len(l.lines)-1 {
		l.bytes -= len(l.lines[l.head].Text) + lineCost
		l.lines[l.head] = LogLine{}
		l.head++
		l.first++
	}
	if l.head > len(l.lines)/2 && l.head > 64 {
		n := copy(l.lines, l.lines[l.head:])
		clear(l.lines[n:])
		l.lines, l.head = l.lines[:n], 0
	}
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
}

// Tail returns the last n lines that are kept, oldest first; all for n < 0.
func (l *Logs) Tail(n int) []LogLine {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note(time.Now(), true)
	lines := l.lines[l.head:]
	if n >= 0 && n < len(lines) {
		lines = lines[len(lines)-n:]
	}
	return append([]LogLine(nil), lines...)
}

// Follow sends every line written from now on, until ctx ends; then it closes
// the channel. A reader that falls more than 4 MiB behind gets one line that
// says how many it missed.
func (l *Logs) Follow(ctx context.Context) <-chan LogLine {
	l.mu.Lock()
	next := l.first + uint64(len(l.lines)-l.head)
	l.mu.Unlock()
	return l.follow(ctx, next)
}

// FollowTail is Follow with the last n lines before it, none missing between.
func (l *Logs) FollowTail(ctx context.Context, n int) <-chan LogLine {
	l.mu.Lock()
	next := l.first
	if kept := len(l.lines) - l.head; n >= 0 && n < kept {
		next += uint64(kept - n)
	}
	l.mu.Unlock()
	return l.follow(ctx, next)
}

func (l *Logs) follow(ctx context.Context, next uint64) <-chan LogLine {
	out := make(chan LogLine, 64) // this goroutine sends and closes
	go func() {
		defer close(out)
		for {
			lines, missed, more := l.since(next)
			if missed > 0 {
				lines = append([]LogLine{{Time: time.Now(), Text: "[wasmill: " + strconv.FormatUint(missed, 10) + " lines missed: the log is written faster than it is read]"}}, lines...)
				next += missed - 1
			}
			for _, line := range lines {
				select {
				case out <- line:
					next++
				case <-ctx.Done():
					return
				}
			}
			if more == nil {
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

// since returns some lines from number next on, how many of them are gone, and,
// when there are none, what is closed at the next one.
func (l *Logs) since(next uint64) (lines []LogLine, missed uint64, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if next < l.first {
		missed, next = l.first-next, l.first
	}
	kept := l.lines[l.head+int(next-l.first):]
	if len(kept) > 0 {
		return append(lines, kept[:min(len(kept), 256)]...), missed, nil
	}
	if l.more == nil {
		l.more = make(chan struct{})
	}
	return nil, missed, l.more
}

// A recorder is where one environment writes its log: to the function's, and
// the end of that of the invocation under way for its result. The invocation's
// goroutine is the only one that uses it.
type recorder struct {
	logs    *Logs // nil: only for the result
	version string
	most    int // bytes of the end that are kept; 0: maxTail
	tail    []byte
}

// maxTail is how many bytes of an invocation's log go into its result, as into
// Lambda's LogResult.
const maxTail = 4 << 10

// slack is how many times what is kept may pile up before it is cut.
const slack = 4

// begin forgets the invocation before. It is not called after a start-up, whose
// lines belong to the invocation that paid for it.
func (r *recorder) begin() { r.tail = r.tail[:0] }

// Line implements runtime.LogWriter.
func (r *recorder) Line(requestID string, line []byte) {
	text := string(line)
	if r.logs != nil {
		r.logs.guest(LogLine{Time: time.Now(), RequestID: requestID, Version: r.version, Text: text})
	}
	r.keep(text)
}

// write adds lines of wasmill's own.
func (r *recorder) write(now time.Time, requestID string, texts ...string) {
	var room [3]LogLine
	lines := room[:0]
	for _, text := range texts {
		lines = append(lines, LogLine{Time: now, RequestID: requestID, Version: r.version, Text: text})
		r.keep(text)
	}
	if r.logs != nil {
		r.logs.add(lines...)
	}
}

func (r *recorder) keep(text string) {
	most := cmp.Or(r.most, maxTail)
	if len(text) > most {
		text = text[len(text)-most:]
	}
	r.tail = append(append(r.tail, text...), '\n')
	if len(r.tail) > slack*most {
		r.tail = append(r.tail[:0], r.tail[len(r.tail)-most:]...)
	}
}

// last is the end of the invocation's log.
func (r *recorder) last() []byte {
	return append([]byte(nil), r.tail[max(0, len(r.tail)-cmp.Or(r.most, maxTail)):]...)
}
