package pool

import (
	"cmp"
	"time"

	"github.com/wasmill/wasmill/functions/logs"
)

// A recorder is where one environment writes its log: to the function's, and
// the end of that of the invocation under way for its result. The invocation's
// goroutine is the only one that uses it.
type recorder struct {
	logs    *logs.Log // nil: only for the result
	version string
	stream  string // of its lines, once there is one
	most    int    // bytes of the end that are kept; 0: maxTail
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
		now := time.Now()
		r.logs.Guest(logs.Line{Time: now, RequestID: requestID, Stream: r.name(now), Text: text})
	}
	r.keep(text)
}

// write adds lines of wasmill's own.
func (r *recorder) write(now time.Time, requestID string, texts ...string) {
	var room [3]logs.Line
	lines := room[:0]
	for _, text := range texts {
		lines = append(lines, logs.Line{Time: now, RequestID: requestID, Text: text})
		r.keep(text)
	}
	if r.logs == nil {
		return
	}
	for i := range lines {
		lines[i].Stream = r.name(now)
	}
	r.logs.Write(lines...)
}

// name is that of the environment's log stream.
func (r *recorder) name(now time.Time) string {
	if r.stream == "" {
		r.stream = logs.StreamName(now, r.version)
	}
	return r.stream
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
