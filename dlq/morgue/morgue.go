// Package morgue shows dead letters and decides how long they are kept.
//
// A letter is visible from the commit that buries it until it is purged or is
// older than [dlq.Retention]. It rests in its mapping's journal first, until the
// relay has moved it to package dlq/store; the morgue looks into both and shows
// each once. One that is delivered again stays, whatever its age, until a commit
// says that it is done or buried again: from that commit on it is not shown any
// more, and the relay has it removed.
//
// The newest message of a lane tells the relay how far it has come, so one
// that is purged or expired before the journal has noted that stays on as a
// hidden message without payload.
package morgue

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/dlq/store"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
)

// Filter chooses letters: those that meet every field that is set. The zero
// value chooses all.
type Filter struct {
	IDs     []string   // any of them
	Trigger string     // its name at the time, or the mapping's id
	Stream  string     // ARN, or name
	Reason  dlq.Reason // exactly
	Error   string     // is part of the error's type or message, whatever the case
	Since   time.Time  // buried then or later
	Before  time.Time  // buried earlier
	// Limit is how many to list at most, the newest ones; 0: all. Purge and
	// Count pay no heed to it.
	Limit int
	// Data lists letters with their payload.
	Data bool
}

func (f *Filter) match(l *dlq.Letter) bool {
	switch {
	case len(f.IDs) > 0 && !slices.Contains(f.IDs, l.ID),
		f.Trigger != "" && f.Trigger != l.Trigger && f.Trigger != l.Mapping,
		f.Stream != "" && f.Stream != l.Stream && !strings.HasSuffix(l.Stream, ":stream/"+f.Stream),
		f.Reason != "" && f.Reason != l.Reason,
		f.Error != "" && !contains(l.ErrorType, f.Error) && !contains(l.ErrorMessage, f.Error),
		!f.Since.IsZero() && l.Buried.Before(f.Since),
		!f.Before.IsZero() && !l.Buried.Before(f.Before):
		return false
	}
	return true
}

func contains(text, part string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(part))
}

// Morgue is all dead letters of one server. Safe for concurrent use.
type Morgue struct {
	graves   *store.Store
	journals *journal.Store
	hook     func(point string) // of tests: stops the process, so to speak

	mu    sync.Mutex // guards what follows
	flush func(context.Context) error
	where map[string]place // by id, of letters seen lately
}

// place is where a letter rests.
type place struct {
	lane     store.Lane
	sequence uint64
}

// remembered is how many letters are found again without a search.
const remembered = 1 << 16

// Open makes room for dead letters on srv.
func Open(ctx context.Context, srv *natsd.Server, journals *journal.Store) (*Morgue, error) {
	graves, err := store.Open(ctx, srv)
	if err != nil {
		return nil, err
	}
	return &Morgue{graves: graves, journals: journals, where: map[string]place{}}, nil
}

// Graves is where letters are kept, for the relay, which fills it.
func (m *Morgue) Graves() *store.Store { return m.graves }

// OnPurge has fn called before each purge. The relay moves what waits in the
// journals then, since only what is in the morgue can be purged. fn's error
// does not stop the purge.
func (m *Morgue) OnPurge(fn func(context.Context) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flush = fn
}

func (m *Morgue) crash(point string) {
	if m.hook != nil {
		m.hook(point)
	}
}

func visible(l *dlq.Letter, now time.Time) bool { return l.Buried.Add(dlq.Retention).After(now) }

// List returns the letters f chooses, oldest burial first, without payload
// unless f.Data is set. Letters that cannot be read ([store.ErrCorrupt],
// [journal.ErrCorrupt]) are left out: then the error tells of them, and the
// others are returned beside it.
func (m *Morgue) List(ctx context.Context, f Filter) ([]dlq.Letter, error) {
	var out []dlq.Letter
	cut := func() {
		slices.SortFunc(out, func(a, b dlq.Letter) int {
			return cmp.Or(a.Buried.Compare(b.Buried), strings.Compare(a.ID, b.ID))
		})
		if f.Limit > 0 && len(out) > f.Limit {
			out = slices.Delete(out, 0, len(out)-f.Limit)
		}
	}
	superseded, err := m.each(ctx, &f, func(l dlq.Letter) {
		if !f.Data {
			l.Data = nil
		}
		if out = append(out, l); f.Limit > 0 && len(out) >= 2*f.Limit+1024 {
			cut()
		}
	})
	if err != nil && !damaged(err) {
		return nil, err
	}
	out = slices.DeleteFunc(out, func(l dlq.Letter) bool { return superseded[l.ID] })
	cut()
	return out, err
}

// damaged says that err is about some letters only.
func damaged(err error) bool {
	return errors.Is(err, store.ErrCorrupt) || errors.Is(err, journal.ErrCorrupt)
}

// Count says how many letters f chooses.
func (m *Morgue) Count(ctx context.Context, f Filter) (int, error) {
	ids := map[string]bool{}
	superseded, err := m.each(ctx, &f, func(l dlq.Letter) { ids[l.ID] = true })
	for id := range superseded {
		delete(ids, id)
	}
	return len(ids), err
}

// ties are what newest and unconfirmed commits say of dead letters, by id.
type ties struct {
	under   map[string]bool // they are delivered again
	settled map[string]bool // they are no more, and may not be removed yet
}

// ties asks the journals, about all letters if there are no ids. Who looks for
// letters asks first: what is settled before is then known to be so, or is
// removed already.
func (m *Morgue) ties(ctx context.Context, ids ...string) (t ties, unread error) {
	t.under, t.settled, unread = m.journals.Ties(ctx, ids...)
	return t, unread
}

// each hands over every visible letter that f chooses. superseded are ids of
// letters that were buried again since: a redrive may have come in between, so
// that the old one and the new one are seen.
func (m *Morgue) each(ctx context.Context, f *Filter, fn func(dlq.Letter)) (superseded map[string]bool, err error) {
	t, unread := m.ties(ctx)
	if unread != nil && !damaged(unread) {
		return nil, unread
	}
	// The journals first: a letter that is moved meanwhile is seen twice then,
	// not never.
	waiting, unreadToo := m.waiting(ctx, nil)
	if unreadToo != nil && !damaged(unreadToo) {
		return nil, unreadToo
	}
	now := time.Now()
	superseded = map[string]bool{}
	choose := func(l dlq.Letter) {
		for _, id := range l.Earlier() {
			superseded[id] = true
		}
		if l.Redriving = t.under[l.ID]; !t.settled[l.ID] && (l.Redriving || visible(&l, now)) && f.match(&l) {
			fn(l)
		}
	}
	seen := map[string]bool{}
	for _, l := range waiting {
		seen[l.ID] = true
		choose(l)
	}
	err = m.graves.Scan(ctx, nil, func(g store.Message) error {
		if !g.Hidden && !seen[g.Letter.ID] {
			m.remember(&g)
			choose(g.Letter)
		}
		return nil
	})
	return superseded, cmp.Or(err, unread, unreadToo)
}

// waiting returns the letters of journals that are not in the morgue yet, and
// never were: of the sources that pick takes, or all if it is nil. A journal that
// is damaged keeps back its own letters, and is told of by the error.
func (m *Morgue) waiting(ctx context.Context, pick func(triggers.Source) bool) ([]dlq.Letter, error) {
	sources, err := m.journals.Waiting(ctx)
	if err != nil {
		return nil, err
	}
	var out []dlq.Letter
	var unread error
	for _, src := range sources {
		if pick != nil && !pick(src) {
			continue
		}
		letters, err := m.waitingOf(ctx, src)
		if err != nil && !damaged(err) && !errors.Is(err, journal.ErrNoJournal) {
			return nil, err
		}
		if damaged(err) {
			unread = cmp.Or(unread, err)
		}
		out = append(out, letters...)
	}
	return out, unread
}

func (m *Morgue) waitingOf(ctx context.Context, src triggers.Source) ([]dlq.Letter, error) {
	mark, upTo, err := m.journals.Pending(ctx, src)
	if err != nil || upTo <= mark {
		return nil, err
	}
	type placed struct {
		at dlq.Position
		l  dlq.Letter
	}
	var all []placed
	err = m.journals.Letters(ctx, src, mark, upTo, func(at dlq.Position, l dlq.Letter) error {
		all = append(all, placed{at, l})
		return nil
	})
	if err != nil {
		// The relay may have moved them, and dropped them here, under our feet.
		if now, look := m.journals.Mark(ctx, src); look == nil && now > mark {
			return m.waitingOf(ctx, src)
		}
		return nil, err
	}
	// What the morgue has, or has had and purged, is not waiting.
	tail, err := m.graves.Tail(ctx, store.Lane{Source: src})
	if err != nil {
		return nil, err
	}
	var out []dlq.Letter
	for _, p := range all {
		if p.at.Compare(tail.Position) > 0 {
			out = append(out, p.l)
		}
	}
	return out, nil
}
