package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

func fresh(t *testing.T) *Ledger {
	t.Helper()
	l := At(natsdtest.New(t), "TEST")
	if err := l.Create(context.Background(), "x.>"); err != nil {
		t.Fatal(err)
	}
	return l
}

func add(t *testing.T, l *Ledger, subject string, last uint64, data string) uint64 {
	t.Helper()
	seq, err := l.Append(context.Background(), subject, last, []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

func TestAppendFollowsTheEntryItNamesOrIsRefused(t *testing.T) {
	l := fresh(t)
	a := add(t, l, "x.a", 0, "1")
	b := add(t, l, "x.b", 0, "1") // another subject has its own order
	a = add(t, l, "x.a", a, "2")
	for _, last := range []uint64{0, a - 1, b, a + 1} {
		if _, err := l.Append(context.Background(), "x.a", last, []byte("no")); !errors.Is(err, ErrRefused) {
			t.Errorf("append behind %d: %v, want ErrRefused", last, err)
		}
	}
	add(t, l, "x.a", Unfenced, "3")
	e, found, err := l.Last(context.Background(), "x.a")
	if err != nil || !found || string(e.Data) != "3" || e.Sequence != 4 || e.Subject != "x.a" || time.Since(e.Stored).Abs() > time.Hour {
		t.Errorf("last = %+v, %v, %v", e, found, err)
	}
	if _, found, err := l.Last(context.Background(), "x.none"); found || err != nil {
		t.Errorf("last of nothing = %v, %v", found, err)
	}
}

func TestScanHandsOverARangeInOrder(t *testing.T) {
	l := fresh(t)
	const n = 3*batchEntries + 7
	for i := range n {
		add(t, l, fmt.Sprintf("x.%d", i%2), Unfenced, fmt.Sprint(i))
	}
	if _, err := l.Delete(context.Background(), 11); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		subject  string
		from, to uint64
		first    uint64
		n        int
	}{
		{"x.>", 0, math.MaxUint64, 1, n - 1},
		{"x.0", 1, n, 1, (n+1)/2 - 1},
		{"x.1", 1, n, 2, n / 2},
		{"x.0", 10, 14, 13, 1},
		{"x.>", 5, 5, 5, 1},
		{"x.>", 11, 11, 0, 0},
		{"x.>", n + 1, math.MaxUint64, 0, 0},
		{"x.none", 1, math.MaxUint64, 0, 0},
		{"x.>", 5, 4, 0, 0},
	} {
		var got []uint64
		err := l.Scan(context.Background(), tt.subject, tt.from, tt.to, func(e Entry) error {
			got = append(got, e.Sequence)
			if string(e.Data) != fmt.Sprint(e.Sequence-1) {
				t.Errorf("entry %d = %s", e.Sequence, e.Data)
			}
			return nil
		})
		if err != nil || len(got) != tt.n || tt.n > 0 && got[0] != tt.first || !slices.IsSorted(got) {
			t.Errorf("scan %s [%d, %d]: %d entries, %v; want %d from %d", tt.subject, tt.from, tt.to, len(got), err, tt.n, tt.first)
		}
	}
	stop := errors.New("stop")
	if err := l.Scan(context.Background(), "x.>", 1, n, func(Entry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("scan that is stopped: %v", err)
	}
}

func TestScanOfEntriesLargerThanABatch(t *testing.T) {
	l := fresh(t)
	for i := range 3 {
		add(t, l, "x.a", Unfenced, string(make([]byte, 5<<20+i)))
	}
	n := 0
	err := l.Scan(context.Background(), "x.a", 1, math.MaxUint64, func(e Entry) error {
		if len(e.Data) != 5<<20+n {
			t.Errorf("entry of %d bytes", len(e.Data))
		}
		n++
		return nil
	})
	if n != 3 || err != nil {
		t.Errorf("%d entries, %v", n, err)
	}
}

func TestPurgeAndDelete(t *testing.T) {
	l := fresh(t)
	for i := range 6 {
		add(t, l, fmt.Sprintf("x.%d", i%2), Unfenced, "")
	}
	for _, below := range []uint64{0, 1} { // JetStream takes 0 for everything
		if err := l.Purge(context.Background(), "x.0", below); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Purge(context.Background(), "x.0", 5); err != nil {
		t.Fatal(err)
	}
	n, err := l.Subjects(context.Background(), "x.>")
	if err != nil || n["x.0"] != 1 || n["x.1"] != 3 {
		t.Errorf("subjects = %v, %v", n, err)
	}
	for i, want := range []bool{true, false} {
		if was, err := l.Delete(context.Background(), 6); was != want || err != nil {
			t.Errorf("delete %d: %v, %v", i, was, err)
		}
	}
	for _, seq := range []uint64{1, 99} {
		if was, err := l.Delete(context.Background(), seq); was || err != nil {
			t.Errorf("delete of %d, which is not there: %v, %v", seq, was, err)
		}
	}
	if _, found, err := l.Get(context.Background(), 6); found || err != nil {
		t.Errorf("get of a deleted one: %v, %v", found, err)
	}
	// The newest of x.1 is 4 now, and the fence knows.
	add(t, l, "x.1", 4, "")
}

func TestNoStream(t *testing.T) {
	l := At(natsdtest.Memory(t), "NONE")
	ctx := context.Background()
	_, appendErr := l.Append(ctx, "x.a", 0, nil)
	_, _, lastErr := l.Last(ctx, "x.a")
	_, subjectsErr := l.Subjects(ctx, ">")
	for what, err := range map[string]error{
		"append": appendErr, "last": lastErr, "subjects": subjectsErr, "purge": l.Purge(ctx, "x.a", 5),
		"scan": l.Scan(ctx, "x.a", 1, 5, func(Entry) error { return nil }),
	} {
		if !errors.Is(err, ErrNoStream) {
			t.Errorf("%s: %v, want ErrNoStream", what, err)
		}
	}
	if err := l.Remove(ctx); err != nil {
		t.Errorf("remove: %v", err)
	}
}
