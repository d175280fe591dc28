package wasm

import (
	"bytes"
	"strings"

	"github.com/wasmill/wasmill/runtime"
)

const (
	maxLine = 64 << 10 // longer lines are cut in pieces
	// maxLog is what one invocation may write; the rest is swallowed, so that a
	// guest that prints for ever fills neither memory nor the function's log.
	maxLog = 1 << 20
	// lineCost is what a line counts for beside its bytes.
	lineCost = 8
)

// console takes what a guest writes and hands it on by line.
type console struct {
	logs     runtime.LogWriter
	id       string // request id
	out, err line
	budget   int
	// cry is the first line that tells why the guest is about to die.
	cry string
	// last is the last line, cut short: why a start-up did not succeed.
	last []byte
}

func newConsole(logs runtime.LogWriter) *console {
	c := &console{logs: logs}
	c.out.console, c.err.console = c, c
	c.begin("")
	return c
}

// begin starts an invocation.
func (c *console) begin(id string) { c.id, c.budget, c.cry, c.last = id, maxLog, "", c.last[:0] }

// end hands on lines that have no end yet.
func (c *console) end() {
	c.out.flush()
	c.err.flush()
}

func (c *console) line(b []byte) {
	if c.cry == "" {
		for _, start := range []string{"panic: ", "fatal error: ", "runtime: out of memory", "thread '"} {
			if bytes.HasPrefix(b, []byte(start)) {
				c.cry = strings.ToValidUTF8(string(b[:min(len(b), 500)]), "\ufffd")
				break
			}
		}
	}
	c.last = append(c.last[:0], b[:min(len(b), 500)]...)
	if c.budget < 0 {
		return
	}
	if c.budget -= len(b) + lineCost; c.budget < 0 {
		b = []byte("[wasmill: more than 1 MiB logged by one invocation, the rest is dropped]")
	}
	if c.logs != nil {
		c.logs.Line(c.id, b)
	}
}

// line is one of the guest's two streams.
type line struct {
	console *console
	rest    []byte // begun and not ended
}

func (l *line) Write(p []byte) (int, error) {
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			break
		}
		b := p[:i]
		if len(l.rest) > 0 {
			l.rest = append(l.rest, b...)
			b = l.rest
		}
		for len(b) > maxLine {
			l.console.line(b[:maxLine])
			b = b[maxLine:]
		}
		l.console.line(b)
		l.rest = l.rest[:0]
		p = p[i+1:]
	}
	l.rest = append(l.rest, p...)
	for len(l.rest) > maxLine {
		l.console.line(l.rest[:maxLine])
		l.rest = append(l.rest[:0], l.rest[maxLine:]...)
	}
	return n, nil
}

func (l *line) flush() {
	if len(l.rest) > 0 {
		l.console.line(l.rest)
		l.rest = l.rest[:0]
	}
}
