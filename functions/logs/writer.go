package logs

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// touch notes that a group has something to write, or in memory that it has grown by a segment.
func (s *Store) touch(g *group, grown bool) {
	if s.opts.Dir == "" {
		if grown {
			s.shrink()
		}
		return
	}
	s.mu.Lock()
	was := len(s.dirty)
	s.dirty[g] = true
	s.mu.Unlock()
	if was == 0 {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// run writes what was added, until the store is closed.
func (s *Store) run() {
	defer close(s.done)
	tidy := time.NewTicker(tidyEvery)
	defer tidy.Stop()
	for {
		pause := flushEvery
		select {
		case <-s.wake:
		case <-tidy.C:
			s.tidy()
			continue
		case <-s.stop:
			s.flush()
			return
		}
		for pause > 0 { // what comes meanwhile goes along
			select {
			case <-time.After(pause):
			case <-s.stop:
				s.flush()
				return
			}
			pause = 0
			if !s.flush() {
				pause = retryEvery
			}
		}
	}
}

// usual bounds the room that what comes next gets to begin with: as much as came before.
const usual = 64 << 10

// flush writes all there is. False: something was left, since the disk took nothing.
func (s *Store) flush() (all bool) {
	s.mu.Lock()
	dirty := s.dirty
	s.dirty = map[*group]bool{}
	s.mu.Unlock()
	unwritten := 0
	var failed []*group
	for g := range dirty {
		if err := g.write(); err != nil {
			s.refuse(g, err)
			failed = append(failed, g)
			g.mu.Lock()
			unwritten += g.unwritten()
			g.mu.Unlock()
		}
	}
	for _, g := range failed {
		g.mu.Lock()
		if g.unwritten() >= maxUnwritten || unwritten >= maxUnwrittenAll {
			g.abandon()
		}
		gone := g.gone
		g.mu.Unlock()
		if !gone {
			s.mu.Lock()
			s.dirty[g] = true
			s.mu.Unlock()
		}
	}
	s.shrink()
	s.remove(dirty)
	return len(failed) == 0
}

// tellEvery is how often the server's log says at most that the disk takes no logs.
const tellEvery = time.Minute

func (s *Store) refuse(g *group, err error) {
	if time.Since(s.refused) > tellEvery {
		s.refused = time.Now()
		s.opts.Logger.Warn("logs of functions cannot be written; the newest are kept in memory", "group", g.name, "error", err)
	}
}

// write writes what is pending. Only the writer calls it.
func (g *group) write() error {
	if err := g.ensure(); err != nil {
		return err
	}
	for {
		g.mu.Lock()
		var s *segment
		for _, c := range g.segments {
			if c.unwritten() > 0 || c.sealed && !c.indexed {
				s = c
				break
			}
		}
		if s == nil {
			if g.dropped > 0 && !g.gone {
				text := fmt.Sprintf("[wasmill: %d lines were dropped: the disk took nothing]", g.dropped)
				stream := g.droppedOf
				g.dropped = 0
				g.mu.Unlock()
				g.append(stream, Input{Time: time.Now(), Text: text, Line: true})
				continue
			}
			g.mu.Unlock()
			return nil
		}
		if len(s.flushing) == 0 {
			s.flushing, s.pending, s.flushingN = s.pending, make([]byte, 0, min(len(s.pending), usual)), s.n
		}
		b, at, index := s.flushing, s.written, s.sealed && len(s.pending) == 0
		g.mu.Unlock()

		if admit := g.store.opts.Admit; admit != nil && len(b) > 0 {
			if err := admit(len(b)); err != nil {
				return err
			}
		}
		if len(b) > 0 {
			if err := write(s.path, b, at); err != nil {
				return err
			}
		}
		g.mu.Lock()
		s.written += len(b)
		s.flushing, s.writtenN = nil, s.flushingN
		ix := s.index()
		g.mu.Unlock()
		if index {
			if err := replace(indexPath(s.path), ix); err != nil {
				return err
			}
			g.mu.Lock()
			s.indexed = true
			g.mu.Unlock()
		}
	}
}

// abandon drops what the disk did not take. What its segment has in the file stays, but
// nothing follows it: later events may build on what is lost.
func (g *group) abandon() {
	for _, s := range g.segments {
		if s.unwritten() == 0 {
			continue
		}
		for stream := range s.streams {
			g.droppedOf = stream
		}
		g.size -= int64(s.unwritten())
		g.dropped += s.n - s.writtenN
		g.store.dropped.Add(int64(s.n - s.writtenN))
		s.flushing, s.pending, s.n, s.sealed = nil, nil, s.writtenN, true
	}
	g.segments = slices.DeleteFunc(g.segments, func(s *segment) bool { return s.n == 0 })
}

// shrink drops the oldest segments of the largest groups until all together are small enough.
func (s *Store) shrink() {
	s.mu.Lock()
	defer s.mu.Unlock()
	sizes, total := map[*group]int64{}, int64(0)
	for _, g := range s.groups {
		g.mu.Lock()
		sizes[g] = g.size
		g.mu.Unlock()
		total += sizes[g]
	}
	for total > s.opts.Bytes {
		var large *group
		for g, n := range sizes {
			if large == nil || n > sizes[large] {
				large = g
			}
		}
		large.mu.Lock()
		if len(large.segments) > 0 {
			large.segments[0].sealed = true
			large.drop()
		}
		now := large.size
		large.mu.Unlock()
		if now == sizes[large] {
			return
		}
		total += now - sizes[large]
		sizes[large] = now
		if s.opts.Dir != "" {
			s.dirty[large] = true // its files go with the next flush
		}
	}
}

// tidy applies retention to groups that nothing is added to.
func (s *Store) tidy() {
	s.mu.Lock()
	all := map[*group]bool{}
	for _, g := range s.groups {
		all[g] = true
	}
	s.mu.Unlock()
	for g := range all {
		g.mu.Lock()
		g.trim()
		g.mu.Unlock()
	}
	s.remove(all)
}

// remove removes files that groups do not need any more. One that cannot be removed, as
// somebody reads it on Windows, is tried again.
func (s *Store) remove(groups map[*group]bool) {
	for g := range groups {
		g.mu.Lock()
		s.doomed = append(s.doomed, g.trimmed...)
		g.trimmed = nil
		g.mu.Unlock()
	}
	s.doomed = slices.DeleteFunc(s.doomed, func(path string) bool { return path == "" || os.RemoveAll(path) == nil })
}

// index is what a start needs to know of a sealed segment without reading it.
type index struct {
	Size    int                    `json:"size"` // of the file; another one makes the index void
	N       int                    `json:"n"`
	Min     int64                  `json:"min"`
	Max     int64                  `json:"max"`
	Streams map[string]*streamStat `json:"streams"`
}

func indexPath(segment string) string { return strings.TrimSuffix(segment, ".log") + ".json" }

// index is a copy: it is written without the mutex.
func (s *segment) index() index {
	ix := index{Size: s.written, N: s.n, Min: s.min, Max: s.max, Streams: map[string]*streamStat{}}
	for name, st := range s.streams {
		ix.Streams[name] = new(*st)
	}
	return ix
}

// restore reads what an earlier process has left.
func (s *Store) restore() error {
	entries, err := os.ReadDir(s.opts.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		dir := filepath.Join(s.opts.Dir, e.Name())
		if !e.IsDir() {
			continue
		}
		var d definition
		if err := readJSON(filepath.Join(dir, definitionFile), &d); errors.Is(err, os.ErrNotExist) {
			s.doomed = append(s.doomed, dir) // was deleted, or never begun
			continue
		} else if err != nil || d.Name == "" || s.groups[d.Name] != nil {
			s.opts.Logger.Error("the logs of a group cannot be read; they are left as they are", "dir", dir, "error", err)
			continue
		}
		g := newGroup(s, dir, d)
		g.defined = true
		if err := g.restore(); err != nil { // of one group: no reason for the server not to start
			s.opts.Logger.Error("the logs of a group cannot be read; they are left as they are", "group", d.Name, "dir", dir, "error", err)
			continue
		}
		s.groups[d.Name] = g
	}
	return nil
}

func (g *group) restore() error {
	entries, err := os.ReadDir(g.dir) // sorted
	if err != nil {
		return err
	}
	var files []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".log"); ok {
			files = append(files, name)
		}
	}
	for i, name := range files {
		first, err := strconv.ParseUint(name, 10, 64)
		if err != nil {
			continue
		}
		path := filepath.Join(g.dir, name+".log")
		s, err := g.load(path, first, i == len(files)-1)
		if err != nil {
			return err
		}
		if s.n == 0 {
			g.trimmed = append(g.trimmed, path, indexPath(path))
			continue
		}
		g.segments = append(g.segments, s)
		g.size += int64(s.size())
		g.next = s.first + uint64(s.n)
	}
	for i, s := range g.segments {
		s.sealed = s.sealed || i < len(g.segments)-1
	}
	return nil
}

// load reads a segment, by its index if that is good. The last one takes events again
// unless it was sealed.
func (g *group) load(path string, first uint64, last bool) (*segment, error) {
	var ix index
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if readJSON(indexPath(path), &ix) == nil && int64(ix.Size) == info.Size() && ix.N > 0 {
		s := newSegment(filepath.Dir(path), first)
		s.path, s.n, s.writtenN, s.written, s.min, s.max, s.streams = path, ix.N, ix.N, ix.Size, ix.Min, ix.Max, ix.Streams
		s.sealed, s.indexed = true, true
		for name := range s.streams {
			if g.def.Deleted[name] >= first+uint64(s.n) {
				delete(s.streams, name)
			}
		}
		return s, nil
	}
	s, err := g.scan(path, first)
	if err == nil {
		s.sealed = s.sealed || !last
	}
	return s, err
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	return err
}
