// Package logs keeps what functions write, as CloudWatch Logs shows it: groups of log
// streams of events.
//
// What is added can be read at once. It lies in memory for up to a fifth of a second, and
// then in plain files that only grow, one directory a group; there is no fsync. A process
// that is killed loses that fifth of a second, and a machine that loses its power what the
// operating system had not written. Whoever adds never waits for a disk: what cannot be
// written is kept in memory as far as there is room, and then dropped and counted.
//
// A group keeps its last events up to a number of bytes, all groups together up to another;
// the oldest go first, a segment at a time, and so does what is older than a group's
// retention. One set of groups serves all accounts and regions, as functions do.
//
// What it leaves to others: AWS's words and checks of what comes from outside (api/logs).
package logs

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// MaxText is the most bytes of an event's text. What is longer is cut.
const MaxText = 1 << 20

// FunctionGroup is the group of a function.
func FunctionGroup(function string) string { return functionPrefix + function }

const functionPrefix = "/aws/lambda/"

var (
	// ErrNoGroup means there is no group of that name.
	ErrNoGroup = errors.New("logs: no such group")
	// ErrNoStream means the group has no stream of that name.
	ErrNoStream = errors.New("logs: no such stream")
	// ErrExists means the name of a group or stream is taken.
	ErrExists = errors.New("logs: exists")
	// ErrTooMany means that there are as many groups, or streams in one, as there may be.
	ErrTooMany = errors.New("logs: too many")
	// ErrFull means that what was to be added is more than memory holds while the disk takes
	// nothing. Try again later.
	ErrFull = errors.New("logs: the disk takes nothing")
)

const (
	// maxGroups bounds the groups that can be made from outside; those that functions get by
	// writing may be as many again.
	maxGroups = 10_000
	// maxStreams bounds the streams that were made without an event, in a group.
	maxStreams = 10_000
	// segments is into how many files a full group falls.
	segments = 16
	// flushEvery is how long what is new waits in memory.
	flushEvery = 100 * time.Millisecond
	// retryEvery is how long it waits when the disk took nothing.
	retryEvery = time.Second
	// tidyEvery is how often retention is looked at.
	tidyEvery = time.Minute
	// maxUnwritten is how many bytes of a group, and maxUnwrittenAll of all, wait in memory
	// at most for a disk that takes nothing, or not as fast as they come.
	maxUnwritten    = 8 << 20
	maxUnwrittenAll = 64 << 20
)

// Options shape a [Store]. The zero value keeps everything in memory.
type Options struct {
	// Dir is where files go, made if missing. Empty: all is in memory.
	Dir string
	// GroupBytes is what a group keeps. Defaults to 64 MiB, in memory to 4 MiB.
	GroupBytes int64
	// Bytes is what all groups keep together. Defaults to 1 GiB, in memory to 64 MiB.
	Bytes int64
	// Admit asks whether so many bytes may be written; an error says why not. Nil: always.
	Admit  func(bytes int) error
	Logger *slog.Logger // defaults to none
}

func (o Options) withDefaults() Options {
	group, all := int64(64<<20), int64(1<<30)
	if o.Dir == "" {
		group, all = 4<<20, 64<<20
	}
	o.Bytes = cmp.Or(o.Bytes, all)
	o.GroupBytes = min(cmp.Or(o.GroupBytes, group), o.Bytes)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	return o
}

// Store is all groups. Its methods may be called from any goroutine.
type Store struct {
	opts Options

	wake chan struct{} // a token when a group has something to write
	stop chan struct{} // closed by Close
	done chan struct{} // closed when the writer has ended; it is the only one that writes segments

	mu     sync.Mutex
	groups map[string]*group
	logs   map[string]*Log // of functions
	dirty  map[*group]bool // have something to write
	made   chan struct{}   // closed when a group is made; nil while nobody waits
	closed bool

	dropped atomic.Int64 // events that were lost because the disk took nothing

	doomed  []string  // files and directories to remove; only the writer's
	refused time.Time // when a refusal was last told; only the writer's
}

// Open opens the store. What a killed process has left half written is cut off.
func Open(o Options) (*Store, error) {
	s := &Store{opts: o.withDefaults(), groups: map[string]*group{}, logs: map[string]*Log{}, dirty: map[*group]bool{},
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	if o.Dir == "" {
		close(s.done)
		return s, nil
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("logs: open: %w", err)
	}
	if err := s.restore(); err != nil {
		return nil, fmt.Errorf("logs: open %s: %w", o.Dir, err)
	}
	go s.run()
	return s, nil
}

// Close writes what is not written yet. Nothing may be added afterwards.
func (s *Store) Close(ctx context.Context) error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.stop)
	}
	s.mu.Unlock()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("logs: close: %w", context.Cause(ctx))
	}
}

// Dropped is how many events were lost because the disk took nothing.
func (s *Store) Dropped() int64 { return s.dropped.Load() }

func (s *Store) group(name string) (*group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[name]; g != nil {
		return g, nil
	}
	return nil, fmt.Errorf("%w: %s", ErrNoGroup, name)
}

// make finds a group or makes it unless there are most; made says which. Its definition is
// not written yet.
func (s *Store) make(name string, most int) (g *group, made bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[name]; g != nil {
		return g, false, nil
	}
	if len(s.groups) >= most {
		return nil, false, fmt.Errorf("%w groups: %d", ErrTooMany, most)
	}
	dir := ""
	if s.opts.Dir != "" {
		var id [12]byte
		_, _ = rand.Read(id[:]) // never fails
		dir = filepath.Join(s.opts.Dir, hex.EncodeToString(id[:]))
	}
	g = newGroup(s, dir, definition{Name: name, Created: time.Now().UnixMilli()})
	s.groups[name] = g
	if s.made != nil {
		close(s.made)
		s.made = nil
	}
	return g, true, nil
}

// Group is what there is to say of a group.
type Group struct {
	Name      string
	Created   time.Time
	Retention int // days; 0: for ever
	Bytes     int64
	Tags      map[string]string
	KeyID     string
	Class     string
}

// CreateGroup makes a group: of g it takes the name, tags, key and class.
func (s *Store) CreateGroup(g Group) error {
	at, made, err := s.make(g.Name, maxGroups)
	if err != nil {
		return err
	}
	if !made {
		return fmt.Errorf("%w: group %s", ErrExists, g.Name)
	}
	err = at.change(func(d *definition) error {
		d.Tags, d.KeyID, d.Class = g.Tags, g.KeyID, g.Class
		return nil
	})
	if err != nil {
		return errors.Join(err, s.DeleteGroup(g.Name))
	}
	return nil
}

// DeleteGroup deletes a group with all that is in it.
func (s *Store) DeleteGroup(name string) error {
	s.mu.Lock()
	g := s.groups[name]
	delete(s.groups, name)
	delete(s.dirty, g)
	s.mu.Unlock()
	if g == nil {
		return fmt.Errorf("%w: %s", ErrNoGroup, name)
	}
	return g.delete()
}

// Groups lists all groups by name.
func (s *Store) Groups() []Group {
	s.mu.Lock()
	all := make([]*group, 0, len(s.groups))
	for _, g := range s.groups {
		all = append(all, g)
	}
	s.mu.Unlock()
	out := make([]Group, len(all))
	for i, g := range all {
		out[i] = g.view()
	}
	slices.SortFunc(out, func(a, b Group) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Group is one of them, or ErrNoGroup.
func (s *Store) Group(name string) (Group, error) {
	g, err := s.group(name)
	if err != nil {
		return Group{}, err
	}
	return g.view(), nil
}

// SetRetention has a group keep its events so many days; 0: as long as there is room.
func (s *Store) SetRetention(name string, days int) error {
	g, err := s.group(name)
	if err != nil {
		return err
	}
	return g.change(func(d *definition) error { d.Retention = days; return nil })
}

// SetTags changes the tags of a group; an error of change is returned.
func (s *Store) SetTags(name string, change func(tags map[string]string) error) error {
	g, err := s.group(name)
	if err != nil {
		return err
	}
	return g.change(func(d *definition) error {
		if d.Tags == nil {
			d.Tags = map[string]string{}
		}
		return change(d.Tags)
	})
}

// Stream is what there is to say of a log stream. Times without events are zero.
type Stream struct {
	Name                  string
	Created               time.Time
	First, Last, Ingested time.Time
	Bytes                 int64
}

// CreateStream makes a stream that has no events yet.
func (s *Store) CreateStream(group, name string) error {
	g, err := s.group(group)
	if err != nil {
		return err
	}
	return g.change(func(d *definition) error {
		if d.Streams[name] != 0 || g.has(name) {
			return fmt.Errorf("%w: stream %s", ErrExists, name)
		}
		if len(d.Streams) >= maxStreams {
			return fmt.Errorf("%w streams in group %s: %d", ErrTooMany, group, maxStreams)
		}
		if d.Streams == nil {
			d.Streams = map[string]int64{}
		}
		d.Streams[name] = time.Now().UnixMilli()
		return nil
	})
}

// DeleteStream deletes a stream with its events.
func (s *Store) DeleteStream(group, name string) error {
	g, err := s.group(group)
	if err != nil {
		return err
	}
	return g.change(func(d *definition) error {
		if d.Streams[name] == 0 && !g.has(name) {
			return fmt.Errorf("%w: %s", ErrNoStream, name)
		}
		delete(d.Streams, name)
		g.bury(d, name)
		return nil
	})
}

// Streams lists the streams of a group by name.
func (s *Store) Streams(group string) ([]Stream, error) {
	g, err := s.group(group)
	if err != nil {
		return nil, err
	}
	return g.list(), nil
}

// Put adds events to a stream that there is. It returns once they can be read.
func (s *Store) Put(group, stream string, events []Input) error {
	g, err := s.group(group)
	if err != nil {
		return err
	}
	return g.put(stream, events)
}

// Has says whether a group has a stream.
func (s *Store) Has(group, stream string) (bool, error) {
	g, err := s.group(group)
	if err != nil {
		return false, err
	}
	return g.has(stream), nil
}
