package logs

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// definition is what is kept of a group besides its events, as JSON.
type definition struct {
	Name      string            `json:"name"`
	Created   int64             `json:"created"` // Unix milliseconds
	Retention int               `json:"retention,omitempty"`
	Tags      map[string]string `json:"tags,omitempty"`
	KeyID     string            `json:"keyId,omitempty"`
	Class     string            `json:"class,omitempty"`
	// Streams are those that were made before they had events, and when.
	Streams map[string]int64 `json:"streams,omitempty"`
	// Deleted are streams that were deleted: events with a lesser id are not there any more.
	Deleted map[string]uint64 `json:"deleted,omitempty"`
}

const definitionFile = "group.json"

type group struct {
	store *Store
	name  string
	dir   string // empty in memory

	defining sync.Mutex // held while the definition is changed and written; before mu

	mu        sync.Mutex
	def       definition
	segments  []*segment // by id; the last one takes events
	next      uint64     // id of the next event
	size      int64      // bytes of all segments
	defined   bool       // the definition is written
	gone      bool       // the group was deleted
	more      chan struct{}
	trimmed   []string // files to remove
	dropped   int      // events lost and not yet told of in the log
	droppedOf string   // the stream of the last of them
}

func newGroup(s *Store, dir string, d definition) *group {
	return &group{store: s, name: d.Name, dir: dir, def: d, next: 1}
}

// put adds events to a stream; unknown streams are ErrNoStream.
func (g *group) put(stream string, events []Input) error {
	g.mu.Lock()
	if !g.hasLocked(stream) {
		g.mu.Unlock()
		return fmt.Errorf("%w: %s", ErrNoStream, stream)
	}
	if g.unwritten() >= maxUnwritten {
		g.mu.Unlock()
		return fmt.Errorf("%w: group %s", ErrFull, g.name)
	}
	g.mu.Unlock()
	g.append(stream, events...)
	return nil
}

// append adds events, to a stream that comes to be by that. False: the group is gone.
func (g *group) append(stream string, events ...Input) bool {
	most := int(g.store.opts.GroupBytes / segments)
	g.mu.Lock()
	if g.gone {
		g.mu.Unlock()
		return false
	}
	rolled := false
	for _, in := range events {
		if len(in.Text) > MaxText {
			in.Text = in.Text[:MaxText]
		}
		s := g.last()
		if s == nil || s.sealed || s.size() >= most {
			s = g.roll()
			rolled = true
		}
		before := s.size()
		s.add(stream, in)
		g.next++
		g.size += int64(s.size() - before)
	}
	if g.more != nil {
		close(g.more)
		g.more = nil
	}
	if rolled {
		g.trim()
	}
	g.mu.Unlock()
	g.store.touch(g, rolled)
	return true
}

func (g *group) last() *segment {
	if len(g.segments) == 0 {
		return nil
	}
	return g.segments[len(g.segments)-1]
}

// roll begins a new segment.
func (g *group) roll() *segment {
	if s := g.last(); s != nil {
		s.sealed = true
	}
	s := newSegment(g.dir, g.next)
	g.segments = append(g.segments, s)
	return s
}

// trim drops the oldest segments beyond what a group may keep, and those whose time is over.
func (g *group) trim() {
	cut := g.cutoff(time.Now())
	for len(g.segments) > 0 {
		s := g.segments[0]
		over := g.size > g.store.opts.GroupBytes && len(g.segments) > 1
		if !over && !(s.n > 0 && s.max < cut) {
			return
		}
		g.drop()
	}
}

// drop forgets the oldest segment.
func (g *group) drop() {
	s := g.segments[0]
	g.size -= int64(s.size())
	g.segments = slices.Delete(g.segments, 0, 1)
	if s.path != "" {
		g.trimmed = append(g.trimmed, s.path, indexPath(s.path))
	}
	if len(g.def.Deleted) == 0 {
		return
	}
	oldest := g.next
	if len(g.segments) > 0 {
		oldest = g.segments[0].first
	}
	g.def.Deleted = maps.Clone(g.def.Deleted) // who reads has the old one
	maps.DeleteFunc(g.def.Deleted, func(_ string, before uint64) bool { return before <= oldest })
}

// cutoff is the time of the oldest event that is kept, in Unix milliseconds.
func (g *group) cutoff(now time.Time) int64 {
	if g.def.Retention == 0 {
		return -1 << 62
	}
	return now.AddDate(0, 0, -g.def.Retention).UnixMilli()
}

// unwritten is how many bytes of it are in memory only.
func (g *group) unwritten() int {
	n := 0
	if g.dir != "" {
		for _, s := range g.segments {
			n += s.unwritten()
		}
	}
	return n
}

func (g *group) has(stream string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hasLocked(stream)
}

func (g *group) hasLocked(stream string) bool {
	if g.def.Streams[stream] != 0 {
		return true
	}
	return slices.ContainsFunc(g.segments, func(s *segment) bool { return s.streams[stream] != nil })
}

func (g *group) view() Group {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Group{Name: g.name, Created: time.UnixMilli(g.def.Created), Retention: g.def.Retention, Bytes: g.size,
		Tags: maps.Clone(g.def.Tags), KeyID: g.def.KeyID, Class: g.def.Class}
}

func (g *group) list() []Stream {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := map[string]*Stream{}
	for name, created := range g.def.Streams {
		all[name] = &Stream{Name: name, Created: time.UnixMilli(created)}
	}
	for _, s := range g.segments {
		for name, st := range s.streams {
			first, last, ingested := time.UnixMilli(st.First), time.UnixMilli(st.Last), time.UnixMilli(st.Ingested)
			v := all[name]
			if v == nil {
				v = &Stream{Name: name, Created: first}
				all[name] = v
			}
			if v.First.IsZero() || first.Before(v.First) {
				v.First = first
			}
			if last.After(v.Last) {
				v.Last = last
			}
			if ingested.After(v.Ingested) {
				v.Ingested = ingested
			}
			v.Bytes += st.Bytes
		}
	}
	out := make([]Stream, 0, len(all))
	for _, v := range all {
		out = append(out, *v)
	}
	slices.SortFunc(out, func(a, b Stream) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// change changes the definition and writes it.
func (g *group) change(do func(*definition) error) error {
	g.defining.Lock()
	defer g.defining.Unlock()
	g.mu.Lock()
	if g.gone {
		g.mu.Unlock()
		return fmt.Errorf("%w: %s", ErrNoGroup, g.name)
	}
	d := g.def
	d.Tags, d.Streams, d.Deleted = maps.Clone(d.Tags), maps.Clone(d.Streams), maps.Clone(d.Deleted)
	g.mu.Unlock()
	if err := do(&d); err != nil {
		return err
	}
	if err := g.define(d); err != nil {
		return err
	}
	g.mu.Lock()
	g.def, g.defined = d, true
	g.trim()
	g.mu.Unlock()
	g.store.touch(g, true)
	return nil
}

// ensure writes the definition if that was not done; the writer does it before the first segment.
func (g *group) ensure() error {
	g.defining.Lock()
	defer g.defining.Unlock()
	g.mu.Lock()
	d, defined, gone := g.def, g.defined, g.gone
	g.mu.Unlock()
	if defined || gone {
		return nil
	}
	if err := g.define(d); err != nil {
		return err
	}
	g.mu.Lock()
	g.defined = true
	g.mu.Unlock()
	return nil
}

func (g *group) define(d definition) error {
	if g.dir == "" {
		return nil
	}
	if err := os.MkdirAll(g.dir, 0o700); err != nil {
		return fmt.Errorf("logs: group %s: %w", d.Name, err)
	}
	return replace(filepath.Join(g.dir, definitionFile), d)
}

// replace writes a file of JSON as a whole or not at all.
func replace(path string, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		if err = os.WriteFile(path+".tmp", b, 0o600); err == nil {
			err = os.Rename(path+".tmp", path)
		}
	}
	if err != nil {
		return fmt.Errorf("logs: write %s: %w", path, err)
	}
	return nil
}

// delete ends the group: without its definition the rest of the directory is rubbish, which
// the writer, or the next start, removes.
func (g *group) delete() error {
	g.defining.Lock()
	defer g.defining.Unlock()
	var err error
	if g.dir != "" {
		if err = os.Remove(filepath.Join(g.dir, definitionFile)); errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	}
	g.mu.Lock()
	g.gone, g.segments, g.size = true, nil, 0
	g.trimmed = append(g.trimmed, g.dir)
	if g.more != nil {
		close(g.more)
		g.more = nil
	}
	g.mu.Unlock()
	g.store.touch(g, true)
	return err
}

// bury has a stream's events be gone, those from now on excepted.
func (g *group) bury(d *definition, stream string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.segments {
		if s.streams[stream] == nil {
			continue
		}
		delete(s.streams, stream)
		if d.Deleted == nil {
			d.Deleted = map[string]uint64{}
		}
		d.Deleted[stream] = g.next
	}
}
