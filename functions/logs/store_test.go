package logs

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// flushed waits until all that was added is in files.
func flushed(t testing.TB, s *Store) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		left := 0
		s.mu.Lock()
		for _, g := range s.groups {
			g.mu.Lock()
			left += g.unwritten()
			g.mu.Unlock()
		}
		s.mu.Unlock()
		if left == 0 {
			return
		}
	}
	t.Fatal("not all is written after 20 s")
}

// killed is a copy of what a process would leave that was killed now.
func killed(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestWhatWasWrittenSurvivesAKill(t *testing.T) {
	dir := t.TempDir()
	s := on(t, dir, Options{GroupBytes: 64 << 10}) // 4 KiB a segment
	l := s.Function("f")
	var want []string
	for i := range 500 {
		add(l, fmt.Sprint(i))
		want = append(want, fmt.Sprint(i))
	}
	if err := s.CreateGroup(Group{Name: "g", Tags: map[string]string{"a": "b"}, Class: "STANDARD"}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.SetRetention("g", 7), s.CreateStream("g", "empty")); err != nil {
		t.Fatal(err)
	}
	flushed(t, s)
	again := on(t, killed(t, dir), Options{GroupBytes: 64 << 10})
	l = again.Function("f")
	if got := texts(l.Tail(-1)); got != strings.Join(want, " ") {
		t.Errorf("%d bytes, want %d", len(got), len(strings.Join(want, " ")))
	}
	add(l, "more")
	if got := texts(l.Tail(2)); got != "499 more" {
		t.Error(got)
	}
	g, err := again.Group("g")
	if err != nil || g.Retention != 7 || g.Tags["a"] != "b" || g.Created.IsZero() {
		t.Errorf("%+v, %v", g, err)
	}
	streams, err := again.Streams("g")
	if err != nil || len(streams) != 1 || streams[0].Name != "empty" {
		t.Errorf("%+v, %v", streams, err)
	}
	// What lies in sealed segments was not read: their index says it.
	before, _ := s.Streams(FunctionGroup("f"))
	after, _ := again.Streams(FunctionGroup("f"))
	after[0].Last, after[0].Ingested, after[0].Bytes = before[0].Last, before[0].Ingested, before[0].Bytes // "more"
	if len(after) != 1 || fmt.Sprint(after[0]) != fmt.Sprint(before[0]) {
		t.Errorf("streams %+v, want %+v", after, before)
	}
}

func TestDamagedEndIsCutOffAndTheRestReadAndGoneOnWith(t *testing.T) {
	dir := t.TempDir()
	s := on(t, dir, Options{})
	add(s.Function("f"), "one", "two", "three")
	flushed(t, s)
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.log"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	rel, _ := filepath.Rel(dir, files[0])
	for name, damage := range map[string]func([]byte) []byte{
		"half a frame":  func(b []byte) []byte { return b[:len(b)-3] },
		"a flipped bit": func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"rubbish":       func(b []byte) []byte { return append(b[:len(b)-len("three")-18], strings.Repeat("\xff", 100)...) },
	} {
		t.Run(name, func(t *testing.T) {
			to := killed(t, dir)
			if err := os.WriteFile(filepath.Join(to, rel), damage(slices.Clone(whole)), 0o600); err != nil {
				t.Fatal(err)
			}
			s := on(t, to, Options{})
			l := s.Function("f")
			add(l, "four")
			if got := texts(l.Tail(-1)); got != "one two four" {
				t.Error(got)
			}
			closed(t, s)
			if got := texts(on(t, to, Options{}).Function("f").Tail(-1)); got != "one two four" {
				t.Error("after another restart:", got)
			}
		})
	}
}

func TestDeletedGroupsStayDeleted(t *testing.T) {
	dir := t.TempDir()
	s := on(t, dir, Options{})
	add(s.Function("f"), "old")
	flushed(t, s)
	if err := s.DeleteGroup(FunctionGroup("f")); err != nil {
		t.Fatal(err)
	}
	if left := on(t, killed(t, dir), Options{}).Groups(); len(left) != 0 {
		t.Errorf("%+v", left)
	}
	add(s.Function("f"), "new")
	closed(t, s)
	if dirs, _ := os.ReadDir(dir); len(dirs) != 1 {
		t.Errorf("%d directories are left", len(dirs))
	}
	if got := texts(on(t, dir, Options{}).Function("f").Tail(-1)); got != "new" {
		t.Error(got)
	}
}

func TestDeletedStreamsStayDeletedAndMayBeginAnew(t *testing.T) {
	dir := t.TempDir()
	s := on(t, dir, Options{})
	put := func(s *Store, stream, text string) {
		s.Function("f").Write(Line{Time: time.Now(), Stream: stream, Text: text})
	}
	put(s, "a", "1")
	put(s, "b", "2")
	if err := s.DeleteStream(FunctionGroup("f"), "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteStream(FunctionGroup("f"), "a"); !errors.Is(err, ErrNoStream) {
		t.Error(err)
	}
	put(s, "a", "3")
	check := func(s *Store) {
		t.Helper()
		events, more, err := s.Find(Query{Group: FunctionGroup("f"), Limit: 10, Bytes: 1000})
		var got []string
		for _, e := range events {
			got = append(got, e.Stream+strings.TrimSuffix(e.Text, "\n"))
		}
		if strings.Join(got, " ") != "b2 a3" || more || err != nil {
			t.Error(got, more, err)
		}
		streams, err := s.Streams(FunctionGroup("f"))
		if err != nil || len(streams) != 2 || streams[0].Bytes != 1 {
			t.Errorf("%+v %v", streams, err)
		}
	}
	check(s)
	closed(t, s)
	check(on(t, dir, Options{}))
}

func TestRetentionHidesAndRemovesWhatIsOlder(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		s := on(t, dir, Options{})
		if err := errors.Join(s.CreateGroup(Group{Name: "g"}), s.CreateStream("g", "s")); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		old, young := Input{Time: now.Add(-49 * time.Hour), Text: "old"}, Input{Time: now.Add(-47 * time.Hour), Text: "young"}
		find := func() string {
			events, _, err := s.Find(Query{Group: "g", Limit: 10, Bytes: 1000})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range events {
				got = append(got, e.Text)
			}
			return strings.Join(got, " ")
		}
		if err := s.Put("g", "s", []Input{old, young}); err != nil {
			t.Fatal(err)
		}
		if got := find(); got != "old young" {
			t.Error(got)
		}
		if err := s.SetRetention("g", 2); err != nil {
			t.Fatal(err)
		}
		if got := find(); got != "young" {
			t.Error(got)
		}
		if err := s.SetRetention("g", 1); err != nil { // all of the segment is older
			t.Fatal(err)
		}
		if g, _ := s.Group("g"); g.Bytes != 0 {
			t.Errorf("%d bytes are kept", g.Bytes)
		}
		if dir == "" {
			continue
		}
		closed(t, s)
		if files, _ := filepath.Glob(filepath.Join(dir, "*", "*.log")); len(files) != 0 {
			t.Errorf("files %v are left", files)
		}
	}
}

func TestDiskThatTakesNothingCostsLogsAndNobodyWaits(t *testing.T) {
	dir := t.TempDir()
	var full atomic.Bool
	full.Store(true)
	s := on(t, dir, Options{GroupBytes: 16 << 20, Admit: func(int) error {
		if full.Load() {
			return errors.New("no room")
		}
		return nil
	}})
	if err := errors.Join(s.CreateGroup(Group{Name: "g"}), s.CreateStream("g", "s")); err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("x", 100_000)
	refused := false
	for range 200 { // 20 MB, more than waits in memory
		err := s.Put("g", "s", []Input{{Time: time.Now(), Text: text}})
		refused = refused || errors.Is(err, ErrFull)
		if err != nil && !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
	}
	for range 30_000 {
		add(s.Function("f"), strings.Repeat("y", 300)) // of wasmill's own: not held to a rate
	}
	if !refused {
		t.Error("a client is not told that nothing more is taken")
	}
	add(s.Function("f"), "last")
	if got := texts(s.Function("f").Tail(1)); got != "last" {
		t.Error("what is newest cannot be read:", got)
	}
	for s.Dropped() < 1000 { // more than group g ever had
		time.Sleep(time.Millisecond)
	}
	full.Store(false)
	add(s.Function("f"), "again")
	told := func(s *Store) bool {
		return slices.ContainsFunc(s.Function("f").Tail(-1), func(l Line) bool { return strings.HasSuffix(l.Text, " lines were dropped: the disk took nothing]") })
	}
	for end := time.Now().Add(20 * time.Second); !told(s) && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	closed(t, s)
	again := on(t, dir, Options{GroupBytes: 16 << 20})
	if got := texts(again.Function("f").Tail(-1)); !strings.Contains(got, "again") || !told(again) {
		t.Errorf("after a restart: …%s", got[max(0, len(got)-100):])
	}
}

// TestFindGivesWhatALinearSearchWould compares pages with the whole.
func TestFindGivesWhatALinearSearchWould(t *testing.T) {
	dir := t.TempDir()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		at := ""
		if rapid.Bool().Draw(t, "on disk") {
			at = filepath.Join(dir, fmt.Sprint(run))
		}
		s, err := Open(Options{Dir: at, GroupBytes: 64 << 10, Bytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.CreateGroup(Group{Name: "g"}); err != nil {
			t.Fatal(err)
		}
		names := []string{"a", "b", "ab"}
		for _, n := range names {
			if err := s.CreateStream("g", n); err != nil {
				t.Fatal(err)
			}
		}
		base := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
		var all []Event
		n := rapid.IntRange(0, 400).Draw(t, "events")
		seed := rapid.Uint64().Draw(t, "seed")
		rnd := rand.New(rand.NewPCG(seed, 1))
		for i := range n {
			stream, in := names[rnd.IntN(3)], Input{Time: base.Add(time.Duration(rnd.IntN(2000)) * time.Millisecond), Text: strings.Repeat("t", rnd.IntN(60)) + fmt.Sprint(i)}
			if err := s.Put("g", stream, []Input{in}); err != nil {
				t.Fatal(err)
			}
			all = append(all, Event{Position: Position{in.Time.UnixMilli(), uint64(i + 1)}, Stream: stream, Text: in.Text})
		}
		if at != "" && rapid.Bool().Draw(t, "restart") {
			closedRapid(t, s)
			if s, err = Open(Options{Dir: at, GroupBytes: 64 << 10, Bytes: 1 << 20}); err != nil {
				t.Fatal(err)
			}
		}
		defer closedRapid(t, s)
		q := Query{Group: "g", Limit: rapid.IntRange(1, 50).Draw(t, "limit"), Bytes: rapid.IntRange(1, 3000).Draw(t, "bytes"), Last: rapid.Bool().Draw(t, "last")}
		if rapid.Bool().Draw(t, "from") {
			q.From = base.UnixMilli() + rapid.Int64Range(0, 2000).Draw(t, "from ms")
		}
		if rapid.Bool().Draw(t, "before") {
			q.Before = new(base.UnixMilli() + rapid.Int64Range(0, 2000).Draw(t, "before ms"))
		}
		switch rapid.IntRange(0, 2).Draw(t, "streams") {
		case 1:
			q.Streams = []string{"b", "ab"}
		case 2:
			q.Prefix = "a"
		}
		want := slices.DeleteFunc(slices.Clone(all), func(e Event) bool {
			return e.Millis < q.From || q.Before != nil && e.Millis >= *q.Before || q.Streams != nil && !slices.Contains(q.Streams, e.Stream) || !strings.HasPrefix(e.Stream, q.Prefix)
		})
		slices.SortFunc(want, func(a, b Event) int { return cmp.Or(cmp.Compare(a.Millis, b.Millis), cmp.Compare(a.ID, b.ID)) })
		var got []Event
		for pages := 0; ; pages++ {
			events, more, err := s.Find(q)
			if err != nil {
				t.Fatal(err)
			}
			size := 0
			for _, e := range events {
				size += len(e.Text) + eventCost
			}
			if len(events) > q.Limit || len(events) > 1 && size > q.Bytes || more && len(events) == 0 {
				t.Fatalf("%d events of %d bytes, more: %v", len(events), size, more)
			}
			if q.Last {
				got = append(slices.Clone(events), got...)
			} else {
				got = append(got, events...)
			}
			if !more {
				break
			}
			if q.Last {
				q.Until = &events[0].Position
			} else {
				q.After = &events[len(events)-1].Position
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%d events, want %d", len(got), len(want))
		}
		for i := range got {
			if got[i].Position != want[i].Position || got[i].Text != want[i].Text || got[i].Stream != want[i].Stream {
				t.Fatalf("event %d is %+v, want %+v", i, got[i], want[i])
			}
		}
	})
}

func closedRapid(t *rapid.T, s *Store) {
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestWritersReadersFollowersAndDeletersGetAlong(t *testing.T) {
	s := on(t, t.TempDir(), Options{GroupBytes: 64 << 10, Bytes: 256 << 10})
	var wg, readers sync.WaitGroup
	stop := make(chan struct{})
	for i := range 3 {
		l := s.Function(fmt.Sprint("f", i))
		wg.Go(func() {
			for k := range 3000 {
				l.Guest(Line{Time: time.Now(), RequestID: fmt.Sprint(k / 7), Stream: fmt.Sprint("s", k/500), Text: fmt.Sprint("line ", k, strings.Repeat(".", k%90))})
			}
		})
		readers.Go(func() {
			last := -1
			for line := range l.FollowTail(t.Context(), -1) {
				var k int
				if n, _ := fmt.Sscanf(line.Text, "line %d", &k); n == 1 {
					if k <= last {
						t.Errorf("line %d after line %d", k, last)
					}
					last = k
				}
				if line.Text == "end" {
					return
				}
			}
		})
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, _, err := s.Find(Query{Group: FunctionGroup(fmt.Sprint("f", i)), Limit: 100, Bytes: 10_000, Last: i == 1}); err != nil && !errors.Is(err, ErrNoGroup) {
					t.Error(err)
				}
				l.Tail(50)
				_, _ = s.Streams(FunctionGroup(fmt.Sprint("f", i)))
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			_ = s.DeleteStream(FunctionGroup("f1"), "s1")
			_ = s.DeleteGroup(FunctionGroup("f2"))
			time.Sleep(time.Millisecond)
		}
	})
	wg.Wait()
	close(stop)
	for i := range 3 {
		add(s.Function(fmt.Sprint("f", i)), "end")
	}
	readers.Wait()
}

func TestWhatCannotBeReadKeepsNobodyFromStarting(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"empty", "foreign"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "foreign", definitionFile), []byte("not JSON"), 0o600); err != nil {
		t.Fatal(err)
	}
	torn := filepath.Join(dir, "torn")
	if err := os.MkdirAll(filepath.Join(torn, "00000000000000000001.log"), 0o700); err != nil { // no file
		t.Fatal(err)
	}
	if err := replace(filepath.Join(torn, definitionFile), definition{Name: "torn"}); err != nil {
		t.Fatal(err)
	}
	s := on(t, dir, Options{})
	add(s.Function("f"), "a")
	closed(t, s)
	if _, err := os.Stat(filepath.Join(torn, definitionFile)); err != nil {
		t.Error("a group that cannot be read is not left as it was:", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "foreign", definitionFile)); err != nil {
		t.Error("what cannot be read is not left as it was:", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "empty")); err == nil {
		t.Error("what was never begun is still there")
	}
}

func TestTimesAndRequestsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory(t, 0)
		l := s.Function("f")
		at := time.Now().Add(123456 * time.Microsecond)
		l.Write(Line{Time: at, RequestID: "r1", Stream: "s", Text: "a"}, Line{Time: at, RequestID: "r1", Stream: "s", Text: ""}, Line{Time: at, Stream: "s", Text: "b"}, Line{Time: at, RequestID: "r1", Stream: "t", Text: "c"}, Line{Time: at, RequestID: "r2", Stream: "t", Text: "d\x00\xff"})
		lines := l.Tail(-1)
		want := []Line{{at, "r1", "s", "a"}, {at, "r1", "s", ""}, {at, "", "s", "b"}, {at, "r1", "t", "c"}, {at, "r2", "t", "d\x00\xff"}}
		for i, l := range lines {
			if !l.Time.Equal(want[i].Time) || l.RequestID != want[i].RequestID || l.Stream != want[i].Stream || l.Text != want[i].Text {
				t.Errorf("%d: %+v, want %+v", i, l, want[i])
			}
		}
		if err := s.CreateStream(FunctionGroup("f"), "u"); err != nil {
			t.Fatal(err)
		}
		old := time.UnixMilli(-5)
		if err := s.Put(FunctionGroup("f"), "u", []Input{{Time: old, Ingested: at, Text: "x"}}); err != nil {
			t.Fatal(err)
		}
		events, _, err := s.Find(Query{Group: FunctionGroup("f"), Streams: []string{"u"}, From: -10, Limit: 1, Bytes: 1})
		if err != nil || len(events) != 1 || events[0].Millis != -5 || events[0].Ingested != at.UnixMilli() {
			t.Errorf("%+v %v", events, err)
		}
	})
}

func FuzzFrames(f *testing.F) {
	var e encoder
	e.numbers = map[string]uint64{}
	b := e.event(nil, "s", Input{Time: time.Unix(1, 0), RequestID: "r", Text: "text"})
	f.Add(b)
	f.Add(e.event(b, "s", Input{Time: time.Unix(1, 0), Ingested: time.Unix(2, 0), RequestID: "r", Text: ""}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d decoder
		for {
			_, n, _ := d.next(b)
			if n == 0 {
				return
			}
			if n > len(b) {
				t.Fatalf("a frame of %d bytes in %d", n, len(b))
			}
			b = b[n:]
		}
	})
}

func BenchmarkInvocation(b *testing.B) {
	for name, dir := range map[string]string{"memory": "", "disk": b.TempDir()} {
		b.Run(name, func(b *testing.B) {
			s := on(b, dir, Options{})
			l := s.Function("f")
			b.ReportAllocs()
			for b.Loop() {
				now := time.Now()
				l.Write(Line{Time: now, RequestID: "5f3c1f0e-8d5a-4d0e-9a62-1f0c7c3b8a11", Stream: "2026/11/22/[$LATEST]0123456789abcdef0123456789abcdef", Text: "START RequestId: 5f3c1f0e-8d5a-4d0e-9a62-1f0c7c3b8a11 Version: $LATEST"})
				l.Write(Line{Time: now, RequestID: "5f3c1f0e-8d5a-4d0e-9a62-1f0c7c3b8a11", Stream: "2026/11/22/[$LATEST]0123456789abcdef0123456789abcdef", Text: "END RequestId: 5f3c1f0e-8d5a-4d0e-9a62-1f0c7c3b8a11"},
					Line{Time: now, RequestID: "5f3c1f0e-8d5a-4d0e-9a62-1f0c7c3b8a11", Stream: "2026/11/22/[$LATEST]0123456789abcdef0123456789abcdef", Text: "REPORT RequestId: 5f3c1f0e-8d5a-4d0e-9a62-1f0c7c3b8a11\tDuration: 0.05 ms\tBilled Duration: 1 ms\tMemory Size: 128 MB\tMax Memory Used: 2 MB\t"})
			}
		})
	}
}

// Whoever fills up the groups from outside must not cost functions their logs.
func TestFunctionsHaveLogsThoughThereAreAsManyGroupsAsMayBe(t *testing.T) {
	s, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxGroups {
		if err := s.CreateGroup(Group{Name: strconv.Itoa(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CreateGroup(Group{Name: "one more"}); !errors.Is(err, ErrTooMany) {
		t.Errorf("%v, want %v", err, ErrTooMany)
	}
	l := s.Function("f")
	l.Write(Line{Time: time.Now(), Stream: "s", Text: "START"})
	if n := len(l.Tail(-1)); n != 1 {
		t.Errorf("%d lines of a function", n)
	}
}
