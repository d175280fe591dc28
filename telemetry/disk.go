package telemetry

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// On disk lies a snapshot of all series and what was added since, in a file that only grows
// and bears the snapshot's number: a crash between the two leaves nothing that counts twice.
// Neither is synced; a machine that loses its power may lose the last minutes.
//
// Both are rows of frames like those of package functions/logs: length, CRC-32C, payload.
const (
	snapshotFile = "snapshot"
	addedFile    = "added-" // and the snapshot's number
	saveEvery    = 10 * time.Second
	maxAdded     = 8 << 20 // bytes until there is a new snapshot
)

// disk is what a Series knows of its files. Only its writer uses it, and load.
type disk struct {
	number uint64 // of the snapshot
	size   int64  // of what was added
	failed time.Time
}

const (
	frameNumber  = 1 // of the snapshot: the first frame
	frameSeries  = 2 // id, namespace, name, unit, dimensions
	frameBuckets = 3 // id, step, buckets
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func frame(b []byte, put func([]byte) []byte) []byte {
	at := len(b)
	b = put(append(b, 0, 0, 0, 0, 0, 0, 0, 0))
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-8))
	binary.LittleEndian.PutUint32(b[at+4:], crc32.Checksum(b[at+8:], castagnoli))
	return b
}

func (s *Series) run() {
	defer close(s.done)
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.save(time.Now(), false)
		case <-s.stop:
			s.save(time.Now(), true)
			return
		}
	}
}

// save writes what is new, or all of it if that has become much, or at last.
func (s *Series) save(now time.Time, last bool) {
	s.fold(now)
	whole := last || s.disk.size > maxAdded || s.disk.number == 0
	var b []byte
	if !whole {
		b = s.appendNew(now.Unix())
		whole = s.disk.size+int64(len(b)) > maxAdded
	}
	number := s.disk.number
	if whole {
		number++
		b = s.appendAll(number)
	}
	err := s.write(b, number, whole)
	if err == nil {
		return
	}
	s.disk.size = maxAdded + 1 // what was to be added is in memory only: the next one is a snapshot
	if now.Sub(s.disk.failed) > time.Minute {
		s.disk.failed = now
		s.logger.Warn("metrics cannot be written; they are kept in memory", "error", err)
	}
}

func (s *Series) write(b []byte, number uint64, whole bool) error {
	added := filepath.Join(s.dir, addedFile+strconv.FormatUint(s.disk.number, 10))
	if len(b) == 0 {
		return nil
	}
	if s.admit != nil {
		if err := s.admit(len(b)); err != nil {
			return err
		}
	}
	if !whole {
		f, err := os.OpenFile(added, os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(b, s.disk.size)
		if err = errors.Join(err, f.Close()); err == nil {
			s.disk.size += int64(len(b))
		}
		return err
	}
	path := filepath.Join(s.dir, snapshotFile)
	if err := os.WriteFile(path+".tmp", b, 0o600); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	s.disk.number, s.disk.size = number, 0
	if err := os.Remove(added); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// appendNew writes what was added since the last time.
func (s *Series) appendNew(now int64) (b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.byKey {
		for i, step := range steps {
			one.expire(i, now-step.kept)
		}
		if len(one.delta) == 0 {
			continue
		}
		if !one.known {
			b = one.appendName(b)
		}
		b = appendBuckets(b, one.id, 1, one.delta)
		one.delta, one.known = nil, true
	}
	return b
}

// appendAll writes a snapshot, one series after the other: who measures must not wait for all
// of them. What comes behind a series' turn is added to the snapshot later.
func (s *Series) appendAll(number uint64) []byte {
	b := frame(nil, func(b []byte) []byte { return binary.AppendUvarint(append(b, frameNumber), number) })
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.byKey))
	s.mu.Unlock()
	for _, one := range all {
		s.mu.Lock()
		b = one.appendName(b)
		for i := 1; i < len(steps); i++ {
			b = appendBuckets(b, one.id, i, one.steps[i])
		}
		one.delta, one.known = nil, true
		s.mu.Unlock()
	}
	return b
}

func (one *series) appendName(b []byte) []byte {
	return frame(b, func(b []byte) []byte {
		b = binary.AppendUvarint(append(b, frameSeries), one.id)
		texts := []string{one.metric.Namespace, one.metric.Name, one.unit}
		for _, d := range one.metric.Dimensions {
			texts = append(texts, d.Name, d.Value)
		}
		for _, s := range texts {
			b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
		}
		return b
	})
}

// bucketsAFrame bounds a frame.
const bucketsAFrame = 1000

func appendBuckets(b []byte, id uint64, step int, buckets []Bucket) []byte {
	for part := range slices.Chunk(buckets, bucketsAFrame) {
		b = frame(b, func(b []byte) []byte {
			b = binary.AppendUvarint(append(b, frameBuckets), id)
			b = append(b, byte(step))
			for i := range part {
				b = part[i].append(b)
			}
			return b
		})
	}
	return b
}

func appendFloat(b []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
}

func (b *Bucket) append(to []byte) []byte {
	to = binary.AppendVarint(to, b.At)
	kind := byte(0)
	if b.bins != nil {
		kind = 1
	} else if b.opaque {
		kind = 2
	}
	to = append(to, kind)
	for _, v := range [4]float64{b.Count, b.Sum, b.Min, b.Max} {
		to = appendFloat(to, v)
	}
	if b.bins == nil {
		return to
	}
	to = append(to, b.bins.shift)
	to = binary.AppendUvarint(to, uint64(len(b.bins.keys)))
	last := int32(0)
	for i, key := range b.bins.keys {
		to = binary.AppendVarint(to, int64(key-last))
		last = key
		if n := b.bins.counts[i]; n == math.Trunc(n) && n < 1<<52 {
			to = binary.AppendUvarint(to, uint64(n)<<1)
		} else {
			to = appendFloat(append(to, 1), n)
		}
	}
	return to
}

// parser reads what append wrote. Anything wrong sets bad, and reads as zero.
type parser struct {
	b   []byte
	bad bool
}

func (p *parser) take(n int) []byte {
	if p.bad || n < 0 || n > len(p.b) {
		p.bad = true
		return nil
	}
	out := p.b[:n]
	p.b = p.b[n:]
	return out
}

func (p *parser) uvarint() uint64 {
	v, n := binary.Uvarint(p.b)
	if p.take(max(n, -1)); n <= 0 {
		p.bad = true
		return 0
	}
	return v
}

func (p *parser) varint() int64 {
	v, n := binary.Varint(p.b)
	if p.take(max(n, -1)); n <= 0 {
		p.bad = true
		return 0
	}
	return v
}

func (p *parser) byte() byte {
	if b := p.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (p *parser) float() float64 {
	if b := p.take(8); b != nil {
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
	return 0
}

func (p *parser) text() string {
	n := p.uvarint()
	if n > uint64(len(p.b)) {
		p.bad = true
	}
	return string(p.take(int(min(n, math.MaxInt32))))
}

func (p *parser) bucket() (b Bucket) {
	b.At = p.varint()
	kind := p.byte()
	b.Count, b.Sum, b.Min, b.Max = p.float(), p.float(), p.float(), p.float()
	b.opaque = kind == 2
	if kind != 1 {
		return b
	}
	b.bins = &bins{shift: p.byte()}
	last := int32(0)
	for n := p.uvarint(); n > 0 && !p.bad; n-- {
		last += int32(p.varint())
		count := p.uvarint()
		v := float64(count >> 1)
		if count&1 != 0 {
			v = p.float()
		}
		b.bins.keys, b.bins.counts = append(b.bins.keys, last), append(b.bins.counts, v)
	}
	if len(b.bins.keys) == 0 {
		p.bad = true
	}
	return b
}

// load reads the files. What is damaged, and what follows it, is left out.
func (s *Series) load() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("telemetry: open metrics: %w", err)
	}
	now := time.Now().Unix()
	ids := map[uint64]*series{}
	number, _, err := s.replay(snapshotFile, ids, now)
	if err != nil {
		return err
	}
	s.disk.number = number
	name := addedFile + strconv.FormatUint(number, 10)
	_, s.disk.size, err = s.replay(name, ids, now)
	if err != nil {
		return err
	}
	for _, one := range s.byKey {
		one.delta, one.known, one.steps[0] = nil, true, nil
	}
	s.users.cells, s.own.cells = 0, 0
	for _, one := range s.byKey {
		one.class.cells += one.cells()
		one.resume()
	}
	entries, err := os.ReadDir(s.dir)
	for _, e := range entries { // of a crash between the snapshot and this
		if strings.HasPrefix(e.Name(), addedFile) && e.Name() != name {
			_ = os.Remove(filepath.Join(s.dir, e.Name())) // or it is taken for nothing the next time
		}
	}
	return err
}

// resume finds out since when there are minutes: where there is none of five minutes of which
// there are values, cut has dropped it.
func (one *series) resume() {
	minutes, coarse := one.steps[1], one.steps[2]
	for i := len(coarse) - 1; i >= 0; i-- {
		at := coarse[i].At
		n, _ := slices.BinarySearchFunc(minutes, at, func(b Bucket, at int64) int { return cmp.Compare(b.At, at) })
		if n == len(minutes) || minutes[n].At >= at+300 {
			one.since[1] = at + 300
			return
		}
	}
}

// replay reads one file; good is how much of it was in order.
func (s *Series) replay(name string, ids map[uint64]*series, now int64) (number uint64, good int64, err error) {
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil
	} else if err != nil {
		return 0, 0, fmt.Errorf("telemetry: read metrics: %w", err)
	}
	for len(b) >= 8 {
		n := int64(binary.LittleEndian.Uint32(b))
		if n > int64(len(b)-8) || crc32.Checksum(b[8:8+n], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
			s.logger.Warn("a file of metrics is damaged; what is behind is left out", "file", name, "at", good)
			break
		}
		p := &parser{b: b[8 : 8+n]}
		switch p.byte() {
		case frameNumber:
			number = p.uvarint()
		case frameSeries:
			s.replayName(p, ids)
		case frameBuckets:
			one, step := ids[p.uvarint()], int(p.byte())
			for len(p.b) > 0 && !p.bad {
				bucket := p.bucket()
				switch {
				case p.bad || one == nil:
				case name == snapshotFile && step > 0 && step < len(steps):
					one.last = max(one.last, bucket.At)
					s.mergeStep(one, step, &bucket, now-steps[step].kept)
				default:
					s.merge(one, &bucket, now)
				}
			}
		}
		b = b[8+n:]
		good += 8 + n
	}
	return number, good, nil
}

func (s *Series) replayName(p *parser, ids map[uint64]*series) {
	id := p.uvarint()
	m := Metric{Namespace: p.text(), Name: p.text()}
	unit := p.text()
	for len(p.b) > 0 && !p.bad {
		m.Dimensions = append(m.Dimensions, Dimension{p.text(), p.text()})
	}
	if p.bad {
		return
	}
	if one, err := s.series(m, unit); err == nil {
		one.id, one.touch = id, time.Now().Unix()
		ids[id] = one
		s.lastID = max(s.lastID, id)
	}
}
