package log

import "context"

// mark is what a search learns of one place in a log: a frame, or a run of frames
// whose heads are damaged and which count as one.
type mark struct {
	from, to    uint64 // frames: from <= seq < to
	first, next uint64 // running numbers of its records: first <= number < next
	last        int64  // newest arrival; of a damaged run the oldest of the frame behind it
	frame       *Frame // nil if damaged
	bad         *damage
}

// markAt looks at the place of frame seq.
func (l *Log) markAt(ctx context.Context, t tail, seq uint64) (mark, error) {
	f, bad, err := l.frame(ctx, seq, 1)
	if err != nil {
		return mark{}, err
	}
	if f != nil {
		return mark{seq, seq + 1, f.First, f.Next(), f.head.last, f, nil}, nil
	}
	if h := bad.head; h != nil {
		return mark{seq, seq + 1, h.first, h.next(), h.last, nil, bad}, nil
	}
	void, gap, err := l.corrupt(ctx, t, seq, bad)
	if err != nil {
		return mark{}, err
	}
	if void != nil {
		return mark{seq, seq + 1, void.First, void.First, void.head.last, void, nil}, nil
	}
	m := mark{from: seq, to: gap.NextFrame, first: gap.First, next: gap.NextNumber, last: t.arrival, bad: bad}
	for m.from > t.first {
		h, err := l.headAt(ctx, m.from-1)
		if err != nil {
			return mark{}, err
		}
		if h != nil {
			break
		}
		m.from--
	}
	if gap.NextFrame <= t.last {
		h, err := l.headAt(ctx, gap.NextFrame)
		if err != nil {
			return mark{}, err
		}
		if h != nil {
			m.last = h.from // arrivals never fall
		}
	}
	return m, nil
}

// open returns the frame of a mark, or its CorruptError.
func (l *Log) open(ctx context.Context, t tail, m mark) (*Frame, error) {
	if m.frame != nil {
		return m.frame, nil
	}
	return l.instead(ctx, t, m.from, m.bad)
}

// Find returns the frame that holds the record with that running number. hint is a
// guess of the frame's sequence, or 0: with a good one it reads one frame, else
// it searches. In a log that has ended the END frame holds the number behind
// the last record. Errors: [ErrNotYet] if no record has the number yet,
// [*TrimmedError], [*CorruptError] if the record was in a damaged frame.
func (l *Log) Find(ctx context.Context, number uint64, hint uint64) (*Frame, error) {
	return steady(l, ctx, func(ctx context.Context, t tail) (*Frame, error) { return l.find(ctx, t, number, hint) })
}

func (l *Log) find(ctx context.Context, t tail, number uint64, hint uint64) (*Frame, error) {
	if number == t.next && t.ended {
		m, err := l.markAt(ctx, t, t.last)
		if err != nil {
			return nil, err
		}
		return l.open(ctx, t, m)
	}
	if number >= t.next {
		return nil, ErrNotYet
	}
	// The frame is between lo and hi, both included; loNumber and hiNumber are
	// the running numbers at their outer edges, from which a place is guessed.
	lo, hi := t.first, t.last
	loNumber, hiNumber := uint64(0), t.next
	for try := 0; lo <= hi; try++ {
		seq := lo + (hi-lo)/2
		switch {
		case hint >= t.first && hint <= t.last && try < 2:
			seq = hint // then the frame beside it
		case try%2 == 0 && number >= loNumber:
			seq = lo + uint64(float64(hi-lo)*float64(number-loNumber)/float64(hiNumber-loNumber))
		}
		m, err := l.markAt(ctx, t, min(max(seq, lo), hi))
		if err != nil {
			return nil, err
		}
		switch {
		case number < m.first:
			hi, hiNumber = m.from-1, m.first
		case number >= m.next:
			lo, loNumber = m.to, m.next
		default:
			return l.open(ctx, t, m)
		}
	}
	return nil, l.trimmed(ctx) // before the first record kept
}

// Since returns the first record that arrived at or after ms (Unix ms): its frame
// and its index there. Errors: [ErrNotYet] if there is none yet, [*CorruptError]
// if it may have been in a damaged frame.
func (l *Log) Since(ctx context.Context, ms int64) (frame *Frame, index int, err error) {
	frame, err = steady(l, ctx, func(ctx context.Context, t tail) (*Frame, error) { return l.since(ctx, t, ms) })
	if err != nil {
		return nil, 0, err
	}
	lo, hi := 0, len(frame.Records)
	for lo < hi {
		if mid := (lo + hi) / 2; frame.Records[mid].Arrival < ms {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(frame.Records) {
		return nil, 0, ErrNotYet // only the END frame is kept
	}
	return frame, lo, nil
}

// since is the frame with the first record that arrived at or after ms.
func (l *Log) since(ctx context.Context, t tail, ms int64) (*Frame, error) {
	if t.empty() || ms > t.arrival {
		return nil, ErrNotYet
	}
	seq, err := l.firstSince(ctx, t, ms)
	for ; err == nil; seq++ {
		var m mark
		if m, err = l.markAt(ctx, t, seq); err == nil {
			f, err := l.open(ctx, t, m)
			if err != nil || len(f.Records) > 0 || seq == t.last {
				return f, err
			}
		}
	}
	return nil, err
}

// firstSince is the first frame whose newest record arrived at or after ms; the
// newest frame if there is none.
func (l *Log) firstSince(ctx context.Context, t tail, ms int64) (uint64, error) {
	lo, hi := t.first, t.last
	for lo < hi {
		m, err := l.markAt(ctx, t, lo+(hi-lo)/2)
		if err != nil {
			return 0, err
		}
		if m.last >= ms {
			hi = max(m.from, lo)
		} else {
			lo = min(m.to, t.last)
		}
	}
	return lo, nil
}
