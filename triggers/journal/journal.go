package journal

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"sync/atomic"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/internal/ledger"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/triggers"
)

const (
	// maxCommit is the most bytes of a commit before its letters become blobs.
	maxCommit = 1 << 20
	// maxBlob is the most bytes of one blob.
	maxBlob = 512 << 10
	// rounds is how often a commit of unknown outcome is looked for and stored
	// again before the caller is asked to come back.
	rounds = 3
)

// Journal is one owner's right to commit for one source. Its methods may be
// called from several goroutines, but one commits at a time.
type Journal struct {
	store   *Store
	src     triggers.Source
	owner   string
	ledger  *ledger.Ledger
	subject string
	epoch   uint64
	fenced  atomic.Bool
	// What is acknowledged, for others to read: the newest commit, and the newest
	// one with letters.
	tip, sure atomic.Uint64

	turn    chan struct{} // holds one value while a commit is under way; guards what follows
	last    uint64        // sequence of the newest commit, the one to follow
	letters uint64        // sequence of the newest commit with letters
	// open are decisions that were sent to follow last and not answered. One of
	// them at most can still land.
	open []*decision
}

// decision is a commit that may be sent several times, always the same.
type decision struct {
	attempt attempt
	body    []byte       // checkpoint and owner
	wire    []byte       // letters
	buried  []dlq.Letter // the same, with ids
	ready   []byte       // the message to follow Journal.last; nil: not made yet
}

func (d *decision) same(o *decision) bool {
	return bytes.Equal(d.body, o.body) && bytes.Equal(d.wire, o.wire)
}

// Epoch is what all commits of this owner bear. It is higher than that of every
// commit before them.
func (j *Journal) Epoch() uint64 { return j.epoch }

// Source is whom the journal belongs to.
func (j *Journal) Source() triggers.Source { return j.src }

// Commit stores a checkpoint together with the letters that make it true, and
// returns when they are on disk. A letter gets the journal's source, and an id
// ([dlq.LetterID]) unless it has one.
//
// [triggers.ErrFenced] is final: another owner has the shard. After any other
// error the commit may or may not be there (it is not if the error is
// [natsd.ErrReserve]): call again with the same arguments, and it will be
// there once. If the arguments have changed meanwhile, letters of the earlier
// call that turn out to be stored are left out.
func (j *Journal) Commit(ctx context.Context, cp triggers.Checkpoint, letters []dlq.Letter) error {
	select {
	case j.turn <- struct{}{}:
		defer func() { <-j.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	err := j.commit(ctx, &cp, letters)
	if errors.Is(err, triggers.ErrFenced) {
		j.fenced.Store(true)
	}
	if err == nil || len(j.open) > 0 { // there, or perhaps there
		j.store.committed(j.src, len(letters))
	}
	return err
}

func (j *Journal) commit(ctx context.Context, cp *triggers.Checkpoint, letters []dlq.Letter) error {
	if j.fenced.Load() {
		return j.wrap(triggers.ErrFenced)
	}
	d, err := j.decide(cp, letters)
	if err != nil {
		return j.wrap(err)
	}
	if len(j.open) > 0 {
		// An earlier call left without knowing.
		if err := j.restored(ctx, errors.New("commit of unknown outcome")); err != nil {
			return err
		}
		var done bool
		if d, done, err = j.settle(ctx, d); done || err != nil {
			return err
		}
	}
	for round := 1; ; round++ {
		err := j.send(ctx, d)
		if err == nil {
			return nil
		}
		if _, refused := errors.AsType[*refusal](err); refused && !errors.Is(err, natsd.ErrDown) {
			return j.wrap(err)
		}
		// Only a server that works can say what it has.
		switch {
		case errors.Is(err, ledger.ErrNoStream):
			return j.wrap(err)
		case !errors.Is(err, ledger.ErrRefused):
			if ctx.Err() != nil {
				j.store.srv.Failed(err)
				return j.wrap(err)
			}
			if broken := j.restored(ctx, err); broken != nil {
				return broken
			}
		}
		if j.fenced.Load() {
			return j.wrap(triggers.ErrFenced)
		}
		var done bool
		var look error
		if d, done, look = j.settle(ctx, d); done || look != nil {
			return look
		}
		if round == rounds {
			return j.wrap(fmt.Errorf("outcome unknown after %d rounds: %w", rounds, err))
		}
	}
}

// refusal is an error before anything was sent.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

// restored reports a failed write and waits until the store works.
func (j *Journal) restored(ctx context.Context, cause error) error {
	j.store.srv.Failed(cause)
	if err := j.store.srv.Healthy(ctx); err != nil {
		return j.wrap(fmt.Errorf("%w: %w", cause, err))
	}
	return nil
}

// decide makes a decision of the caller's arguments.
func (j *Journal) decide(cp *triggers.Checkpoint, letters []dlq.Letter) (*decision, error) {
	d := &decision{}
	_, _ = rand.Read(d.attempt[:]) // never fails
	var err error
	if d.body, err = appendBody(nil, cp, j.owner); err != nil {
		return nil, err
	}
	for _, l := range letters {
		l.Mapping, l.Generation, l.Shard = j.src.Mapping, j.src.Generation, j.src.Shard
		l.Burial = max(l.Burial, 1)
		if l.ID == "" {
			l.ID = dlq.LetterID(l.Mapping, l.Generation, l.Shard, l.Number, l.Burial)
		}
		if d.wire, err = dlq.AppendWire(d.wire, &l); err != nil {
			return nil, err
		}
		d.buried = append(d.buried, l)
	}
	return d, nil
}

// without is d less the letters that landed has.
func (d *decision) without(landed *decision) (*decision, error) {
	stored := map[string]bool{}
	for _, l := range landed.buried {
		stored[l.ID] = true
	}
	rest := &decision{attempt: d.attempt, body: d.body}
	for i := range d.buried {
		if stored[d.buried[i].ID] {
			continue
		}
		var err error
		if rest.wire, err = dlq.AppendWire(rest.wire, &d.buried[i]); err != nil {
			return nil, err
		}
		rest.buried = append(rest.buried, d.buried[i])
	}
	return rest, nil
}

// settle reads the newest commit and says what became of what was sent. done:
// d is stored. Otherwise the decision to send next is returned.
func (j *Journal) settle(ctx context.Context, d *decision) (next *decision, done bool, err error) {
	newest, err := j.store.newest(ctx, j.src)
	switch {
	case errors.Is(err, ErrNoJournal):
		return nil, false, j.wrap(fmt.Errorf("%w: %w", triggers.ErrFenced, err))
	case err != nil:
		return nil, false, err
	case newest == nil && j.last == 0, newest != nil && newest.sequence == j.last:
		// Not there. It is sent again as it was, attempt and fence the same,
		// so that it lands once even if the first is still on its way.
		for _, o := range j.open {
			if o.same(d) {
				return o, false, nil
			}
		}
		return d, false, nil
	case newest == nil:
		return nil, false, j.wrap(fmt.Errorf("%w: commit %d is gone", ErrCorrupt, j.last))
	}
	for _, o := range j.open {
		if o.attempt != newest.attempt {
			continue
		}
		j.landed(newest.sequence, o)
		if o.same(d) {
			return nil, true, nil
		}
		next, err := d.without(o)
		return next, false, err
	}
	return nil, false, j.wrap(fmt.Errorf("%w: epoch %d has committed, this is epoch %d", triggers.ErrFenced, newest.epoch, j.epoch))
}

// landed notes that d is the newest commit.
func (j *Journal) landed(sequence uint64, d *decision) {
	j.last, j.open = sequence, nil
	j.tip.Store(sequence)
	if len(d.buried) > 0 {
		j.letters = sequence
		j.sure.Store(sequence)
	}
}

// send stores d behind the newest commit.
func (j *Journal) send(ctx context.Context, d *decision) error {
	if err := j.store.srv.Admit(natsd.Journal, len(d.body)+len(d.wire)+1024); err != nil {
		return &refusal{err}
	}
	if d.ready == nil {
		body := bytes.Clone(d.body)
		switch {
		case len(d.wire) == 0:
		case len(d.body)+len(d.wire) <= maxCommit:
			body = appendSection(body, tagLetters, d.wire)
		default:
			b, err := j.blobs(ctx, d.wire)
			if err != nil {
				return err
			}
			body = appendBlobs(body, b)
		}
		d.ready = message(j.epoch, d.attempt, j.letters, len(d.buried), body)
	}
	if len(j.open) == 0 || j.open[len(j.open)-1] != d {
		j.open = append(j.open, d)
	}
	j.store.crash("before commit")
	send := func() (uint64, error) { return j.ledger.Append(ctx, j.subject, j.last, d.ready) }
	var seq uint64
	var err error
	if j.store.wrap != nil {
		seq, err = j.store.wrap(send)
	} else {
		seq, err = send()
	}
	if err != nil {
		return err
	}
	j.store.crash("after commit")
	j.landed(seq, d)
	return nil
}

// blobs stores letters ahead of the commit that names them. One whose
// acknowledgement is lost is stored again; nobody will name the first.
func (j *Journal) blobs(ctx context.Context, wire []byte) (blobs, error) {
	b := blobs{size: uint64(len(wire)), sum: crc32.Checksum(wire, castagnoli)}
	for len(wire) > 0 {
		n := min(len(wire), maxBlob)
		seq, err := j.ledger.Append(ctx, subject(kindBlob, j.src), ledger.Unfenced, wire[:n])
		if err != nil {
			return blobs{}, err
		}
		j.store.crash("after blob")
		b.sequences = append(b.sequences, seq)
		wire = wire[n:]
	}
	return b, nil
}

// ascertain finds out what became of a commit whose caller has gone away, so that
// its letters do not wait for the next one. It leaves it to that one to settle.
func (j *Journal) ascertain(ctx context.Context) error {
	select {
	case j.turn <- struct{}{}:
		defer func() { <-j.turn }()
	default:
		return nil // a commit is under way, and will tell
	}
	if len(j.open) == 0 {
		return nil
	}
	if err := j.restored(ctx, errors.New("commit of unknown outcome")); err != nil {
		return err
	}
	newest, err := j.store.newest(ctx, j.src)
	if err != nil || newest == nil {
		return err
	}
	for _, o := range j.open {
		if o.attempt == newest.attempt {
			j.tip.Store(newest.sequence)
			j.sure.Store(newest.lettersUpTo())
		}
	}
	return nil
}

// end fences the handle and waits until nothing of it is under way.
func (j *Journal) end(ctx context.Context) error {
	j.fenced.Store(true)
	select {
	case j.turn <- struct{}{}:
		defer func() { <-j.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if len(j.open) == 0 {
		return nil
	}
	return j.restored(ctx, errors.New("commit of unknown outcome"))
}

func (j *Journal) wrap(err error) error {
	if errors.Is(err, ledger.ErrNoStream) {
		err = fmt.Errorf("%w: %w", triggers.ErrFenced, ErrNoJournal)
	}
	return fmt.Errorf("commit for mapping %s, %s: %w", j.src.Mapping, j.src.Shard, err)
}
