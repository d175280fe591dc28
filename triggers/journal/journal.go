package journal

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync/atomic"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/internal/ledger"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/triggers"
)

const (
	// maxCommit is the most bytes of a commit before its letters, outputs and notices become blobs.
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
	store     *Store
	src       triggers.Source
	owner     string
	ledger    *ledger.Ledger
	subject   string
	epoch     uint64
	overtaken atomic.Bool // see Overtaken
	fenced    atomic.Bool
	// What is acknowledged, for others to read: the newest commit, and the newest
	// one with cargo.
	tip, sure atomic.Uint64

	turn  chan struct{} // holds one value while a commit is under way; guards what follows
	last  uint64        // sequence of the newest commit, the one to follow
	cargo uint64        // sequence of the newest commit with cargo
	// open are decisions that were sent to follow last and not answered. One of
	// them at most can still land.
	open []*decision
	// unheard is what was stored since the last call that ended well.
	unheard heardNot
	found   int  // size of cargo that the call under way has found stored
	sent    int  // bytes that the call under way has sent
	listed  bool // among the sources of the mapping
}

// decision is a commit that may be sent several times, always the same.
type decision struct {
	attempt   attempt
	body      []byte   // checkpoint and owner
	cargo     Cargo    // ids and order settled
	wire      []byte   // letters
	index     []byte   // of the outputs
	outWire   []byte   // outputs
	addresses []byte   // of the notices
	noteWire  []byte   // notices
	redriving []string // by the checkpoint
	state     int      // bytes of the window's
	ready     []byte   // the message to follow Journal.last; nil: not made yet
}

// fill gives d its cargo, ids and order settled.
func (d *decision) fill(c Cargo) (err error) {
	for i := range c.Letters {
		if d.wire, err = dlq.AppendWire(d.wire, &c.Letters[i]); err != nil {
			return err
		}
	}
	d.cargo = c
	d.index, d.outWire = appendOutputs(c.Trigger, c.Outputs)
	d.addresses, d.noteWire = appendNotices(c.Notices)
	return nil
}

func (d *decision) laden() bool { return d.cargo.Size() > 0 }

func (d *decision) same(o *decision) bool {
	return bytes.Equal(d.body, o.body) && bytes.Equal(d.wire, o.wire) && bytes.Equal(d.index, o.index) &&
		bytes.Equal(d.outWire, o.outWire) && bytes.Equal(d.addresses, o.addresses) && bytes.Equal(d.noteWire, o.noteWire) &&
		slices.Equal(d.cargo.Redriven, o.cargo.Redriven)
}

// Epoch is what all commits of this owner bear. It is higher than that of every
// commit before them.
func (j *Journal) Epoch() uint64 { return j.epoch }

// Source is whom the journal belongs to.
func (j *Journal) Source() triggers.Source { return j.src }

// Overtaken says of a handle that is fenced that it was by its own owner: a commit of
// an earlier handle, whose outcome nobody waited for, has landed behind its back. To
// take again goes on from there.
func (j *Journal) Overtaken() bool {
	j.store.mu.Lock()
	defer j.store.mu.Unlock()
	return j.overtaken.Load() && j.store.handles[j.src] == j
}

// Commit stores a checkpoint together with the cargo that makes it true, and
// returns when they are on disk. A letter that says no mapping gets the journal's
// source, and each gets an id ([dlq.LetterID]) unless it has one. Outputs need an
// id and a stream, notices an id and a destination.
//
// [triggers.ErrFenced] is final: another owner has the shard. After any other
// error the commit may or may not be there (it is not if the error is
// [natsd.ErrReserve]): call again with the same arguments, and it will be
// there once. If the arguments have changed meanwhile, cargo of earlier calls that
// turns out to be stored is left out, known by its ids; it should be among them.
func (j *Journal) Commit(ctx context.Context, cp triggers.Checkpoint, cargo Cargo) error {
	select {
	case j.turn <- struct{}{}:
		defer func() { <-j.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	j.found, j.sent = 0, 0
	err := j.commit(ctx, &cp, &cargo)
	if err == nil {
		j.unheard = heardNot{}
	}
	if errors.Is(err, triggers.ErrFenced) {
		j.fenced.Store(true)
	}
	j.store.left(j)
	if err == nil || len(j.open) > 0 || j.found > 0 { // there, or perhaps there
		j.store.committed(j.src, cargo.Size()+j.found, j.sent)
	}
	return err
}

func (j *Journal) commit(ctx context.Context, cp *triggers.Checkpoint, cargo *Cargo) error {
	if j.fenced.Load() {
		return j.wrap(triggers.ErrFenced)
	}
	d, err := j.decide(cp, cargo)
	if err == nil {
		d, err = d.without(j.unheard)
	}
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
func (j *Journal) decide(cp *triggers.Checkpoint, cargo *Cargo) (*decision, error) {
	if err := checkOutputs(cargo.Outputs); err != nil {
		return nil, err
	}
	if err := checkNotices(cargo.Notices); err != nil {
		return nil, err
	}
	d := &decision{redriving: redriving(cp), state: len(windowState(cp))}
	_, _ = rand.Read(d.attempt[:]) // never fails
	var err error
	if d.body, err = appendBody(nil, cp, j.owner); err != nil {
		return nil, err
	}
	letters := slices.Clone(cargo.Letters)
	for i := range letters {
		l := &letters[i]
		if l.Mapping == "" { // one that is buried again stays what it was
			l.Mapping, l.Generation, l.Shard = j.src.Mapping, j.src.Generation, j.src.Shard
		}
		l.Burial = max(l.Burial, 1)
		l.Redriving = false
		if l.ID == "" {
			l.ID = dlq.LetterID(l.Mapping, l.Generation, l.Shard, l.Number, l.Burial)
		}
	}
	return d, d.fill(Cargo{Letters: letters, Outputs: sorted(cargo.Outputs), Notices: assorted(cargo.Notices),
		Redriven: slices.Clone(cargo.Redriven), Trigger: cargo.Trigger})
}

// heardNot is cargo that was stored, as a later call found out, while the call
// that brought it ended without knowing: so that callers bring it again.
type heardNot struct{ letters, outputs, notices, redriven map[string]bool }

func (h *heardNot) add(d *decision) {
	if h.letters == nil {
		*h = heardNot{map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}}
	}
	for i := range d.cargo.Letters {
		h.letters[d.cargo.Letters[i].ID] = true
	}
	for i := range d.cargo.Outputs {
		h.outputs[d.cargo.Outputs[i].ID] = true
	}
	for i := range d.cargo.Notices {
		h.notices[d.cargo.Notices[i].ID] = true
	}
	for _, id := range d.cargo.Redriven {
		h.redriven[id] = true
	}
}

// without is d less that cargo.
func (d *decision) without(h heardNot) (*decision, error) {
	if h.letters == nil {
		return d, nil
	}
	rest := &decision{attempt: d.attempt, body: d.body, redriving: d.redriving, state: d.state}
	return rest, rest.fill(Cargo{
		Letters:  slices.DeleteFunc(slices.Clone(d.cargo.Letters), func(l dlq.Letter) bool { return h.letters[l.ID] }),
		Outputs:  slices.DeleteFunc(slices.Clone(d.cargo.Outputs), func(o triggers.Output) bool { return h.outputs[o.ID] }),
		Notices:  slices.DeleteFunc(slices.Clone(d.cargo.Notices), func(n triggers.Notice) bool { return h.notices[n.ID] }),
		Redriven: slices.DeleteFunc(slices.Clone(d.cargo.Redriven), func(id string) bool { return h.redriven[id] }),
		Trigger:  d.cargo.Trigger,
	})
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
		j.unheard.add(o)
		j.found += o.cargo.Size()
		next, err := d.without(j.unheard)
		return next, false, err
	}
	j.overtaken.Store(newest.owner == j.owner)
	return nil, false, j.wrap(fmt.Errorf("%w: epoch %d has committed, this is epoch %d", triggers.ErrFenced, newest.epoch, j.epoch))
}

// landed notes that d is the newest commit.
func (j *Journal) landed(sequence uint64, d *decision) {
	j.last, j.open = sequence, nil
	j.tip.Store(sequence)
	j.store.book(j.src, sequence, d)
	if d.laden() {
		j.cargo = sequence
		j.sure.Store(sequence)
	}
}

// send stores d behind the newest commit.
func (j *Journal) send(ctx context.Context, d *decision) error {
	if err := j.store.srv.Admit(natsd.Journal, len(d.body)+len(d.wire)+len(d.outWire)+len(d.noteWire)+1024); err != nil {
		return &refusal{err}
	}
	if d.ready == nil {
		sections, err := j.sections(ctx, d)
		if err != nil {
			return err
		}
		d.ready = message(j.epoch, d.attempt, j.cargo, len(d.cargo.Letters), sections)
	}
	if len(j.open) == 0 || j.open[len(j.open)-1] != d {
		j.open = append(j.open, d)
	}
	if !j.listed {
		j.store.listed(j.src)
		j.listed = true
	}
	j.sent += len(d.ready)
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

// sections are those of d's message. What makes it too large is stored ahead of it.
func (j *Journal) sections(ctx context.Context, d *decision) ([]byte, error) {
	all := bytes.Clone(d.body)
	if len(d.index) > 0 {
		all = appendSection(all, tagOutputs, d.index)
	}
	if len(d.addresses) > 0 {
		all = appendSection(all, tagNotices, d.addresses)
	}
	if len(d.cargo.Redriven) > 0 {
		var ids []byte
		for _, id := range d.cargo.Redriven {
			ids = appendChunk(ids, id)
		}
		all = appendSection(all, tagRedriven, ids)
	}
	inline := len(all)+len(d.wire)+len(d.outWire)+len(d.noteWire) <= maxCommit
	for _, p := range []struct {
		wire      []byte
		tag, blob uint64
	}{{d.wire, tagLetters, tagBlobs}, {d.outWire, tagOutWire, tagOutBlobs}, {d.noteWire, tagNoteWire, tagNoteBlobs}} {
		switch {
		case len(p.wire) == 0:
		case inline:
			all = appendSection(all, p.tag, p.wire)
		default:
			b, err := j.blobs(ctx, p.wire)
			if err != nil {
				return nil, err
			}
			all = appendBlobs(all, p.blob, b)
		}
	}
	return all, nil
}

// blobs stores a payload ahead of the commit that names it. One whose
// acknowledgement is lost is stored again; nobody will name the first.
func (j *Journal) blobs(ctx context.Context, wire []byte) (blobs, error) {
	b := blobs{size: uint64(len(wire)), sum: crc32.Checksum(wire, castagnoli)}
	for len(wire) > 0 {
		n := min(len(wire), maxBlob)
		seq, err := j.ledger.Append(ctx, subject(kindBlob, j.src), ledger.Unfenced, wire[:n])
		if err != nil {
			return blobs{}, err
		}
		j.sent += n
		j.store.crash("after blob")
		b.sequences = append(b.sequences, seq)
		wire = wire[n:]
	}
	return b, nil
}

// ascertain finds out what became of a commit whose caller has gone away, so that
// its cargo does not wait for the next one. It leaves it to that one to settle.
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
			news := newest.cargoUpTo() > j.sure.Load()
			j.tip.Store(newest.sequence)
			j.sure.Store(newest.cargoUpTo())
			j.store.book(j.src, newest.sequence, o)
			if news {
				j.store.committed(j.src, o.cargo.Size(), 0)
			}
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
	j.store.left(j)
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
