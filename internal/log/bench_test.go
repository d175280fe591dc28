package log

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

func benchLogs(b *testing.B, n int, o Options) []*Log {
	s := newSet(b, natsdtest.New(b), o)
	logs := make([]*Log, n)
	for i := range logs {
		logs[i] = newLog(b, s, fmt.Sprint("l", i))
	}
	return logs
}

func kilobytes(n int) []Record {
	recs := make([]Record, n)
	for i := range recs {
		recs[i] = Record{Key: fmt.Sprint("key-", i), Data: bytes.Repeat([]byte{byte(i)}, 1024)}
	}
	return recs
}

func perSecond(b *testing.B, records int64) {
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkAppend is 8 callers that each put 500 records of 1 KB over 4 logs,
// fsynced; an operation is one such call.
func BenchmarkAppend(b *testing.B) {
	logs := benchLogs(b, 4, Options{})
	recs := kilobytes(500)
	var left atomic.Int64
	left.Store(int64(b.N))
	b.SetBytes(500 << 10)
	b.ResetTimer()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var started [4]*Pending
			for left.Add(-1) >= 0 {
				for i, l := range logs {
					started[i] = l.Start(recs[i*125 : (i+1)*125])
				}
				for _, p := range started {
					if _, err := p.Wait(b.Context()); err != nil {
						b.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	perSecond(b, int64(b.N)*500)
}

// BenchmarkAppendSingle is 64 callers that each put one record of 1 KB at a time
// to 4 logs, fsynced.
func BenchmarkAppendSingle(b *testing.B) {
	logs := benchLogs(b, 4, Options{})
	recs := kilobytes(1)
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	var wg sync.WaitGroup
	for c := range 64 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := logs[c%4].Append(b.Context(), recs); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	perSecond(b, int64(b.N))
	var frames uint64
	for _, l := range logs {
		bounds, _ := l.Bounds(b.Context())
		frames += bounds.LastFrame
	}
	b.ReportMetric(float64(b.N)/float64(frames), "records/frame")
}

// BenchmarkRead reads 64 MB of records of 1 KB in order, past the cache, in
// frames of 512 KiB and of one record.
func BenchmarkRead(b *testing.B) {
	for _, perFrame := range []int{500, 1} {
		b.Run(fmt.Sprintf("frame=%d", perFrame), func(b *testing.B) {
			const total = 64_000
			l := benchLogs(b, 1, Options{CacheBytes: 4 << 20})[0]
			frames := total / perFrame / 2
			if perFrame == 1 {
				l.set.opts.FrameBytes = 1
				frames = total / 8
			}
			recs := kilobytes(500)
			for written := 0; written < frames*perFrame; written += 500 {
				mustAppend(b, l, recs...)
			}
			l.set.opts.FrameBytes = 512 << 10
			bounds, err := l.Bounds(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(bounds.Bytes))
			b.ResetTimer()
			var n int64
			for range b.N {
				for seq := uint64(1); seq <= bounds.LastFrame; seq++ {
					f, err := l.At(b.Context(), seq)
					if err != nil {
						b.Fatal(err)
					}
					n += int64(len(f.Records))
				}
			}
			perSecond(b, n)
		})
	}
}

// BenchmarkDecode decodes a frame of 500 records of 1 KB.
func BenchmarkDecode(b *testing.B) {
	_, buf := encode(head{seq: 1, epoch: 1}, 1, kilobytes(500)...)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for range b.N {
		if _, bad := decode(buf, 1); bad != nil {
			b.Fatal(bad)
		}
	}
}
