package telemetry

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// putMany adds a value to so many metrics of users.
func putMany(t testing.TB, s *Series, n int, at time.Time, v float64) {
	t.Helper()
	data := make([]Datum, n)
	for i := range data {
		data[i] = Datum{Metric{Namespace: "app", Name: fmt.Sprint(i)}, "", at, Value{Values: []float64{v}}}
	}
	if err := s.Put(data...); err != nil {
		t.Fatal(err)
	}
}

var invocationsOf = func(function string) Metric {
	return Metric{Namespace: "AWS/Lambda", Name: "Invocations", Dimensions: []Dimension{{"FunctionName", function}}}
}

func invoke(l *lambda, function string) {
	l.function(time.Now(), function, "", "", sample{invocations, 1, 1}, sample{errorCount, 0, 1}, sample{throttles, 0, 1}, sample{duration, 3, 1}, sample{concurrent, 1, 1}, sample{iteratorAge, 1, 1})
}

// A metric beyond those that are kept must not cost more than one that is: every invocation
// has twelve.
func TestNoRoomIsLookedForOnceAMinuteAndToldOfOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s, err := OpenSeries(SeriesOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		defer closed(t, s)
		l := &lambda{series: s, running: map[string]int{}}
		for range 3 {
			for i := range 1000 {
				invoke(l, fmt.Sprint("f", i))
			}
			s.fold(time.Now())
			if s.own.count != maxSeries || s.own.refused != time.Now().Unix()+refuseFor {
				t.Fatalf("%d series, looked for room until %d", s.own.count, s.own.refused)
			}
			before := s.own.refused
			time.Sleep(5 * time.Second)
			invoke(l, "f999")
			s.fold(time.Now())
			if s.own.refused != before {
				t.Error("it was looked for room again after five seconds")
			}
			time.Sleep(refuseFor * time.Second)
		}
		if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "metrics") {
			t.Errorf("the log has %d lines: %s", n, log.String())
		}
	})
}

func TestFunctionsThatAreInvokedNoMoreMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		l := &lambda{series: s, running: map[string]int{}}
		sum := func(name string) (sum float64) {
			for _, v := range values(s, invocationsOf(name), "Count", "Sum", time.Now().Add(-24*time.Hour).Truncate(time.Minute), time.Now().Add(time.Minute).Truncate(time.Minute), time.Minute) {
				sum += v
			}
			return sum
		}
		for i := range maxSeries / 12 {
			invoke(l, fmt.Sprint("old", i))
		}
		s.fold(time.Now())
		time.Sleep(ownStale / 2)
		for i := range 10 {
			invoke(l, fmt.Sprint("old", i)) // these go on
		}
		s.fold(time.Now())
		time.Sleep(ownStale/2 + time.Second)
		for i := range 100 {
			invoke(l, fmt.Sprint("new", i))
		}
		s.fold(time.Now())
		for i := range 100 {
			if got := sum(fmt.Sprint("new", i)); got != 1 {
				t.Fatalf("new%d has %v invocations", i, got)
			}
		}
		for i := range 10 {
			if got := sum(fmt.Sprint("old", i)); got != 2 {
				t.Fatalf("old%d has %v invocations", i, got)
			}
		}
		if s.own.count > maxSeries || s.own.count < maxSeries-12 {
			t.Errorf("%d series", s.own.count)
		}
	})
}

func TestMetricsOfUsersLeaveTheHistoryOfFunctions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		now := time.Now()
		for m := 10 * 24 * 60; m >= 0; m -= 5 {
			if err := s.Put(Datum{invocationsOf("f"), "Count", now.Add(-time.Duration(m) * time.Minute), Value{Values: []float64{1}}}); err != nil {
				t.Fatal(err)
			}
		}
		hours := func() int {
			return len(s.Read(invocationsOf("f"), "Count", now.Add(-14*24*time.Hour).Truncate(time.Hour), now.Add(time.Minute), time.Hour))
		}
		before := hours()
		for m := 75; m >= 0; m-- {
			putMany(t, s, maxSeries, now.Add(-time.Duration(m)*time.Minute), 1)
		}
		if after := hours(); after != before || before < 240 {
			t.Errorf("%d hours with invocations, before %d", after, before)
		}
	})
}

// It costs as much as there are values: were it done at each value, nothing else would be.
func TestRoomForValuesIsMadeSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		thinned, last := 0, 0
		const minutes = 200
		for range minutes {
			for i := range 80 { // a hundred at a time
				data := make([]Datum, 100)
				for k := range data {
					data[k] = Datum{Metric{Namespace: "app", Name: fmt.Sprint(100*i + k)}, "", time.Now(), Value{Values: []float64{1}}}
				}
				if err := s.Put(data...); err != nil {
					t.Fatal(err)
				}
				if s.users.cells < last {
					thinned++
				}
				if last = s.users.cells; last > maxCells {
					t.Fatalf("%d cells", last)
				}
			}
			time.Sleep(time.Minute)
		}
		if thinned == 0 || thinned > minutes/3 {
			t.Errorf("thinned %d times in %d minutes", thinned, minutes)
		}
		// Everybody still has the last hour, in five minutes at least.
		from := time.Now().Add(-time.Hour).Truncate(5 * time.Minute)
		for i := range maxSeries {
			sum := 0.0
			for _, v := range values(s, Metric{Namespace: "app", Name: fmt.Sprint(i)}, "", "Sum", from, time.Now(), 5*time.Minute) {
				sum += v
			}
			if sum < 60 {
				t.Fatalf("metric %d has %v values of the last hour", i, sum)
			}
		}
	})
}

// Minutes that were dropped for want of room are shown by the five minutes they were in.
func TestReadingByTheMinuteLosesNothingToThinning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir)
		time.Sleep(time.Until(time.Now().Truncate(time.Hour).Add(time.Hour)))
		from := time.Now()
		for range 600 {
			if err := s.Put(Datum{app, "", time.Now(), Value{Values: []float64{1}}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		one := s.byKey[app.key("")]
		s.mu.Lock()
		one.cut(180, time.Now().Unix())
		if n := one.cells(); n > 180 || n < 150 || len(one.steps[1]) < 55 {
			t.Errorf("%d cells, %d of them minutes; want the last hour's minutes and five minutes before", n, len(one.steps[1]))
		}
		s.mu.Unlock()
		sum := func(s *Series) (sum float64) {
			for _, v := range values(s, app, "", "Sum", from, time.Now(), time.Minute) {
				sum += v
			}
			return sum
		}
		if got := sum(s); got != 600 {
			t.Errorf("%v values of 600", got)
		}
		closed(t, s)
		if got := sum(open(t, dir)); got != 600 {
			t.Errorf("%v values of 600 after a restart", got)
		}
	})
}

func TestASeriesCanBeCutToOneCell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		for i := range 200 {
			if err := s.Put(Datum{app, "", time.Now(), Value{Values: []float64{1, 10, 100, float64(1000 * i)}}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Second)
		}
		one := s.byKey[app.key("")]
		for _, size := range []int{1000, 300, 100, 40, 10, 1} {
			one.cut(size, time.Now().Unix())
			if n := one.cells(); n > size || n != s.users.cells {
				t.Errorf("cut to %d: %d cells, counted %d", size, n, s.users.cells)
			}
		}
	})
}
