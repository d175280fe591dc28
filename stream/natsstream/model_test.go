package natsstream

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream"
)

// model is a shard as it should be: everything ever put, in order.
type model struct {
	name    stream.Ref
	records []stream.Record // without what the test does not look at
	nexts   []stream.Position
	numbers []int // of the record each of nexts stands before
}

// visible is the index of the first record from i on that has not expired.
func (m *model) visible(i int) int {
	oldest := time.Now().Add(-day).Truncate(time.Millisecond) // time is in milliseconds here
	for i < len(m.records) && m.records[i].Arrival.Before(oldest) {
		i++
	}
	return i
}

// Whatever is put when, read from wherever with pages of whatever size, while
// records expire and are trimmed: what comes is what the model says. Many
// streams share one timeline, because it is the hours that cost.
func TestReadsAgreeWithAModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 0))
		h := open(t, natsdtest.New(t), Options{TrimEvery: 20 * time.Minute})
		models := make([]*model, 20)
		for i := range models {
			models[i] = &model{name: stream.Local(fmt.Sprint("s", i))}
			h.create(models[i].name, stream.Config{})
		}
		pauses := []time.Duration{1, time.Millisecond, time.Minute, time.Hour, 5 * time.Hour, 12 * time.Hour}
		for start := time.Now(); time.Since(start) < 2*day+12*time.Hour && !t.Failed(); {
			for _, m := range models {
				switch rng.IntN(4) {
				case 0:
					h.modelPut(rng, m)
				case 1, 2:
					h.modelRead(rng, m)
				}
			}
			pause := pauses[rng.IntN(len(pauses))]
			if m := models[rng.IntN(len(models))]; rng.IntN(3) == 0 && len(m.records) > 0 {
				// To within a millisecond of when a record expires.
				r := m.records[rng.IntN(len(m.records))]
				if edge := time.Until(r.Arrival.Add(day)) + time.Duration(rng.IntN(3)-1)*time.Millisecond; edge > 0 && edge < 12*time.Hour {
					pause = edge
				}
			}
			time.Sleep(pause)
		}
	})
}

func (h *house) modelPut(rng *rand.Rand, m *model) {
	entries := make([]stream.Entry, 1+rng.IntN(5))
	for i := range entries {
		entries[i] = stream.Entry{PartitionKey: "k", Data: fmt.Append(nil, len(m.records)+i)}
	}
	now := time.Now().Truncate(time.Millisecond)
	for i, r := range h.put(m.name, entries...) {
		m.records = append(m.records, stream.Record{Data: entries[i].Data, Sequence: r.Sequence, Arrival: now})
	}
}

func (h *house) modelRead(rng *rand.Rand, m *model) {
	var pos stream.Position
	from, gap := 0, -1 // -1: not looked at
	switch kind := rng.IntN(6); {
	case kind == 0:
		pos, from, gap = horizon, m.visible(0), 0
	case kind == 1:
		pos, from, gap = latest, len(m.records), 0
	case kind == 2:
		pos = stream.Position{Kind: stream.AtTimestamp, Time: time.Now().Add(-time.Duration(rng.Int64N(int64(2 * day))))}
		if len(m.records) > 0 && rng.IntN(2) == 0 { // around an arrival
			edge := m.records[rng.IntN(len(m.records))].Arrival.Add(time.Duration(rng.IntN(3) - 1))
			if !edge.After(time.Now()) {
				pos.Time = edge
			}
		}
		from = slices.IndexFunc(m.records, func(r stream.Record) bool { return !r.Arrival.Before(pos.Time) })
		if from < 0 {
			from = len(m.records)
		}
		from, gap = m.visible(from), 0
	case kind == 3 && len(m.nexts) > 0:
		i := rng.IntN(len(m.nexts))
		pos, from = m.nexts[i], m.visible(m.numbers[i])
		if pos.Number > 0 {
			gap = from - m.numbers[i]
		}
	case len(m.records) == 0:
		return
	default:
		i := rng.IntN(len(m.records))
		pos, from = stream.Position{Kind: stream.At, Sequence: m.records[i].Sequence}, m.visible(i)
		if kind == 4 {
			pos.Kind, from = stream.After, m.visible(i+1)
		}
	}
	limit := 1 + rng.IntN(4)
	for first := true; ; first = false {
		p := h.read(m.name, 0, pos, limit)
		want := m.records[from:min(from+limit, len(m.records))]
		if len(p.Records) != len(want) {
			h.t.Fatalf("from %+v: read %q, want the %d records from %d of %d", pos, text(p), len(want), from, len(m.records))
		}
		for i, r := range p.Records {
			if string(r.Data) != string(want[i].Data) || r.Sequence != want[i].Sequence || r.Number != uint64(from+i) || !r.Arrival.Equal(want[i].Arrival) {
				h.t.Fatalf("from %+v: record %+v, want %+v with number %d", pos, r, want[i], from+i)
			}
		}
		if first && gap >= 0 && p.Gap != uint64(gap) || !first && p.Gap != 0 {
			h.t.Fatalf("from %+v: gap %d, want %d", pos, p.Gap, gap)
		}
		from += len(want)
		behind := time.Duration(0)
		if from < len(m.records) {
			behind = time.Since(p.Records[len(p.Records)-1].Arrival)
		}
		if p.Behind != behind {
			h.t.Fatalf("from %+v: behind by %s with %d of %d read, want %s", pos, p.Behind, from, len(m.records), behind)
		}
		pos = p.Next
		m.nexts, m.numbers = append(m.nexts, pos), append(m.numbers, from)
		if len(want) == 0 {
			return
		}
	}
}
