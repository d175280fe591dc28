package natsstream

import (
	"bytes"
	"cmp"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wasmill/wasmill/stream"
)

// entry is what the catalogue has on disk of a stream.
type entry struct {
	Account   string        `json:"account"`
	Region    string        `json:"region"`
	Name      string        `json:"name"`
	ID        string        `json:"id"`
	State     stream.State  `json:"state"`
	Created   time.Time     `json:"created"`
	Shards    int           `json:"shards"`    // open ones
	Epoch     uint32        `json:"epoch"`     // the largest of all shards, Unix seconds
	Retention time.Duration `json:"retention"` // nanoseconds
	Record    int           `json:"record"`    // bytes
	MaxBytes  int64         `json:"maxBytes,omitempty"`
	Mode      stream.Mode   `json:"mode,omitempty"` // empty: provisioned
	// Layout is all shards, as packShards has them; those that are being deleted too.
	// Empty: the even ones that a stream is created with, which are worked out.
	Layout     []byte            `json:"layout,omitempty"`
	Attributes stream.Attributes `json:"attributes,omitzero"`
}

// entryOf is d with the shards that it does not show because they are being deleted.
func entryOf(d stream.Description, doomed []stream.Shard) entry {
	e := entry{
		Account: d.Account, Region: d.Region, Name: d.Name, ID: d.ID, State: d.State, Created: d.Created,
		Shards: d.Config.Shards, Epoch: newest(d.Shards), Retention: d.Retention, Record: d.RecordBytes, MaxBytes: d.MaxBytes,
		Attributes: d.Attributes,
	}
	if d.Mode != stream.Provisioned {
		e.Mode = d.Mode
	}
	e.setShards(d.Shards, doomed)
	return e
}

// setShards has e list shards. A stream with parents among them is not as it was
// created, and never will be: the children of a shard outlast it.
func (e *entry) setShards(shards, doomed []stream.Shard) {
	e.Layout, e.Epoch = nil, newest(shards)
	if slices.ContainsFunc(shards, func(sh stream.Shard) bool { return len(sh.Parents) > 0 }) {
		all := append(slices.Clone(shards), doomed...)
		slices.SortFunc(all, func(a, b stream.Shard) int { return cmp.Compare(a.Index, b.Index) })
		e.Layout = packShards(all)
	}
}

// newest is the largest epoch of shards.
func newest(shards []stream.Shard) (epoch uint32) {
	for _, sh := range shards {
		epoch = max(epoch, sh.Epoch)
	}
	return epoch
}

// description is what e says, and the shards that are being deleted.
func (e *entry) description() (d stream.Description, doomed []stream.Shard, err error) {
	d = stream.Description{
		Ref: stream.Ref{Account: e.Account, Region: e.Region, Name: e.Name}, ID: e.ID, State: e.State, Created: e.Created,
		Config:     stream.Config{Shards: e.Shards, Retention: e.Retention, RecordBytes: e.Record, MaxBytes: e.MaxBytes, Mode: cmp.Or(e.Mode, stream.Provisioned)},
		Attributes: e.Attributes,
	}
	if e.Layout == nil {
		d.Shards = make([]stream.Shard, e.Shards)
		for i, r := range stream.EvenRanges(e.Shards) {
			d.Shards[i] = stream.Shard{ID: stream.ShardID(i), Index: i, From: r[0], To: r[1], Epoch: e.Epoch, State: stream.Active}
		}
		return d, nil, nil
	}
	all, err := unpackShards(e.Layout)
	if err != nil {
		return d, nil, fmt.Errorf("shards of stream %s: %w", e.Name, err)
	}
	for _, sh := range all {
		if sh.State == stream.Deleting {
			doomed = append(doomed, sh)
		} else {
			d.Shards = append(d.Shards, sh)
		}
	}
	return d, doomed, nil
}

// A layout is one byte, its version, and behind it, compressed by flate, columns of
// varints: for a value must hold 10,000 open shards and more closed ones within the
// 1 MiB of the catalogue.
//
//	number of shards
//	number of places at which shards begin or end, but for the end of the hash range;
//	each as its distance from the one before, 16 bytes, big endian
//	index, less that of the shard before
//	place at which the shard begins, less that of the shard before (signed)
//	places up to its end, exclusive
//	epoch, less that of the shard before (signed)
//	state, one byte, +8 if a time follows at which it was closed
//	that time, less the epoch (signed); nothing else
//	number of parents; each as how much smaller its index is
const (
	layoutVersion = 1
	closedAt      = 8
	maxLayout     = 64 << 20 // bytes uncompressed: a bound against damage, not a limit
)

// layoutStates are by their number on disk.
var layoutStates = []stream.State{stream.Active, stream.Creating, stream.Closing, stream.Closed, stream.Deleting}

var errLayout = errors.New("the list of shards cannot be read")

func packShards(shards []stream.Shard) []byte { return pack(layoutColumns(shards)) }

func pack(columns []byte) []byte {
	var out bytes.Buffer
	out.WriteByte(layoutVersion)
	w, _ := flate.NewWriter(&out, flate.DefaultCompression) // fails for a bad level only
	w.Write(columns)                                        // a buffer takes all
	w.Close()
	return out.Bytes()
}

func layoutColumns(shards []stream.Shard) []byte {
	places := make([]stream.HashKey, 0, len(shards)+1)
	for _, sh := range shards {
		places = append(places, sh.From)
		if sh.To != stream.MaxHashKey {
			places = append(places, after(sh.To))
		}
	}
	slices.SortFunc(places, stream.HashKey.Compare)
	places = slices.Compact(places)
	place := func(h stream.HashKey) int {
		at, _ := slices.BinarySearchFunc(places, h, stream.HashKey.Compare)
		return at
	}

	b := binary.AppendUvarint(nil, uint64(len(shards)))
	b = binary.AppendUvarint(b, uint64(len(places)))
	var before stream.HashKey
	for _, p := range places {
		distance := minus(p, before)
		b = binary.BigEndian.AppendUint64(b, distance.Hi)
		b = binary.BigEndian.AppendUint64(b, distance.Lo)
		before = p
	}
	column := func(add func(sh, before stream.Shard)) {
		var before stream.Shard
		for _, sh := range shards {
			add(sh, before)
			before = sh
		}
	}
	column(func(sh, before stream.Shard) { b = binary.AppendUvarint(b, uint64(sh.Index-before.Index)) })
	column(func(sh, before stream.Shard) { b = binary.AppendVarint(b, int64(place(sh.From)-place(before.From))) })
	column(func(sh, _ stream.Shard) {
		end := len(places)
		if sh.To != stream.MaxHashKey {
			end = place(after(sh.To))
		}
		b = binary.AppendUvarint(b, uint64(end-place(sh.From)))
	})
	column(func(sh, before stream.Shard) { b = binary.AppendVarint(b, int64(sh.Epoch)-int64(before.Epoch)) })
	column(func(sh, _ stream.Shard) {
		state := byte(slices.Index(layoutStates, sh.State))
		if !sh.Closed.IsZero() {
			state += closedAt
		}
		b = append(b, state)
	})
	column(func(sh, _ stream.Shard) {
		if !sh.Closed.IsZero() {
			b = binary.AppendVarint(b, sh.Closed.Unix()-int64(sh.Epoch))
		}
	})
	column(func(sh, _ stream.Shard) {
		b = binary.AppendUvarint(b, uint64(len(sh.Parents)))
		for _, id := range sh.Parents {
			parent, _ := shardIndex(id)
			b = binary.AppendUvarint(b, uint64(sh.Index-parent))
		}
	})
	return b
}

func unpackShards(layout []byte) ([]stream.Shard, error) {
	if len(layout) == 0 || layout[0] != layoutVersion {
		return nil, fmt.Errorf("%w: it is of a version that is not known here", errLayout)
	}
	columns, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(layout[1:])), maxLayout))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errLayout, err)
	}
	r := varints{rest: columns}
	n, m := r.count(), r.count()
	places := make([]stream.HashKey, m)
	var before stream.HashKey
	for i := range places {
		raw := r.bytes(16)
		before = plus(before, stream.HashKey{Hi: binary.BigEndian.Uint64(raw), Lo: binary.BigEndian.Uint64(raw[8:])})
		places[i] = before
	}
	shards, at := make([]stream.Shard, n), make([]int, n)
	last := 0
	for i := range shards {
		last += r.number()
		shards[i].Index, shards[i].ID = last, stream.ShardID(last)
	}
	last = 0
	for i := range shards {
		last += r.signed()
		at[i] = r.below(last, m)
	}
	for i := range shards {
		shards[i].To = stream.MaxHashKey
		if end := r.below(at[i]+r.number(), m+1); end < m {
			shards[i].To = minus(places[end], stream.HashKey{Lo: 1})
		}
		if !r.bad {
			shards[i].From = places[at[i]]
		}
	}
	last = 0
	for i := range shards {
		last += r.signed()
		shards[i].Epoch = uint32(last)
	}
	for i, state := range r.bytes(n) {
		shards[i].State = layoutStates[r.below(int(state&(closedAt-1)), len(layoutStates))]
		at[i] = int(state & closedAt)
	}
	for i := range shards {
		if at[i] != 0 {
			shards[i].Closed = time.Unix(int64(shards[i].Epoch)+int64(r.signed()), 0).UTC()
		}
	}
	for i := range shards {
		for range r.below(r.number(), 3) {
			shards[i].Parents = append(shards[i].Parents, stream.ShardID(shards[i].Index-r.number()))
		}
	}
	if r.bad || len(r.rest) > 0 {
		return nil, errLayout
	}
	return shards, nil
}

// varints reads what layoutColumns wrote. Once bad it reads nothing but zeros.
type varints struct {
	rest []byte
	bad  bool
}

func (r *varints) take(n, value int) int {
	if r.bad = r.bad || n <= 0; r.bad {
		return 0
	}
	r.rest = r.rest[n:]
	return value
}

func (r *varints) number() int {
	v, n := binary.Uvarint(r.rest)
	if v > 1<<40 {
		n = 0
	}
	return r.take(n, int(v))
}

func (r *varints) signed() int {
	v, n := binary.Varint(r.rest)
	return r.take(n, int(v))
}

// count is a number of things that take a byte at least.
func (r *varints) count() int { return r.below(r.number(), len(r.rest)+1) }

// below is v if it is from 0 to limit-1.
func (r *varints) below(v, limit int) int {
	if r.bad = r.bad || v < 0 || v >= limit; r.bad {
		return 0
	}
	return v
}

func (r *varints) bytes(n int) []byte {
	if r.bad = r.bad || n > len(r.rest); r.bad {
		return make([]byte, n)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// shardIndex is the number in the id of a shard.
func shardIndex(id string) (int, bool) {
	digits, ok := strings.CutPrefix(id, "shardId-")
	i, err := strconv.Atoi(digits)
	return i, ok && err == nil && i >= 0 && stream.ShardID(i) == id
}

func plus(a, b stream.HashKey) stream.HashKey {
	lo, carry := bits.Add64(a.Lo, b.Lo, 0)
	hi, _ := bits.Add64(a.Hi, b.Hi, carry)
	return stream.HashKey{Hi: hi, Lo: lo}
}

func minus(a, b stream.HashKey) stream.HashKey {
	lo, borrow := bits.Sub64(a.Lo, b.Lo, 0)
	hi, _ := bits.Sub64(a.Hi, b.Hi, borrow)
	return stream.HashKey{Hi: hi, Lo: lo}
}

// after is the hash key behind one that is not the last.
func after(h stream.HashKey) stream.HashKey { return plus(h, stream.HashKey{Lo: 1}) }
