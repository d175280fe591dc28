package log

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

// modelRecord is a record of the model, with the place it got.
type modelRecord struct {
	place Place
	data  string
}

// TestLogAgainstModel drives a log and a plain list through the same random
// appends, trims, ends and restarts, and compares every way to look at them.
func TestLogAgainstModel(t *testing.T) {
	srv := natsdtest.Memory(t)
	var runs atomic.Int64
	rapid.Check(t, func(t *rapid.T) {
		ctx := t.Context()
		id := fmt.Sprint("m", runs.Add(1))
		opts := Options{
			FrameBytes: rapid.SampledFrom([]int{1, 60, 300, 512 << 10}).Draw(t, "frame"),
			CacheBytes: rapid.SampledFrom([]int64{1, 4 << 10, 1 << 20}).Draw(t, "cache"),
		}
		s := New(srv, opts)
		defer func() { s.Close(ctx) }()
		if err := s.Create(ctx, id, 5); err != nil {
			t.Fatal(err)
		}
		defer func() { s.Delete(ctx, id) }()
		l, _ := s.Open(ctx, id)

		var all []modelRecord // trimmed ones included
		first := uint64(1)    // frame
		firstNumber := uint64(0)
		last, ended, arrival := uint64(0), false, int64(0)
		var from From                // newest frame of the one source
		newest := map[uint64]int64{} // of each frame

		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				n := rapid.IntRange(1, 12).Draw(t, "n")
				recs := make([]Record, n)
				for i := range recs {
					recs[i] = Record{
						Key:     rapid.SampledFrom([]string{"", "a", "key"}).Draw(t, "key"),
						Arrival: max(1, arrival+rapid.Int64Range(-5, 20).Draw(t, "step")),
						Data:    fmt.Appendf(nil, "%d", len(all)+i),
					}
				}
				places, err := l.Append(ctx, recs)
				if ended {
					if !errors.Is(err, ErrClosed) {
						t.Fatalf("append after END: %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				for i, p := range places {
					arrival = max(arrival, recs[i].Arrival)
					if p.Number != uint64(len(all)) || p.Arrival != arrival {
						t.Fatalf("place = %+v, want number %d, arrival %d", p, len(all), arrival)
					}
					all = append(all, modelRecord{p, string(recs[i].Data)})
					last = p.Frame
					newest[p.Frame] = p.Arrival
				}
			},
			"from": func(t *rapid.T) {
				mark, after, err := l.LastFrom(ctx, "model.1")
				if err != nil || after != from.Frame && (after != 0 || from.Frame >= first) || after != 0 && mark != from.Mark {
					t.Fatalf("newest frame of the source: %s in %d, %v; want %+v", mark, after, err, from)
				}
				m := Mark{uint64(len(all)) + 1, uint32(last)}
				frame, err := l.AppendFrom(ctx, "model.1", m, after, []Record{{Arrival: max(1, arrival), Data: fmt.Appendf(nil, "%d", len(all))}})
				if ended {
					if !errors.Is(err, ErrClosed) {
						t.Fatalf("append after END: %v", err)
					}
					return
				}
				if err != nil || frame != last+1 {
					t.Fatalf("append: frame %d, %v; want %d", frame, err, last+1)
				}
				last, arrival, from = frame, max(1, arrival), From{m, frame}
				all = append(all, modelRecord{Place{frame, 0, uint64(len(all)), arrival}, string(fmt.Append(nil, len(all)))})
				newest[frame] = arrival
			},
			"end": func(t *rapid.T) {
				if rapid.IntRange(0, 5).Draw(t, "dice") > 0 {
					return
				}
				if err := l.End(ctx); err != nil {
					t.Fatal(err)
				}
				if !ended {
					ended = true
					last++
					newest[last] = arrival
				}
			},
			"trim": func(t *rapid.T) {
				before := rapid.Int64Range(0, arrival+2).Draw(t, "before")
				keep := rapid.Uint64Range(0, last+1).Draw(t, "keep")
				if err := l.Trim(ctx, before, keep); err != nil {
					t.Fatal(err)
				}
				for first < last && newest[first] < before && (keep == 0 || first < keep) {
					first++
				}
				for firstNumber < uint64(len(all)) && all[firstNumber].place.Frame < first {
					firstNumber++
				}
			},
			"reopen": func(t *rapid.T) {
				if err := s.Close(ctx); err != nil {
					t.Fatal(err)
				}
				s = New(srv, opts)
				l, _ = s.Open(ctx, id)
			},
			"find": func(t *rapid.T) {
				number := rapid.Uint64Range(0, uint64(len(all))+2).Draw(t, "number")
				f, err := l.Find(ctx, number, rapid.Uint64Range(0, last+2).Draw(t, "hint"))
				switch {
				case ended && number == uint64(len(all)):
					if err != nil || !f.End {
						t.Fatalf("find the end: %v, %v", f, err)
					}
				case number >= uint64(len(all)):
					if !errors.Is(err, ErrNotYet) {
						t.Fatalf("find %d: %v, want ErrNotYet", number, err)
					}
				case number < firstNumber:
					if tr, ok := errors.AsType[*TrimmedError](err); !ok || *tr != (TrimmedError{first, firstNumber}) {
						t.Fatalf("find %d: %v, want trimmed up to frame %d, record %d", number, err, first, firstNumber)
					}
				default:
					want := all[number]
					if err != nil || f.Seq != want.place.Frame || f.First+uint64(want.place.Index) != number || string(f.Records[want.place.Index].Data) != want.data {
						t.Fatalf("find %d: %+v, %v; want %+v", number, f, err, want)
					}
				}
			},
			"since": func(t *rapid.T) {
				ms := rapid.Int64Range(-1, arrival+2).Draw(t, "ms")
				f, i, err := l.Since(ctx, ms)
				for _, want := range all[firstNumber:] {
					if want.place.Arrival < ms {
						continue
					}
					if err != nil || f.Seq != want.place.Frame || i != int(want.place.Index) {
						t.Fatalf("since %d: %+v, %d, %v; want %+v", ms, f, i, err, want)
					}
					return
				}
				if !errors.Is(err, ErrNotYet) {
					t.Fatalf("since %d: %+v, %d, %v; want ErrNotYet", ms, f, i, err)
				}
			},
			"": func(t *rapid.T) {
				b, err := l.Bounds(ctx)
				if err != nil || b.FirstFrame != first || b.LastFrame != last || b.FirstNumber != firstNumber || b.NextNumber != uint64(len(all)) || b.Ended != ended || b.LastArrival != arrival {
					t.Fatalf("bounds = %+v, %v; want frames %d to %d, records %d to %d, ended %v, arrival %d", b, err, first, last, firstNumber, len(all), ended, arrival)
				}
				number := firstNumber
				for seq := first; seq <= last; seq++ {
					f, err := l.At(ctx, seq)
					if err != nil || f.First != number {
						t.Fatalf("frame %d: %+v, %v; want number %d", seq, f, err, number)
					}
					for _, r := range f.Records {
						if string(r.Data) != all[number].data || r.Arrival != all[number].place.Arrival {
							t.Fatalf("record %d = %+v, want %+v", number, r, all[number])
						}
						number++
					}
				}
				if number != uint64(len(all)) {
					t.Fatalf("read up to record %d of %d", number, len(all))
				}
			},
		})
	})
}
