package pool

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
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
