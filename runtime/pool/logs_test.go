package pool

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func add(l *Logs, texts ...string) {
	for _, s := range texts {
		l.add(LogLine{Text: s})
	}
}

func texts(lines []LogLine) string {
	var s []string
	for _, l := range lines {
		s = append(s, l.Text)
	}
	return strings.Join(s, " ")
}

func TestTail(t *testing.T) {
	l := &Logs{}
	add(l, "a", "b", "c")
	for n, want := range map[int]string{-1: "a b c", 0: "", 2: "b c", 9: "a b c"} {
		if got := texts(l.Tail(n)); got != want {
			t.Errorf("Tail(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestLogKeepsItsLastFourMegabytes(t *testing.T) {
	l := &Logs{}
	line := strings.Repeat("x", 1<<10-lineCost)
	for range 10_000 {
		add(l, line)
	}
	if n := len(l.Tail(-1)); n != maxLogs>>10 {
		t.Errorf("%d lines of 1 KiB are kept, want %d", n, maxLogs>>10)
	}
	if c := cap(l.lines); c > 4*maxLogs>>10 {
		t.Errorf("room for %d lines", c)
	}
	if l.first != 10_000-maxLogs>>10 {
		t.Errorf("the first has number %d", l.first)
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Logs{}
		add(l, "before")
		ctx, cancel := context.WithCancel(t.Context())
		ch, tail := l.Follow(ctx), l.FollowTail(ctx, 1)
		synctest.Wait()
		add(l, "a", "b")
		if got := (<-ch).Text + (<-ch).Text; got != "ab" {
			t.Error(got)
		}
		if got := (<-tail).Text + (<-tail).Text + (<-tail).Text; got != "beforeab" {
			t.Error(got)
		}
		cancel()
		if _, ok := <-ch; ok {
			t.Error("a line after the end")
		}
		<-tail
	})
}

func TestSlowFollowerIsToldWhatItMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Logs{}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ch := l.Follow(ctx)
		line := strings.Repeat("x", 1<<10-lineCost)
		const all = 10_000
		for range all {
			add(l, line)
		}
		add(l, "end")
		seen, missed := 0, 0
		for line := range ch {
			if line.Text == "end" {
				break
			}
			if n, ok := strings.CutPrefix(line.Text, "[wasmill: "); ok {
				n, _, _ = strings.Cut(n, " ")
				lost, err := strconv.Atoi(n)
				if err != nil {
					t.Error(err)
				}
				missed += lost
				continue
			}
			seen++
		}
		if missed == 0 || seen+missed != all {
			t.Errorf("%d seen, %d missed, of %d", seen, missed, all)
		}
	})
}

func TestTailOfAnInvocationIsFourKilobytes(t *testing.T) {
	r := recorder{logs: &Logs{}}
	for range 100 {
		r.Line("i", []byte(strings.Repeat("y", 999)))
	}
	r.Line("i", []byte("last"))
	if got := r.last(); len(got) != maxTail || !strings.HasSuffix(string(got), "y\nlast\n") {
		t.Errorf("%d bytes, ending %q", len(got), got[max(0, len(got)-8):])
	}
	if cap(r.tail) > 4*slack*maxTail {
		t.Errorf("%d bytes are kept for it", cap(r.tail))
	}
}

func TestFunctionThatLogsWithoutEndIsHeldToARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Logs{}
		r := recorder{logs: l, version: "7"}
		line := []byte(strings.Repeat("x", 1023))
		flood := func(kilobytes int) { // at most what is kept may be written at once
			for range kilobytes {
				r.Line("i", line)
			}
		}
		lines := func() uint64 { // ever
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.first + uint64(len(l.lines)-l.head)
		}
		flood(6000)
		if n := lines(); n != logBurst>>10 {
			t.Errorf("%d KB at once, want %d", n, logBurst>>10)
		}
		if !strings.HasSuffix(string(r.last()), "x\n") {
			t.Error("an invocation does not see the end of its own log")
		}
		r.write(time.Now(), "j", "END")
		tail := l.Tail(2)
		if want := "[wasmill: 1904 lines, 1904 KB, were dropped: a function may log 64 KB a second for long, and 4 MB at once]"; tail[0].Text != want || tail[0].RequestID != "i" || tail[0].Version != "7" || tail[1].Text != "END" {
			t.Errorf("%+v", tail)
		}
		before := lines()
		for range 60 {
			time.Sleep(time.Second)
			flood(1000)
			r.write(time.Now(), "j", "END")
			r.write(time.Now(), "j", "END")
		}
		if n := lines() - before; n != 60*(64+1+2) {
			t.Errorf("%d lines in a minute: want 64 KB a second, and of the rest one line a second", n)
		}
		before = lines()
		time.Sleep(time.Hour)
		flood(6000)
		if n := lines() - before; n != logBurst>>10 {
			t.Errorf("%d KB at once after a rest, want %d", n, logBurst>>10)
		}
		time.Sleep(time.Second)
		before = lines()
		if flood(1); lines()-before != 2 {
			t.Error("an invocation that goes on logging does not tell what was dropped")
		}
		flood(2000)
		if last := l.Tail(1)[0].Text; !strings.Contains(last, " lines, ") {
			t.Errorf("what was dropped last is not told: %s", last)
		}
	})
}
