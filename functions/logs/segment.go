package logs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// segment is a run of events of a group, up to segmentBytes of the store. Its group's mutex
// guards it.
type segment struct {
	path  string // of its file; empty in memory
	first uint64 // id of the first event
	n     int    // events

	// What was added lies in the file, in flushing, which is being written there, and in
	// pending, in that order. In memory all of it is pending. None of the bytes of a slice
	// change once they are there, so a reader may keep it.
	written           int // bytes in the file
	writtenN          int // events in it
	flushing, pending []byte
	flushingN         int // events in the file once flushing is

	min, max int64 // Unix milliseconds of events, if there are any
	streams  map[string]*streamStat
	encoder  encoder
	sealed   bool         // takes nothing more
	indexed  bool         // its index is written
	hurt     *atomic.Bool // somebody was told that it is damaged
}

// streamStat is what a segment has of a log stream.
type streamStat struct {
	First    int64 `json:"first"` // Unix milliseconds of events
	Last     int64 `json:"last"`
	Ingested int64 `json:"ingested"` // of the event taken in last
	Bytes    int64 `json:"bytes"`
	N        int   `json:"n"`
}

func newSegment(dir string, first uint64) *segment {
	s := &segment{first: first, streams: map[string]*streamStat{}, encoder: encoder{numbers: map[string]uint64{}}, hurt: new(atomic.Bool)}
	if dir != "" {
		s.path = filepath.Join(dir, fmt.Sprintf("%020d.log", first))
	}
	return s
}

func (s *segment) size() int { return s.written + len(s.flushing) + len(s.pending) }

// unwritten is how much would be lost now.
func (s *segment) unwritten() int { return len(s.flushing) + len(s.pending) }

func (s *segment) add(stream string, in Input) {
	s.pending = s.encoder.event(s.pending, stream, in)
	ingested := in.Ingested
	if ingested.IsZero() {
		ingested = in.Time
	}
	s.count(stream, in.Time.UnixMilli(), ingested.UnixMilli(), len(in.Text))
}

func (s *segment) count(stream string, at, ingested int64, bytes int) {
	if s.n == 0 {
		s.min, s.max = at, at
	}
	s.n++
	s.min, s.max = min(s.min, at), max(s.max, at)
	st := s.streams[stream]
	if st == nil {
		st = &streamStat{First: at, Last: at}
		s.streams[stream] = st
	}
	st.First, st.Last, st.Ingested = min(st.First, at), max(st.Last, at), max(st.Ingested, ingested)
	st.Bytes += int64(bytes)
	st.N++
}

// part is what there is of a segment from some byte on.
type part struct {
	path     string
	from, to int // in the file
	rest     [2][]byte
	hurt     *atomic.Bool // of the segment
}

// from is what lies at off and behind; the group's mutex is held.
func (s *segment) from(off int) part {
	p := part{path: s.path, from: off, to: s.written, hurt: s.hurt}
	if off >= s.written {
		p.from, p.to = 0, 0
	}
	off = max(0, off-s.written)
	for i, b := range [2][]byte{s.flushing, s.pending} {
		p.rest[i] = b[min(off, len(b)):]
		off = max(0, off-len(b))
	}
	return p
}

// read reads it, without the mutex. A file that is gone was trimmed meanwhile: nothing.
func (p part) read() ([]byte, error) {
	b := make([]byte, p.to-p.from, p.to-p.from+len(p.rest[0])+len(p.rest[1]))
	if len(b) > 0 {
		f, err := os.Open(p.path)
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
		defer f.Close()
		if n, err := f.ReadAt(b, int64(p.from)); err != nil && err != io.EOF {
			return nil, err
		} else if n < len(b) {
			return b[:n], nil // somebody has cut it; what follows cannot be read
		}
	}
	return append(append(b, p.rest[0]...), p.rest[1]...), nil
}

// each calls do with every event from the segment's first byte on, and tell with what of it
// is damaged.
func (p part) each(do func(place int, r *raw), tell func(h hole)) error {
	b, err := p.read()
	if err != nil {
		return err
	}
	if _, end, _ := walk(b, do, tell); end < len(b) {
		tell(hole{end, len(b) - end})
	}
	return nil
}

// hole is damage in a segment.
type hole struct{ at, n int } // bytes of the file

// tell says once for a segment that it is damaged.
func (s *Store) tell(name string, p part) func(hole) {
	return func(h hole) {
		if !p.hurt.Swap(true) {
			s.opts.Logger.Error("logs are damaged; what is in order is shown", "group", name, "file", p.path, "at", h.at, "bytes", h.n)
		}
	}
}

// walk reads all frames of a segment's bytes. end is behind the last sound one.
func walk(b []byte, do func(place int, r *raw), tell func(h hole)) (d decoder, end int, tired bool) {
	for off, place := 0, 0; off < len(b); {
		r, n, event := d.next(b[off:])
		if n == 0 {
			if n, tired = d.skip(b[off:]); off+n == len(b) {
				return d, off, tired
			}
			tell(hole{off, n})
		}
		off += n
		end = off
		if event {
			do(place, &r)
			place++
		}
	}
	return d, end, false
}

// write puts bytes at a place of the file.
func write(path string, b []byte, at int) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, int64(at))
	return errors.Join(err, f.Close())
}

// scan reads a segment that an earlier process has left, and cuts off an end that is torn.
// Damage before that stays as it is, in a segment that takes no more.
func (g *group) scan(path string, first uint64) (*segment, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := newSegment(filepath.Dir(path), first)
	s.path = path
	tell := g.store.tell(g.name, s.from(0))
	d, end, tired := walk(b, func(_ int, r *raw) {
		s.count(r.stream, r.millis(), r.ingested(), len(r.text))
		if s.first+uint64(s.n) <= g.def.Deleted[r.stream] { // n counts this one
			delete(s.streams, r.stream)
		}
	}, tell)
	switch s.written = end; {
	case tired:
		tell(hole{end, len(b) - end})
		s.written = len(b)
	case end < len(b):
		g.store.opts.Logger.Warn("the end of a log is torn, and is cut off", "group", g.name, "file", path, "at", end, "bytes", len(b)-end)
		if err := os.Truncate(path, int64(end)); err != nil {
			return nil, err
		}
	}
	s.sealed = s.hurt.Load()
	for number, name := range d.names {
		s.encoder.numbers[name] = number
	}
	s.encoder.request = d.request
	s.writtenN = s.n
	return s, nil
}

// Input is an event on its way in.
type Input struct {
	Time      time.Time
	Ingested  time.Time // zero: at Time
	RequestID string    // of the invocation that it comes from; "" for none
	Text      string    // at most MaxText bytes
	Line      bool      // a line's end belongs to the text, as AWS has it in what functions write
}
