package shard_test

import (
	"bufio"
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers/shard"
)

var update = flag.Bool("update", false, "write the traces of the stories anew")

// A story is a file of steps, each with the trace it leads to indented beneath.
// Fetches and commits are answered at once unless held. Steps:
//
//	config parallel=1 batch=8 retries=1 window=5s age=60s retention=24h backoff=500ms bisect partial maxbytes=300 pinned=1000
//	seen invoke bury finished    what is traced, from here on: invoke, bury, finished, gap, lost, commit, fetch, wake, release
//	put 8 | put a b a            records of key a, or of these keys; then size=100, age=80s
//	done final                   the final invocation of a tumbling window; done 1-4 state=2000000 returns so many bytes
//	done 1-4 | fail | timeout | throttle | infra | partial 1-4 at=3 | partial 1-4 at=bad      a unit by its records, or a letter
//	... emit=2                   each record gives out two
//	redrive X:a Y:b              of letters X, of key a, and Y
//	held the target is full      until held alone
//	filter 2,5-7                 these are let through by no filter, from here on; filter alone: all are
//	wait 5s                      time passes, and timers fire
//	hold commits | fetches       from here on they are answered by the next two, until free commits | fetches
//	commit ok | failed | lost | fenced        (failed: it had arrived; lost: it had not)
//	fetch [n]                    at most n records
//	gap 3-9                      these cannot be read any more
//	gap none                     answers the fetch that is out
//	end | drain | restart | resize 4 | status
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.story")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".story"), func(t *testing.T) { tell(t, file) })
	}
}

type story struct {
	*world
	t       *testing.T
	seen    map[string]bool
	got     []string
	started bool
	holdC   bool
	holdF   bool
}

func tell(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &story{t: t, seen: map[string]bool{"invoke": true, "bury": true, "finished": true, "gap": true}}
	c := shard.Config{BatchSize: 100, Retries: -1}
	var out strings.Builder
	step := ""
	defer func() {
		if t.Failed() {
			t.Logf("at step %q, after\n%s", step, out.String())
		}
	}()
	lines := bufio.NewScanner(strings.NewReader(string(text)))
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "    ") {
			continue // a trace to be compared at the end
		}
		out.WriteString(line + "\n")
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		s.got = nil
		step = line
		if words[0] == "config" {
			s.configure(&c, words[1:])
		} else {
			s.start(c)
			s.do(words)
			s.settle()
		}
		for _, g := range s.got {
			out.WriteString("    " + g + "\n")
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if out.String() != string(text) {
		t.Errorf("%s tells another story (run with -update to see it in the file):\n%s", file, diff(string(text), out.String()))
	}
}

// diff shows the first lines that differ.
func diff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range w {
		if i >= len(g) || w[i] != g[i] {
			return fmt.Sprintf("line %d\nwant\n%s\ngot\n%s", i+1,
				strings.Join(w[i:min(i+6, len(w))], "\n"), strings.Join(g[min(i, len(g)):min(i+6, len(g))], "\n"))
		}
	}
	return "it goes on:\n" + strings.Join(g[len(w):], "\n")
}

func (s *story) start(c shard.Config) {
	if s.started {
		return
	}
	s.started = true
	s.world = newWorld(s.t, c, 0)
	s.world.trace = func(format string, args ...any) {
		line := fmt.Sprintf(format, args...)
		if kind, _, _ := strings.Cut(line, " "); s.seen[kind] {
			s.got = append(s.got, line)
		}
	}
	s.settle()
}

// settle answers what is not held.
func (s *story) settle() {
	for s.finished == nil {
		switch {
		case s.fetch != nil && !s.holdF:
			s.answerFetch(1 << 20)
		case s.commit != nil && !s.holdC:
			s.answerCommit(shard.OK, true)
		default:
			return
		}
	}
}

func (s *story) configure(c *shard.Config, words []string) {
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		n, _ := strconv.Atoi(value)
		d, _ := time.ParseDuration(value)
		switch key {
		case "parallel":
			c.Parallel = n
		case "batch":
			c.BatchSize = n
		case "retries":
			c.Retries = n
		case "window":
			c.Window = d
		case "age":
			c.RecordAge = d
		case "retention":
			c.Retention = d
		case "backoff":
			c.Backoff = d
		case "tumbling":
			c.Tumbling = d
		case "maxbytes":
			c.MaxBytes = n
		case "pinned":
			c.PinnedBytes = int64(n)
		case "bisect":
			c.Bisect = value != "off"
		case "partial":
			c.PartialReplies = value != "off"
		default:
			s.t.Fatalf("config %q", w)
		}
	}
	if s.started {
		s.exact = false
		s.config = *c
		s.step(shard.Configured{Config: *c})
		s.settle()
	}
}

func (s *story) do(words []string) {
	s.t.Helper()
	arg := ""
	if len(words) > 1 {
		arg = words[1]
	}
	s.emits = 0
	s.stateBytes = 0
	switch key, value, _ := strings.Cut(words[len(words)-1], "="); key {
	case "emit":
		s.emits, _ = strconv.Atoi(value)
	case "state":
		s.stateBytes, _ = strconv.Atoi(value)
	}
	switch words[0] {
	case "redrive":
		var letters []*letterFate
		for _, w := range words[1:] {
			id, key, _ := strings.Cut(w, ":")
			letters = append(letters, s.letter(id, key[0]-'a'))
		}
		s.redrive(letters...)
	case "held":
		s.why = strings.Join(words[1:], " ")
		s.step(shard.Held{Why: s.why})
	case "filter":
		dropped := map[uint64]bool{}
		for list := range strings.SplitSeq(arg, ",") {
			for from, to := numbers(list); from > 0 && from <= to; from++ {
				dropped[from] = true
			}
		}
		s.exact = s.drops == nil
		s.refilter(func(n uint64) bool { return dropped[n] })
	case "seen":
		clear(s.seen)
		for _, w := range words[1:] {
			s.seen[w] = true
		}
	case "put":
		s.puts(words[1:])
		s.step(shard.Woken{Arrived: true})
	case "done":
		s.answerInvoke(s.unit(arg), runtime.Done, -1)
	case "fail":
		s.answerInvoke(s.unit(arg), runtime.FunctionError, -1)
	case "timeout":
		s.answerInvoke(s.unit(arg), runtime.Timeout, -1)
	case "throttle":
		s.answerInvoke(s.unit(arg), runtime.Throttled, -1)
	case "infra":
		s.answerInvoke(s.unit(arg), runtime.Infrastructure, -1)
	case "partial":
		i, at := s.unit(arg), -1
		if _, id, _ := strings.Cut(words[2], "="); id != "bad" {
			n, _ := strconv.ParseUint(id, 10, 64)
			for k, number := range s.out[i].Numbers {
				if number == n {
					at = k
				}
			}
		}
		s.answerInvoke(i, runtime.Partial, at)
	case "wait":
		d, err := time.ParseDuration(arg)
		if err != nil {
			s.t.Fatal(err)
		}
		until := s.now.Add(d)
		for !s.wake.IsZero() && !s.wake.After(until) {
			s.now = s.wake
			s.step(shard.Woken{})
			s.settle()
		}
		s.now = until
	case "hold":
		s.holdC, s.holdF = s.holdC || arg == "commits", s.holdF || arg == "fetches"
	case "free":
		s.holdC, s.holdF = s.holdC && arg != "commits", s.holdF && arg != "fetches"
	case "commit":
		if s.commit == nil {
			s.t.Fatal("no commit is out")
		}
		switch arg {
		case "ok":
			s.answerCommit(shard.OK, true)
		case "failed", "lost":
			s.answerCommit(shard.Failed, arg == "failed")
		case "fenced":
			s.answerCommit(shard.Fenced, false)
		}
	case "fetch":
		n := 1 << 20
		if arg != "" {
			n, _ = strconv.Atoi(arg)
		}
		if s.fetch == nil {
			s.t.Fatal("no fetch is out")
		}
		s.answerFetch(n)
	case "gap":
		if arg == "none" {
			f := *s.fetch
			s.fetch = nil
			s.step(shard.Gap{From: f.From, To: f.From, Reason: "none"})
			break
		}
		from, to := numbers(arg)
		s.bad = append(s.bad, span{from, to + 1})
	case "end":
		s.closed = true
		s.step(shard.Woken{Arrived: true})
	case "drain":
		s.step(shard.Drain{})
	case "restart":
		s.restart++
		s.boot()
	case "resize":
		s.exact = false
		s.config.Parallel, _ = strconv.Atoi(arg)
		s.step(shard.Resized{Parallel: s.config.Parallel})
	case "status":
		st := s.m.Status()
		s.got = append(s.got, fmt.Sprintf("next %d, read %d, waiting %d, out %d: %s", st.Next, st.Read-1, st.Waiting, st.Out, st.WaitsFor))
		if in := st.Window; in != nil {
			s.got = append(s.got, fmt.Sprintf("window %s, attempts %d: %s", in.Start.Format("15:04:05"), in.Attempts, cmp.Or(in.State, "open")))
		}
		for _, u := range st.Units {
			s.got = append(s.got, fmt.Sprintf("unit %d-%d, %d records, attempts %d: %s", u.From, u.To-1, u.Records, u.Attempts, u.State))
			if kind := u.LastError.Type; kind != "" && kind != "Oops" {
				s.got[len(s.got)-1] += ", " + kind
			}
		}
		for _, r := range st.Redrives {
			s.got = append(s.got, fmt.Sprintf("redrive %s, attempts %d: %s", r.Letter, r.Attempts, r.State))
			if kind := r.LastError.Type; kind != "" && kind != "Oops" {
				s.got[len(s.got)-1] += ", " + kind
			}
		}
	default:
		s.t.Fatalf("step %q", words[0])
	}
}

func (s *story) puts(words []string) {
	size, age, keys := int32(100), time.Duration(0), []uint8{}
	for _, w := range words {
		name, value, ok := strings.Cut(w, "=")
		n, err := strconv.Atoi(w)
		switch {
		case ok && name == "size":
			v, _ := strconv.Atoi(value)
			size = int32(v)
		case ok && name == "age":
			age, _ = time.ParseDuration(value)
		case err == nil:
			keys = append(keys, make([]uint8, n)...)
		default:
			keys = append(keys, w[0]-'a')
		}
	}
	for _, k := range keys {
		s.put(k, size, s.now.Add(-age))
	}
}

// unit finds the unit that is out with these records.
func (s *story) unit(records string) int {
	s.t.Helper()
	for i, e := range s.out {
		if e.name() == records {
			return i
		}
	}
	s.t.Fatalf("no unit %s is out: %+v", records, s.out)
	return 0
}

func numbers(text string) (from, to uint64) {
	a, b, ok := strings.Cut(text, "-")
	from, _ = strconv.ParseUint(a, 10, 64)
	if to, _ = strconv.ParseUint(b, 10, 64); !ok {
		to = from
	}
	return from, to
}
