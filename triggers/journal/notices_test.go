package journal

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/triggers"
)

// notice is one to a destination; its id is made of its number.
func notice(n int, destination string, size int) triggers.Notice {
	return triggers.Notice{
		ID: fmt.Sprintf("n%d", n), Destination: destination, Drop: n%2 == 1, Mapping: mapping, Shard: source0.Shard,
		At: time.UnixMilli(int64(1700000000000 + n)).UTC(), Records: n, Body: fmt.Appendf(nil, "{%d}", n), Payload: bytes.Repeat([]byte{byte(n)}, size),
	}
}

// notices are the numbers of those to a destination that are not confirmed.
func notices(t testing.TB, s *Store, src triggers.Source, destination string) (out []int) {
	t.Helper()
	mark, upTo, err := s.Pending(context.Background(), src)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Notices(context.Background(), src, destination, mark, upTo, func(_ dlq.Position, all []triggers.Notice) error {
		for _, n := range all {
			number, err := strconv.Atoi(strings.TrimPrefix(n.ID, "n"))
			if err != nil {
				return err
			}
			out = append(out, number)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestNoticesAreStoredByDestinationInOrderOfDecision(t *testing.T) {
	for _, size := range []int{10, 400 << 10} { // in the commit, in blobs
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			_, s := fresh(t)
			j, _ := take(t, s, source0)
			commitOK(t, j, triggers.Checkpoint{Next: 1})
			all := []triggers.Notice{notice(5, "s3", size), notice(1, "file", size), notice(4, "s3", size), notice(2, "file", 0)}
			given := slices.Clone(all)
			commitCargo(t, j, 2, Cargo{Notices: given, Letters: []dlq.Letter{dead(1, 10)}})
			if !reflect.DeepEqual(given, all) {
				t.Error("the caller's notices were changed")
			}
			want := []triggers.Notice{all[1], all[3], all[0], all[2]}
			want[1].Payload = nil
			_, upTo, _ := s.Pending(context.Background(), source0)
			seen := 0
			err := s.Read(context.Background(), source0, 0, upTo, func(_ uint64, c Cargo) error {
				seen++
				if !reflect.DeepEqual(c.Notices, want) || c.Size() != 5 {
					t.Errorf("notices = %+v", c.Notices)
				}
				return nil
			})
			if err != nil || seen != 1 {
				t.Errorf("%d commits with cargo, %v", seen, err)
			}
			for destination, want := range map[string]struct {
				index uint32
				all   []triggers.Notice
			}{"file": {0, want[:2]}, "s3": {2, want[2:]}, "nowhere": {4, nil}} {
				err := s.Notices(context.Background(), source0, destination, 0, upTo, func(at dlq.Position, got []triggers.Notice) error {
					if at != (dlq.Position{Sequence: upTo, Index: want.index}) || !reflect.DeepEqual(got, want.all) {
						t.Errorf("%s: at %v: %+v", destination, at, got)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestFormatOfNoticesGolden(t *testing.T) {
	head, wire := appendNotices([]triggers.Notice{{
		ID: "n1", Destination: "d", Drop: true, Mapping: "m", Shard: "s", At: time.UnixMilli(0x0102030405), Records: 300, Body: []byte("{}"), Payload: []byte("p"),
	}})
	if got, want := hex.EncodeToString(head), "0164"+"01"+"17"; got != want {
		t.Errorf("addresses = %s, want %s", got, want)
	}
	if got, want := hex.EncodeToString(wire), "026e31"+"01"+"016d"+"0173"+"0504030201000000"+"ac02"+"027b7d"+"0170"; got != want {
		t.Errorf("notice = %s, want %s", got, want)
	}
}

func TestBacklogCountsNoticesThatAreNotConfirmed(t *testing.T) {
	srv, s := fresh(t)
	j, _ := take(t, s, source0)
	one := int64(len(appendNotice(nil, &triggers.Notice{ID: "n1", Mapping: mapping, Shard: source0.Shard, Body: []byte("{1}"), Records: 1})))
	want := func(n int, payloads int64) {
		t.Helper()
		for _, s := range []*Store{s, Open(srv, Options{})} {
			if s.owner(source0) == nil {
				take(t, s, source0)
			}
			if got, b := s.NoticeBacklog(source0); got != n || b != int64(n)*one+payloads {
				t.Errorf("backlog = %d notices, %d bytes; want %d, %d", got, b, n, int64(n)*one+payloads)
			}
			if n, b := s.Backlog(source0); n != 0 || b != 0 {
				t.Errorf("backlog of outputs = %d, %d", n, b)
			}
		}
		j, _ = take(t, s, source0)
	}
	want(0, 0)
	commitCargo(t, j, 1, Cargo{Notices: []triggers.Notice{notice(1, "x", 10), notice(2, "y", 20)}}) // commit 1
	want(2, 30)
	commitOK(t, j, triggers.Checkpoint{Next: 2}, dead(1, 1))                       // 2
	commitCargo(t, j, 3, Cargo{Notices: []triggers.Notice{notice(3, "x", 2<<20)}}) // blobs and commit
	want(3, 30+2<<20+3)                                                            // a length of four bytes
	confirm(t, s, 1)
	want(1, 2<<20+3)
	_, upTo, _ := s.Pending(context.Background(), source0)
	confirm(t, s, upTo)
	want(0, 0)
	if n, _ := s.NoticeBacklog(triggers.Source{Mapping: "unknown"}); n != 0 {
		t.Errorf("backlog of nobody = %d", n)
	}
}

func TestNoticesThatNobodyCouldDeliverAreRefused(t *testing.T) {
	_, s := fresh(t)
	j, _ := take(t, s, source0)
	for _, n := range []triggers.Notice{{ID: "n"}, {Destination: "d"}} {
		if err := j.Commit(context.Background(), triggers.Checkpoint{}, Cargo{Notices: []triggers.Notice{n}}); !errors.Is(err, triggers.ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", n, err)
		}
	}
}

func FuzzDecodeNotices(f *testing.F) {
	head, wire := appendNotices([]triggers.Notice{notice(1, "d", 9), notice(2, "d", 0), notice(3, "e", 3)})
	f.Add(head, wire)
	f.Add(head, wire[1:])
	f.Add(head[:len(head)-1], wire)
	all := func(string) bool { return true }
	f.Fuzz(func(t *testing.T, head, wire []byte) {
		r := &reader{b: head}
		x := readAddresses(r)
		if r.err != nil {
			return
		}
		out, err := readNotices(x, wire, all)
		if err != nil {
			return
		}
		_, again := appendNotices(out)
		if x.notices() != len(out) || len(again) > len(wire) {
			t.Errorf("%d notices became %d, %d bytes %d", x.notices(), len(out), len(wire), len(again))
		}
		if none, err := readNotices(x, wire, func(string) bool { return false }); len(none) > 0 || err != nil {
			t.Errorf("none wanted: %v, %v", none, err)
		}
	})
}
