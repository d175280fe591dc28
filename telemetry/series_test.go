package telemetry

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

func open(t testing.TB, dir string) *Series {
	t.Helper()
	s, err := OpenSeries(SeriesOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, s) })
	return s
}

func closed(t testing.TB, s *Series) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

// sums are a statistic of what s has between two times.
func values(s *Series, m Metric, unit, stat string, from, to time.Time, period time.Duration) (out []float64) {
	of, _ := ParseStatistic(stat)
	for _, b := range s.Read(m, unit, from, to, period) {
		v, _ := of(&b)
		out = append(out, v)
	}
	return out
}

var app = Metric{Namespace: "app", Name: "n"}

func TestPercentilesAreOffByOnePercentAtMost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Values of a few orders of magnitude, both signs and zero, in several buckets.
		all := rapid.SliceOfN(rapid.OneOf(rapid.Float64Range(1, 50), rapid.Float64Range(-5, -1), rapid.Just(0.0), rapid.Just(7.0)), 1, 300).Draw(t, "values")
		var merged Bucket
		for part := range slices.Chunk(all, rapid.IntRange(1, 100).Draw(t, "chunk")) {
			var b Bucket
			for _, v := range part {
				b.add(v, 1)
			}
			merged.Merge(&b)
		}
		slices.Sort(all)
		for _, p := range []float64{0.1, 10, 50, 90, 99, 99.9, 100} {
			got, ok := merged.Percentile(p)
			want := all[max(0, int(math.Ceil(p/100*float64(len(all))))-1)]
			if !ok || math.Abs(got-want) > .0101*math.Abs(want) {
				// The rank may fall on the border of two values.
				rank := p / 100 * float64(len(all))
				if near := all[min(len(all)-1, int(rank))]; rank != math.Trunc(rank) || math.Abs(got-near) > .0101*math.Abs(near) {
					t.Fatalf("p%v of %d values = %v, want %v", p, len(all), got, want)
				}
			}
		}
		sum := 0.0
		for _, v := range all {
			sum += v
		}
		if merged.Count != float64(len(all)) || math.Abs(merged.Sum-sum) > 1e-6 || merged.Min != all[0] || merged.Max != all[len(all)-1] {
			t.Fatalf("%+v", merged)
		}
		if again := (&parser{b: merged.append(nil)}).bucket(); fmt.Sprintf("%+v %+v", again, again.bins) != fmt.Sprintf("%+v %+v", merged, merged.bins) && again.bins != nil {
			// Pointers differ: what they point to must not.
			if !slices.Equal(again.bins.keys, merged.bins.keys) || !slices.Equal(again.bins.counts, merged.bins.counts) || again.bins.shift != merged.bins.shift || again.Sum != merged.Sum {
				t.Fatalf("read back as %+v", again)
			}
		}
	})
}

func TestValuesSpreadWideTakeBoundedRoomAndKeepTheirOrder(t *testing.T) {
	var b Bucket
	for e := -1000; e < 1000; e++ {
		b.add(math.Ldexp(1, e), 1)
		b.add(-math.Ldexp(1, e), 1)
	}
	if n := len(b.bins.keys); n > maxBins {
		t.Errorf("%d bins", n)
	}
	last := math.Inf(-1)
	for p := 1.0; p <= 100; p++ {
		v, ok := b.Percentile(p)
		if !ok || v < last {
			t.Fatalf("p%v = %v after %v", p, v, last)
		}
		last = v
	}
}

func TestResolutionFallsWithAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		start := time.Now().Truncate(time.Hour).Add(time.Hour)
		time.Sleep(time.Until(start))
		for range 600 {
			if err := s.Put(Datum{app, "", time.Now(), Value{Values: []float64{1}}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		end := start.Add(10 * time.Minute)
		count := func(period time.Duration) int { return len(s.Read(app, "", start, end, period)) }
		total := func(period time.Duration) (n float64) {
			for _, v := range values(s, app, "", "Sum", start, end, period) {
				n += v
			}
			return n
		}
		for _, tt := range []struct {
			name                  string
			pass                  time.Duration
			seconds, minutes, all int
		}{
			{"at once", 0, 600, 10, 2},
			{"an hour later", time.Hour, 10, 10, 2},
			{"two days later", 47 * time.Hour, 2, 2, 2},
			{"two weeks later", 12 * 24 * time.Hour, 2, 2, 2},
			{"three weeks later", 7 * 24 * time.Hour, 0, 0, 0},
		} {
			time.Sleep(tt.pass)
			if err := s.Put(Datum{app, "", time.Now(), Value{Values: []float64{1}}}); err != nil { // what is too old goes when something comes
				t.Fatal(err)
			}
			if a, b, c := count(time.Second), count(time.Minute), count(5*time.Minute); a != tt.seconds || b != tt.minutes || c != tt.all {
				t.Errorf("%s: %d, %d and %d datapoints by 1, 60 and 300 s; want %d, %d, %d", tt.name, a, b, c, tt.seconds, tt.minutes, tt.all)
			}
			for _, period := range []time.Duration{time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, time.Hour} {
				if n := total(period); n != 600 && tt.all > 0 {
					t.Errorf("%s: %v values by %v", tt.name, n, period)
				}
			}
		}
	})
}

func TestSeriesSurviveAKill(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	from := now.Add(-10 * time.Minute).Truncate(time.Minute)
	s := open(t, dir)
	put := func(m Metric, v ...float64) {
		t.Helper()
		if err := s.Put(Datum{m, "Count", from, Value{Values: v}}); err != nil {
			t.Fatal(err)
		}
	}
	other := Metric{Namespace: "app", Name: "other", Dimensions: []Dimension{{"b", "2"}, {"a", "1"}}}
	check := func(what string, wantApp, wantOther float64) {
		t.Helper()
		to := t.TempDir()
		if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		again := open(t, to)
		defer closed(t, again)
		a, o := values(again, app, "Count", "Sum", from, now, time.Hour), values(again, other, "Count", "Sum", from, now, time.Hour)
		if fmt.Sprint(a) != fmt.Sprint([]float64{wantApp}) || fmt.Sprint(o) != fmt.Sprint([]float64{wantOther}) {
			t.Errorf("%s: %v and %v, want %v and %v", what, a, o, wantApp, wantOther)
		}
	}
	put(app, 1, 2, 3)
	put(other, 10)
	s.save(now, false)
	check("after the first", 6, 10)
	put(app, 4)
	s.save(now, false)
	put(other, 20)
	s.save(now, false)
	check("after more was added", 10, 30)
	files, err := filepath.Glob(filepath.Join(dir, addedFile+"*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	added, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	s.disk.size = maxAdded + 1 // time for a snapshot
	s.save(now, false)
	check("after a snapshot", 10, 30)
	if err := os.WriteFile(files[0], added, 0o600); err != nil { // killed before this was removed
		t.Fatal(err)
	}
	check("with what the snapshot has already", 10, 30)
	put(app, 5)
	s.save(now, false)
	files, _ = filepath.Glob(filepath.Join(dir, addedFile+"*"))
	last := files[len(files)-1]
	if b, err := os.ReadFile(last); err != nil || os.WriteFile(last, append(b, b[:len(b)-1]...), 0o600) != nil {
		t.Fatal(err)
	}
	check("with a damaged end", 15, 30)
}

func TestDiskThatTakesNothingCostsNothingOnceItDoes(t *testing.T) {
	dir := t.TempDir()
	full := true
	s, err := OpenSeries(SeriesOptions{Dir: dir, Admit: func(int) error {
		if full {
			return errors.New("no room")
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	from := now.Truncate(time.Minute)
	for i := range 3 {
		if err := s.Put(Datum{app, "", from, Value{Values: []float64{float64(i)}}}); err != nil {
			t.Fatal(err)
		}
		s.save(now, false)
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("%d files", len(files))
	}
	full = false
	closed(t, s)
	if got := values(open(t, dir), app, "", "Sum", from, now.Add(time.Hour), time.Hour); len(got) != 1 || got[0] != 3 {
		t.Errorf("%v", got)
	}
}

func TestWhatIsPutTogetherIsThereAsAWholeOrNotAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		data := func(names ...int) (all []Datum) {
			for _, n := range names {
				all = append(all, Datum{Metric{Namespace: "app", Name: fmt.Sprint(n)}, "", time.Now(), Value{Values: []float64{1}}})
			}
			return all
		}
		count := func(name int) float64 {
			got := values(s, Metric{Namespace: "app", Name: fmt.Sprint(name)}, "", "SampleCount", time.Now().Add(-time.Minute), time.Now().Add(time.Minute), time.Minute)
			sum := 0.0
			for _, n := range got {
				sum += n
			}
			return sum
		}
		for i := range maxSeries - 1 {
			if err := s.Put(data(i)...); err != nil {
				t.Fatal(err)
			}
		}
		full := len(s.byKey)
		if err := s.Put(data(0, 100_000, 100_001)...); !errors.Is(err, ErrTooManySeries) || len(s.byKey) != full || count(0) != 1 {
			t.Errorf("two with room for one: %v, now %d instead of %d, the one before them counted %v times", err, len(s.byKey), full, count(0))
		}
		if err := s.Put(data(0, 100_000, 100_000)...); err != nil || count(100_000) != 2 {
			t.Errorf("one twice with room for one: %v, counted %v times", err, count(100_000))
		}
		// A day later all make room for others, but not those that are put along with them.
		time.Sleep(25 * time.Hour)
		var many []int
		for i := range maxSeries {
			many = append(many, 200_000+i)
		}
		if err := s.Put(data(append(many, 0)...)...); !errors.Is(err, ErrTooManySeries) || len(s.byKey) != maxSeries {
			t.Errorf("more than there may be: %v, %d", err, len(s.byKey))
		}
		if err := s.Put(data(append(many[1:], 0)...)...); err != nil || len(s.byKey) != maxSeries || count(0) != 1 || count(200_001) != 1 {
			t.Errorf("as many as there may be: %v, %d, counted %v and %v times", err, len(s.byKey), count(0), count(200_001))
		}
	})
}

func TestMetricsOfHostileDimensionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		tel, err := New(t.Context(), "test")
		if err != nil {
			t.Fatal(err)
		}
		defer tel.Shutdown(t.Context())
		tel.Feed(s)
		refused := 0
		put := func(i int) error {
			return s.Put(Datum{Metric{Namespace: "app", Name: "n", Dimensions: []Dimension{{"i", fmt.Sprint(i)}}}, "", time.Now(), Value{Values: []float64{1, 2, 3}}})
		}
		for i := range maxSeries + 1000 {
			if err := put(i); errors.Is(err, ErrTooManySeries) {
				refused++
			}
		}
		if refused != 1000 || len(s.byKey) != maxSeries {
			t.Errorf("%d refused, %d kept", refused, len(s.byKey))
		}
		if err := put(0); err != nil {
			t.Error("one that is there:", err)
		}
		// wasmill's own have room of their own.
		v := functions.Version{Function: "f", Version: "$LATEST"}
		tel.Started(&runtime.Invocation{}, v)
		tel.Ended(&runtime.Invocation{}, &runtime.Result{Version: v})
		if got := values(s, Metric{Namespace: "AWS/Lambda", Name: "Invocations", Dimensions: []Dimension{{"FunctionName", "f"}}}, "Count", "Sum", time.Now().Add(-time.Minute), time.Now().Add(time.Minute), time.Minute); len(got) != 1 || got[0] != 1 {
			t.Errorf("invocations: %v", got)
		}
		time.Sleep(25 * time.Hour)
		if err := put(maxSeries + 5); err != nil {
			t.Error("a day later:", err)
		}
	})
}

func TestBucketsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		const many = 20
		s.users.most = 6000
		for minute := range 2000 {
			for i := range many {
				if err := s.Put(Datum{Metric{Namespace: "app", Name: fmt.Sprint(i)}, "", time.Now(), Value{Values: []float64{float64(minute % 7)}}}); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Minute)
			if s.users.cells > s.users.most {
				t.Fatalf("%d cells", s.users.cells)
			}
		}
		now := time.Now()
		if n := len(s.Read(Metric{Namespace: "app", Name: "3"}, "", now.Add(-time.Hour), now, time.Minute)); n != 60 {
			t.Errorf("%d minutes of the last hour", n)
		}
		cells := 0
		for _, one := range s.byKey {
			for _, buckets := range one.steps {
				for i := range buckets {
					cells += buckets[i].cells()
				}
			}
		}
		if cells != s.users.cells {
			t.Errorf("%d cells, counted %d", cells, s.users.cells)
		}
	})
}

func TestInvocationsAreMeasuredAsOnAWS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		tel, err := New(t.Context(), "test")
		if err != nil {
			t.Fatal(err)
		}
		defer tel.Shutdown(t.Context())
		tel.Feed(s)
		from := time.Now().Truncate(time.Minute)
		v := functions.Version{Function: "f", Version: "3"}
		tel.Put("just put", 1, 1)
		if units := s.Units(Metric{Namespace: "AWS/Kinesis", Name: "IncomingBytes", Dimensions: []Dimension{{"StreamName", "just put"}}}); !slices.Equal(units, []string{"Bytes"}) {
			t.Errorf("units of what was measured just now: %v", units)
		}
		call := func(qualifier string, o runtime.Outcome, d time.Duration) {
			inv := &runtime.Invocation{Qualifier: qualifier}
			tel.Started(inv, v)
			tel.Started(inv, v)
			tel.Ended(inv, &runtime.Result{Version: v, Outcome: runtime.Infrastructure})
			tel.Ended(inv, &runtime.Result{Version: v, Outcome: o, Duration: d})
			time.Sleep(100 * time.Millisecond)
		}
		call("live", runtime.Done, 10*time.Millisecond)
		call("live", runtime.FunctionError, 20*time.Millisecond)
		call("3", runtime.Timeout, 30*time.Millisecond)
		call("3", runtime.Partial, 40*time.Millisecond)
		call("live", runtime.Throttled, 0)
		dim := func(pairs ...string) (out []Dimension) {
			for i := 0; i < len(pairs); i += 2 {
				out = append(out, Dimension{pairs[i], pairs[i+1]})
			}
			return out
		}
		for _, tt := range []struct {
			name, stat, unit string
			dims             []Dimension
			want             float64
		}{
			{"Invocations", "Sum", "Count", nil, 4},
			{"Invocations", "Sum", "Count", dim("FunctionName", "f"), 4},
			{"Invocations", "Sum", "Count", dim("FunctionName", "f", "Resource", "f:live"), 2},
			{"Invocations", "Sum", "Count", dim("FunctionName", "f", "Resource", "f:live", "ExecutedVersion", "3"), 2},
			{"Invocations", "Sum", "Count", dim("FunctionName", "f", "Resource", "f:3"), 2},
			{"Errors", "Sum", "Count", dim("FunctionName", "f"), 2},
			{"Errors", "SampleCount", "Count", dim("FunctionName", "f"), 4},
			{"Throttles", "Sum", "Count", dim("FunctionName", "f"), 1},
			{"Duration", "Sum", "Milliseconds", dim("FunctionName", "f"), 100},
			{"Duration", "Maximum", "Milliseconds", dim("FunctionName", "f", "Resource", "f:live"), 20},
			{"ConcurrentExecutions", "Maximum", "Count", dim("FunctionName", "f"), 2},
			{"ConcurrentExecutions", "Maximum", "Count", nil, 2},
		} {
			got := values(s, Metric{Namespace: "AWS/Lambda", Name: tt.name, Dimensions: tt.dims}, tt.unit, tt.stat, from, time.Now().Add(time.Minute), time.Minute)
			if len(got) != 1 || got[0] != tt.want {
				t.Errorf("%s of %s %v = %v, want %v", tt.stat, tt.name, tt.dims, got, tt.want)
			}
		}
		if none := values(s, Metric{Namespace: "AWS/Lambda", Name: "Invocations", Dimensions: dim("FunctionName", "f", "Resource", "f:3", "ExecutedVersion", "3")}, "Count", "Sum", from, time.Now(), time.Minute); none != nil {
			t.Errorf("ExecutedVersion of what was called by its version: %v", none)
		}

		m := quakes()
		m.ID = "7d0a"
		tel.Polled(m, 0)
		tel.Polled(m, 5)
		tel.Filtered(m, 2)
		tel.Delivered(m, 3)
		tel.Failed(m, 3)
		tel.Dropped(m, 1)
		tel.Noticed("7d0a", 2, true, false)
		tel.Noticed("7d0a", 2, false, false)
		tel.Noticed("7d0a", 2, false, true)
		tel.Iterator(m, 3*time.Second)
		for name, want := range map[string]float64{"PolledEventCount": 5, "FilteredOutEventCount": 2, "InvokedEventCount": 3, "FailedInvokeEventCount": 3, "DroppedEventCount": 3,
			"OnFailureDestinationDeliveredEventCount": 2, "DestinationDeliveryFailures": 2} {
			got := values(s, Metric{Namespace: "AWS/Lambda", Name: name, Dimensions: dim("EventSourceMappingUUID", "7d0a")}, "Count", "Sum", from, time.Now().Add(time.Minute), time.Minute)
			if len(got) != 1 || got[0] != want {
				t.Errorf("%s = %v, want %v", name, got, want)
			}
		}
		if got := values(s, Metric{Namespace: "AWS/Lambda", Name: "PolledEventCount", Dimensions: dim("EventSourceMappingUUID", "7d0a")}, "Count", "SampleCount", from, time.Now().Add(time.Minute), time.Minute); got[0] != 2 {
			t.Errorf("an empty poll is not counted as 0: %v", got)
		}
		for _, dims := range [][]Dimension{dim("EventSourceMappingUUID", "7d0a"), dim("FunctionName", "energy")} {
			if got := values(s, Metric{Namespace: "AWS/Lambda", Name: "IteratorAge", Dimensions: dims}, "Milliseconds", "Maximum", from, time.Now().Add(time.Minute), time.Minute); len(got) != 1 || got[0] != 3000 {
				t.Errorf("IteratorAge of %v = %v", dims, got)
			}
		}
		tel.Put("quakes", 3, 300)
		tel.Got("quakes", 2, 200, time.Second)
		for name, want := range map[string]float64{"IncomingRecords Count": 3, "IncomingBytes Bytes": 300, "GetRecords.Records Count": 2, "GetRecords.IteratorAgeMilliseconds Milliseconds": 1000} {
			name, unit, _ := strings.Cut(name, " ")
			if got := values(s, Metric{Namespace: "AWS/Kinesis", Name: name, Dimensions: dim("StreamName", "quakes")}, unit, "Sum", from, time.Now().Add(time.Minute), time.Minute); len(got) != 1 || got[0] != want {
				t.Errorf("%s = %v, want %v", name, got, want)
			}
		}
	})
}

func TestSamplesOfManyGoroutinesAreAllCounted(t *testing.T) {
	s := open(t, t.TempDir())
	tel, err := New(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer tel.Shutdown(t.Context())
	tel.Feed(s)
	from := time.Now().Truncate(time.Minute)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			v := functions.Version{Function: fmt.Sprint("f", g%2), Version: "$LATEST"}
			for range 2000 {
				tel.Started(&runtime.Invocation{}, v)
				tel.Ended(&runtime.Invocation{}, &runtime.Result{Version: v, Duration: time.Millisecond})
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			s.fold(time.Now())
			s.List(nil)
		}
	})
	wg.Wait()
	total := 0.0
	for _, v := range values(s, Metric{Namespace: "AWS/Lambda", Name: "Invocations"}, "Count", "Sum", from, time.Now().Add(time.Minute), time.Hour) {
		total += v
	}
	if total != 8000 {
		t.Errorf("%v invocations, want 8000", total)
	}
}

func FuzzDisk(f *testing.F) {
	var b Bucket
	b.add(1, 2)
	b.add(3, .5)
	f.Add(b.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := &parser{b: b}
		for len(p.b) > 0 && !p.bad {
			p.bucket()
		}
	})
}

func BenchmarkInvocation(b *testing.B) {
	for _, fed := range []bool{false, true} {
		b.Run(fmt.Sprintf("series=%v", fed), func(b *testing.B) {
			tel, err := New(b.Context(), "test")
			if err != nil {
				b.Fatal(err)
			}
			if fed {
				tel.Feed(open(b, ""))
			}
			v := functions.Version{Function: "f", Version: "$LATEST"}
			inv, res := &runtime.Invocation{}, &runtime.Result{Version: v}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				res.Duration = time.Duration(i%1000) * time.Microsecond
				tel.Started(inv, v)
				tel.Ended(inv, res)
			}
		})
	}
}
