package server

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/functions/build"
)

// trouble is the code of testdata/trouble.
var trouble = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "trouble")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "trouble.wasm")
	if _, err := build.Go(context.Background(), build.Options{Dir: "testdata/trouble", Out: out}); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
})

func troubleCode(t *testing.T) []byte {
	t.Helper()
	code, err := trouble()
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// children are the processes of functions that belong to process parent, compilers
// included.
func children(t *testing.T, parent int) (pids []int) {
	t.Helper()
	all, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it has just ended
		}
		f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if args := strings.Split(string(line), "\x00"); f[1] == strconv.Itoa(parent) && f[0] != "Z" && slices.Contains(args, "sandbox") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// private is what a process has of memory to itself, in bytes; 0 if it has ended.
func private(pid int) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	var size, all, shared int64
	_, _ = fmt.Sscan(string(b), &size, &all, &shared)
	return (all - shared) * int64(os.Getpagesize())
}

// until waits until ok; what says what did not come.
func until(t *testing.T, patience time.Duration, what func() string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what())
		}
	}
}

// mill is a server with the streams in and out, and a function of testdata/trouble
// that a trigger of the same name runs on in.
func mill(t *testing.T, c *admin.Client, name string, f admin.FunctionSpec, tr admin.TriggerSpec) {
	t.Helper()
	ctx := t.Context()
	f.Emits = &[]string{"out"}
	if _, _, err := c.CreateFunction(ctx, name, troubleCode(t), f, nil); err != nil {
		t.Fatal(err)
	}
	tr.Name, tr.Stream, tr.From, tr.Function, tr.Backoff = name, "in", "trim-horizon", &name, ptr(admin.Duration(time.Millisecond))
	if _, err := c.CreateTrigger(ctx, tr); err != nil {
		t.Fatal(err)
	}
}

func streams(t *testing.T, c *admin.Client, shards int) {
	t.Helper()
	for name, n := range map[string]int{"in": shards, "out": 1} {
		if _, err := c.CreateStream(t.Context(), admin.StreamSpec{Name: name, Shards: n}); err != nil {
			t.Fatal(err)
		}
	}
}

func put(t *testing.T, c *admin.Client, entries ...admin.Entry) {
	t.Helper()
	for len(entries) > 0 {
		n := min(len(entries), 500)
		if a, err := c.Put(t.Context(), "in", entries[:n]); err != nil || a.Failed > 0 {
			t.Fatal(a, err)
		}
		entries = entries[n:]
	}
}

func drained(t *testing.T, c *admin.Client, name string) {
	t.Helper()
	if _, err := c.WaitDrained(t.Context(), name, 2*time.Minute); err != nil {
		tr, _ := c.Trigger(t.Context(), name)
		t.Fatalf("%s: %v; %+v", name, err, tr)
	}
}

// read returns what a stream holds, by key, in order.
func read(t *testing.T, c *admin.Client, stream string) map[string][]string {
	t.Helper()
	got := map[string][]string{}
	if err := c.Tail(t.Context(), stream, admin.TailOptions{From: "trim-horizon"}, func(l admin.TailLine) error {
		if l.Record != nil {
			got[l.Record.Key] = append(got[l.Record.Key], string(l.Record.Payload()))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

// TestARecordThatEndsItsProcessIsBuriedAlone: whatever a record does to what runs the
// function, it ends among the dead letters with its own error, after as many attempts
// as it has, and every other record is handed on exactly once, in order.
func TestARecordThatEndsItsProcessIsBuriedAlone(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; not run with -short")
	}
	c := client(t, start(t, Config{Memory: true}))
	streams(t, c, 2)
	const retries = 1
	want := map[string]string{ // error types
		"hog": "Runtime.OutOfMemory", "spin": "Sandbox.Timedout", "sleep": "Sandbox.Timedout", "deep": "Runtime.ExitError Runtime.OutOfMemory Sandbox.Timedout",
		"exit": "Runtime.ExitError", "panic": "string", "kill": "Runtime.ExitError",
	}
	var entries []admin.Entry
	handed := map[string][]string{}
	words := []string{"kill", "hog", "spin", "deep", "exit", "panic", "sleep"}
	for i := range 140 {
		key, text := fmt.Sprint("key-", i%9), fmt.Sprint("good ", i)
		if i%20 == 13 {
			text = words[i/20] + " " + text
		} else {
			handed[key] = append(handed[key], text)
		}
		entries = append(entries, admin.Entry{Key: key, Text: text})
	}
	put(t, c, entries...)

	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	kills, before := 0, map[int]int64{}
	killing := make(chan struct{})
	go func() {
		defer close(killing)
		for ctx.Err() == nil {
			for _, pid := range children(t, os.Getpid()) {
				// One that hoards grows on.
				has := private(pid)
				if grew := has - before[pid]; has > 200<<20 && max(grew, -grew) < 1<<20 && syscall.Kill(pid, syscall.SIGKILL) == nil {
					kills++
				}
				before[pid] = has
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	mill(t, c, "f", admin.FunctionSpec{Timeout: ptr(admin.Duration(3 * time.Second)), MemoryMB: ptr(256)},
		admin.TriggerSpec{BatchSize: ptr(4), Retries: ptr(retries), Bisect: ptr(true), Parallel: ptr(3)})
	drained(t, c, "f")
	enough()
	<-killing

	letters, _, err := c.Letters(t.Context(), admin.LetterFilter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, head := range letters {
		l, err := c.Letter(t.Context(), head.ID)
		if err != nil {
			t.Fatal(err)
		}
		word, _, _ := strings.Cut(string(l.Payload()), " ")
		if types := want[word]; types == "" || !strings.Contains(types, l.ErrorType) || l.BatchSize != 1 || l.Attempts != retries+1 {
			t.Errorf("%s is buried: %s %s, attempts %d, of a batch of %d", l.Payload(), l.ErrorType, l.ErrorMessage, l.Attempts, l.BatchSize)
		}
		delete(want, word)
	}
	for word := range want {
		t.Errorf("%s is not buried", word)
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
	if kills < retries+1 {
		t.Errorf("%d kills are too few to prove anything", kills)
	}
}

// TestNothingIsLostWhenProcessesOfFunctionsAreKilled kills processes of functions at
// random moments, of which nobody can say what did it: each time at most one batch
// pays for it with an attempt, and every record is handed on exactly once.
func TestNothingIsLostWhenProcessesOfFunctionsAreKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds; not run with -short")
	}
	s := start(t, Config{Memory: true})
	c := client(t, s)
	streams(t, c, 3)
	var paid atomic.Int64 // batches
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	mill(t, c, "f", admin.FunctionSpec{}, admin.TriggerSpec{BatchSize: ptr(5), Retries: ptr(100), Parallel: ptr(3)})
	const kills = 30
	go func() {
		defer enough()
		random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
		for n := 0; n < kills && ctx.Err() == nil; {
			time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
			if pids := children(t, os.Getpid()); len(pids) > 0 && syscall.Kill(pids[random.IntN(len(pids))], syscall.SIGKILL) == nil {
				n++
			}
		}
	}()
	handed := map[string][]string{}
	for i := 0; ctx.Err() == nil; i++ {
		var entries []admin.Entry
		for j := range 25 {
			key, text := fmt.Sprint("key-", j), fmt.Sprintf("good %d/%d", i, j)
			handed[key] = append(handed[key], text)
			entries = append(entries, admin.Entry{Key: key, Text: text})
		}
		put(t, c, entries...)
		time.Sleep(20 * time.Millisecond)
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
	if err := c.Logs(t.Context(), "f", 1<<20, false, func(l admin.LogLine) error {
		if strings.Contains(l.Line, "Status: error") {
			paid.Add(1)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n := int(paid.Load()); n > kills {
		t.Errorf("%d kills cost %d attempts", kills, n)
	}
	t.Logf("%d kills, %d attempts", kills, paid.Load())
}
