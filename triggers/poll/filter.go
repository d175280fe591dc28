package poll

import (
	"slices"
	"strings"
	"unsafe"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream/natsstream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/filter"
	"github.com/wasmill/wasmill/triggers/shard"
)

// compile makes the filters of a configuration ready; nil: there are none.
func compile(c triggers.Config) (*filter.Set, error) {
	if len(c.Filters) == 0 {
		return nil, nil
	}
	return filter.Compile(c.Filters, filter.Options{Kind: runtime.KindKinesis, Strict: c.StrictFilters})
}

// alike says whether two configurations judge records the same way.
func alike(a, b triggers.Config) bool {
	return slices.Equal(a.Filters, b.Filters) && a.Deaggregate == b.Deaggregate
}

// sieve says which records of a shard go to the function.
type sieve struct {
	lens
	shard *natsstream.Shard
	facts *facts
}

// recordBytes is what a record takes in a frame that is copied, beside its payload.
const recordBytes = int(unsafe.Sizeof(log.Record{}))

// sparse is a frame with some of its records in memory of their own, so that these do not keep
// the others; the others are empty.
func sparse(f *log.Frame, from, to int, wanted func(i int) bool) *log.Frame {
	g := *f
	g.Records = make([]log.Record, len(f.Records))
	for i := from; i < to; i++ {
		if wanted(i) {
			r := f.Records[i]
			r.Key, r.HashKey, r.Trace, r.ID = strings.Clone(r.Key), strings.Clone(r.HashKey), strings.Clone(r.Trace), strings.Clone(r.ID)
			r.Data = slices.Clone(r.Data)
			g.Records[i] = r
		}
	}
	return &g
}

// refilter tells the machine which of the records held no filter lets through now, and the sizes of
// those in no unit; before is how they were looked at until now. Records in a unit stay with that, and
// all of them with whether aggregates are unpacked, by which they stand in the queues of their keys.
func (p *poller) refilter(before lenses) shard.Event {
	ev := shard.Refiltered{Sizes: map[uint64]int32{}}
	p.former = map[uint64]lens{}
	s, now := p.sieve(), p.lens()
	batch := p.r.m.emptyBatch(p.mapping, p.id)
	sizer := runtime.NewRecordSizer(&batch)
	for _, held := range p.held.pieces {
		for n := held.from; n < held.to; n++ {
			if held.isReleased(n) {
				continue
			}
			look, waits := before.of(n), p.machine.Waiting(n)
			if waits {
				look.filters = now.filters
			}
			if look != now {
				p.former[n] = look
			}
			if !waits {
				continue
			}
			i := int(n - held.frame.First)
			rec := &held.frame.Records[i]
			one := shard.Record{Size: int32(sizer.Size(rec.Key, len(rec.Data)))}
			s.lens = look
			if s.judge(&one, held.frame, i, sizer); one.Filtered {
				ev.Numbers = append(ev.Numbers, n)
			} else if look.deaggregate {
				ev.Sizes[n] = one.Size
			}
		}
	}
	slices.Sort(ev.Numbers)
	ev.Numbers = slices.Compact(ev.Numbers)
	return ev
}

// lens is how records are looked at now.
func (p *poller) lens() lens { return lens{p.filters, p.mapping.Config.Deaggregate} }

func (p *poller) lenses() lenses { return lenses{p.lens(), p.former} }

func (p *poller) sieve() sieve {
	batch := p.r.m.emptyBatch(p.mapping, p.id)
	return sieve{lens: p.lens(), shard: p.shard, facts: newFacts(&batch)}
}

// tellUndecided logs, once for all shards, that records are beyond the filters.
func (p *poller) tellUndecided() {
	if p.filters.News() {
		p.log.Warn("a record is too intricate for the trigger's filters to decide: it goes to the function, and so will others like it")
	}
}
