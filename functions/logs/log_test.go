package logs

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// memory is a store in memory whose groups keep so many bytes.
func memory(t testing.TB, group int64) *Store {
	t.Helper()
	s, err := Open(Options{GroupBytes: group})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// on is a store in dir, closed with the test.
func on(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	o.Dir = dir
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, s) })
	return s
}

func closed(t testing.TB, s *Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

func add(l *Log, texts ...string) {
	for _, s := range texts {
		l.Write(Line{Time: time.Now(), Stream: "s", Text: s})
	}
}

func texts(lines []Line) string {
	var s []string
	for _, l := range lines {
		s = append(s, l.Text)
	}
	return strings.Join(s, " ")
}

func TestTail(t *testing.T) {
	l := memory(t, 0).Function("f")
	add(l, "a", "b", "c")
	for n, want := range map[int]string{-1: "a b c", 0: "", 2: "b c", 3: "a b c", 9: "a b c"} {
		if got := texts(l.Tail(n)); got != want {
			t.Errorf("Tail(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestTailReachesOverSegments(t *testing.T) {
	l := memory(t, 16<<10).Function("f") // 1 KiB a segment
	var want []string
	for i := range 200 {
		add(l, strconv.Itoa(i))
		want = append(want, strconv.Itoa(i))
	}
	for _, n := range []int{-1, 1, 7, 50, 51, 52, 53, 54, 55, 99, 199, 200, 1000} {
		from := max(0, len(want)-n)
		if n < 0 {
			from = 0
		}
		if got := texts(l.Tail(n)); got != strings.Join(want[from:], " ") {
			t.Errorf("Tail(%d) = %q", n, got)
		}
	}
}

func TestGroupKeepsItsLastBytes(t *testing.T) {
	const keeps = 4 << 20
	s := memory(t, keeps)
	l := s.Function("f")
	line := strings.Repeat("x", 1000)
	for i := range 10_000 {
		add(l, strconv.Itoa(i)+line)
	}
	g, err := s.Group("/aws/lambda/f")
	if err != nil || g.Bytes > keeps || g.Bytes < keeps-keeps/segments-2000 {
		t.Errorf("%d bytes are kept, of %d: %v", g.Bytes, keeps, err)
	}
	lines := l.Tail(-1)
	for i, l := range lines {
		if want := strconv.Itoa(10_000 - len(lines) + i); l.Text != want+line {
			t.Fatalf("line %d of %d begins with %.8s", i, len(lines), l.Text)
		}
	}
	if n := len(lines); n < 3500 || n > keeps/1000 {
		t.Errorf("%d lines", n)
	}
}

func TestAllGroupsKeepSoManyBytesTogether(t *testing.T) {
	const all = 1 << 20
	for _, dir := range []string{"", t.TempDir()} {
		s := on(t, dir, Options{GroupBytes: all / 2, Bytes: all})
		line := strings.Repeat("x", 1000)
		for i := range 10 {
			l := s.Function("f" + strconv.Itoa(i))
			for range 100 * (i + 1) {
				add(l, line)
			}
		}
		if dir != "" {
			closed(t, s)
		}
		total, groups := int64(0), s.Groups()
		for _, g := range groups {
			total += g.Bytes
		}
		if total > all || total < all/2 || len(groups) != 10 || groups[0].Bytes < 100_000 {
			t.Errorf("%d bytes, want at most %d; the smallest group has %d", total, all, groups[0].Bytes)
		}
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory(t, 0)
		l := s.Function("f")
		ctx, cancel := context.WithCancel(t.Context())
		early := l.Follow(ctx) // before there is a group
		synctest.Wait()
		add(l, "before")
		ch, tail := l.Follow(ctx), l.FollowTail(ctx, 1)
		synctest.Wait()
		add(l, "a", "b")
		if got := (<-ch).Text + (<-ch).Text; got != "ab" {
			t.Error(got)
		}
		for what, ch := range map[string]<-chan Line{"early": early, "tail": tail} {
			if got := (<-ch).Text + (<-ch).Text + (<-ch).Text; got != "beforeab" {
				t.Error(what, got)
			}
		}
		if err := s.DeleteGroup("/aws/lambda/f"); err != nil {
			t.Error(err)
		}
		add(l, "anew")
		if got := (<-ch).Text; got != "anew" {
			t.Error("behind a deletion:", got)
		}
		cancel()
		if _, ok := <-ch; ok {
			t.Error("a line after the end")
		}
		for range early {
		}
		for range tail {
		}
	})
}

func TestSlowFollowerIsToldWhatItMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memory(t, 0).Function("f")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ch := l.Follow(ctx)
		line := strings.Repeat("x", 1000)
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

func TestFunctionThatLogsWithoutEndIsHeldToARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory(t, 64<<20)
		l := s.Function("f")
		line := strings.Repeat("x", 1023)
		flood := func(kilobytes int) {
			for range kilobytes {
				l.Guest(Line{Time: time.Now(), RequestID: "i", Stream: "[7]", Text: line})
			}
		}
		end := func() { l.Write(Line{Time: time.Now(), RequestID: "j", Stream: "[8]", Text: "END"}) }
		lines := func() uint64 { // ever
			g, err := s.group(l.name)
			if err != nil {
				t.Fatal(err)
			}
			return g.next - 1
		}
		flood(6000)
		if n := lines(); n != logBurst>>10 {
			t.Errorf("%d KB at once, want %d", n, logBurst>>10)
		}
		end()
		tail := l.Tail(2)
		if want := "[wasmill: 1904 lines, 1904 KB, were dropped: a function may log 64 KB a second for long, and 4 MB at once]"; tail[0].Text != want || tail[0].RequestID != "i" || tail[0].Stream != "[7]" || tail[1].Text != "END" || tail[1].Stream != "[8]" {
			t.Errorf("%+v", tail)
		}
		before := lines()
		for range 60 {
			time.Sleep(time.Second)
			flood(1000)
			end()
			end()
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

func TestTailEndsThoughTheLogIsWrittenOn(t *testing.T) {
	l := memory(t, 0).Function("f")
	add(l, "a", "b", "c")
	var got []string
	for line := range l.Lines(2) {
		got = append(got, line.Text)
		add(l, "more")
	}
	if strings.Join(got, "") != "bc" {
		t.Error(got)
	}
}
