package server

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/functions"
)

// TestAThrottledTriggerGoesOnWhenThereIsRoom: no record pays for it with an attempt.
func TestAThrottledTriggerGoesOnWhenThereIsRoom(t *testing.T) {
	c := client(t, start(t, Config{Memory: true}))
	streams(t, c, 4)
	mill(t, c, "f", admin.FunctionSpec{Concurrency: ptr(0)}, admin.TriggerSpec{Retries: ptr(0), BatchSize: ptr(1), Parallel: ptr(4)})
	handed := map[string][]string{}
	var entries []admin.Entry
	for i := range 200 {
		key, text := fmt.Sprint("key-", i%16), fmt.Sprint("good ", i)
		handed[key] = append(handed[key], text)
		entries = append(entries, admin.Entry{Key: key, Text: text})
	}
	put(t, c, entries...)
	until(t, 30*time.Second, func() string { return "nothing says that it is throttled" }, func() bool {
		tr, err := c.Trigger(t.Context(), "f")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(fmt.Sprintf("%+v", tr), "concurrency of 0")
	})
	if _, _, err := c.UpdateConfig(t.Context(), "f", admin.FunctionSpec{Concurrency: ptr(2)}); err != nil {
		t.Fatal(err)
	}
	drained(t, c, "f")
	if letters, _, err := c.Letters(t.Context(), admin.LetterFilter{}); err != nil || len(letters) > 0 {
		t.Errorf("dead letters: %+v, %v", letters, err)
	}
	for key, texts := range read(t, c, "out") {
		if !slices.Equal(texts, handed[key]) {
			t.Errorf("%s: handed on %q, want %q", key, texts, handed[key])
		}
		delete(handed, key)
	}
	if len(handed) > 0 {
		t.Errorf("not handed on: %q", handed)
	}
}

// TestTheLogOfAnInvocationThatWasEndedIsThere with its report, when its process was
// killed under it.
func TestTheLogOfAnInvocationThatWasEndedIsThere(t *testing.T) {
	c := client(t, start(t, Config{Memory: true}))
	streams(t, c, 1)
	mill(t, c, "f", admin.FunctionSpec{MemoryMB: ptr(512), Timeout: ptr(admin.Duration(time.Minute))}, admin.TriggerSpec{Retries: ptr(1)})
	put(t, c, admin.Entry{Key: "a", Text: "kill"})
	log := func() string {
		var b strings.Builder
		if err := c.Logs(t.Context(), "f", 1000, false, func(l admin.LogLine) error { fmt.Fprintln(&b, l.Line); return nil }); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for n := 1; n <= 3; n++ { // the first costs no attempt
		until(t, 30*time.Second, func() string { return "it does not run again:\n" + log() }, func() bool { return strings.Count(log(), "about to be killed") == n })
		for _, pid := range children(t, os.Getpid()) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	drained(t, c, "f")
	got := log()
	for want, n := range map[string]int{"START RequestId: ": 3, "END RequestId: ": 3, "REPORT RequestId: ": 3, "Wasmill.Internal: ": 1, "Runtime.ExitError: ": 2, "Status: error\tError Type: Runtime.ExitError": 2, "Init Duration: ": 3} {
		if strings.Count(got, want) < n || n < 3 && strings.Count(got, want) != n {
			t.Errorf("%q is there %d times, want %d", want, strings.Count(got, want), n)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

// TestAStuckFunctionKeepsNoOtherWaiting on the same stream, in whichever way it is stuck.
func TestAStuckFunctionKeepsNoOtherWaiting(t *testing.T) {
	s, err := Start(t.Context(), Config{Memory: true, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close, which cuts the triggers short: %v", err)
		}
	})
	c := client(t, s)
	streams(t, c, 2)
	var entries []admin.Entry
	for i := range 1000 {
		entries = append(entries, admin.Entry{Key: fmt.Sprint("key-", i%16), Text: fmt.Sprint("good ", i)})
	}
	put(t, c, append([]admin.Entry{{Key: "key-0", Text: "stuck"}, {Key: "key-1", Text: "stuck"}}, entries...)...)
	for _, how := range []string{"spin", "sleep"} {
		mill(t, c, how, admin.FunctionSpec{Timeout: ptr(admin.Duration(10 * time.Minute)), Environment: &admin.EnvSpec{"STUCK": how}}, admin.TriggerSpec{})
	}
	mill(t, c, "f", admin.FunctionSpec{}, admin.TriggerSpec{})
	drained(t, c, "f")
	n := 0
	for _, texts := range read(t, c, "out") {
		n += len(texts)
	}
	if n != len(entries)+2 {
		t.Errorf("%d records are handed on, want %d", n, len(entries)+2)
	}
}

// TestIsolationHoldsThroughTheWholeServer counts batches in a variable of the function.
func TestIsolationHoldsThroughTheWholeServer(t *testing.T) {
	c := client(t, start(t, Config{Memory: true}))
	streams(t, c, 1)
	for range 5 {
		put(t, c, admin.Entry{Key: "a", Text: "count"})
	}
	for isolation, want := range map[functions.Isolation][]string{
		functions.IsolationInvocation:  {"1", "1", "1", "1", "1"},
		functions.IsolationEnvironment: {"1", "2", "3", "4", "5"},
	} {
		before := len(read(t, c, "out")["a"])
		mill(t, c, "f-"+string(isolation), admin.FunctionSpec{Isolation: &isolation}, admin.TriggerSpec{BatchSize: ptr(1)})
		drained(t, c, "f-"+string(isolation))
		if got := read(t, c, "out")["a"][before:]; !slices.Equal(got, want) {
			t.Errorf("isolation %s: %q, want %q", isolation, got, want)
		}
	}
}

// TestReportsArePlausible: of a first invocation and of the next, by a trigger and by hand.
func TestReportsArePlausible(t *testing.T) {
	c := client(t, start(t, Config{Memory: true}))
	streams(t, c, 1)
	mill(t, c, "f", admin.FunctionSpec{MemoryMB: ptr(256)}, admin.TriggerSpec{BatchSize: ptr(1), Paused: true})
	put(t, c, admin.Entry{Key: "a", Text: "hold 64"}, admin.Entry{Key: "a", Text: "good"})
	if _, err := c.ResumeTrigger(t.Context(), "f"); err != nil {
		t.Fatal(err)
	}
	drained(t, c, "f")
	if r, err := c.Invoke(t.Context(), "f", "", []byte(`{"Records":[]}`)); err != nil || r.Outcome != "done" || r.MaxMemory < 64<<20 || r.MaxMemory > 256<<20 || r.InitMS != 0 || r.DurationMS <= 0 {
		t.Errorf("%+v, %v", r, err)
	}
	var reports []string
	if err := c.Logs(t.Context(), "f", 1000, false, func(l admin.LogLine) error {
		if strings.HasPrefix(l.Line, "REPORT ") {
			reports = append(reports, l.Line)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^REPORT RequestId: [-0-9a-f]{36}\tDuration: ([0-9.]+) ms\tBilled Duration: ([0-9]+) ms\tMemory Size: 256 MB\tMax Memory Used: ([0-9]+) MB\t(?:Init Duration: ([0-9.]+) ms\t)?Work: ([0-9]+) steps\t$`)
	var work []float64
	for i, r := range reports {
		m := form.FindStringSubmatch(r)
		if m == nil {
			t.Fatalf("%q", r)
		}
		number := func(i int) float64 { n, _ := strconv.ParseFloat(m[i], 64); return n }
		if memory := number(3); memory < 64 || memory > 256 {
			t.Errorf("%q: memory", r)
		}
		if billed, took := number(2), number(1)+number(4); billed < took || billed > took+1.02 {
			t.Errorf("%q: what is billed is not what it took", r)
		}
		if i > 0 && m[4] != "" {
			t.Errorf("%q: one start-up is enough", r)
		}
		work = append(work, number(5))
	}
	// 64 MB are held 4 KB at a time.
	if len(work) != 3 || work[0] < 16384 || work[0] < 2*work[1] || work[1] == 0 || work[2] == 0 {
		t.Errorf("steps %v", work)
	}
}
