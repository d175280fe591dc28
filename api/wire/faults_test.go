package wire

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// faulty knows two services, of which both have Describe.
func faulty() *Faults {
	f := new(Faults)
	f.serve([]*Service{
		{Name: "kinesis", Ops: []*Operation{{Name: "PutRecords"}, {Name: "GetRecords"}, {Name: "Describe"}}},
		{Name: "queues", Ops: []*Operation{{Name: "Describe"}}},
	})
	return f
}

func (f *Faults) mustAdd(t *testing.T, spec Fault) Fault {
	t.Helper()
	got, err := f.Add(spec)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestFaultsHitTheirShareOfCalls(t *testing.T) {
	f, seed := faulty(), uint64(1)
	one := f.mustAdd(t, Fault{Op: "PutRecords", Rate: .05, Error: "InternalFailure", Seed: &seed})
	hits := func() (which []int) {
		for i := range 10_000 {
			if err := f.Before(t.Context(), "kinesis", "PutRecords"); err != nil {
				if err.Code != "InternalFailure" || err.status() != 500 || err.Message != "Injected by fault "+one.ID+" of wasmill." {
					t.Fatalf("%v, status %d", err, err.status())
				}
				which = append(which, i)
			}
		}
		return which
	}
	first := hits()
	if n := len(first); n < 400 || n > 600 {
		t.Errorf("5 %% of 10,000 calls: %d were hit", n)
	}
	if err := f.Before(t.Context(), "kinesis", "GetRecords"); err != nil {
		t.Errorf("another operation: %v", err)
	}
	if err := f.Before(t.Context(), "queues", "PutRecords"); err != nil {
		t.Errorf("another service: %v", err)
	}
	if got := f.List()[0]; got.Seen != 10_000 || got.Hits != int64(len(first)) {
		t.Errorf("seen %d, hit %d; want 10000, %d", got.Seen, got.Hits, len(first))
	}
	if !f.Remove(one.ID) || f.Remove(one.ID) || len(hits()) > 0 {
		t.Error("a fault that was removed: it is there, or hits")
	}
	// The seed has the same calls be hit, and another one others.
	one = f.mustAdd(t, Fault{Op: "PutRecords", Rate: .05, Error: "InternalFailure", Seed: &seed})
	if !slices.Equal(hits(), first) {
		t.Error("the same seed hits other calls")
	}
	f.Remove(one.ID)
	one = f.mustAdd(t, Fault{Op: "PutRecords", Rate: .05, Error: "InternalFailure"})
	if slices.Equal(hits(), first) || *one.Seed == seed {
		t.Error("without a seed the same calls are hit")
	}
}

func TestLatencyAddsUpAndComesBeforeTheError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := faulty()
		f.mustAdd(t, Fault{Op: "GetRecords", Rate: 1, Latency: 200 * time.Millisecond})
		f.mustAdd(t, Fault{Op: "GetRecords", Rate: 1, Latency: 100 * time.Millisecond, Error: "ServiceUnavailable"})
		f.mustAdd(t, Fault{Op: "GetRecords", Rate: 1, Error: "LimitExceededException"})
		begun := time.Now()
		err := f.Before(t.Context(), "kinesis", "GetRecords")
		if took := time.Since(begun); took != 300*time.Millisecond || err == nil || err.Code != "ServiceUnavailable" || err.status() != 503 {
			t.Errorf("%v after %s", err, took)
		}
		// Who has gone waits no longer.
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		begun = time.Now()
		f.Before(ctx, "kinesis", "GetRecords")
		if took := time.Since(begun); took != time.Millisecond {
			t.Errorf("a call that ended was held for %s", took)
		}
	})
}

func TestSingleRecordsFail(t *testing.T) {
	f, seed := faulty(), uint64(7)
	f.mustAdd(t, Fault{Op: "PutRecords", Rate: .5, Error: "ProvisionedThroughputExceededException", Records: true, Seed: &seed})
	if err := f.Before(t.Context(), "kinesis", "PutRecords"); err != nil {
		t.Errorf("the call failed: %v", err)
	}
	failed := 0
	for range 20 {
		for _, err := range f.Records("kinesis", "PutRecords", 500) {
			if err != nil {
				failed++
				if err.Code != "ProvisionedThroughputExceededException" {
					t.Fatal(err)
				}
			}
		}
	}
	if failed < 4700 || failed > 5300 {
		t.Errorf("half of 10,000 records: %d failed", failed)
	}
	if (*Faults)(nil).Records("kinesis", "PutRecords", 9) != nil || (*Faults)(nil).Before(t.Context(), "kinesis", "PutRecords") != nil {
		t.Error("no faults at all: one hit")
	}
}

func TestFaultsThatCannotBeAreRefused(t *testing.T) {
	tests := []struct {
		name string
		spec Fault
		want string
	}{
		{"no rate", Fault{Op: "GetRecords", Error: "X"}, "rate 0 %: want more than 0 %, at most 100 %"},
		{"too much of one", Fault{Op: "GetRecords", Rate: 1.5, Error: "X"}, "rate 150 %"},
		{"no effect", Fault{Op: "GetRecords", Rate: 1}, "neither an error nor a latency"},
		{"no code", Fault{Op: "GetRecords", Rate: 1, Error: "an error"}, `error "an error": want the code of an AWS error`},
		{"too late", Fault{Op: "GetRecords", Rate: 1, Latency: time.Hour}, "latency 1h0m0s: want 0s to 5m0s"},
		{"late records", Fault{Op: "PutRecords", Rate: 1, Error: "X", Latency: 1, Records: true}, "single records can only fail"},
		{"records of what has none", Fault{Op: "GetRecords", Rate: 1, Error: "X", Records: true}, "in PutRecords only, not in GetRecords"},
		{"two services", Fault{Op: "Describe", Rate: 1, Error: "X"}, "Describe is an operation of kinesis and queues: say which service"},
		{"no such operation", Fault{Op: "PutRecord", Rate: 1, Error: "X"}, `there is no operation "PutRecord"`},
		{"no such operation of the service", Fault{Service: "queues", Op: "PutRecords", Rate: 1, Error: "X"}, `there is no operation "PutRecords"`},
		{"no such service", Fault{Service: "kinesi", Op: "PutRecords", Rate: 1, Error: "X"}, `there is no service "kinesi"`},
	}
	f := faulty()
	for _, tt := range tests {
		_, err := f.Add(tt.spec)
		_, unknown := errors.AsType[*UnknownOperation](err)
		if err == nil || !strings.Contains(err.Error(), tt.want) || unknown == errors.Is(err, ErrFault) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
	if len(f.List()) > 0 {
		t.Errorf("%d of them are there", len(f.List()))
	}
	for range MaxFaults {
		f.mustAdd(t, Fault{Op: "GetRecords", Rate: 1, Error: "X"})
	}
	if _, err := f.Add(Fault{Op: "GetRecords", Rate: 1, Error: "X"}); !errors.Is(err, ErrFault) {
		t.Errorf("one too many: %v", err)
	}
}

func TestFaultsComeAndGoUnderCalls(t *testing.T) {
	f := faulty()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 300 {
				one, err := f.Add(Fault{Op: "PutRecords", Rate: .5, Error: "X"})
				if err != nil {
					t.Error(err)
				}
				f.Before(t.Context(), "kinesis", "PutRecords")
				f.List()
				f.Remove(one.ID)
			}
		})
	}
	wg.Wait()
	if n := len(f.List()); n > 0 {
		t.Errorf("%d are left", n)
	}
}
