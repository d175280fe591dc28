package journal

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/internal/ledger"
	"github.com/wasmill/wasmill/triggers"
)

// addresses say for whom there are notices in a commit, in order.
type addresses []address

type address struct {
	destination string
	count       int
	size        int // bytes in the wire form
}

func (a addresses) notices() (n int) {
	for _, to := range a {
		n += to.count
	}
	return n
}

func (a addresses) bytes() (n int64) {
	for _, to := range a {
		n += int64(to.size)
	}
	return n
}

// assorted is notices in the order in which they are stored: by destination, and
// those of one as they came.
func assorted(notices []triggers.Notice) []triggers.Notice {
	out := slices.Clone(notices)
	slices.SortStableFunc(out, func(a, b triggers.Notice) int { return strings.Compare(a.Destination, b.Destination) })
	return out
}

// appendNotices writes assorted notices: the addresses, and the notices themselves.
func appendNotices(notices []triggers.Notice) (head, wire []byte) {
	for from := 0; from < len(notices); {
		to, start := from, len(wire)
		for ; to < len(notices) && notices[to].Destination == notices[from].Destination; to++ {
			wire = appendNotice(wire, &notices[to])
		}
		head = appendChunk(head, notices[from].Destination)
		head = binary.AppendUvarint(head, uint64(to-from))
		head = binary.AppendUvarint(head, uint64(len(wire)-start))
		from = to
	}
	return head, wire
}

func appendNotice(dst []byte, n *triggers.Notice) []byte {
	drop := byte(0)
	if n.Drop {
		drop = 1
	}
	dst = append(appendChunk(dst, n.ID), drop)
	dst = appendChunk(dst, n.Mapping)
	dst = appendChunk(dst, n.Shard)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(n.At.UnixMilli()))
	dst = binary.AppendUvarint(dst, uint64(n.Records))
	dst = appendChunk(dst, n.Body)
	return appendChunk(dst, n.Payload)
}

func readNotice(r *reader) (n triggers.Notice) {
	n.ID, n.Drop = string(r.chunk()), r.byte() == 1
	n.Mapping, n.Shard = string(r.chunk()), string(r.chunk())
	n.At = time.UnixMilli(int64(r.fixed64())).UTC()
	records := r.uvarint()
	if records > math.MaxInt32 {
		r.fail("count of records")
	}
	n.Records = int(records)
	n.Body = r.chunk()
	if payload := r.chunk(); len(payload) > 0 {
		n.Payload = payload
	}
	return n
}

func readAddresses(s *reader) (all addresses) {
	total := uint64(0)
	for s.err == nil && len(s.b) > 0 {
		a := address{destination: string(s.chunk())}
		count, size := s.uvarint(), s.uvarint()
		// A notice takes fifteen bytes at least.
		if total += size; size > math.MaxInt32 || total > math.MaxInt32 || count == 0 || count > size/15 {
			s.fail("count of notices")
			break
		}
		a.count, a.size = int(count), int(size)
		all = append(all, a)
	}
	return all
}

// readNotices reads the notices to those destinations that are wanted. They alias wire.
func readNotices(all addresses, wire []byte, wanted func(destination string) bool) ([]triggers.Notice, error) {
	var out []triggers.Notice
	r := &reader{b: wire}
	for _, to := range all {
		part := &reader{b: r.take(to.size), err: r.err}
		if r.err == nil && !wanted(to.destination) {
			continue
		}
		for range to.count {
			n := readNotice(part)
			if part.err != nil {
				return nil, fmt.Errorf("notice %d: %w", len(out), part.err)
			}
			n.Destination = to.destination
			out = append(out, n)
		}
		if len(part.b) > 0 {
			return nil, fmt.Errorf("%w: bytes behind the notices to %s", ErrCorrupt, to.destination)
		}
	}
	if len(r.b) > 0 {
		r.fail("bytes behind the last notice")
	}
	return out, r.err
}

// checkNotices refuses what nobody could deliver.
func checkNotices(notices []triggers.Notice) error {
	for _, n := range notices {
		if n.ID == "" || n.Destination == "" {
			return fmt.Errorf("%w: notice %q to destination %q", triggers.ErrInvalid, n.ID, n.Destination)
		}
	}
	return nil
}

// noticesOf reads all notices of a commit, or those to one destination.
func (s *Store) noticesOf(ctx context.Context, l *ledger.Ledger, c *commit, wanted func(destination string) bool) ([]triggers.Notice, error) {
	if !slices.ContainsFunc(c.notices, func(a address) bool { return wanted(a.destination) }) {
		return nil, nil
	}
	wire, err := s.payload(ctx, l, c, c.noticeWire, c.noticeBlobs)
	if err != nil {
		return nil, err
	}
	out, err := readNotices(c.notices, wire, wanted)
	if err != nil {
		return nil, fmt.Errorf("commit %d: %w", c.sequence, err)
	}
	return out, nil
}

// Notices hands over the notices to one destination of commits in (after, upTo],
// commit by commit: fn gets the place of the first, the others follow it. It is
// called for commits with other cargo too, without notices. Bodies and payloads may
// be kept.
func (s *Store) Notices(ctx context.Context, src triggers.Source, destination string, after, upTo uint64, fn func(at dlq.Position, notices []triggers.Notice) error) error {
	return s.scan(ctx, src, after, upTo, func(l *ledger.Ledger, c *commit) error {
		at := dlq.Position{Sequence: c.sequence}
		for _, to := range c.notices {
			if to.destination == destination {
				break
			}
			at.Index += uint32(to.count)
		}
		notices, err := s.noticesOf(ctx, l, c, func(d string) bool { return d == destination })
		if err != nil {
			return err
		}
		return fn(at, notices)
	})
}

// NoticeBacklog does for notices what [Store.Backlog] does for outputs.
func (s *Store) NoticeBacklog(src triggers.Source) (notices int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.accounts[src]; a != nil {
		return a.notices, a.noticeBytes
	}
	return 0, 0
}
